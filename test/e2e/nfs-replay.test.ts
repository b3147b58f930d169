/**
 * Property: a call that is sent once, twice, or again much later, over any connection to any door, around failures of CVMs,
 * leaves what one execution leaves, and is answered the same each time. Random calls that must not run twice go to a real
 * cluster, each with its copies; a model knows what each must answer and what must be there in the end.
 *
 * What is known at every door are calls that change names, attributes and sizes. A WRITE is known to the doors that have
 * answered it: its late copies go there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import type { Cluster } from '../../src/api.ts'
import { MiB } from '../../src/base/units.ts'
import { serveNfs } from '../../src/frontend/nfs/index.ts'
import { openCluster } from '../../src/index.ts'
import { Calls, PROC, place, writeArgs, writeSattr } from '../frontend/nfs/calls.ts'
import { RawClient, xdr } from '../frontend/nfs/raw-client.ts'
import { chosenSeed, Dice, LONG, TIMEOUT_MS } from './harness.ts'

const NODES = 3
const CALLS = LONG ? 3_000 : 250
/** Copies of calls that succeeded come up to so many calls later. */
const LATE_CALLS = 30
const CALLS_BETWEEN_FAILURES = 60
const NAMES = ['a', 'b', 'c', 'd', 'e']

const [OK, NOENT, EXIST, NOTDIR, ISDIR] = [0, 2, 17, 20, 21]

interface Prepared {
  readonly procedure: number
  readonly args: Buffer
  /** Each door that carries it out answers with the attributes of then. */
  readonly write?: boolean
  /** A file whose size it changes. Hosts go by what they know for half a second, or until they are asked: every door is. */
  readonly cut?: Buffer
  /** Applies the call to the model, and returns the status that it must be answered with. */
  readonly apply: () => number
}

/** Names of the root: directories and files, and which names are the same file. */
class Model {
  readonly entries = new Map<string, { readonly directory: boolean }>()

  make(name: string, directory: boolean): number {
    if (this.entries.has(name)) return EXIST
    this.entries.set(name, { directory })
    return OK
  }

  remove(name: string, directory: boolean): number {
    const entry = this.entries.get(name)
    if (entry === undefined) return NOENT
    if (entry.directory !== directory) return directory ? NOTDIR : ISDIR
    this.entries.delete(name)
    return OK
  }

  rename(from: string, to: string): number {
    const entry = this.entries.get(from)
    if (entry === undefined) return NOENT
    const target = this.entries.get(to)
    if (target === entry) return OK
    if (target !== undefined && target.directory !== entry.directory) return target.directory ? ISDIR : NOTDIR
    this.entries.delete(from)
    this.entries.set(to, entry)
    return OK
  }
}

/** A file that is written to, cut and grown, and what must be in it. One that ever passed 1 MiB has a vDisk. */
class Written {
  readonly name: string
  readonly handle: Buffer
  readonly #place: number
  bytes = Buffer.alloc(0)

  /** `place`: where in the file it goes on, bytes. */
  constructor(name: string, handle: Buffer, place: number) {
    this.name = name
    this.handle = handle
    this.#place = place
  }

  randomCall(dice: Dice): Prepared {
    const at = this.#place + dice.below(20_000)
    if (dice.below(4) === 0) {
      const args = xdr((out) => {
        out.opaque(this.handle)
        writeSattr(out, { size: at })
        out.bool(false)
      })
      return { procedure: PROC.setattr, args, cut: this.handle, apply: () => this.#resize(at) }
    }
    const data = dice.bytes(4 + 4 * dice.below(1_500))
    const apply = (): number => {
      if (this.bytes.length < at + data.length) this.#resize(at + data.length)
      data.copy(this.bytes, at)
      return OK
    }
    return { procedure: PROC.write, args: writeArgs(this.handle, at, data), write: true, apply }
  }

  #resize(size: number): number {
    const old = this.bytes
    this.bytes = Buffer.alloc(size)
    old.copy(this.bytes)
    return OK
  }
}

function randomCall(dice: Dice, model: Model, root: Buffer, files: readonly Written[]): Prepared {
  if (dice.below(3) === 0) return files[dice.below(files.length)]!.randomCall(dice)
  const name = NAMES[dice.below(NAMES.length)]!
  const other = NAMES[dice.below(NAMES.length)]!
  switch (dice.below(6)) {
    case 0:
      return {
        procedure: PROC.mkdir,
        args: place(root, name, (out) => writeSattr(out, { mode: 0o755 })),
        apply: () => model.make(name, true),
      }
    case 1:
    case 2:
      return {
        procedure: PROC.create,
        args: place(root, name, (out) => {
          out.u32(1)
          writeSattr(out, { mode: 0o644 })
        }),
        apply: () => model.make(name, false),
      }
    case 3:
      return { procedure: PROC.remove, args: place(root, name), apply: () => model.remove(name, false) }
    case 4:
      return { procedure: PROC.rmdir, args: place(root, name), apply: () => model.remove(name, true) }
    default:
      return {
        procedure: PROC.rename,
        args: place(root, name, (out) => {
          out.opaque(root)
          out.opaque(Buffer.from(other))
        }),
        apply: () => model.rename(name, other),
      }
  }
}

