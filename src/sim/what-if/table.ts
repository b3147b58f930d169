/** The report for a terminal. Two reports stand side by side: each line of a figure is there once for each plan. */
import { formatBytes } from '../../base/format-bytes.ts'
import { showCount, showMs } from './quantities.ts'
import {
  type AnswerClass,
  CLASSES,
  type LatencySummary,
  type Pause,
  type Report,
  type Traffic,
} from './report.ts'

export const CLASS_NAMES: Readonly<Record<AnswerClass, string>> = {
  readLocal: 'read, local',
  readRemote: 'read, remote',
  readRedirected: 'read, redirected',
  write: 'write',
}

/** Height of a column of a curve, from nothing to the largest. */
const BARS = ' ▁▂▃▄▅▆▇█'
const CURVE_WIDTH = 60
/** Stands for what there was none of. */
const NONE = '-'

type Row = readonly string[]

/** Of one report, or of several to compare. Ends without a newline. */
export function reportTable(reports: readonly Report[]): string {
  return [
    heads(reports),
    section('LATENCY', latencyRows(reports)),
    section('LATENCY BY PHASE', phaseLatencyRows(reports)),
    section('BYTES BY PHASE', trafficRows(reports)),
    section('PAUSES (longest time without any answer; longest time of one request)', pauseRows(reports)),
    section('FULL RF', fullRfRows(reports)),
    section('EVENTS', eventRows(reports)),
    section('SPACE', spaceRows(reports)),
    curves(reports),
    section('FAILED REQUESTS', failureRows(reports)),
  ]
    .filter((part) => part !== '')
    .join('\n\n')
}

/** What tells the plans apart in the first column: nothing for one, A and B for two. */
export function letterOf(reports: readonly Report[], at: number): string {
  return reports.length === 1 ? '' : String.fromCharCode(65 + at)
}

function heads(reports: readonly Report[]): string {
  return reports
    .map((report, at) => {
      const letter = letterOf(reports, at)
      const ran = report.interrupted
        ? `interrupted after ${showMs(report.ranMs)} of ${showMs(report.durationMs)}`
        : showMs(report.ranMs)
      const text = `${report.title}: ${report.nodes} nodes, RF ${report.rf}, ${report.nic}, ${ran}, seed ${report.seed}, run ${report.hash}`
      return letter === '' ? text : `${letter}  ${text}`
    })
    .join('\n')
}

/** Rows of every plan, the same figure next to each other, with the plan's letter in front. */
function interleave(reports: readonly Report[], rowsOf: (report: Report) => readonly Row[]): Row[] {
  const byPlan = reports.map(rowsOf)
  const length = Math.max(...byPlan.map((rows) => rows.length))
  const rows: Row[] = []
  for (let i = 0; i < length; i++) {
    for (const [at, plan] of byPlan.entries()) {
      const row = plan[i]
      if (row !== undefined) rows.push([letterOf(reports, at), ...row])
    }
  }
  return rows
}

/** Rows of one plan after those of the other, for figures that do not match line by line. */
function inTurn(reports: readonly Report[], rowsOf: (report: Report) => readonly Row[]): Row[] {
  return reports.flatMap((report, at) => rowsOf(report).map((row) => [letterOf(reports, at), ...row]))
}

function latencyRows(reports: readonly Report[]): Row[] {
  const rows = interleave(reports, (report) =>
    CLASSES.map((kind) => [CLASS_NAMES[kind], ...latencyCells(report.latency[kind])]),
  ).filter((row) => row[2] !== NONE)
  return [['', 'CLASS', 'ANSWERS', 'MEAN', 'P50', 'P90', 'P99', 'P99.9', 'MAX'], ...rows]
}

function phaseLatencyRows(reports: readonly Report[]): Row[] {
  if (reports.every((report) => report.phases.length < 2)) return []
  const rows = inTurn(reports, (report) =>
    report.phases.flatMap((phase) =>
      CLASSES.filter((kind) => phase.latency[kind] !== undefined).map((kind) => {
        const { count, p50Ms, p99Ms, maxMs } = phase.latency[kind]!
        const figures = [showCount(count), showMs(p50Ms), showMs(p99Ms), showMs(maxMs)]
        return [showMs(phase.fromMs), phase.label, CLASS_NAMES[kind], ...figures]
      }),
    ),
  )
  return [['', 'FROM', 'AFTER', 'CLASS', 'ANSWERS', 'P50', 'P99', 'MAX'], ...rows]
}

