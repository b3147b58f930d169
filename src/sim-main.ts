/**
 * `npm run sim`: searches for a seed under which an invariant breaks.
 *
 *   npm run sim                          one minute of fresh seeds
 *   npm run sim -- --seed 7              one seed; --seeds 100: so many from there on; --minutes 10: for so long
 *   npm run sim -- --plan FILE           a plan as a failure printed it
 *   npm run sim -- --length SECONDS      of load and faults for each seed: short ones find as much, sooner
 *   npm run sim -- --scenario NAME       one kind of faults, or `day`: 24 virtual hours of everything on four nodes
 *   npm run sim -- --check-determinism   each seed twice, and the hashes compared
 *
 * Exits with 1 when an invariant broke; prints the seed, the shortened plan, and the command that runs it again.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { HitherError } from './base/errors.ts'
import { seededRandom } from './platform/real/random.ts'
import { missedMarks } from './sim/check-marks.ts'
import { type RunResult, runPlan } from './sim/run.ts'
import { describeFault } from './sim/schedule/fault.ts'
import { drawPlan, type Plan, type PlanOptions, THEMES, type Theme } from './sim/schedule/plan.ts'
import { shrink } from './sim/shrink.ts'
import { Tally } from './sim/tally.ts'

const SHRINK_RUNS_MAX = 150
const DAY_MS = 86_400_000

const HELP = `npm run sim -- [options]
  --seed S              first seed (default: of the clock)
  --seeds N             how many seeds
  --minutes M           or: for how long (default 1, when neither --seed nor --seeds is given)
  --nodes N  --rf R     cluster shape (default: drawn)
  --length SECONDS      virtual seconds under load and faults, for each seed; default: drawn, 5 to 20
  --scenario NAME       ${THEMES.join(', ')}, or day
  --plan FILE           run a plan that was printed by a failure
  --check-determinism   run each seed twice and compare
  --nightly             fail when a rare path was never reached
  --trace               every event and fault of the run, to stderr
  --no-shrink           do not shorten a failure
  --json                one JSON line at the end`

interface Total {
  readonly seeds: number
  readonly violations: number
  readonly wallSeconds: number
  readonly virtualHours: number
  /** Of everything that happened under all seeds: the same on every machine and Node version. */
  readonly hash: string
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      seeds: { type: 'string' },
      minutes: { type: 'string' },
      nodes: { type: 'string' },
      rf: { type: 'string' },
      length: { type: 'string' },
      scenario: { type: 'string' },
      plan: { type: 'string' },
      'check-determinism': { type: 'boolean', default: false },
      nightly: { type: 'boolean', default: false },
      trace: { type: 'boolean', default: false },
      'no-shrink': { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) {
    console.log(HELP)
    return 0
  }
  const first = whole('seed', values.seed) ?? Date.now() % 1_000_000_000
  const minutes = number('minutes', values.minutes)
  const count =
    whole('seeds', values.seeds) ??
    (minutes !== undefined
      ? Number.POSITIVE_INFINITY
      : values.seed !== undefined || values.scenario === 'day' || values.plan
        ? 1
        : Number.POSITIVE_INFINITY)
  const deadline = Date.now() + (minutes ?? (Number.isFinite(count) ? 1e9 : 1)) * 60_000
  const started = Date.now()
  const total = new Tally()
  let virtualMs = 0
  let digest = 0x811c9dc5
  let seeds = 0
  let failure: RunResult | undefined
  const stop = new AbortController()
  // The seed that runs ends at once and does not count; a second signal ends the process, as ever.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())
  // So does one whose reader has gone. Unheard, it would be taken for an error of the run, which is told, and so on.
  for (const output of [process.stdout, process.stderr]) output.on('error', () => stop.abort())
  const totals = (): Total => ({
    seeds,
    violations: failure?.violations.length ?? 0,
    wallSeconds: (Date.now() - started) / 1000,
    virtualHours: virtualMs / 3_600_000,
    hash: (digest >>> 0).toString(16).padStart(8, '0'),
  })
  for (; seeds < count && Date.now() < deadline; ) {
    const plan = values.plan === undefined ? planOf(first + seeds, values) : readPlan(values.plan)
    const trace = values.trace ? (line: string) => console.error(line) : undefined
    let result = await runPlan(plan, trace, stop.signal)
    if (values['check-determinism'] && result.violations.length === 0 && !result.interrupted) {
      const again = await runPlan(plan, undefined, stop.signal)
      if (again.interrupted) break
      if (again.hash !== result.hash) {
        result = { ...result, violations: [`determinism: ${result.hash} and then ${again.hash}`] }
      }
    }
    if (result.interrupted) break
    seeds++
    virtualMs += result.virtualMs
    digest = Math.imul(digest ^ Number.parseInt(result.hash, 16), 0x01000193)
    total.add(result.tally)
    progress(totals())
    if (result.violations.length > 0) {
      failure = result
      endProgress()
      await tell(plan, result, values['no-shrink'], values.json, stop.signal)
      break
    }
  }
  endProgress()
  const missed = values.nightly && !stop.signal.aborted ? missedMarks(total.marks) : []
  summary(first, totals(), total, missed, failure, values.json)
  if (stop.signal.aborted) console.error('interrupted')
  return failure !== undefined || missed.length > 0 ? 1 : 0
}

