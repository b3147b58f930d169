/** `npm run bench -- compare`: every check, a table of ratios, and with `--check` a comparison with bounds.json. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type BenchContext, isWanted } from '../shared/options.ts'
import { type Column, figure, markdownTable, textTable } from '../shared/table.ts'
import { backgroundGroup, idleGroup } from './background.ts'
import {
  type Bounds,
  boundFor,
  type CheckGroup,
  type CheckResult,
  confirmed,
  reaches,
  regressions,
} from './check.ts'
import { growthGroup } from './growth.ts'
import { nbdGroup } from './nbd.ts'
import { nfsGroup } from './nfs.ts'
import { pipelineGroup } from './pipeline.ts'
import { reductionGroup } from './reduction.ts'
import { servicesGroup } from './services.ts'
import { storesGroup } from './stores.ts'

/** An idle cluster first, while no other has left anything for the garbage collector. */
const GROUPS: readonly CheckGroup[] = [
  idleGroup,
  pipelineGroup,
  servicesGroup,
  nbdGroup,
  storesGroup,
  growthGroup,
  backgroundGroup,
  reductionGroup,
  nfsGroup,
]
const BOUNDS_FILE = join(import.meta.dirname, '../bounds.json')

/** Answers whether every measured ratio is within its bound; always, unless `--check` asked. */
export async function runCompare(context: BenchContext): Promise<boolean> {
  const measured = new Map<CheckGroup, readonly CheckResult[]>()
  for (const group of GROUPS.filter(({ name }) => isWanted(name, context.only))) {
    if (context.signal.aborted) break
    const reason = await group.skipped?.(context)
    if (reason !== undefined) {
      context.progress.line(`compare: ${group.name} skipped, ${reason}`)
      continue
    }
    measured.set(group, await runGroup(group, context))
  }
  const results = [...measured.values()].flat()
  const bounds = JSON.parse(await readFile(BOUNDS_FILE, 'utf8')) as Bounds
  if (results.length > 0 && !context.json) {
    const columns = columnsOf(bounds)
    console.log(context.markdown ? markdownTable(columns, results) : textTable(columns, results))
  }
  if (context.writeBounds) await keepBounds(bounds, results)
  if (!context.check) return true
  const worse: CheckResult[] = []
  for (const [group, first] of measured) {
    const suspects = regressions(first, bounds)
    if (suspects.length === 0) continue
    for (const { id } of suspects) context.progress.line(`compare: ${id} is beyond its bound: once more`)
    worse.push(...confirmed(suspects, await runGroup(group, context), bounds))
  }
  return tellRegressions(results.length, worse, bounds)
}

/** What was measured, told as it comes. What was interrupted has no ratio, and is left out. */
async function runGroup(group: CheckGroup, context: BenchContext): Promise<CheckResult[]> {
  if (context.signal.aborted) return []
  let measured: CheckResult[]
  try {
    measured = (await group.run(context)).filter(({ ratio }) => !Number.isNaN(ratio))
  } catch (error) {
    // Ctrl-C ends a group in the middle of what it waits for.
    if (context.signal.aborted) return []
    throw error
  }
  for (const result of measured) {
    if (context.json) console.log(JSON.stringify({ part: 'compare', ...result }))
    else context.progress.line(`compare: ${result.id} ${figure(result.ratio)}`)
  }
  return measured
}

function columnsOf(bounds: Bounds): ReadonlyArray<Column<CheckResult>> {
  const sign = ({ better }: CheckResult): string => (better === 'more' ? '≥' : '≤')
  return [
    { title: 'check', of: ({ id }) => id },
    { title: 'what', of: ({ what, note }) => (note === undefined ? what : `${what} (${note})`) },
    { title: 'against', of: ({ against }) => against },
    // Four digits: a goal that is just missed must not look as if it were reached.
    { title: 'ratio', of: ({ ratio }) => Number(ratio.toPrecision(4)).toString() },
    { title: 'goal', of: (row) => (row.goal === undefined ? '' : `${sign(row)} ${figure(row.goal)}`) },
    {
      title: 'reached',
      of: ({ goal, ratio, better }) =>
        goal === undefined ? '' : reaches(ratio, goal, better) ? 'yes' : 'not reached',
    },
    {
      title: 'bound',
      of: (row) => (bounds[row.id] === undefined ? '' : `${sign(row)} ${figure(bounds[row.id]!)}`),
    },
  ]
}

function tellRegressions(count: number, worse: readonly CheckResult[], bounds: Bounds): boolean {
  for (const { id, ratio, better } of worse) {
    process.stderr.write(
      `check ${id}: ${figure(ratio)} is ${better === 'more' ? 'below' : 'above'} its bound ${figure(bounds[id]!)}\n`,
    )
  }
  if (worse.length === 0) process.stderr.write(`check: ${count} ratios, none beyond its bound\n`)
  return worse.length === 0
}

/** What was measured now, with some room, becomes the bound; other bounds stay. */
async function keepBounds(bounds: Bounds, results: readonly CheckResult[]): Promise<void> {
  const kept: Record<string, number> = { ...bounds }
  for (const result of results) kept[result.id] = boundFor(result)
  const order = (a: string, b: string): number => a.localeCompare(b, 'en', { numeric: true })
  const sorted = Object.fromEntries(Object.entries(kept).sort(([a], [b]) => order(a, b)))
  await writeFile(BOUNDS_FILE, `${JSON.stringify(sorted, undefined, 2)}\n`)
}