function latencyCells(latency: LatencySummary | undefined): string[] {
  if (latency === undefined) return [NONE]
  const { count, meanMs, p50Ms, p90Ms, p99Ms, p999Ms, maxMs } = latency
  return [showCount(count), ...[meanMs, p50Ms, p90Ms, p99Ms, p999Ms, maxMs].map(showMs)]
}

function trafficRows(reports: readonly Report[]): Row[] {
  const cells = (traffic: Traffic): string[] =>
    [
      traffic.localBytes,
      traffic.redBytes,
      traffic.greenBytes,
      traffic.purpleBytes,
      traffic.writtenBytes,
      traffic.backgroundBytes,
      traffic.externalBytes,
    ].map(formatBytes)
  const rows = inTurn(reports, (report) => [
    ...report.phases.map((phase) => [showMs(phase.fromMs), phase.label, ...cells(phase.traffic)]),
    ['', 'all', ...cells(report.traffic)],
  ])
  return [
    ['', 'FROM', 'AFTER', 'LOCAL', 'RED', 'GREEN', 'PURPLE', 'WRITTEN', 'BACKGROUND', 'NETWORK'],
    ...rows,
  ]
}

/** Of the VMs that an event did not hit, only the one with the longest pause. */
function pauseRows(reports: readonly Report[]): Row[] {
  const rows = inTurn(reports, (report) => {
    const events = new Set(report.pauses.map(eventKey))
    return [...events].flatMap((event) => {
      const pauses = report.pauses.filter((pause) => eventKey(pause) === event)
      const longest = (some: typeof pauses) => some.toSorted((a, b) => b.pauseMs - a.pauseMs)
      const hit = longest(pauses.filter((pause) => pause.hit))
      const others = longest(pauses.filter((pause) => !pause.hit)).slice(0, 1)
      return [...hit, ...others].map((pause) => [
        showMs(pause.atMs),
        pause.event,
        pause.hit ? pause.vm : `longest of the others: ${pause.vm}`,
        pause.ended ? showMs(pause.pauseMs) : `${showMs(pause.pauseMs)}, not over at the end`,
        showMs(pause.slowestMs),
      ])
    })
  })
  return rows.length === 0 ? [] : [['', 'AT', 'EVENT', 'VM', 'PAUSE', 'SLOWEST REQUEST'], ...rows]
}

function eventKey(pause: Pause): string {
  return `${pause.atMs} ${pause.event}`
}

function fullRfRows(reports: readonly Report[]): Row[] {
  const rows = inTurn(reports, (report) =>
    report.fullRf.map(({ atMs, event, peakBytes, restoredMs }) => [
      showMs(atMs),
      event,
      formatBytes(peakBytes),
      restoredText(peakBytes, restoredMs),
    ]),
  )
  return rows.length === 0 ? [] : [['', 'AT', 'EVENT', 'SHORT OF COPIES', 'FULL RF AGAIN'], ...rows]
}

export function restoredText(peakBytes: number, restoredMs: number | undefined): string {
  if (restoredMs === undefined) return 'not within the run'
  return peakBytes === 0 ? 'never lost' : `after ${showMs(restoredMs)}`
}

function eventRows(reports: readonly Report[]): Row[] {
  const rows = inTurn(reports, (report) =>
    report.events.map(({ atMs, what, tookMs, error }) => [
      showMs(atMs),
      what,
      error === undefined ? doneText(tookMs) : `refused: ${error.message} (${error.code})`,
    ]),
  )
  return rows.length === 0 ? [] : [['', 'AT', 'EVENT', 'OUTCOME'], ...rows]
}

function doneText(tookMs: number | undefined): string {
  return tookMs === undefined ? 'not done within the run' : `done in ${showMs(tookMs)}`
}