function planOf(seed: number, values: Readonly<Record<string, string | boolean | undefined>>): Plan {
  const scenario = values.scenario as string | undefined
  const nodes = whole('nodes', values.nodes as string | undefined)
  const rf = whole('rf', values.rf as string | undefined)
  if (rf !== undefined && rf !== 2 && rf !== 3) throw new HitherError('BAD_ARGUMENT', '--rf is 2 or 3')
  const seconds = number('length', values.length as string | undefined)
  const options: PlanOptions = {
    ...(nodes === undefined ? {} : { nodes }),
    ...(seconds === undefined ? {} : { durationMs: Math.ceil(seconds * 1_000) }),
    ...(rf === undefined ? {} : { rf }),
    ...(scenario === undefined ? {} : scenarioOptions(scenario)),
  }
  return drawPlan(seed, seededRandom(seed), options)
}

function scenarioOptions(name: string): PlanOptions {
  if (name === 'day') {
    return { nodes: 4, theme: 'everything', durationMs: DAY_MS, faultEveryMs: 60_000, thinkMs: 2_000 }
  }
  if (!(THEMES as readonly string[]).includes(name)) {
    throw new HitherError('BAD_ARGUMENT', `--scenario is one of ${THEMES.join(', ')}, day; not ${name}`)
  }
  return { theme: name as Theme }
}

function readPlan(file: string): Plan {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Plan
  } catch (cause) {
    throw new HitherError('FILE_FAILED', `${file} is not a plan: ${String(cause)}`, { cause })
  }
}

async function tell(
  plan: Plan,
  result: RunResult,
  keep: boolean,
  json: boolean,
  signal: AbortSignal,
): Promise<void> {
  const print = json ? console.error : console.log
  print(`\nseed ${plan.seed}: ${result.violations.length} violations`)
  for (const violation of result.violations) print(`  ${violation}`)
  print(`again: npm run sim -- --seed ${plan.seed}`)
  if (keep) return
  const shrunk = await shrink(plan, result, SHRINK_RUNS_MAX, signal)
  const file = `sim-${plan.seed}.json`
  writeFileSync(file, `${JSON.stringify(shrunk.plan, null, 2)}\n`)
  print(
    `shortened in ${shrunk.runs} runs: ${shrunk.plan.disks.length} disks, ${shrunk.plan.durationMs} ms, faults:`,
  )
  for (const fault of shrunk.plan.faults) print(`  ${describeFault(fault)}`)
  for (const violation of shrunk.result.violations) print(`  -> ${violation}`)
  print(`again: npm run sim -- --plan ${file}`)
}

function progress(total: Total): void {
  if (!process.stderr.isTTY) return
  const rate = total.seeds / total.wallSeconds
  const speed = total.virtualHours / total.wallSeconds
  process.stderr.write(
    `\r${total.seeds} seeds  ${rate.toFixed(1)} seeds/s  ${speed.toFixed(3)} virtual h/s  `,
  )
}

function endProgress(): void {
  if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
}

function summary(
  first: number,
  totals: Total,
  tally: Tally,
  missed: readonly string[],
  failure: RunResult | undefined,
  json: boolean,
): void {
  const { ops, faults, marks, operations } = tally
  if (json) {
    const result = { first, ...totals, operations, ops, faults, marks, missed }
    const found =
      failure === undefined
        ? {}
        : { seed: failure.seed, violation: failure.violations[0], violations: failure.violations }
    console.log(JSON.stringify({ ...result, ...found }))
    return
  }
  const seconds = totals.wallSeconds
  console.log(
    `${totals.seeds} seeds from ${first} in ${seconds.toFixed(1)} s: ${totals.violations} violations, hash ${totals.hash}`,
  )
  console.log(
    `  ${totals.virtualHours.toFixed(2)} virtual hours, ${operations} operations (${Math.round((operations / seconds) * 60)} a minute)`,
  )
  for (const [title, counts] of [
    ['operations', ops],
    ['faults', faults],
    ['marks', marks],
  ] as const) {
    console.log(
      `  ${title}: ${Object.entries(counts)
        .sort((a, b) => b[1] - a[1])
        .map(([kind, count]) => `${kind} ${count}`)
        .join(', ')}`,
    )
  }
  if (missed.length > 0) console.log(`  NEVER REACHED: ${missed.join(', ')}`)
}

function whole(name: string, text: string | undefined): number | undefined {
  const value = number(name, text)
  if (value !== undefined && !Number.isSafeInteger(value))
    throw new HitherError('BAD_ARGUMENT', `--${name} is a whole number, not ${text}`)
  return value
}

function number(name: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined
  const value = Number(text)
  if (!(value >= 0) || text.trim() === '')
    throw new HitherError('BAD_ARGUMENT', `--${name} is a number, not ${text}`)
  return value
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error instanceof Error ? error.message : error)
    process.exit(2)
  },
)
