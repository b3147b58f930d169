/**
 * Proves the simulator's checkers by mutation:
 *
 *   npx tsx test/sim/mutations/run.ts [--only NAME,…] [--seed S] [--seeds N] [--at-once N] [--json]
 *
 * Exits with 0 when every mutation was found and no control was. `--seeds`: most seeds for one mutation; `--at-once`:
 * processes at a time.
 */
import { parseArgs } from 'node:util'
import { CONTROLS, dueVerdict, MUTATIONS } from './list.ts'
import { AT_ONCE_DEFAULT, type Outcome, runMutations } from './runner.ts'

const SEEDS_DEFAULT = 100
const VIOLATION_CHARS = 110

const { values } = parseArgs({
  options: {
    only: { type: 'string' },
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: `${SEEDS_DEFAULT}` },
    'at-once': { type: 'string', default: `${AT_ONCE_DEFAULT}` },
    json: { type: 'boolean', default: false },
  },
})
const only = values.only?.split(',')
const known = [...MUTATIONS, ...CONTROLS]
const unknown = only?.filter((name) => !known.some((mutation) => mutation.name === name)) ?? []
if (unknown.length > 0) {
  console.error(
    `no mutation is called ${unknown.join(', ')}; there are: ${known.map((m) => m.name).join(', ')}`,
  )
  process.exit(2)
}
const chosen = known.filter((mutation) => only === undefined || only.includes(mutation.name))
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130))
let done = 0
const outcomes = await runMutations(chosen, {
  firstSeed: Number(values.seed),
  seedsMax: Number(values.seeds),
  atOnce: Number(values['at-once']),
  onOutcome: (outcome) => {
    done++
    console.error(`${done}/${chosen.length}  ${line(outcome)}`)
  },
})
const bad = outcomes.filter((outcome) => outcome.verdict !== dueVerdict(outcome.name))
if (values.json) {
  console.log(JSON.stringify({ mutations: outcomes.length, bad: bad.map(({ name }) => name), outcomes }))
} else {
  for (const outcome of outcomes) console.log(line(outcome))
  console.log(`${outcomes.length - bad.length} of ${outcomes.length} as they should be`)
}
process.exit(bad.length === 0 ? 0 : 1)

function line({ name, verdict, seeds, wallSeconds, violation }: Outcome): string {
  const what = (violation ?? '').replace(/\s+/g, ' ').slice(0, VIOLATION_CHARS)
  return `${name.padEnd(36)} ${verdict.padEnd(11)} ${`${seeds}`.padStart(4)} seeds ${wallSeconds.toFixed(1).padStart(7)} s  ${what}`
}
