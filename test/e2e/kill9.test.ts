/**
 * kill -9 of the whole process in the middle of writes, again and again on the same data. Guards: every acknowledged
 * write is there after the restart, whole; one that was not acknowledged is there whole or not at all; an export is
 * what the model says; RF is full again once the Curator ran. HITHER_E2E_ROUNDS sets the number of kills.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import * as wire from '../../src/frontend/nbd/wire.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { RawClient } from '../frontend/nbd/raw-client.ts'
import { ServedCluster } from './served-cluster.ts'

const ROUNDS = Number(process.env['HITHER_E2E_ROUNDS'] ?? 3)
const BLOCK = 4096
const BLOCKS = 4096
const DEPTH = 16

const folders: string[] = []
afterEach(async () => {
  await ServedCluster.killAll()
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true })
})

/** A block says what it is: its number and the number of the write, over and over. 0: never written. */
function contents(block: number, write: number): Buffer {
  const bytes = Buffer.alloc(BLOCK)
  if (write === 0) return bytes
  const random = seededRandom(write)
  for (let at = 0; at < BLOCK; at += 16) {
    bytes.writeUInt32LE(block, at)
    bytes.writeUInt32LE(write, at + 4)
    // Half of it does not compress.
    bytes.writeUInt32LE(random.u32(), at + 8)
    bytes.writeUInt32LE(random.u32(), at + 12)
  }
  return bytes
}

/** What each block holds, as far as the client knows. */
class Model {
  readonly acknowledged = new Uint32Array(BLOCKS)
  /** Writes that were sent and not answered. */
  readonly pending = new Map<number, number>()
  writes = 0

  verify(image: Buffer): void {
    for (let block = 0; block < BLOCKS; block++) {
      const found = image.subarray(block * BLOCK, (block + 1) * BLOCK)
      const sure = this.acknowledged[block]!
      if (found.equals(contents(block, sure))) continue
      const maybe = this.pending.get(block)
      if (maybe !== undefined && found.equals(contents(block, maybe))) this.acknowledged[block] = maybe
      else throw new Error(`block ${block} does not hold write ${sure}${maybe ? ` or ${maybe}` : ''}`)
    }
    this.pending.clear()
  }
}

/** Writes at depth until the connection breaks. */
async function writeUntilKilled(client: RawClient, model: Model, seed: number): Promise<number> {
  const random = seededRandom(seed)
  const sent = new Map<bigint, { block: number; write: number }>()
  let acknowledged = 0
  const send = () => {
    let block = random.below(BLOCKS)
    while (model.pending.has(block)) block = random.below(BLOCKS)
    const write = ++model.writes
    model.pending.set(block, write)
    const payload = contents(block, write)
    sent.set(client.send(wire.CMD_WRITE, block * BLOCK, BLOCK, { payload }), { block, write })
  }
  try {
    for (let i = 0; i < DEPTH; i++) send()
    for (;;) {
      const reply = await client.reply()
      if (reply.error !== 0) throw new Error(`write failed with ${reply.error}`)
      const { block, write } = sent.get(reply.cookie)!
      sent.delete(reply.cookie)
      model.acknowledged[block] = write
      model.pending.delete(block)
      acknowledged++
      send()
    }
  } catch (error) {
    if (error instanceof Error && error.message.startsWith('write failed')) throw error
    return acknowledged
  }
}

test(`${ROUNDS} kills in the middle of writes lose nothing that was acknowledged`, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'hither-kill9-'))
  folders.push(folder)
  const model = new Model()
  const exported = join(folder, 'out.img')
  let total = 0
  for (let round = 0; round <= ROUNDS; round++) {
    const settings = ['--ssd', '512MiB', '--hdd', '0', '--curator-interval', '0']
    const cluster = await ServedCluster.start(folder, ...settings)
    if (round === 0) {
      await cluster.command(
        'disk',
        'create',
        'd',
        '--size',
        `${BLOCKS * BLOCK}`,
        '--vm',
        'vm',
        '--node',
        'node-1',
      )
    } else {
      await cluster.command('disk', 'export', 'd', exported)
      model.verify(await readFile(exported))
      await rm(exported)
    }
    if (round === ROUNDS) {
      await cluster.command('curator', 'run')
      expect((await cluster.stats()).underReplicatedBytes).toBe(0)
      await cluster.stop()
      break
    }
    const client = await RawClient.connect({ port: cluster.port('node-1') })
    await client.go('d')
    const writing = writeUntilKilled(client, model, 7000 + round)
    await new Promise((resolve) => setTimeout(resolve, 300 + 97 * (round % 7)))
    await cluster.kill()
    total += await writing
    client.close()
  }
  console.log(`${ROUNDS} kills, ${total} acknowledged writes, all there`)
  expect(total).toBeGreaterThan(50 * ROUNDS)
}, 600_000)
