/**
 * A machine that runs from a disk on `nfs://`, with another on `nbd://`, is live-migrated under IO from one host's doors to
 * another's. Guards: that it notices nothing, that every door shows what it wrote, and that after the move of its home its
 * reads are remote (red) first, then local (green).
 *
 * Runs in the long form (`HITHER_E2E_LONG=1`), and needs a kernel (see ../nfs-guest/guest.ts) and port 111, where qemu asks for NFS.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { servePortmap } from '../../../src/frontend/nfs/index.ts'
import { MiB } from '../../../src/index.ts'
import { peer } from '../../peers.ts'
import { ClusterProcess, chosenSeed, LONG, must, scratchFolder } from '../harness.ts'
import { guestKernel } from '../nfs-guest/guest.ts'
import { packVm, Vm } from './vm.ts'

const TIMEOUT_MS = 900_000
const ROOT_BYTES = 48 * MiB
const DATA_BYTES = 32 * MiB
/** Time of IO before the migration, and windows of time after it in which reads are counted. */
const BEFORE_MS = 5_000
const WINDOW_MS = 5_000
const WINDOWS = 8
const GREEN_REMOTE_MAX = 0.05

const kernel = guestKernel()
const wanted = LONG && kernel !== undefined
if (!wanted) console.log('skipped, no HITHER_E2E_LONG=1 and HITHER_GUEST_KERNEL: live migration of a VM')
const tools = peer('qemu-system-x86_64', 'qemu-img', 'qemu-block-nfs', 'busybox', 'gcc', 'cpio', 'mke2fs')
const itRuns = wanted ? tools.it : it.skip

itRuns(
  'a VM on nfs:// and nbd:// is live-migrated to another host under IO, and its data follows',
  async () => {
    await using folder = await scratchFolder()
    const seed = chosenSeed()
    await packVm(kernel!, folder.path, ROOT_BYTES)
    await using cluster = await ClusterProcess.start(folder.path, [
      ...['--nfs-port', '0', '--nodes', '4', '--ssd', '2GiB', '--hdd', '0'],
    ])
    for (const [disk, bytes] of [
      ['vm1-root', ROOT_BYTES],
      ['vm1-data', DATA_BYTES],
    ] as const) {
      const where = ['--vm', 'vm1', '--node', 'node-1']
      await cluster.hither('disk', 'create', disk, '--size', String(bytes), ...where)
    }
    const image = join(folder.path, 'root.img')
    await must('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', image, cluster.uri('vm1-root')])
    const machine = { kernel: kernel!, folder: folder.path, seed }

    await using source = await atDoorsOf(cluster, 1, (disks) =>
      Vm.start({ ...machine, name: 'source', disks }),
    )
    await source.serial.says(/guest: runs from its disk/)
    await Promise.all(['file', 'disk'].map((name) => source.serial.says(new RegExp(`${name} written`))))
    await sleep(BEFORE_MS)
    const incoming = join(folder.path, 'incoming')
    await using target = await atDoorsOf(cluster, 2, (disks) =>
      Vm.start({ ...machine, name: 'target', disks, incoming }),
    )
    const stoodStillMs = await source.migrateTo(incoming)
    await cluster.hither('vm', 'move', 'vm1', '--to', 'node-2')
    const remoteShares = await watchReads(cluster)
    target.type('stop')

    const ends = await Promise.all(['file', 'disk'].map((name) => target.serial.says(endOf(name))))
    const sums = await Promise.all(['vda', 'vdb'].map((disk) => target.serial.says(sumOf(disk))))
    await target.serial.says(/guest: done/)
    await target.serial.exited
    const told = ends.map(
      ([, name, operations, errors, longest]) =>
        `${name}: ${operations} operations, ${errors} errors, longest ${longest} ms`,
    )
    console.log(
      `a VM was live-migrated under IO, stood still for ${stoodStillMs} ms; ${told.join('; ')}; ` +
        `remote share of reads, ${WINDOW_MS / 1_000} s each: ${remoteShares.map(percent).join(', ')}`,
    )
    const said = [...source.serial.lines, ...target.serial.lines]
    expect(said.filter((line) => line.includes('PROBLEM'))).toEqual([])
    for (const [, , operations, errors] of ends) {
      expect(Number(errors)).toBe(0)
      expect(Number(operations)).toBeGreaterThan(100)
    }
    // Red, then green.
    expect(Math.max(...remoteShares.slice(0, 2))).toBeGreaterThan(GREEN_REMOTE_MAX)
    expect(remoteShares.at(-1)).toBeLessThan(GREEN_REMOTE_MAX)
    for (const [i, disk] of ['vm1-root', 'vm1-data'].entries()) {
      const info = JSON.parse(await cluster.hither('disk', 'show', disk, '--json'))
      expect(info).toMatchObject({ home: 'node-2', owner: 'node-2' })
      for (const host of [1, 2, 3, 4]) {
        expect(await sumAt(cluster.uri(disk, host), folder.path), `${disk} at host ${host}`).toBe(sums[i]![1])
      }
    }
    await cluster.stop()
  },
  TIMEOUT_MS,
)

/** qemu asks port 111 once, when it opens a disk. */
async function atDoorsOf(
  cluster: ClusterProcess,
  host: number,
  start: (disks: [root: string, data: string]) => Promise<Vm>,
): Promise<Vm> {
  const nfsPort = Number(new URL(cluster.hosts[host - 1]!.nfs!).port)
  await using _portmap = await servePortmap({ nfsPort })
  return await start(['nfs://127.0.0.1/default/vm1-root', cluster.uri('vm1-data', host)])
}

/** Share of read bytes that were remote, window by window. */
async function watchReads(cluster: ClusterProcess): Promise<number[]> {
  const shares: number[] = []
  let { read: before } = await cluster.stats()
  for (let window = 0; window < WINDOWS; window++) {
    await sleep(WINDOW_MS)
    const { read } = await cluster.stats()
    const remote = read.remoteBytes - before.remoteBytes
    const local = read.localBytes - before.localBytes
    expect(remote + local, 'the guest reads').toBeGreaterThan(0)
    shares.push(remote / (remote + local))
    before = read
  }
  return shares
}

function endOf(name: string): RegExp {
  return new RegExp(`disk-check: (${name}) ended: operations (\\d+) errors (\\d+) longest (\\d+)`)
}

function sumOf(disk: string): RegExp {
  return new RegExp(`guest: ${disk} is ([0-9a-f]{64})`)
}

async function sumAt(uri: string, folder: string): Promise<string> {
  const copy = join(folder, 'copy')
  await must('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, copy])
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(copy)) hash.update(chunk)
  return hash.digest('hex')
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`
}