/** Kills a CVM and brings it back, one after the other, until it is told to stop. */
class Failures {
  readonly #cluster: Cluster
  readonly #dice: Dice
  #under: Promise<void> = Promise.resolve()
  count = 0

  constructor(cluster: Cluster, dice: Dice) {
    this.#cluster = cluster
    this.#dice = dice
  }

  /** Begins the next failure behind the one under way. */
  next(): void {
    const node = this.#cluster.nodes[this.#dice.below(NODES)]!
    const wait = this.#dice.below(200)
    this.#under = this.#under.then(async () => {
      await this.#cluster.failCvm(node)
      this.count += 1
      await sleep(wait)
      await this.#cluster.recoverCvm(node)
      await sleep(700)
    })
  }

  over(): Promise<void> {
    return this.#under
  }
}

async function contentOf(calls: Calls, handle: Buffer): Promise<Buffer> {
  const parts: Buffer[] = []
  for (let at = 0, end = false; !end; ) {
    const part = await calls.read(handle, at, 1 * MiB)
    parts.push(part.data)
    at += part.data.length
    end = part.end
  }
  return Buffer.concat(parts)
}

it(
  'a call that is sent again, anywhere and at any time, is executed once',
  async () => {
    const seed = chosenSeed()
    const dice = new Dice(seed)
    await using cluster = await openCluster('memory:', {
      ...{ nodes: NODES, ssdBytes: 512 * MiB, hddBytes: 0, leaseTtlMs: 1_500, holdDownMs: 400 },
    })
    const doors = await Promise.all(cluster.nodes.map((node) => serveNfs(cluster.files(node))))
    const clients: RawClient[] = []
    for (const door of [...doors, ...doors]) clients.push(await RawClient.connect(door.port))
    const anyClient = (): number => dice.below(clients.length)
    const calls = new Calls(clients[0]!)
    const root = await calls.mount()
    const files: Written[] = []
    for (const [name, at] of [
      ['small', 0],
      ['large', 2 * MiB],
    ] as const) {
      files.push(new Written(name, (await calls.create(root, name)).handle, at))
    }
    const model = new Model()
    const failures = new Failures(cluster, dice)
    const late: Array<{ readonly due: number; readonly send: () => Promise<void> }> = []
    let sent = 0

    for (let i = 0; i < CALLS; i += 1) {
      const { procedure, args, apply, write = false, cut } = randomCall(dice, model, root, files)
      const what = `call ${i} (procedure ${procedure}) of seed ${seed}`
      const xid = 1_000_000 + i
      /** Doors that have answered it. */
      const known: number[] = []
      const send = async (client = anyClient()): Promise<Buffer> => {
        sent += 1
        const answer = await clients[client]!.nfs(procedure, args, { xid })
        expect([what, answer.denied, answer.status]).toEqual([what, false, 0])
        known.push(client % NODES)
        return answer.bytes
      }
      if (i % CALLS_BETWEEN_FAILURES === 10) failures.next()
      const expected = apply()
      const answers = await Promise.all(Array.from({ length: 1 + dice.below(3) }, () => send()))
      if (dice.below(2) === 0) answers.push(await send())
      for (const bytes of answers) expect([what, bytes.readUInt32BE(24)]).toEqual([what, expected])
      const isSame = (bytes: Buffer): boolean =>
        expected === OK && !write ? bytes.equals(answers[0]!) : bytes.readUInt32BE(24) === expected
      for (const bytes of answers) expect([what, isSame(bytes)]).toEqual([what, true])
      if (cut !== undefined)
        for (const client of clients.slice(0, NODES)) await new Calls(client).getattr(cut)
      const again = async (): Promise<void> => {
        // Either connection to the door.
        const client = known[dice.below(known.length)]! + NODES * dice.below(2)
        const bytes = await send(write ? client : undefined)
        expect([`${what}, late`, isSame(bytes)]).toEqual([`${what}, late`, true])
      }
      if (dice.below(2) === 0) late.push({ due: i + dice.below(LATE_CALLS), send: again })
      for (let j = late.length - 1; j >= 0; j -= 1) if (late[j]!.due <= i) await late.splice(j, 1)[0]!.send()
    }
    await failures.over()
    for (const { send } of late) await send()
    for (const client of clients) {
      const listed = await new Calls(client).listAll(root)
      const names = listed.map(({ name }) => name).filter((name) => !name.startsWith('.'))
      expect(names.sort()).toEqual([...model.entries.keys(), ...files.map(({ name }) => name)].sort())
      for (const { name, handle, bytes } of files) {
        const read = await contentOf(new Calls(client), handle)
        expect([name, read.length, read.equals(bytes)]).toEqual([name, bytes.length, true])
      }
      client.close()
    }
    console.log(
      `${CALLS} calls, sent ${sent} times, through ${failures.count} killed CVMs: each executed once`,
    )
    expect(failures.count).toBeGreaterThan(2)
    for (const door of doors) await door.close()
  },
  TIMEOUT_MS,
)
