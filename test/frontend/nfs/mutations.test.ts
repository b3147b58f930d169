/**
 * Property: whatever a client sends, its own connection is all it can harm. Calls of every NFS and MOUNT procedure, and NBD
 * requests, are mutated from a seed and sent to live doors, while a client beside them writes and verifies its own file.
 * Guards: no crash, no hang, no defect reported, no growth of memory, no effect on others.
 *
 * `HITHER_LONG=1` sends a million messages; `HITHER_SEED` has a failure again.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import { describe, expect, it } from 'vitest'
import { MiB } from '../../../src/base/units.ts'
import * as nbd from '../../../src/frontend/nbd/wire.ts'
import * as nfs from '../../../src/frontend/nfs/wire.ts'
import { openDoor as openNbdDoor } from '../nbd/door.ts'
import { encodeRequest } from '../nbd/raw-client.ts'
import type { Calls } from './calls.ts'
import { openDoor, until } from './door.ts'
import { everything } from './everything.ts'
import { MemoryFileSystem } from './memory-files.ts'
import { encodeCall, frame, type Identity, xdr } from './raw-client.ts'

const LONG = process.env['HITHER_LONG'] === '1'
const SEED = Number(process.env['HITHER_SEED'] ?? 5)
const NFS_MESSAGES = LONG ? 900_000 : 6_000
const NBD_MESSAGES = LONG ? 150_000 : 1_500
const MESSAGES_PER_CONNECTION = 60
const TIMEOUT_MS = LONG ? 3_600_000 : 60_000
/** What may be there more at the end than after the first tenth. */
const GROWTH_BYTES_MAX = 200 * MiB
/** A container whose number no mutation of another's handle hits by chance. */
const QUIET_ID = 0x7a6b_5c4d

class Dice {
  readonly #generator = xoroshiro128plus(SEED)

