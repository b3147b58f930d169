/**
 * The kernel against the packages it replaces, in turns: what one 4 KiB block costs on the way in (zero check,
 * fingerprint, LZ4 where it saves a sector, checksum, into a buffer) and on the way back (checksum, LZ4, into a buffer),
 * for slices of several lengths and data of several kinds. Both sides work through the same calls (data-path.ts).
 *
 *   npx tsx bench/micro/kernel.ts [--rounds 9] [--ms 60]
 *
 * CPU time of the process, medians over the rounds; ratio > 1: the kernel is faster. "size": bytes that the kernel's
 * LZ4 leaves ÷ bytes that the package's leaves.
 */
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type DataPath, hashOut } from '../../src/base/data-path.ts'
import { loadKernel } from '../../src/base/kernel.ts'
import { kernelPath } from '../../src/base/kernel-path.ts'
import { packagePath } from '../../src/base/package-path.ts'
import { BLOCK_BYTES, KiB } from '../../src/base/units.ts'
import { type DataKind, dataPool } from '../shared/data.ts'
import { markdownTable } from '../shared/table.ts'
import { median } from '../shared/turns.ts'

const KINDS: readonly DataKind[] = ['zeros', 'text', 'binaries', 'random', 'mixed']
const SLICE_BYTES: readonly number[] = [4 * KiB, 16 * KiB, 32 * KiB]

/** One slice of one kind, over one implementation. */
export interface SliceJobs {
  /** Blocks of 4 KiB in a slice. */
  readonly blocks: number
  /** Mean stored bytes of a slice. */
  readonly storedBytes: number
  /** Stores slice number `i`; answers the bytes stored. */
  write(i: number): number
  /** Reads slice number `i` back; answers one of its bytes. */
  read(i: number): number
}

/** Builds the slices of a kind once, checks that each comes back as it was, and returns the two jobs over them. */
export function sliceJobs(path: DataPath, kind: DataKind, sliceBytes: number): SliceJobs {
  const pool = dataPool(kind)
  const slices = Math.min(1024, pool.length / sliceBytes)
  const stride = Math.floor(pool.length / slices / sliceBytes) * sliceBytes
  const target = new Uint8Array(sliceBytes)
  const back = new Uint8Array(sliceBytes)
  const stored = Array.from({ length: slices }, (_, i) => {
    const bytes = path.packSlice(pool, i * stride, sliceBytes, target, 0)
    return { bytes: target.slice(0, bytes), hi: hashOut[0]!, lo: hashOut[1]! }
  })
  const read = (i: number): number => {
    const { bytes, hi, lo } = stored[i % slices]!
    if (bytes.length < sliceBytes) {
      if (!path.unpackSlice(bytes, 0, bytes.length, hi, lo, back, 0, sliceBytes)) throw new Error('checksum')
    } else {
      path.hash64(bytes, 0, bytes.length)
      if (hashOut[0] !== hi || hashOut[1] !== lo) throw new Error('checksum')
      back.set(bytes)
    }
    return back[sliceBytes >> 1]!
  }
  for (let i = 0; i < slices; i++) {
    read(i)
    if (Buffer.compare(back, pool.subarray(i * stride, i * stride + sliceBytes)) !== 0)
      throw new Error('round trip')
  }
  return {
    blocks: sliceBytes / BLOCK_BYTES,
    storedBytes: stored.reduce((sum, { bytes }) => sum + bytes.length, 0) / slices,
    write(i) {
      const at = (i % slices) * stride
      path.inspectBlocks(pool, at, sliceBytes / BLOCK_BYTES)
      return path.packSlice(pool, at, sliceBytes, target, 0)
    },
    read,
  }
}

/** CPU µs per call of each, medians of `rounds` turns of about `ms` each. */
export function race(jobs: ReadonlyArray<(i: number) => number>, rounds: number, ms: number): number[] {
  const timed = jobs.map((job) => ({ job, calls: callsFor(job, ms), next: 0, us: [] as number[] }))
  for (let round = 0; round < rounds; round++) {
    for (const one of timed) {
      const before = process.cpuUsage()
      for (let i = 0; i < one.calls; i++) one.job(one.next++)
      const { user, system } = process.cpuUsage(before)
      one.us.push((user + system) / one.calls)
    }
  }
  return timed.map(({ us }) => median(us))
}

/** Calls that take about `ms`; finding it out warms the code up. */
function callsFor(job: (i: number) => number, ms: number): number {
  for (let calls = 64; ; calls *= 2) {
    const from = performance.now()
    for (let i = 0; i < calls; i++) job(i)
    const took = performance.now() - from
    if (took > ms) return Math.ceil((calls * ms) / took)
  }
}

interface Row {
  readonly kind: DataKind
  readonly sliceKiB: number
  readonly write: readonly number[]
  readonly read: readonly number[]
  readonly size: number
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { rounds: { type: 'string', default: '9' }, ms: { type: 'string', default: '60' } },
  })
  const loaded = loadKernel()
  if (loaded === undefined) throw new Error('this machine cannot load the kernel')
  const paths = [kernelPath(loaded), await packagePath()]
  const rows: Row[] = []
  for (const kind of KINDS) {
    for (const sliceBytes of SLICE_BYTES) {
      const [ours, theirs] = paths.map((path) => sliceJobs(path, kind, sliceBytes))
      const perBlock = (jobs: ReadonlyArray<(i: number) => number>): number[] =>
        race(jobs, Number(values.rounds), Number(values.ms)).map((us) => us / ours!.blocks)
      rows.push({
        kind,
        sliceKiB: sliceBytes / KiB,
        write: perBlock([ours!.write, theirs!.write]),
        read: perBlock([ours!.read, theirs!.read]),
        size: ours!.storedBytes / theirs!.storedBytes,
      })
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  const table = markdownTable<Row>(
    [
      { title: 'data', of: ({ kind }) => kind },
      { title: 'slice KiB', of: ({ sliceKiB }) => sliceKiB },
      { title: 'write µs: kernel', of: ({ write }) => write[0]! },
      { title: 'packages', of: ({ write }) => write[1]! },
      { title: 'ratio', of: ({ write }) => write[1]! / write[0]! },
      { title: 'read µs: kernel', of: ({ read }) => read[0]! },
      { title: 'packages', of: ({ read }) => read[1]! },
      { title: 'ratio', of: ({ read }) => read[1]! / read[0]! },
      { title: 'size', of: ({ size }) => size },
    ],
    rows,
  )
  process.stdout.write(`${table}\n`)
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main()
