/**
 * Programs of other people that tests talk to: NBD clients, benchmarks. A test that needs one that is not installed is
 * skipped, with a line that says so; with `HITHER_REQUIRE_PEERS=1` it fails instead, so that CI cannot skip it unseen.
 *
 *     const fio = peer('fio')
 *     fio.it('verifies what it wrote', async () => { await run('fio', ['--ioengine=nbd', …]) })
 */
import { execFile, execFileSync } from 'node:child_process'
import { describe, it } from 'vitest'

/** Things that are there or not, but are no program of that name: the command that succeeds when they are there. */
const SPECIAL: Readonly<Record<string, readonly [string, ...string[]]>> = {
  'python3-libnbd': ['/usr/bin/python3', '-c', 'import nbd'],
  'qemu-block-nfs': ['sh', '-c', 'ls /usr/lib/*/qemu/block-nfs.so'],
}

export interface Peer {
  /** All that was asked for is installed. */
  readonly available: boolean
  /** As vitest's, for what needs the peer. */
  readonly it: (name: string, test: () => void | Promise<void>, timeoutMs?: number) => void
  readonly describe: (name: string, suite: () => void) => void
}

/** Wrappers for tests that need all of these programs. */
export function peer(...programs: [string, ...string[]]): Peer {
  const missing = programs.filter((program) => !isInstalled(program))
  if (missing.length === 0) return { available: true, it, describe }
  const reason = `${missing.join(', ')} not installed`
  if (process.env['HITHER_REQUIRE_PEERS'] === '1') {
    const fail = (name: string): void => {
      it(name, () => {
        throw new Error(`${reason}, and HITHER_REQUIRE_PEERS=1 asks for it`)
      })
    }
    return { available: false, it: fail, describe: fail }
  }
  const skip = (name: string): void => {
    console.log(`skipped, ${reason}: ${name}`)
    it.skip(`${name} (${reason})`, () => {})
  }
  return { available: false, it: skip, describe: skip }
}

export interface RunResult {
  /** Exit code; 128 or more after a signal or the timeout. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program to its end, or kills it after `timeoutMs` (default 30,000). Rejects when it cannot be started. */
export function run(
  program: string,
  args: readonly string[],
  options: { timeoutMs?: number; cwd?: string; input?: string } = {},
): Promise<RunResult> {
  return new Promise((resolve, reject) => {
    const child = execFile(
      program,
      args,
      { timeout: options.timeoutMs ?? 30_000, cwd: options.cwd, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error !== null && typeof error.code === 'string') reject(error)
        else resolve({ code: error === null ? 0 : Number(error.code ?? 128), stdout, stderr })
      },
    )
    child.stdin?.on('error', () => {})
    child.stdin?.end(options.input ?? '')
  })
}

const known = new Map<string, boolean>()

function isInstalled(program: string): boolean {
  let there = known.get(program)
  if (there === undefined) {
    const [command, ...args] = SPECIAL[program] ?? ['sh', '-c', 'command -v -- "$0"', program]
    try {
      execFileSync(command, args, { stdio: 'ignore' })
      there = true
    } catch {
      there = false
    }
    known.set(program, there)
  }
  return there
}
