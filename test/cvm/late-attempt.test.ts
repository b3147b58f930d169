/**
 * An attempt of a write that the network holds back until its retry, and a later write, were acknowledged: guards that it
 * is not applied any more, by the same owner or by a later generation of it.
 */
import { expect, test } from 'vitest'
import { MiB } from '../../src/base/units.ts'
import { openIn } from '../../src/embedded/cluster.ts'
import { resolveSettings } from '../../src/embedded/settings.ts'
import type { Network } from '../../src/platform/types.ts'
import { METHOD } from '../../src/replication/methods.ts'
import { SimCluster } from '../../src/sim/cluster.ts'
import { SimWorld } from '../../src/sim/world.ts'

/** Where a frame of replication/rpc.ts says which method it calls, and whether it is a request. */
const METHOD_OFFSET = 6
const KIND_OFFSET = 4
const KIND_REQUEST = 1
const BLOCK = 4096

/** Holds back the next frame that calls `method`, from any endpoint. */
class HoldingWorld extends SimWorld {
  holdNext: number | undefined
  readonly held: Array<() => void> = []
  writesSent = 0

  override endpoint(name: string): Network {
    const inner = super.endpoint(name)
    return {
      self: inner.self,
      onFrame: (handler) => inner.onFrame(handler),
      giveBack: (frame) => inner.giveBack(frame),
      onPeerDown: (handler) => inner.onPeerDown(handler),
      sentBytes: () => inner.sentBytes(),
      close: () => inner.close(),
      send: (to, parts) => {
        const frame = Buffer.concat(parts)
        const method = frame.readUInt16LE(METHOD_OFFSET)
        if (method === METHOD.vdiskWrite && frame[KIND_OFFSET] === KIND_REQUEST) this.writesSent++
        if (method !== this.holdNext) return inner.send(to, parts)
        this.holdNext = undefined
        this.held.push(() => inner.send(to, [frame]))
      },
    }
  }

  release(): void {
    for (const send of this.held.splice(0)) send()
  }
}

async function open() {
  const world = new HoldingWorld({ seed: 1 })
  const settings = resolveSettings({ nodes: 3, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0, holdDownMs: 5_000 })
  const { cluster } = new SimCluster(world, await openIn(world, 'sim:1', settings))
  const disk = await cluster.createVDisk('d', { size: MiB, node: 'node-1' })
  // From the host of another node: its CVM sends every IO on to the owner.
  const remote = await cluster.openVDisk('d', { via: 'node-2' })
  const expectAll = async (value: number) => {
    await world.clock.sleep(500)
    expect(await disk.read(0, BLOCK)).toEqual(new Uint8Array(BLOCK).fill(value))
  }
  return { world, cluster, disk, remote, expectAll }
}

const filled = (value: number) => new Uint8Array(BLOCK).fill(value)

test('a write held back until a later one was acknowledged is not applied', async () => {
  const { world, cluster, remote, expectAll } = await open()
  await remote.write(0, filled(1))
  world.holdNext = METHOD.vdiskWrite
  await remote.write(0, filled(2))
  expect(world.held).toHaveLength(1)
  await remote.write(0, filled(3))
  world.release()
  await expectAll(3)
  await cluster.close()
})

test('nor is a trim', async () => {
  const { world, cluster, remote, expectAll } = await open()
  await remote.write(0, filled(1))
  world.holdNext = METHOD.vdiskErase
  await remote.trim(0, BLOCK)
  await remote.write(0, filled(3))
  expect(world.held).toHaveLength(1)
  world.release()
  await expectAll(3)
  await cluster.close()
})

test('nor is it applied by the same node when it has become owner again', async () => {
  const { world, cluster, remote, expectAll } = await open()
  await remote.write(0, filled(1))
  world.holdNext = METHOD.vdiskWrite
  await remote.write(0, filled(2))
  await cluster.failCvm('node-1')
  await remote.write(0, filled(3))
  await cluster.recoverCvm('node-1')
  await world.clock.sleep(10_000)
  expect(cluster.status().disks[0]).toMatchObject({ owner: 'node-1' })
  world.release()
  await expectAll(3)
  await cluster.close()
})

test('nor when the write itself has failed, and a later one was acknowledged', async () => {
  const world = new HoldingWorld({ seed: 2 })
  const settings = resolveSettings({ nodes: 3, rf: 2, ssdBytes: 64 * MiB, hddBytes: 0, ioDeadlineMs: 9_000 })
  const { cluster } = new SimCluster(world, await openIn(world, 'sim:2', settings))
  const disk = await cluster.createVDisk('d', { size: MiB, node: 'node-1' })
  const remote = await cluster.openVDisk('d', { via: 'node-2' })
  await remote.write(0, filled(1))
  world.holdNext = METHOD.vdiskWrite
  await expect(remote.write(0, filled(2))).rejects.toMatchObject({ code: 'TIMEOUT' })
  await remote.write(0, filled(3))
  world.release()
  await world.clock.sleep(500)
  expect(await disk.read(0, BLOCK)).toEqual(filled(3))
  await cluster.close()
})

test('the first write to a new owner is sent once more, the later ones are not', async () => {
  const { world, cluster, remote } = await open()
  await remote.write(0, filled(1))
  expect(world.writesSent).toBe(2)
  for (let i = 0; i < 10; i++) await remote.write(0, filled(2))
  expect(world.writesSent).toBe(12)
  await cluster.close()
})
