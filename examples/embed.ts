/**
 * hither inside another program: a cluster of three nodes in this process, no daemon, no ports. Run it with
 * `npx tsx examples/embed.ts`; it ends with an error when anything is not as it says.
 */
import assert from 'node:assert/strict'
// In a project of your own: import { GiB, KiB, MiB, openCluster } from 'hither'
import { GiB, KiB, MiB, openCluster } from '../src/index.ts'

// 'file:./data' keeps it on disk, and recovers it at the next start.
await using cluster = await openCluster('memory:', {
  nodes: 3,
  rf: 2,
  ssdBytes: 256 * MiB,
  hddBytes: 0,
  leaseTtlMs: 500,
})

// Tell what happens, beside everything else.
const stop = new AbortController()
const telling = (async () => {
  for await (const event of cluster.events({ signal: stop.signal })) {
    if (event.type === 'takeover') console.log(`${event.vdisk} is served by ${event.to} now`)
  }
})()

// A thin disk for a VM that runs on node-1. A write that resolved is on two nodes.
await using disk = await cluster.createVDisk('vm1-root', { size: 8 * GiB, vm: 'vm1', node: 'node-1' })
const block = Buffer.alloc(64 * KiB, 'hither ')
await disk.write(1 * MiB, block)

// What was never written reads as zeros, and costs nothing.
assert.ok((await disk.read(4 * GiB, 4 * KiB)).every((byte) => byte === 0))

// A snapshot and a clone of it take no time and no space, whatever the size.
await disk.snapshot('before-upgrade')
await disk.write(1 * MiB, Buffer.alloc(64 * KiB, 'upgraded '))
await using clone = await cluster.cloneVDisk('vm1-root', 'vm2-root', {
  snapshot: 'before-upgrade',
  vm: 'vm2',
  node: 'node-3',
})
assert.deepEqual(Buffer.from(await clone.read(1 * MiB, 64 * KiB)), block)

// The controller of node-1 dies. The same handle goes on: a peer takes over, and nothing acknowledged is lost.
await cluster.failCvm('node-1')
await disk.write(2 * MiB, block)
assert.equal(Buffer.from(await disk.read(1 * MiB, 9)).toString(), 'upgraded ')
await cluster.recoverCvm('node-1')

// The VM moves; its disks follow at once, and hot data as it is read.
await cluster.migrateVm('vm1', { to: 'node-2' })
assert.deepEqual(Buffer.from(await disk.read(2 * MiB, 64 * KiB)), block)

// Errors have codes.
await assert.rejects(cluster.openVDisk('no-such-disk'), { code: 'NOT_FOUND' })

const { written, storedBytes, localReadRatio } = cluster.stats()
console.log(`${written.bytes} bytes written, ${storedBytes} stored, ${localReadRatio} of reads local`)
stop.abort()
await telling.catch(() => {})
