/** One fio job against an NBD server, and what of its JSON is compared. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { EXPORT_BYTES } from './nbd-servers.ts'

export interface FioJob {
  readonly name: string
  readonly rw: 'randwrite' | 'randread' | 'write' | 'read'
  readonly blockBytes: number
  readonly depth: number
  /** An fsync after each write. */
  readonly synced: boolean
}

const TIMEOUT_MS = 60_000
/** Half of every 4 KiB block is noise, half zeros, and no two are the same: LZ4 halves it, dedupe finds nothing. */
const DATA = ['--refill_buffers', '--buffer_compress_percentage=50', '--buffer_compress_chunk=4096']
const run = promisify(execFile)

interface FioOutput {
  readonly jobs: ReadonlyArray<{ readonly [side in 'read' | 'write']: { readonly iops: number } }>
}

/** Operations a second, after a warm-up of half as long. */
export async function fioRate(
  uri: string,
  job: FioJob,
  seconds: number,
  folder: string,
  signal: AbortSignal,
): Promise<number> {
  const args = [
    ...[`--name=${job.name}`, '--ioengine=nbd', `--uri=${uri}`, '--output-format=json', '--thread'],
    ...[`--rw=${job.rw}`, `--bs=${job.blockBytes}`, `--iodepth=${job.depth}`, `--size=${EXPORT_BYTES}`],
    ...[
      '--time_based',
      `--runtime=${Math.round(seconds * 1_000)}ms`,
      `--ramp_time=${Math.round(seconds * 500)}ms`,
      '--norandommap',
      '--randrepeat=0',
    ],
    ...(job.synced ? ['--fsync=1'] : []),
    ...(job.rw.endsWith('write') ? DATA : []),
  ]
  // fio leaves files of its own where it runs.
  const options = { cwd: folder, timeout: TIMEOUT_MS, signal, maxBuffer: 2 ** 24 }
  const { stdout } = await run('fio', args, options).catch((error: Error & { stderr?: string }) => {
    throw new Error(`fio, ${job.name} at ${uri}: ${error.stderr?.trim() || error.message}`)
  })
  const output = JSON.parse(stdout.slice(stdout.indexOf('{'))) as FioOutput
  return output.jobs[0]![job.rw.endsWith('read') ? 'read' : 'write'].iops
}
