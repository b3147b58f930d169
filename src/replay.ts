/**
 * `npm run replay -- FILE`: what each locality policy does on a real block trace after its VM moved. A composition
 * root: reads the file, plays it (replay/simulate.ts), prints. Exit codes: 0 done, 1 failed, 2 usage, 3 not found.
 */
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import type { LocalityPolicyName } from './api.ts'
import { HitherError } from './base/errors.ts'
import { createLocalityPolicy, LOCALITY_POLICY_NAMES } from './locality/create-policy.ts'
import { readTrace } from './replay/read-trace.ts'
import { figuresOf, formatReport, mebibytes, type ReplayRow } from './replay/report.ts'
import { type Accounting, type SimulateResult, simulate } from './replay/simulate.ts'
import { TRACE_FORMATS, type Trace, type TraceFormat } from './replay/trace.ts'

interface ReplayOptions {
  readonly format?: TraceFormat
  readonly moveAt: number
  readonly policy: LocalityPolicyName | 'all'
  readonly json?: true
}

const EXIT_FAILED = 1
const EXIT_USAGE = 2
const EXIT_NOT_FOUND = 3
const ALL = 'all'

function parseSeconds(text: string): number {
  const seconds = text.trim() === '' ? Number.NaN : Number(text)
  if (!(seconds >= 0 && seconds < Number.POSITIVE_INFINITY)) {
    throw new InvalidArgumentError('Give seconds from the start of the trace, 0 or more.')
  }
  return seconds
}

const program = new Command('replay')
  .description('Plays a block trace against the locality policies and prints what crossed the wire.')
  .argument('<file>', 'trace; may be gzipped')
  .addOption(new Option('--format <format>', 'default: by the name of the file').choices(TRACE_FORMATS))
  .option('--move-at <seconds>', 'when the VM moves; only reads from then on are counted', parseSeconds, 0)
  .addOption(
    new Option('--policy <name>', 'which policy').choices([...LOCALITY_POLICY_NAMES, ALL]).default(ALL),
  )
  .option('--json', 'one object a line and policy')
  .addHelpText(
    'after',
    `
Figures:
  red     bytes of reads that waited for the wire, in per cent of the bytes read
  green   bytes fetched ahead of their read
  wire    all that crossed the wire, in per cent of what crosses it when nothing is ever kept

Example:
  npm run replay -- vm.vscsi.gz --move-at 1800 --policy readahead`,
  )
  .exitOverride()

async function main(): Promise<void> {
  program.parse()
  const file = program.args[0]!
  const options = program.opts<ReplayOptions>()
  const trace = await readTrace(file, options.format)
  const lastSeconds = trace.timeMs[trace.length - 1]! / 1_000
  if (options.moveAt > lastSeconds) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `the trace ends after ${lastSeconds.toFixed(0)} s; --move-at ${options.moveAt} leaves nothing to count`,
    )
  }
  const names = options.policy === ALL ? LOCALITY_POLICY_NAMES : [options.policy]
  const rows = names.map((name) => replay(trace, name, options.moveAt))
  if (options.json) {
    for (const row of rows) console.log(JSON.stringify({ file, moveAt: options.moveAt, ...row }))
    return
  }
  const { readMiB, neverMiB } = rows[0]!
  console.log(
    `${trace.length} requests in ${lastSeconds.toFixed(0)} s; the VM moves at ${options.moveAt} s, and then reads ${readMiB} MiB, ${neverMiB} MiB of it not written since the move.\n`,
  )
  console.log(formatReport(rows))
}

function replay(trace: Trace, policy: LocalityPolicyName, moveAt: number): ReplayRow {
  const run = (accounting: Accounting): SimulateResult => {
    const show = progressLine(`${policy}, by ${accounting}`, trace.length)
    const onProgress = show === undefined ? {} : { onProgress: show }
    const result = simulate(trace, createLocalityPolicy(policy), {
      accounting,
      moveAtMs: moveAt * 1_000,
      ...onProgress,
    })
    if (show !== undefined) process.stderr.write('\r\u001b[K')
    return result
  }
  const byBlock = run('block')
  return {
    policy,
    readMiB: mebibytes(byBlock.readBytes),
    neverMiB: mebibytes(byBlock.neverBytes),
    byBlock: figuresOf(byBlock),
    byRequest: figuresOf(run('request')),
  }
}

/** Draws per cent done on a terminal, at most ten times a second; `undefined` where there is none. */
function progressLine(label: string, total: number): ((done: number) => void) | undefined {
  if (!process.stderr.isTTY) return undefined
  let drawnAt = 0
  return (done) => {
    const now = performance.now()
    if (now - drawnAt < 100) return
    drawnAt = now
    process.stderr.write(`\r\u001b[K${label}: ${Math.floor((100 * done) / total)} %`)
  }
}

try {
  await main()
} catch (error) {
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? 0 : EXIT_USAGE
  } else {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    const usage = error instanceof HitherError && error.code === 'BAD_ARGUMENT'
    console.error(`replay: ${error instanceof Error ? error.message : String(error)}`)
    process.exitCode = missing ? EXIT_NOT_FOUND : usage ? EXIT_USAGE : EXIT_FAILED
  }
}
