/**
 * Shows that the simulator finds a mutation: runs it on a mutated copy of the engine, seed after seed, until it reports
 * a violation; then runs that very seed on the unchanged engine, which must be clean, or the finding proves nothing.
 *
 * Each mutation runs in a process of its own, some of them at a time. The contract with src/sim-main.ts: `--seed S --seeds N
 * --json` ends with one line of JSON, and exits with 0 (clean) or 1 (`seed` and `violation` say what was found).
 */
import { spawn } from 'node:child_process'
import { editsOf, type Mutation } from './mutation.ts'
import { Sandbox } from './sandbox.ts'

/** Processes at a time. */
export const AT_ONCE_DEFAULT = 2
/** Wall time of one process: to start, and for each seed. A run of a broken engine may wait through a virtual hour. */
const START_MS = 120_000
const SEED_MS = 10_000

export type Verdict = 'found' | 'missed' | 'false alarm' | 'no verdict'

export interface Outcome {
  readonly name: string
  readonly breaks: string
  /**
   * `missed`: all seeds were clean. `false alarm`: the unchanged engine fails with that seed, too. `no verdict`: the
   * simulator did not run, or did not end; `violation` says how.
   */
  readonly verdict: Verdict
  /** Seeds that were run, the one that found it included. */
  readonly seeds: number
  readonly seed?: number
  readonly violation?: string
  readonly wallSeconds: number
}

export interface RunnerOptions {
  readonly firstSeed: number
  readonly seedsMax: number
  /** Mutations that run at a time. Default `AT_ONCE_DEFAULT`. */
  readonly atOnce?: number
  readonly onOutcome?: (outcome: Outcome) => void
}

/** In the order of `mutations`. */
export async function runMutations(
  mutations: readonly Mutation[],
  options: RunnerOptions,
): Promise<Outcome[]> {
  const sandbox = new Sandbox()
  const outcomes: Outcome[] = []
  const queue = [...mutations.entries()]
  try {
    const workers = Array.from({ length: options.atOnce ?? AT_ONCE_DEFAULT }, async () => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const outcome = await runMutation(next[1], sandbox, options)
        outcomes[next[0]] = outcome
        options.onOutcome?.(outcome)
      }
    })
    await Promise.all(workers)
  } finally {
    sandbox.close()
  }
  return outcomes
}

async function runMutation(mutation: Mutation, sandbox: Sandbox, options: RunnerOptions): Promise<Outcome> {
  const startedAt = performance.now()
  const { name, breaks, given = [], runs } = mutation
  const { firstSeed, seedsMax } = options
  const outcome = (
    verdict: Verdict,
    seeds: number,
    found: { seed?: number; violation?: string },
  ): Outcome => {
    const wallSeconds = Math.round((performance.now() - startedAt) / 100) / 10
    return { name, breaks, verdict, seeds, ...found, wallSeconds }
  }
  const folder = sandbox.edited(editsOf(mutation))
  try {
    const result = await simulate(folder, firstSeed, seedsMax, runs)
    if (result.end !== 'violation') {
      return result.end === 'clean'
        ? outcome('missed', seedsMax, {})
        : outcome('no verdict', seedsMax, { violation: result.why })
    }
    const { seed, violation } = result
    const sound = sandbox.edited(given)
    const proof = await simulate(sound, seed, 1, runs)
    sandbox.remove(sound)
    const verdict = proof.end === 'clean' ? 'found' : proof.end === 'violation' ? 'false alarm' : 'no verdict'
    return outcome(verdict, seed - firstSeed + 1, { seed, violation })
  } finally {
    sandbox.remove(folder)
  }
}

type SimEnd =
  | { readonly end: 'clean' }
  | { readonly end: 'violation'; readonly seed: number; readonly violation: string }
  | { readonly end: 'broken'; readonly why: string }

function simulate(cwd: string, seed: number, seeds: number, runs: Mutation['runs']): Promise<SimEnd> {
  const args = ['--import', 'tsx', 'src/sim-main.ts', '--seed', `${seed}`, '--seeds', `${seeds}`, '--json']
  args.push('--no-shrink')
  for (const [option, value] of Object.entries(runs ?? {})) args.push(`--${option}`, `${value}`)
  const child = spawn(process.execPath, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] })
  const kill = (): boolean => child.kill('SIGKILL')
  process.once('exit', kill)
  let out = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    out += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors = (errors + text).slice(-4096)
  })
  const limitMs = START_MS + seeds * SEED_MS
  return new Promise((resolve) => {
    const late = setTimeout(() => {
      kill()
      resolve({ end: 'broken', why: `not done after ${limitMs / 1000} s` })
    }, limitMs)
    child.on('error', (error) => {
      clearTimeout(late)
      resolve({ end: 'broken', why: error.message })
    })
    child.on('close', (code) => {
      clearTimeout(late)
      process.off('exit', kill)
      resolve(code === 0 ? { end: 'clean' } : violationOf(out, `exit code ${code}: ${errors.trim()}`))
    })
  })
}

/** Of the last line; anything that is not what the contract says makes the simulator `broken`. */
function violationOf(out: string, otherwise: string): SimEnd {
  try {
    const { seed, violation } = JSON.parse(out.trim().split('\n').at(-1) ?? '') as Record<string, unknown>
    if (typeof seed === 'number' && typeof violation === 'string')
      return { end: 'violation', seed, violation }
  } catch {
    // Not JSON: told below.
  }
  return { end: 'broken', why: otherwise }
}
