/** The load of nfs-load.c, compiled where it is used. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { NfsAddress } from './nfs-servers.ts'

export const FILE_BYTES = 128 * 1024 * 1024
const FILE_NAME = 'bench'
const FILL_BLOCK_BYTES = 1024 * 1024
const FILL_DEPTH = 8
const TIMEOUT_MS = 300_000
const run = promisify(execFile)

export interface NfsJob {
  readonly what: 'read' | 'write' | 'sync'
  readonly blockBytes: number
  readonly depth: number
}

/** What one turn measured. */
export interface NfsTurn {
  readonly operations: number
  readonly seconds: number
  /** CPU time of the client in that time. */
  readonly cpuSeconds: number
}

export class NfsLoad {
  readonly #program: string
  readonly #signal: AbortSignal

  private constructor(program: string, signal: AbortSignal) {
    this.#program = program
    this.#signal = signal
  }

  /** Compiles it into `folder`. */
  static async compile(folder: string, signal: AbortSignal): Promise<NfsLoad> {
    const program = join(folder, 'nfs-load')
    await run('cc', ['-O2', '-o', program, join(import.meta.dirname, 'nfs-load.c')], { signal })
    return new NfsLoad(program, signal)
  }

  /** Writes the whole file once. */
  async fill(where: NfsAddress): Promise<void> {
    await this.#run(where, ['fill', FILL_BLOCK_BYTES, FILL_DEPTH, 0])
  }

  measure(where: NfsAddress, { what, blockBytes, depth }: NfsJob, seconds: number): Promise<NfsTurn> {
    return this.#run(where, [what, blockBytes, depth, seconds])
  }

  async #run(where: NfsAddress, words: ReadonlyArray<string | number>): Promise<NfsTurn> {
    const { nfsPort, mountPort, enter } = where
    const all = [
      ...[...enter, this.#program, '127.0.0.1', nfsPort, mountPort, where.export, FILE_NAME, FILE_BYTES],
      ...words,
    ].map(String)
    const [program, ...args] = all as [string, ...string[]]
    const options = { signal: this.#signal, timeout: TIMEOUT_MS }
    const { stdout } = await run(program, args, options).catch((error: Error & { stderr?: string }) => {
      throw new Error(`${words.join(' ')}: ${error.stderr?.trim() || error.message}`)
    })
    return JSON.parse(stdout) as NfsTurn
  }
}