function spaceRows(reports: readonly Report[]): Row[] {
  const rows = interleave(reports, (report) => {
    const [first, last] = [report.windows[0], report.windows.at(-1)]
    if (first === undefined || last === undefined) return []
    const [before, after] = [first.space, last.space]
    const row = (name: string, from: number, to: number, size?: number): Row => [
      name,
      formatBytes(from),
      formatBytes(to),
      size === undefined ? '' : formatBytes(size),
    ]
    return [
      row('SSD', before.ssd.usedBytes, after.ssd.usedBytes, after.ssd.sizeBytes),
      row('HDD', before.hdd.usedBytes, after.hdd.usedBytes, after.hdd.sizeBytes),
      row('data of the vDisks', before.logicalBytes, after.logicalBytes),
      row('stored, all copies', before.storedBytes, after.storedBytes),
      row('partial copies', before.partialBytes, after.partialBytes),
    ]
  })
  return [['', 'WHAT', 'FIRST', 'LAST', 'OF'], ...rows]
}

function failureRows(reports: readonly Report[]): Row[] {
  const rows = inTurn(reports, (report) =>
    report.vms.flatMap(({ vm, failed, waiting }) => [
      ...failed.map(({ code, count }) => [vm, code, showCount(count)]),
      ...(waiting > 0 && !report.interrupted ? [[vm, 'not answered at the end', showCount(waiting)]] : []),
    ]),
  )
  return rows.length === 0 ? [] : [['', 'VM', 'WHY', 'REQUESTS'], ...rows]
}

/** Small curves over the time of the run; the largest value of any plan fills the height. */
function curves(reports: readonly Report[]): string {
  const lines: Row[] = []
  const add = (name: string, pick: (report: Report) => number[], show: (value: number) => string) => {
    const values = reports.map(pick)
    const top = Math.max(...values.flat(), 0)
    if (top === 0) return
    for (const [at, series] of values.entries()) {
      lines.push([letterOf(reports, at), name, `|${spark(series, top)}|`, `top ${show(top)}`])
    }
  }
  const windows = (pick: (window: Report['windows'][number]) => number) => (report: Report) =>
    report.windows.map(pick)
  add(
    'red',
    windows(({ traffic }) => traffic.redBytes),
    formatBytes,
  )
  add(
    'green',
    windows(({ traffic }) => traffic.greenBytes),
    formatBytes,
  )
  add(
    'purple',
    windows(({ traffic }) => traffic.purpleBytes),
    formatBytes,
  )
  add(
    'write p99',
    windows(({ latency }) => latency.write?.p99Ms ?? 0),
    showMs,
  )
  add(
    'short of copies',
    windows(({ space }) => space.underReplicatedBytes),
    formatBytes,
  )
  add(
    'SSD used',
    windows(({ space }) => space.ssd.usedBytes),
    formatBytes,
  )
  add(
    'HDD used',
    windows(({ space }) => space.hdd.usedBytes),
    formatBytes,
  )
  return section('OVER TIME', [['', 'CURVE', '', ''], ...lines])
}

/** The values squeezed into `CURVE_WIDTH` columns, each showing the largest of its stretch. */
function spark(values: readonly number[], top: number): string {
  const width = Math.min(CURVE_WIDTH, values.length)
  let text = ''
  for (let at = 0; at < width; at++) {
    const from = Math.floor((at * values.length) / width)
    const to = Math.floor(((at + 1) * values.length) / width)
    text += BARS[Math.ceil((Math.max(...values.slice(from, to)) / top) * (BARS.length - 1))]
  }
  return text
}

/** Titles in the first row; a section without further rows is left out. An empty first column goes. */
function section(title: string, rows: readonly Row[]): string {
  if (rows.length < 2) return ''
  const kept = rows.every((row) => row[0] === '') ? rows.map((row) => row.slice(1)) : rows
  const widths = kept[0]!.map((_, at) => Math.max(...kept.map((row) => (row[at] ?? '').length)))
  const lines = kept.map((row) => `  ${row.map((cell, at) => cell.padEnd(widths[at]!)).join('  ')}`.trimEnd())
  return [title, ...lines].join('\n')
}
