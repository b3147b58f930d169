/**
 * `npm run bench`: measures hither in this process and beside others. `--help` says how; docs/performance.md says what
 * the figures mean.
 *
 *   micro     pieces of the engine, one at a time
 *   workload  whole clusters under load
 *   compare   ratios: engine against limits and rivals, in turns; each a named check with a goal and a bound
 */
import { runCompare } from './compare/run.ts'
import { runMicro } from './micro/run.ts'
import { type BenchContext, Progress, parseOptions } from './shared/options.ts'
import { runWorkload } from './workload/run.ts'

const INTERRUPTED = 130

const options = parseOptions(process.argv.slice(2))
const stop = new AbortController()
process.once('SIGINT', () => {
  stop.abort(new Error('interrupted'))
  process.stderr.write('\nending with what there is; Ctrl-C once more ends at once\n')
})
const context: BenchContext = { ...options, signal: stop.signal, progress: new Progress(options.json) }
const asked = (part: string): boolean =>
  !stop.signal.aborted && (options.part === part || options.part === 'all')

let worse = false
if (asked('micro')) await runMicro(context)
if (asked('workload')) await runWorkload(context)
if (asked('compare')) worse = !(await runCompare(context))
if (stop.signal.aborted) process.exitCode = INTERRUPTED
else if (worse) process.exitCode = 1
