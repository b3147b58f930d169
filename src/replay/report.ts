/** What `npm run replay` prints: one row per policy, in both ways of counting (see simulate.ts). */
import type { LocalityPolicyName } from '../api.ts'
import { MiB } from '../base/units.ts'
import type { SimulateResult } from './simulate.ts'

/** Figures of one policy in one way of counting. Sizes are MiB. */
export interface Figures {
  /** Red bytes, in per cent of the bytes read. */
  readonly redPct: number
  readonly redMiB: number
  /** Part of red: prefetched, but too late. */
  readonly latePct: number
  readonly greenMiB: number
  readonly wireMiB: number
  /** Wire bytes, in per cent of never-copy. */
  readonly wirePct: number
}

export interface ReplayRow {
  readonly policy: LocalityPolicyName
  readonly readMiB: number
  readonly neverMiB: number
  readonly byBlock: Figures
  readonly byRequest: Figures
}

export function figuresOf(result: SimulateResult): Figures {
  const { readBytes, redBytes, lateBytes, greenBytes, wireBytes, neverBytes } = result
  return {
    redPct: percent(redBytes, readBytes),
    redMiB: mebibytes(redBytes),
    latePct: percent(lateBytes, readBytes),
    greenMiB: mebibytes(greenBytes),
    wireMiB: mebibytes(wireBytes),
    wirePct: percent(wireBytes, neverBytes, 1),
  }
}

export function mebibytes(bytes: number): number {
  return Number((bytes / MiB).toFixed(1))
}

const COLUMNS = ['policy', 'red', 'red MiB', 'green MiB', 'wire MiB', 'of never']
const LATE_COLUMN = 'late'

export function formatReport(rows: readonly ReplayRow[]): string {
  const byBlock = rows.map(({ policy, byBlock: f }) => [policy, ...cells(f)])
  const byRequest = rows.map(({ policy, byRequest: f }) => [policy, ...cells(f), `${f.latePct.toFixed(2)} %`])
  return [
    'By block: requests taken apart into 4 KiB reads, fetches take no time (as the known reference figures).',
    ...table([COLUMNS, ...byBlock]),
    '',
    'By request: every missing byte of a request waits; prefetches cross a 10 Gb/s, 200 µs wire.',
    ...table([[...COLUMNS, LATE_COLUMN], ...byRequest]),
  ].join('\n')
}

function cells(f: Figures): string[] {
  return [
    `${f.redPct.toFixed(2)} %`,
    f.redMiB.toFixed(1),
    f.greenMiB.toFixed(1),
    f.wireMiB.toFixed(1),
    `${f.wirePct.toFixed(1)} %`,
  ]
}

/** First column left, the others right. */
function table(lines: readonly string[][]): string[] {
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  return lines.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0]!) : cell.padStart(widths[column]!)))
      .join('  ')
      .trimEnd(),
  )
}

function percent(part: number, whole: number, digits = 2): number {
  return whole === 0 ? 0 : Number(((100 * part) / whole).toFixed(digits))
}
