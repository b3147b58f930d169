/**
 * The report as one HTML page that needs nothing else: styles and charts are in it, there is no script, and nothing is
 * loaded. Two reports stand side by side, with the same scale on both sides.
 */

import { formatBytes } from '../../base/format-bytes.ts'
import { type ChartOptions, escapeHtml, type Line, linearScale, lineChart, logScale } from './chart.ts'
import { showMs } from './quantities.ts'
import type { AnswerClass, Report, Window } from './report.ts'
import { CLASS_NAMES, reportTable } from './table.ts'

const STYLE = `
:root { color-scheme: light dark; --bg: #fff; --fg: #1c1f24; --dim: #667; --grid: #dde; --box: #f5f6f9;
  --red: #c62828; --green: #2e7d32; --purple: #7b1fa2; --blue: #1565c0; --orange: #b65c00; --grey: #78808c }
@media (prefers-color-scheme: dark) { :root { --bg: #14161a; --fg: #e4e6ea; --dim: #9aa; --grid: #2c3038; --box: #1c1f25;
  --red: #ff6b6b; --green: #66cc6a; --purple: #ce8bea; --blue: #64a8f5; --orange: #f0a04b; --grey: #98a0ac } }
body { margin: 0 auto; padding: 1.5rem; max-width: 1400px; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, sans-serif }
h1 { font-size: 1.5rem; margin: 0 0 .25rem } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem }
.dim { color: var(--dim) } .side { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)) }
.cards { display: flex; flex-wrap: wrap; gap: .75rem; margin: 1rem 0 }
.card { background: var(--box); border-radius: 8px; padding: .5rem .9rem } .card b { display: block; font-size: 1.25rem }
figure { margin: 0; background: var(--box); border-radius: 8px; padding: .75rem }
figcaption { font-weight: 600 } svg { width: 100%; height: auto; display: block }
.grid { stroke: var(--grid) } .axis { fill: var(--dim); font: 11px system-ui, sans-serif }
.event { stroke: var(--dim); stroke-dasharray: 3 3 } .line { fill: none; stroke-width: 1.8 }
.hover { fill: transparent } .hover:hover { fill: var(--fg); opacity: .08 }
.legend { margin: .25rem 0 0; font-size: .85rem; color: var(--dim) } .legend span { margin-right: 1.2rem; white-space: nowrap }
.key { display: inline-block; width: 24px; height: 8px; margin-right: .35rem }
pre { background: var(--box); border-radius: 8px; padding: 1rem; overflow-x: auto; font-size: 13px; line-height: 1.4 }
ol { margin: .25rem 0 0; padding-left: 1.4rem }
`

/** What is drawn: one chart for each report, with a common scale. */
interface Drawing {
  readonly title: string
  readonly show: (value: number) => string
  readonly scale: 'bytes' | 'log-ms'
  readonly lines: ReadonlyArray<
    Omit<Line, 'values'> & { readonly pick: (window: Window) => number | undefined }
  >
}

const percentile =
  (kind: AnswerClass, rank: 'p50Ms' | 'p99Ms' | 'maxMs') =>
  (window: Window): number | undefined =>
    window.latency[kind]?.[rank]

const LATENCY_LINES = [
  { kind: 'readLocal', color: '--blue' },
  { kind: 'readRemote', color: '--red' },
  { kind: 'readRedirected', color: '--purple' },
  { kind: 'write', color: '--orange' },
] as const

function latencyDrawing(title: string, rank: 'p50Ms' | 'p99Ms' | 'maxMs'): Drawing {
  const lines = LATENCY_LINES.map(({ kind, color }, at) => ({
    name: CLASS_NAMES[kind],
    color,
    pick: percentile(kind, rank),
    ...(at === 0 ? {} : { dash: ['', '6 3', '2 3', '9 3 2 3'][at]! }),
  }))
  return { title, show: showMs, scale: 'log-ms', lines }
}

const DRAWINGS: readonly Drawing[] = [
  {
    title: 'Bytes read and moved, by colour, a window',
    show: formatBytes,
    scale: 'bytes',
    lines: [
      { name: 'local', color: '--blue', pick: ({ traffic }) => traffic.localBytes },
      { name: 'red: remote', color: '--red', dash: '6 3', pick: ({ traffic }) => traffic.redBytes },
      { name: 'green: localised', color: '--green', dash: '2 3', pick: ({ traffic }) => traffic.greenBytes },
      {
        name: 'purple: redirected',
        color: '--purple',
        dash: '9 3 2 3',
        pick: ({ traffic }) => traffic.purpleBytes,
      },
    ],
  },
  latencyDrawing('Latency, median', 'p50Ms'),
  latencyDrawing('Latency, 99th percentile', 'p99Ms'),
  latencyDrawing('Latency, longest', 'maxMs'),
  {
    title: 'Network and background, a window',
    show: formatBytes,
    scale: 'bytes',
    lines: [
      { name: 'network between nodes', color: '--grey', pick: ({ traffic }) => traffic.externalBytes },
      { name: 'background', color: '--green', dash: '6 3', pick: ({ traffic }) => traffic.backgroundBytes },
      { name: 'written', color: '--orange', dash: '2 3', pick: ({ traffic }) => traffic.writtenBytes },
    ],
  },
  {
    title: 'Bytes short of copies',
    show: formatBytes,
    scale: 'bytes',
    lines: [{ name: 'short of copies', color: '--red', pick: ({ space }) => space.underReplicatedBytes }],
  },
  {
    title: 'Tiers',
    show: formatBytes,
    scale: 'bytes',
    lines: [
      { name: 'SSD used', color: '--blue', pick: ({ space }) => space.ssd.usedBytes },
      { name: 'HDD used', color: '--orange', dash: '6 3', pick: ({ space }) => space.hdd.usedBytes },
    ],
  },
  {
    title: 'Space',
    show: formatBytes,
    scale: 'bytes',
    lines: [
      { name: 'data of the vDisks', color: '--grey', pick: ({ space }) => space.logicalBytes },
      { name: 'stored, all copies', color: '--blue', dash: '6 3', pick: ({ space }) => space.storedBytes },
      { name: 'partial copies', color: '--green', dash: '2 3', pick: ({ space }) => space.partialBytes },
    ],
  },
]

