/** The options of `npm run bench`, and what every part of it gets: when to stop, where to tell progress. */
import { Command, InvalidArgumentError, Option } from 'commander'
import { DATA_KINDS, type DataKind } from './data.ts'

export const PARTS = ['micro', 'workload', 'compare', 'all'] as const
export type Part = (typeof PARTS)[number]
export const SERVICES = ['none', 'compression', 'dedupe', 'both'] as const
export type Services = (typeof SERVICES)[number]

export interface BenchOptions {
  readonly part: Part
  /** Job names that contain one of these; all when left out. */
  readonly only?: readonly string[]
  /** Measured time of one job or one turn; each has a default of its own. */
  readonly seconds?: number
  readonly long: boolean
  readonly json: boolean
  readonly markdown: boolean
  readonly check: boolean
  /** Keeps what compare measured, with some room, as the new bounds. */
  readonly writeBounds: boolean
  /** Axes of the workload matrix; the defaults are few, `--long` has more. */
  readonly location?: readonly string[]
  readonly rf?: readonly number[]
  readonly services?: readonly Services[]
  readonly depth?: readonly number[]
  readonly data?: readonly DataKind[]
  /** Tells where the CPU time of each workload job went. */
  readonly profile: boolean
  /** Block trace to replay. */
  readonly trace?: string
  /** Disk images for the reduction check. */
  readonly images?: readonly string[]
  /** Folder under which scratch folders are made. */
  readonly dir?: string
}

export interface BenchContext extends BenchOptions {
  readonly signal: AbortSignal
  readonly progress: Progress
}

/** Says on stderr what is being measured; one line that changes on a terminal, one line a job elsewhere. */
export class Progress {
  readonly #quiet: boolean
  readonly #live = process.stderr.isTTY === true

  constructor(quiet: boolean) {
    this.#quiet = quiet
  }

  now(what: string): void {
    if (!this.#quiet && this.#live) process.stderr.write(`\r\x1b[K${what}`)
  }

  line(what: string): void {
    if (!this.#quiet) process.stderr.write(`${this.#live ? '\r\x1b[K' : ''}${what}\n`)
  }
}

/** Whether `--only` asks for the job. */
export function isWanted(name: string, only: readonly string[] | undefined): boolean {
  return only === undefined || only.some((part) => name.includes(part))
}

/** @throws by ending the process, as commander does, after an error or `--help` */
export function parseOptions(argv: readonly string[]): BenchOptions {
  const program = new Command('npm run bench --')
    .description(
      'Measures hither. Compare ratios of one run; absolute figures of a shared machine mean little.',
    )
    .argument('[part]', `one of ${PARTS.join(', ')}`, onePart, 'all')
    .option('--only <names>', 'jobs whose name contains one of these, by commas', list)
    .option('--seconds <n>', 'measured time of one job or turn', positive)
    .option('--long', 'every axis of the workload matrix, more rivals, more turns, larger stores', false)
    .option('--json', 'one JSON object a result on stdout, instead of tables', false)
    .option('--markdown', 'the tables as Markdown (docs/performance.md holds the one of compare)', false)
    .option('--check', 'compare ratios with bench/bounds.json; exit with 1 when one is worse, twice', false)
    .option('--write-bounds', 'what compare measured, with some room, becomes bench/bounds.json', false)
    .addOption(
      new Option('--location <list>', 'workload: memory:, file:').argParser(choices(['memory:', 'file:'])),
    )
    .addOption(new Option('--rf <list>', 'workload: 1, 2, 3').argParser(numbers(1, 3)))
    .addOption(
      new Option('--services <list>', `workload: ${SERVICES.join(', ')}`).argParser(choices(SERVICES)),
    )
    .addOption(
      new Option('--depth <list>', 'workload: IOs under way, e.g. 1,8,32').argParser(numbers(1, 1_024)),
    )
    .addOption(
      new Option('--data <list>', `workload: ${DATA_KINDS.join(', ')}`).argParser(choices(DATA_KINDS)),
    )
    .addOption(
      new Option('--trace <file>', 'workload: block trace to replay (vscsi, lis, fiu)').env(
        'HITHER_BENCH_TRACE',
      ),
    )
    .addOption(
      new Option('--images <list>', 'compare: raw disk images for the reduction check')
        .argParser(list)
        .env('HITHER_BENCH_IMAGES'),
    )
    .option('--profile', 'workload: tell where the CPU time of each IO job went; it slows them down', false)
    .option('--dir <folder>', 'where scratch files go; default: the folder for temporary files')
    .addHelpText('after', HELP)
    .parse(argv, { from: 'user' })
  const part = program.processedArgs[0] as Part
  const options = program.opts<Omit<BenchOptions, 'part'>>()
  return { ...options, part: options.check && argv[0] !== part ? 'compare' : part }
}

const HELP = `
Examples:
  npm run bench                                   everything, in about three minutes
  npm run bench -- workload --only write-4k --location memory: --services none,both --depth 1,32
  npm run bench -- --check                        fails when a ratio is worse than its bound, twice
  npm run bench -- compare --markdown             the table of docs/performance.md
Ctrl-C ends with what there is; once more ends at once.`

function onePart(value: string): Part {
  if (!PARTS.includes(value as Part)) throw new InvalidArgumentError(`It is one of ${PARTS.join(', ')}.`)
  return value as Part
}

function list(value: string): string[] {
  return value.split(',').filter((part) => part !== '')
}

function positive(value: string): number {
  const number = Number(value)
  if (!(number > 0)) throw new InvalidArgumentError('It is a number of seconds.')
  return number
}

function choices<T extends string>(allowed: readonly T[]): (value: string) => T[] {
  return (value) => {
    const chosen = list(value)
    const wrong = chosen.find((one) => !allowed.includes(one as T))
    if (wrong !== undefined) throw new InvalidArgumentError(`${wrong} is none of ${allowed.join(', ')}.`)
    return chosen as T[]
  }
}

function numbers(least: number, most: number): (value: string) => number[] {
  return (value) => {
    const chosen = list(value).map(Number)
    const wrong = chosen.find((one) => !Number.isInteger(one) || one < least || one > most)
    if (wrong !== undefined)
      throw new InvalidArgumentError(`Each is a whole number from ${least} to ${most}.`)
    return chosen
  }
}
