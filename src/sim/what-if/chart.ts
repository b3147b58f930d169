/**
 * A line chart over the time of a run, as an SVG that stands in the page itself. Colours are CSS variables of the page
 * (html.ts), so that it follows the reader's light or dark theme; lines differ by dashes too, for those who do not see
 * the colours. Pointing at a window shows its values: plain SVG titles, no script.
 */
import { showMs } from './quantities.ts'

export interface Line {
  readonly name: string
  /** Name of a CSS variable, `--red`. */
  readonly color: string
  readonly dash?: string
  /** One value a window; `undefined` where there is none. */
  readonly values: ReadonlyArray<number | undefined>
}

export interface ChartOptions {
  readonly title: string
  readonly lines: readonly Line[]
  /** Start and end of each window, ms. */
  readonly windows: ReadonlyArray<{ readonly fromMs: number; readonly toMs: number }>
  readonly durationMs: number
  readonly events: ReadonlyArray<{ readonly atMs: number; readonly what: string }>
  readonly show: (value: number) => string
  readonly scale: Scale
}

/** From a value to 0 (bottom) … 1 (top), and the values at which a line is drawn. */
export interface Scale {
  readonly place: (value: number) => number
  readonly ticks: readonly number[]
}

const WIDTH = 640
const HEIGHT = 220
const LEFT = 78
const RIGHT = 12
const TOP = 18
const BOTTOM = 24
const TIME_TICKS = 6
const LINEAR_TICKS = 4

/** From 0 to a round number not less than `largest`: 1, 2 or 5 times a power of `base`'s digits. */
export function linearScale(largest: number, binary: boolean): Scale {
  const top = roundUp(Math.max(largest, binary ? 1_024 : 0.001), binary)
  const ticks = Array.from({ length: LINEAR_TICKS + 1 }, (_, at) => (at * top) / LINEAR_TICKS)
  return { place: (value) => value / top, ticks }
}

/** Powers of ten around the values; values below the first tick lie on it. */
export function logScale(smallest: number, largest: number): Scale {
  let low = 1
  while (low > smallest && low > 1e-3) low /= 10
  let high = low * 10
  while (high < largest) high *= 10
  const decades = Math.round(Math.log10(high / low))
  const ticks = Array.from({ length: decades + 1 }, (_, at) => low * 10 ** at)
  return { place: (value) => Math.max(0, Math.log10(Math.max(value, low) / low) / decades), ticks }
}

export function lineChart(options: ChartOptions): string {
  const { title, lines, windows, durationMs, events, show, scale } = options
  const x = (ms: number): number => round(LEFT + (ms / durationMs) * (WIDTH - LEFT - RIGHT))
  const y = (value: number): number => round(HEIGHT - BOTTOM - scale.place(value) * (HEIGHT - TOP - BOTTOM))
  const bottom = HEIGHT - BOTTOM
  const parts: string[] = []
  for (const tick of scale.ticks) {
    parts.push(
      `<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(tick)}" y2="${y(tick)}"/>`,
      `<text class="axis" x="${LEFT - 6}" y="${y(tick) + 4}" text-anchor="end">${escapeHtml(show(tick))}</text>`,
    )
  }
  for (let at = 0; at <= TIME_TICKS; at++) {
    const ms = (at * durationMs) / TIME_TICKS
    const anchor = at === 0 ? 'start' : at === TIME_TICKS ? 'end' : 'middle'
    parts.push(
      `<text class="axis" x="${x(ms)}" y="${HEIGHT - 6}" text-anchor="${anchor}">${showMs(ms)}</text>`,
    )
  }
  for (const [at, { atMs }] of events.entries()) {
    parts.push(
      `<line class="event" x1="${x(atMs)}" x2="${x(atMs)}" y1="${TOP}" y2="${bottom}"/>`,
      `<text class="axis" x="${x(atMs)}" y="${TOP - 5}" text-anchor="middle">${at + 1}</text>`,
    )
  }
  for (const line of lines) parts.push(...pathsOf(line, windows, x, y))
  for (const [at, { fromMs, toMs }] of windows.entries()) {
    const values = lines.map(({ name, values }) => {
      const value = values[at]
      return `${name}: ${value === undefined ? '-' : show(value)}`
    })
    const tip = [`${showMs(fromMs)} to ${showMs(toMs)}`, ...values].join('\n')
    const width = Math.max(1, x(toMs) - x(fromMs))
    parts.push(
      `<rect class="hover" x="${x(fromMs)}" y="${TOP}" width="${round(width)}" height="${bottom - TOP}"><title>${escapeHtml(tip)}</title></rect>`,
    )
  }
  return [
    `<figure><figcaption>${escapeHtml(title)}</figcaption>`,
    `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${escapeHtml(title)}">${parts.join('')}</svg>`,
    `<p class="legend">${lines.map(legendOf).join('')}</p></figure>`,
  ].join('')
}

/** For text and for values of attributes. */
export function escapeHtml(text: string): string {
  return text.replace(
    /[&<>"']/g,
    (one) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[one]!,
  )
}

/** Unbroken stretches; a value alone is a dot. */
function pathsOf(
  line: Line,
  windows: ChartOptions['windows'],
  x: (ms: number) => number,
  y: (value: number) => number,
): string[] {
  const style = `stroke="var(${line.color})"${line.dash === undefined ? '' : ` stroke-dasharray="${line.dash}"`}`
  const runs: string[][] = [[]]
  for (const [at, window] of windows.entries()) {
    const value = line.values[at]
    if (value === undefined) runs.push([])
    else runs.at(-1)!.push(`${x((window.fromMs + window.toMs) / 2)},${y(value)}`)
  }
  return runs
    .filter((points) => points.length > 0)
    .map((points) => {
      if (points.length > 1) return `<polyline class="line" ${style} points="${points.join(' ')}"/>`
      const [cx, cy] = points[0]!.split(',')
      return `<circle cx="${cx}" cy="${cy}" r="2" fill="var(${line.color})"/>`
    })
}

function legendOf(line: Line): string {
  const dash = line.dash === undefined ? '' : ` stroke-dasharray="${line.dash}"`
  return `<span><svg class="key" viewBox="0 0 24 8"><line x1="0" x2="24" y1="4" y2="4" stroke="var(${line.color})" stroke-width="2.5"${dash}/></svg>${escapeHtml(line.name)}</span>`
}

function roundUp(value: number, binary: boolean): number {
  if (binary) {
    let unit = 1
    while (unit * 1_024 <= value) unit *= 1_024
    const steps = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024]
    return steps.find((step) => step * unit >= value)! * unit
  }
  const unit = 10 ** Math.floor(Math.log10(value))
  return [1, 2, 5, 10].find((step) => step * unit >= value * 0.999_999)! * unit
}

function round(value: number): number {
  return Math.round(value * 10) / 10
}
