/**
 * The progress bar of imports and exports: one line on a terminal, redrawn in place at most ten times a second. Where
 * there is no terminal it draws nothing.
 */
import { formatBytes } from '../base/format-bytes.ts'
import { formatDuration } from './format.ts'
import type { Output } from './io.ts'

const REDRAW_MS = 100
/** The rate is that of the last few seconds, so that it follows what happens now. */
const RATE_WINDOW_MS = 5_000
const BAR_WIDTH_MAX = 30
const CLEAR_LINE = '\r\x1b[K'

export interface ProgressState {
  readonly label: string
  readonly doneBytes: number
  /** `undefined` when it is not known, as for a pipe. */
  readonly totalBytes: number | undefined
  readonly bytesPerSecond: number
}

/** The line for a terminal of `columns` columns; what does not fit is left out, the bar first. */
export function formatProgress(state: ProgressState, columns: number): string {
  const { label, doneBytes, totalBytes, bytesPerSecond } = state
  const rate = `${formatBytes(bytesPerSecond)}/s`
  if (totalBytes === undefined) return `${label}  ${formatBytes(doneBytes)}  ${rate}`.slice(0, columns - 1)
  const ratio = totalBytes === 0 ? 1 : Math.min(1, doneBytes / totalBytes)
  const parts = [
    `${Math.floor(ratio * 100)} %`,
    `${formatBytes(doneBytes)} of ${formatBytes(totalBytes)}`,
    rate,
  ]
  if (doneBytes < totalBytes && bytesPerSecond > 0) {
    parts.push(`${formatDuration(Math.ceil((totalBytes - doneBytes) / bytesPerSecond) * 1_000)} left`)
  }
  const text = parts.join('  ')
  const room = Math.min(BAR_WIDTH_MAX, columns - 1 - label.length - text.length - 6)
  if (room < 8) return `${label}  ${text}`.slice(0, columns - 1)
  const filled = Math.floor(ratio * room)
  return `${label}  [${'='.repeat(filled)}${' '.repeat(room - filled)}]  ${text}`
}

/** Bytes per second over the last few seconds. Times are milliseconds of any clock. */
export class RateMeter {
  readonly #samples: Array<{ readonly at: number; readonly bytes: number }> = []

  add(at: number, bytes: number): void {
    this.#samples.push({ at, bytes })
    while (this.#samples.length > 2 && this.#samples[1]!.at < at - RATE_WINDOW_MS) this.#samples.shift()
  }

  bytesPerSecond(): number {
    const first = this.#samples[0]
    const last = this.#samples.at(-1)
    if (first === undefined || last === undefined || last.at <= first.at) return 0
    return ((last.bytes - first.bytes) / (last.at - first.at)) * 1_000
  }
}

export class ProgressBar {
  readonly #output: Output
  readonly #label: string
  readonly #totalBytes: number | undefined
  readonly #shown: boolean
  readonly #meter = new RateMeter()
  #drawnAt = Number.NEGATIVE_INFINITY

  constructor(output: Output, options: { label: string; totalBytes: number | undefined; shown: boolean }) {
    this.#output = output
    this.#label = options.label
    this.#totalBytes = options.totalBytes
    this.#shown = options.shown && output.isTTY === true
    this.update(0)
  }

  update(doneBytes: number): void {
    const now = performance.now()
    if (!this.#shown || now - this.#drawnAt < REDRAW_MS) return
    this.#drawnAt = now
    this.#meter.add(now, doneBytes)
    const state = {
      label: this.#label,
      doneBytes,
      totalBytes: this.#totalBytes,
      bytesPerSecond: this.#meter.bytesPerSecond(),
    }
    // A terminal that does not know its width says 0.
    this.#output.write(CLEAR_LINE + formatProgress(state, this.#output.columns || 80))
  }

  /** Takes the line away, so that the result can stand in its place. */
  clear(): void {
    if (this.#shown) this.#output.write(CLEAR_LINE)
  }
}
