/** `npm run bench -- micro`: every micro job once, and a table. */
import { type BenchContext, isWanted } from '../shared/options.ts'
import { type Column, figure, markdownTable, textTable } from '../shared/table.ts'
import { type MicroResult, measure } from './adapter.ts'
import { microJobs } from './jobs.ts'

const SECONDS = 0.25
const SECONDS_LONG = 3

const COLUMNS: ReadonlyArray<Column<MicroResult>> = [
  { title: 'job', of: (row) => row.name },
  { title: 'ns/operation', of: (row) => row.nsPerOperation },
  { title: 'MiB/s', of: (row) => (row.mibPerSecond === undefined ? '' : figure(row.mibPerSecond)) },
  { title: '± %', of: (row) => row.marginPercent },
  { title: 'samples', of: (row) => row.samples },
  { title: 'sink', of: (row) => row.sink.toString(16).padStart(8, '0') },
]

export async function runMicro(context: BenchContext): Promise<void> {
  const results: MicroResult[] = []
  const seconds = context.seconds ?? (context.long ? SECONDS_LONG : SECONDS)
  const jobs = microJobs.filter(({ name }) => isWanted(name, context.only))
  for (const [index, job] of jobs.entries()) {
    if (context.signal.aborted) break
    context.progress.now(`micro ${index + 1}/${jobs.length}: ${job.name}`)
    const result = await measure(job, seconds, context.signal)
    // An interrupted job has no sample to speak of.
    if (result.samples === 0) continue
    results.push(result)
    if (context.json) console.log(JSON.stringify({ part: 'micro', ...result }))
    else context.progress.line(`micro: ${job.name}, ${figure(result.nsPerOperation)} ns`)
  }
  if (context.json || results.length === 0) return
  console.log(context.markdown ? markdownTable(COLUMNS, results) : textTable(COLUMNS, results))
}
