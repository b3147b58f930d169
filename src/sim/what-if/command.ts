/**
 * `hither simulate PLAN.toml [OTHER.toml]`: what a cluster would do, before anybody owns it. Simulator and engine are
 * loaded only when the command runs. Ctrl-C ends the run early: what was found until then is still reported, and the
 * command ends with `CANCELLED`.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { Command } from 'commander'
import { HitherError } from '../../base/errors.ts'
import type { Plan } from './plan.ts'
import type { Report } from './report.ts'
import type { WhatIfProgress } from './run.ts'
import type { TraceColumns } from './workload.ts'

/** What it needs of the process around it. */
export interface SimulateIo {
  readonly stdout: Writable
  readonly stderr: Writable & { readonly isTTY?: boolean | undefined }
  readonly cwd: string
  readonly signal: AbortSignal
}

export interface SimulateParts {
  /** Reads a block trace, for plans that replay one. Its errors say what is wrong with the file. */
  readonly readTrace: (path: string) => Promise<TraceColumns>
}

interface Loaded {
  readonly plan: Plan
  readonly traces: ReadonlyMap<string, TraceColumns>
}

const REDRAW_MS = 100
const CLEAR_LINE = '\r\x1b[K'
const EXAMPLES = `
Examples:
  $ hither simulate four-nodes.toml
  $ hither simulate before.toml after.toml --html compare.html
  $ hither simulate four-nodes.toml --json | jq .latency.write.p99Ms`

/** For `program.addCommand`; `--json` is an option of the program. */
export function simulateCommand(io: SimulateIo, parts: SimulateParts): Command {
  return (
    new Command('simulate')
      .summary('Says what a cluster would do: loads, failures, moves, in virtual time.')
      .description(
        'Runs a plan on a simulated cluster: latencies, bytes by colour, pauses, time to full RF, space.\n' +
          'With two plans the reports stand side by side. The docs of the plan are in docs/simulate.md.',
      )
      .argument('<plan>', 'plan, a TOML file')
      .argument('[other]', 'another plan to compare with')
      .option('--html <file>', 'also write the report as one HTML page with charts')
      .addHelpText('after', EXAMPLES)
      // Errors come back as exceptions: the program reports them, and says the exit code.
      .exitOverride()
      .configureOutput({
        writeOut: (text) => void io.stdout.write(text),
        writeErr: (text) => void io.stderr.write(text),
        outputError: () => {},
      })
      .action(async (plan: string, other: string | undefined, _: unknown, command: Command) => {
        const { html, json } = command.optsWithGlobals<{ html?: string; json?: boolean }>()
        await simulate(io, parts, other === undefined ? [plan] : [plan, other], html, json === true)
      })
  )
}

async function simulate(
  io: SimulateIo,
  parts: SimulateParts,
  files: readonly string[],
  html: string | undefined,
  json: boolean,
): Promise<void> {
  const { parsePlan } = await import('./plan.ts')
  // All plans are read before the first one runs: a mistake in the second must not cost the run of the first.
  const loaded: Loaded[] = []
  for (const file of files) loaded.push(await load(resolve(io.cwd, file), file, parsePlan, parts))
  const { runWhatIf } = await import('./run.ts')
  const reports: Report[] = []
  for (const { plan, traces } of loaded) {
    if (reports.length > 0 && io.signal.aborted) break
    const line = new ProgressLine(io.stderr, plan)
    try {
      const onProgress = (progress: WhatIfProgress): void => line.show(progress)
      reports.push(await runWhatIf(plan, { traces, signal: io.signal, onProgress }))
    } finally {
      line.clear()
    }
  }
  await printReports(io, reports, html, json)
  if (reports.length < files.length || reports.some((report) => report.interrupted)) {
    throw new HitherError('CANCELLED', 'interrupted: the report is of what was done until then')
  }
}

async function printReports(
  io: SimulateIo,
  reports: readonly Report[],
  html: string | undefined,
  json: boolean,
): Promise<void> {
  if (html !== undefined) {
    const { reportPage } = await import('./html.ts')
    await writeFile(resolve(io.cwd, html), reportPage(reports)).catch((cause: unknown) => {
      throw fileFailed(html, cause)
    })
  }
  if (json) {
    // One object a line, one line a plan.
    for (const report of reports) io.stdout.write(`${JSON.stringify(report)}\n`)
    return
  }
  const { reportTable } = await import('./table.ts')
  io.stdout.write(`${reportTable(reports)}\n`)
  if (html !== undefined) io.stdout.write(`\nThe page with the charts is ${html}\n`)
}

async function load(
  path: string,
  file: string,
  parsePlan: (text: string, title: string) => Plan,
  parts: SimulateParts,
): Promise<Loaded> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw fileFailed(file, cause)
  })
  const plan = inFile(file, () => parsePlan(text, basename(file).replace(/\.toml$/, '')))
  const traces = new Map<string, TraceColumns>()
  for (const { trace } of plan.vms) {
    if (trace === undefined || traces.has(trace.file)) continue
    traces.set(trace.file, await loadTrace(resolve(dirname(path), trace.file), file, trace.file, parts))
  }
  return { plan, traces }
}

/** Says of a refusal in which file it is. */
function inFile<T>(file: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (!(error instanceof HitherError)) throw error
    throw new HitherError(error.code, `${file}: ${error.message}`, { cause: error })
  }
}

async function loadTrace(
  path: string,
  file: string,
  trace: string,
  parts: SimulateParts,
): Promise<TraceColumns> {
  try {
    return await parts.readTrace(path)
  } catch (cause) {
    const reason = cause instanceof HitherError ? cause.message : fileFailed(trace, cause).message
    throw new HitherError('BAD_SETTING', `${file}: trace = "${trace}" cannot be used: ${reason}`, { cause })
  }
}

/** `NOT_FOUND` when there is no such file, else `FILE_FAILED`. */
function fileFailed(file: string, error: unknown): HitherError {
  const { code, message } = error as NodeJS.ErrnoException
  if (code === 'ENOENT') return new HitherError('NOT_FOUND', `there is no file ${file}`, { cause: error })
  return new HitherError('FILE_FAILED', `${file}: ${message}`, { cause: error })
}

/** One line on a terminal, redrawn in place; nothing where there is none. */
class ProgressLine {
  readonly #output: SimulateIo['stderr']
  readonly #plan: Plan
  readonly #beganAt = performance.now()
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(output: SimulateIo['stderr'], plan: Plan) {
    this.#output = output
    this.#plan = plan
  }

  show({ step, done }: WhatIfProgress): void {
    const now = performance.now()
    if (this.#output.isTTY !== true || now - this.#drawnAt < REDRAW_MS) return
    this.#drawnAt = now
    const what = step === 'fill' ? 'filling the disks' : `simulating ${this.#plan.durationMs / 1_000} s`
    const seconds = Math.round((now - this.#beganAt) / 1_000)
    this.#output.write(
      `${CLEAR_LINE}${this.#plan.title}: ${what}, ${Math.floor(done * 100)} %, ${seconds} s`.slice(0, 79),
    )
  }

  clear(): void {
    if (this.#output.isTTY === true) this.#output.write(CLEAR_LINE)
  }
}
