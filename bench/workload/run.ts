/** `npm run bench -- workload`: whole clusters in this process under load, and a table. */
import { type BenchContext, isWanted } from '../shared/options.ts'
import { profileLines } from '../shared/profile.ts'
import { figure, markdownTable, textTable } from '../shared/table.ts'
import { type Cell, middleCells, sweptCells } from './cell.ts'
import { measureIdle } from './idle.ts'
import { ioJobs, runIoJob, WRITE_4K } from './io-jobs.ts'
import { ROW_COLUMNS, type Row, rowLine } from './row.ts'
import { scenarioJobs } from './scenario-jobs.ts'

const IO_SECONDS = 0.35
const IO_SECONDS_LONG = 3
const SCENARIO_SECONDS = 1.5
const SCENARIO_SECONDS_LONG = 8
const IDLE_SECONDS = 2
const IDLE_SECONDS_LONG = 10

interface Step {
  readonly name: string
  readonly cell: Cell
  run(): Promise<Row>
}

export async function runWorkload(context: BenchContext): Promise<void> {
  const rows: Row[] = []
  const steps = plan(context)
  for (const [index, step] of steps.entries()) {
    if (context.signal.aborted) break
    context.progress.now(`workload ${index + 1}/${steps.length}: ${step.name} ${step.cell.location}`)
    const row = await step.run()
    rows.push(row)
    if (context.json) console.log(JSON.stringify({ part: 'workload', ...row }))
    else context.progress.line(`workload ${index + 1}/${steps.length}: ${rowLine(row)}`)
    if (row.profile !== undefined) for (const line of profileLines(row.profile)) context.progress.line(line)
  }
  if (rows.length > 0 && !context.json) {
    console.log(context.markdown ? markdownTable(ROW_COLUMNS, rows) : textTable(ROW_COLUMNS, rows))
  }
  if (!context.signal.aborted && isWanted('idle', context.only)) await runIdle(context)
}

function plan(context: BenchContext): Step[] {
  const steps: Step[] = []
  const ioSeconds = context.seconds ?? (context.long ? IO_SECONDS_LONG : IO_SECONDS)
  const scenarioSeconds = context.seconds ?? (context.long ? SCENARIO_SECONDS_LONG : SCENARIO_SECONDS)
  if (isWanted(WRITE_4K.name, context.only)) {
    for (const cell of sweptCells(context)) {
      steps.push({ name: WRITE_4K.name, cell, run: () => runIoJob(WRITE_4K, cell, ioSeconds, context) })
    }
  }
  for (const job of ioJobs.filter(({ name }) => isWanted(name, context.only))) {
    for (const cell of middleCells(context)) {
      steps.push({ name: job.name, cell, run: () => runIoJob(job, cell, ioSeconds, context) })
    }
  }
  for (const job of scenarioJobs.filter(({ name }) => isWanted(name, context.only))) {
    const reason = job.skipped?.(context)
    if (reason !== undefined) {
      context.progress.line(`workload: ${job.name} skipped, ${reason}`)
      continue
    }
    for (const cell of context.long ? middleCells(context) : middleCells(context).slice(0, 1)) {
      steps.push({ name: job.name, cell, run: () => job.run(cell, scenarioSeconds, context) })
    }
  }
  return steps
}

async function runIdle(context: BenchContext): Promise<void> {
  const seconds = context.seconds ?? (context.long ? IDLE_SECONDS_LONG : IDLE_SECONDS)
  context.progress.now('workload: idle')
  const idle = await measureIdle('memory:', seconds, context.dir, context.signal)
  if (context.json) console.log(JSON.stringify({ part: 'workload', job: 'idle', seconds, ...idle }))
  else {
    console.log(
      `idle, 4 nodes, ${seconds} s: ${figure(100 * idle.cpuShare)} % of a core, ` +
        `${figure(idle.timersPerSecond)} timers and ${figure(idle.immediatesPerSecond)} immediates a second`,
    )
  }
}