  below(limit: number): number {
    return Math.floor(((this.#generator.next() >>> 0) / 2 ** 32) * limit)
  }

  pick<T>(from: readonly T[]): T {
    return from[this.below(from.length)]!
  }
}

/** Words and bytes that mean something are likelier than others to find a hole. */
const WORDS = [0, 1, 2, 3, 4, 5, 8, 24, 64, 65, 255, 256, 400, 1 << 20, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff]
const BYTES = [0, 1, 2, 4, 0x2e, 0x2f, 0x7f, 0x80, 0xff]

function mutate(message: Buffer, dice: Dice, from: number): Buffer {
  let bytes = Buffer.from(message)
  for (let edits = 1 + dice.below(3); edits > 0 && bytes.length > from + 4; edits -= 1) {
    const at = from + dice.below(bytes.length - from - 3)
    const kind = dice.below(10)
    if (kind < 4) bytes.writeUInt32BE(dice.pick(WORDS), from + ((at - from) & ~3))
    else if (kind < 7) bytes[at] = dice.below(2) === 0 ? dice.pick(BYTES) : dice.below(256)
    else if (kind < 8) bytes = bytes.subarray(0, at)
    else {
      const more = Buffer.from(Array.from({ length: 1 + dice.below(24) }, () => dice.pick(BYTES)))
      const tail = bytes.subarray(kind < 9 ? at : Math.min(at + 4, bytes.length))
      bytes = Buffer.concat([bytes.subarray(0, at), more, tail])
    }
  }
  return bytes
}

/** Sends all, says FIN, reads to the end; resolves with the number of bytes that came. */
async function inflict(port: number, stream: Buffer): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1' })
  let bytes = 0
  socket.on('data', (chunk) => {
    bytes += chunk.length
  })
  // A reset is an answer, too.
  socket.on('error', () => {})
  const closed = once(socket, 'close').catch(() => {})
  socket.end(stream)
  const timer = setTimeout(() => socket.destroy(new Error('hangs')), 30_000)
  await closed
  clearTimeout(timer)
  if (socket.errored?.message === 'hangs') throw new Error('a connection was neither answered nor ended')
  return bytes
}

/** Writes and reads a file of its own, against a model, until it is told to stop. */
class Bystander {
  readonly #calls: Calls
  readonly #model = Buffer.alloc(100_000)
  #handle: Buffer = Buffer.alloc(0)
  #stopped = false
  rounds = 0

  constructor(calls: Calls) {
    this.#calls = calls
  }

  async run(): Promise<void> {
    const dice = new Dice()
    const root = await this.#calls.mount('/quiet')
    this.#handle = (await this.#calls.create(root, 'mine')).handle
    await this.#calls.write(this.#handle, 0, this.#model)
    while (!this.#stopped) {
      const offset = dice.below(90_000)
      const data = Buffer.alloc(1 + dice.below(9_000), dice.below(256))
      data.copy(this.#model, offset)
      expect((await this.#calls.write(this.#handle, offset, data)).status).toBe(0)
      const read = await this.#calls.read(this.#handle, 0, 100_000)
      expect(read.data.equals(this.#model)).toBe(true)
      expect((await this.#calls.list(root, 0)).entries.map(({ name }) => name)).toEqual(['.', '..', 'mine'])
      this.rounds += 1
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  stop(): void {
    this.#stopped = true
  }
}

/** Memory of this process in use: doors, clients, and all. */
function memoryBytes(): number {
  return process.memoryUsage().rss
}

/** Sends `total` messages in connections of some; returns what was sent, and how much memory grew after the first tenth. */
async function flood(
  port: number,
  total: number,
  makeStream: () => { stream: Buffer; messages: number },
): Promise<{ messages: number; answered: number; grown: number }> {
  let messages = 0
  let answered = 0
  let warm: number | undefined
  while (messages < total) {
    const streams = Array.from({ length: 8 }, makeStream)
    for (const one of streams) messages += one.messages
    for (const bytes of await Promise.all(streams.map(({ stream }) => inflict(port, stream))))
      answered += bytes
    if (messages > total / 10) warm ??= memoryBytes()
  }
  return { messages, answered, grown: memoryBytes() - (warm ?? 0) }
}

describe('mutated messages', () => {
  it(
    'of NFS and MOUNT',
    async () => {
      const door = await openDoor(
        {},
        new MemoryFileSystem('default', 5),
        new MemoryFileSystem('quiet', QUIET_ID),
      )
      const dice = new Dice()
      const recorder = await door.calls()
      recorder.client.tape = []
      await everything(recorder, await recorder.mount())
      const originals = recorder.client.tape.map(({ procedure, args }) => ({
        program: nfs.NFS_PROGRAM,
        procedure,
        args,
      }))
      const path = xdr((out) => out.opaque(Buffer.from('/default/dir')))
      for (const procedure of [1, 2, 3, 4, 5]) {
        const args = procedure === 1 || procedure === 3 ? path : Buffer.alloc(0)
        originals.push({ program: nfs.MOUNT_PROGRAM, procedure, args })
      }
      const users: Identity[] = ['none', { uid: 0, gid: 0 }, { uid: 7, gid: 7, groups: [1, 2, 3] }]
      let xid = 1
      const makeStream = () => {
        const parts = Array.from({ length: MESSAGES_PER_CONNECTION }, () => {
          const { program, procedure, args } = dice.pick(originals)
          const message = encodeCall(xid++, program, procedure, args, { as: dice.pick(users) })
          const where = dice.below(1_000)
          // Mostly in the arguments; now and then in the header, or in the record mark, which ends the connection.
          if (where === 0) return mutate(frame(message), dice, 0)
          return frame(mutate(message, dice, where === 1 ? 4 : message.length - args.length))
        })
        return { stream: Buffer.concat(parts), messages: parts.length }
      }
      const bystander = new Bystander(await door.calls())
      const watching = bystander.run()
      const result = await flood(door.server.port, NFS_MESSAGES, makeStream)
      bystander.stop()
      await watching
      report('NFS', result)
      expect(bystander.rounds).toBeGreaterThan(5)
      // Everything but the connections of the recorder and the bystander is gone, and nothing was a defect of ours.
      await until(() => door.server.connections() === 2)
      expect(door.errors.filter(({ code }) => code !== 'PROTOCOL_ERROR')).toEqual([])
      // Most were read and answered: at least 28 bytes each.
      expect(result.answered).toBeGreaterThan(result.messages * 28 * 0.8)
      expect(result.grown).toBeLessThan(GROWTH_BYTES_MAX)
    },
    TIMEOUT_MS,
  )

  it(
    'of NBD',
    async () => {
      const door = await openNbdDoor()
      const dice = new Dice()
      const watcher = await door.client()
      const kept = Buffer.alloc(64, 0xab)
      await watcher.request(nbd.CMD_WRITE, 1_000_000, 64, { payload: kept })
      const option = (number: number, data: Buffer): Buffer =>
        Buffer.concat([
          Buffer.from('IHAVEOPT'),
          xdr((out) => [number, data.length].forEach((word) => void out.u32(word))),
          data,
        ])
      const hello = Buffer.concat([
        Buffer.from([0, 0, 0, 3]),
        option(nbd.OPT_EXPORT_NAME, Buffer.from('disk')),
      ])
      const commands = [
        nbd.CMD_READ,
        nbd.CMD_FLUSH,
        nbd.CMD_CACHE,
        nbd.CMD_BLOCK_STATUS,
        nbd.CMD_WRITE,
        nbd.CMD_TRIM,
      ]
      const makeStream = () => {
        const parts: Buffer[] = [dice.below(10) === 0 ? mutate(hello, dice, 0) : hello]
        for (let i = 0; i < MESSAGES_PER_CONNECTION; i += 1) {
          const command = dice.pick(commands)
          const length = dice.below(3_000)
          const payload = command === nbd.CMD_WRITE ? Buffer.alloc(length, i) : undefined
          const request = encodeRequest(
            BigInt(i),
            command,
            dice.below(500_000),
            length,
            payload && { payload },
          )
          // What changes data keeps its range, away from the watcher's bytes.
          const harmless =
            command === nbd.CMD_READ || command === nbd.CMD_FLUSH || command === nbd.CMD_BLOCK_STATUS
          parts.push(withFields(request, dice, harmless))
        }
        return { stream: Buffer.concat(parts), messages: parts.length }
      }
      const result = await flood(door.server.port!, NBD_MESSAGES, makeStream)
      report('NBD', result)
      await until(() => door.server.connections() === 1)
      expect((await watcher.request(nbd.CMD_READ, 1_000_000, 64)).data).toEqual(kept)
      expect(door.errors.filter(({ code }) => code !== 'PROTOCOL_ERROR')).toEqual([])
      expect(result.answered).toBeGreaterThan(result.messages * 40)
      expect(result.grown).toBeLessThan(GROWTH_BYTES_MAX)
    },
    TIMEOUT_MS,
  )
})

/** Other flags and cookie, another range and command where that is harmless, and now and then what is no request. */
function withFields(request: Buffer, dice: Dice, harmless: boolean): Buffer {
  const changed = Buffer.from(request)
  if (dice.below(3) === 0) changed.writeUInt16BE(dice.below(2) === 0 ? dice.below(65_536) : dice.below(32), 4)
  changed.writeUInt32BE(dice.pick(WORDS), 8)
  if (dice.below(1_000) === 0) changed[dice.below(4)] = dice.below(256)
  if (!harmless || dice.below(2) === 0) return changed
  if (dice.below(10) === 0) changed.writeUInt16BE(8 + dice.below(65_000), 6)
  changed.writeUInt32BE(dice.pick(WORDS), 16 + 4 * dice.below(3))
  return changed
}

function report(what: string, result: { messages: number; answered: number; grown: number }): void {
  const { messages, answered, grown } = result
  const [answeredMiB, grownMiB] = [answered / MiB, grown / MiB].map((value) => value.toFixed(1))
  console.log(
    `${what}: ${messages} mutated messages of seed ${SEED}, ${answeredMiB} MiB of answers, memory ${grownMiB} MiB`,
  )
}