export function reportPage(reports: readonly Report[]): string {
  const title = reports.map((report) => report.title).join(' and ')
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${escapeHtml(title)}: what-if of hither</title><style>${STYLE}</style></head><body>
<h1>What if: ${escapeHtml(title)}</h1>
<p class="dim">Simulated by hither: the engine is the real one; time, devices and network are modelled.</p>
<div class="side">${reports.map(headOf).join('')}</div>
${DRAWINGS.map((drawing) => drawn(drawing, reports)).join('\n')}
<h2>All figures</h2>
<pre>${escapeHtml(reportTable(reports))}</pre>
</body></html>
`
}

function headOf(report: Report): string {
  const hit = report.pauses.filter((pause) => pause.hit)
  const longest = Math.max(0, ...hit.map((pause) => pause.pauseMs))
  const slowest = Math.max(0, ...hit.map((pause) => pause.slowestMs))
  const ended = report.fullRf.every((one) => one.restoredMs !== undefined)
  const restored = Math.max(0, ...report.fullRf.map((one) => one.restoredMs ?? 0))
  const { localBytes, redBytes } = report.traffic
  const readBytes = localBytes + redBytes
  const cards: Array<readonly [string, string]> = [
    ['read locally', readBytes === 0 ? '-' : `${((100 * localBytes) / readBytes).toFixed(1)} %`],
    ['p99 of local reads', showOptional(report.latency.readLocal?.p99Ms)],
    ['p99 of writes', showOptional(report.latency.write?.p99Ms)],
    ['longest pause of a VM that was hit', longest === 0 ? '-' : showMs(longest)],
    ['slowest request of a VM that was hit', slowest === 0 ? '-' : showMs(slowest)],
    ['longest time to full RF', ended ? (restored === 0 ? '-' : showMs(restored)) : 'not within the run'],
  ]
  const ran = report.interrupted
    ? `interrupted after ${showMs(report.ranMs)} of ${showMs(report.durationMs)}`
    : showMs(report.ranMs)
  const events = report.events.map(({ atMs, what, error }) => {
    const refused =
      error === undefined ? '' : ` <span class="dim">(refused: ${escapeHtml(error.message)})</span>`
    return `<li>${showMs(atMs)}: ${escapeHtml(what)}${refused}</li>`
  })
  return `<section><h2>${escapeHtml(report.title)}</h2>
<p class="dim">${report.nodes} nodes, RF ${report.rf}, ${escapeHtml(report.nic)}, ${ran}, seed ${report.seed}, run ${report.hash}</p>
<div class="cards">${cards.map(([name, value]) => `<div class="card">${name}<b>${value}</b></div>`).join('')}</div>
<ol>${events.join('')}</ol></section>`
}

function showOptional(ms: number | undefined): string {
  return ms === undefined ? '-' : showMs(ms)
}

function drawn(drawing: Drawing, reports: readonly Report[]): string {
  const series = reports.map((report) =>
    drawing.lines.map(({ pick, ...line }): Line => ({ ...line, values: report.windows.map(pick) })),
  )
  const values = series.flatMap((lines) =>
    lines.flatMap((line) => line.values.filter((one) => one !== undefined)),
  )
  const largest = values.reduce((top, value) => Math.max(top, value), 0)
  const smallest = values.reduce((low, value) => Math.min(low, value), Number.POSITIVE_INFINITY)
  const scale = drawing.scale === 'bytes' ? linearScale(largest, true) : logScale(smallest, largest)
  // The same time axis on both sides, too.
  const durationMs = Math.max(...reports.map((report) => report.durationMs))
  const charts = reports.map((report, at) => {
    const title = reports.length === 1 ? drawing.title : `${drawing.title}: ${report.title}`
    const { windows, events } = report
    const options: ChartOptions = {
      title,
      // A class without an answer in either report has no line and no key.
      lines: series[at]!.filter((_, line) =>
        series.some((lines) => lines[line]!.values.some((value) => value !== undefined)),
      ),
      windows,
      durationMs,
      events,
      show: drawing.show,
      scale,
    }
    return lineChart(options)
  })
  return `<h2>${escapeHtml(drawing.title)}</h2><div class="side">${charts.join('')}</div>`
}
