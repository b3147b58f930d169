/**
 * A cluster as a user has it, for the end-to-end checks: `hither start` in a process of its own on real files, control
 * commands against it, and what an outsider needs around it (a folder, seeded randomness, the long form).
 *
 *     await using cluster = await ClusterProcess.start(folder, ['--nodes', '3'])
 *     await cluster.hither('disk', 'create', 'd1', '--size', '64MiB')
 *
 * Every check has a short form, which runs with all other tests, and a long one, which `HITHER_E2E_LONG=1` asks for.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus'
import type { ClusterStats, ClusterStatus, CuratorReport, NodeId } from '../../src/api.ts'
import { runIn } from '../cli/harness.ts'
import { type RunResult, run } from '../peers.ts'

const ROOT = resolve(import.meta.dirname, '../..')
// In one process, so that a signal reaches the program itself.
const PROGRAM = ['--import', import.meta.resolve('tsx'), join(ROOT, 'src/main.ts')]
const STOP_WITHIN_MS = 30_000

/** Whether the long form of each check is wanted. */
export const LONG = process.env['HITHER_E2E_LONG'] === '1'
/** For a check in the form that is wanted. */
export const TIMEOUT_MS = LONG ? 900_000 : 60_000

export interface Ready {
  readonly control: string
  readonly hosts: ReadonlyArray<{ readonly node: NodeId; readonly nbd: string; readonly nfs?: string }>
}

/** One line of `start --json` after the first. */
export type EventLine = Readonly<Record<string, unknown>>

/** A running `hither start`. Disposing kills it when it still runs. */
export class ClusterProcess implements AsyncDisposable {
  readonly folder: string
  readonly events: EventLine[] = []
  readonly exited: Promise<number | null>
  readonly #child: ChildProcess
  #ready: Ready | undefined

  private constructor(folder: string, args: readonly string[]) {
    this.folder = folder
    this.#child = spawn(process.execPath, [...PROGRAM, 'start', '--json', '--nbd-port', '0', ...args], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.exited = new Promise((done) => this.#child.once('exit', done))
  }

  /** Starts a cluster on `folder`/hither-data; resolves when it is ready. */
  static async start(folder: string, args: readonly string[] = []): Promise<ClusterProcess> {
    const cluster = new ClusterProcess(folder, args)
    const ready = new Promise<Ready>((done) => {
      createInterface(cluster.#child.stdout!).on('line', (text) => {
        const line = JSON.parse(text) as EventLine
        if (line['event'] === 'ready') done(line as unknown as Ready)
        else cluster.events.push(line)
      })
    })
    cluster.#ready = await Promise.race([
      ready,
      cluster.exited.then((code) => {
        throw new Error(`start ended with ${code} before it was ready`)
      }),
    ])
    return cluster
  }

  get hosts(): Ready['hosts'] {
    return this.#ready!.hosts
  }

  /** NBD address of a disk at the door of host `host` (from 1). */
  uri(disk: string, host = 1): string {
    return `${this.hosts[host - 1]!.nbd}/${disk}`
  }

  /** Runs a control command; throws, with what it said, unless it exits with 0. Resolves with its stdout. */
  async hither(...argv: string[]): Promise<string> {
    const outcome = await runIn(this.folder, argv)
    if (outcome.code === 0) return outcome.stdout
    throw new Error(`hither ${argv.join(' ')} ended with ${outcome.code}: ${outcome.stderr.trim()}`)
  }

  /** As `hither`, but any exit code is an answer. */
  tryHither(...argv: string[]): Promise<{ readonly code: number; readonly stderr: string }> {
    return runIn(this.folder, argv)
  }

  async stats(): Promise<ClusterStats> {
    return JSON.parse(await this.hither('stats', '--json')) as ClusterStats
  }

  async status(): Promise<ClusterStatus> {
    return JSON.parse(await this.hither('status', '--json')) as ClusterStatus
  }

  async curator(): Promise<CuratorReport> {
    return JSON.parse(await this.hither('curator', 'run', '--json')) as CuratorReport
  }

  /** SIGTERM: drains and checkpoints. Throws unless the program then exits with 0 in good time. */
  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    const code = await Promise.race([this.exited, sleep(STOP_WITHIN_MS, 'late' as const, { ref: false })])
    if (code !== 0)
      throw new Error(code === 'late' ? 'start did not stop in time' : `start ended with ${code}`)
  }

  /** SIGKILL, now. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.exited
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) await this.kill()
  }
}

/** A new folder for one check; gone with all that is in it when disposed. */
export async function scratchFolder(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'hither-e2e-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) }
}

/** Runs a program that must succeed. */
export async function must(
  program: string,
  args: readonly string[],
  timeoutMs = 120_000,
): Promise<RunResult> {
  const result = await run(program, args, { timeoutMs })
  if (result.code === 0) return result
  throw new Error(`${program} ${args.join(' ')} ended with ${result.code}: ${result.stderr || result.stdout}`)
}

/** Asks every 50 ms until it is so. */
export async function until(what: string, isSo: () => Promise<boolean>, withinMs = 30_000): Promise<void> {
  for (const end = Date.now() + withinMs; !(await isSo()); await sleep(50)) {
    if (Date.now() > end) throw new Error(`after ${withinMs} ms not so: ${what}`)
  }
}

/** Seeded, so that a failure can be had again: the seed is printed by the checks. */
export class Dice {
  readonly #generator: ReturnType<typeof xoroshiro128plus>

  constructor(seed: number) {
    this.#generator = xoroshiro128plus(seed)
  }

  /** A whole number from 0 to below `limit`, which is at most 2^32. */
  below(limit: number): number {
    return Math.floor(((this.#generator.next() >>> 0) / 2 ** 32) * limit)
  }

  /** Bytes that neither compress nor repeat; `length` is a multiple of 4. */
  bytes(length: number): Buffer {
    const bytes = Buffer.allocUnsafe(length)
    for (let at = 0; at < length; at += 4) bytes.writeInt32LE(this.#generator.next(), at)
    return bytes
  }
}

/** `HITHER_E2E_SEED`, else of the clock. */
export function chosenSeed(): number {
  return Number(process.env['HITHER_E2E_SEED'] ?? Date.now() % 1_000_000)
}

/** Offset of the first byte in which two files differ, or `undefined`. What one file lacks at its end counts as zeros. */
export async function firstDifference(one: string, other: string): Promise<number | undefined> {
  const streams = [one, other].map((path) => createReadStream(path, { highWaterMark: 1 << 20 }))
  const iterate = (index: number): AsyncIterator<Buffer> => streams[index]![Symbol.asyncIterator]()
  const [a, b] = [iterate(0), iterate(1)]
  try {
    for (let offset = 0; ; offset += 1 << 20) {
      const [left, right] = await Promise.all([a.next(), b.next()])
      if (left.done && right.done) return undefined
      const at = differenceOf(left.value ?? Buffer.alloc(0), right.value ?? Buffer.alloc(0))
      if (at !== undefined) return offset + at
    }
  } finally {
    for (const stream of streams) stream.destroy()
  }
}

function differenceOf(left: Buffer, right: Buffer): number | undefined {
  if (left.equals(right)) return undefined
  for (let at = 0; at < Math.max(left.length, right.length); at++) {
    if ((left[at] ?? 0) !== (right[at] ?? 0)) return at
  }
  return undefined
}
