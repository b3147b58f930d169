/** One line of the table: what a job did in a cell. */
import { MiB } from '../../src/index.ts'
import type { Measured } from '../shared/measure.ts'
import type { ProfileSummary } from '../shared/profile.ts'
import { type Column, figure } from '../shared/table.ts'
import type { Cell } from './cell.ts'

export interface Row {
  readonly job: string
  readonly cell: Cell
  readonly iops: number
  readonly mbPerSecond: number
  readonly p50Us: number
  readonly p99Us: number
  readonly p999Us: number
  readonly maxUs: number
  readonly cpuUsPerIo: number
  readonly rssMiB: number
  readonly loopDelayMs: number
  /** Stored bytes of one copy ÷ written bytes. */
  readonly storedRatio: number
  readonly amplification: number
  readonly note: string
  /** With `--profile`, for jobs that are one kind of IO. */
  readonly profile?: ProfileSummary
}

export function rowOf(
  job: string,
  cell: Cell,
  bytesPerIo: number,
  measured: Measured,
  space: { storedRatio: number; amplification: number },
  note = '',
): Row {
  const { operations, seconds, latency } = measured
  const us = (percentile: number): number =>
    latency.count > 0 ? latency.percentile(percentile) / 1_000 : Number.NaN
  return {
    job,
    cell,
    iops: operations / seconds,
    mbPerSecond: (operations * bytesPerIo) / seconds / 1e6,
    p50Us: us(50),
    p99Us: us(99),
    p999Us: us(99.9),
    maxUs: latency.count > 0 ? latency.max / 1_000 : Number.NaN,
    cpuUsPerIo: measured.cpuUs / operations,
    rssMiB: measured.rssBytes / MiB,
    loopDelayMs: measured.loopDelayMs,
    ...space,
    note,
  }
}

const ratio = (value: number): string => (Number.isNaN(value) ? '' : value.toFixed(2))

export const ROW_COLUMNS: ReadonlyArray<Column<Row>> = [
  { title: 'job', of: (row) => row.job },
  { title: 'where', of: (row) => row.cell.location.replace(':', '') },
  { title: 'RF', of: (row) => row.cell.rf },
  { title: 'services', of: (row) => row.cell.services },
  { title: 'data', of: (row) => row.cell.data },
  { title: 'QD', of: (row) => row.cell.depth },
  { title: 'IOPS', of: (row) => row.iops },
  { title: 'MB/s', of: (row) => row.mbPerSecond },
  { title: 'p50 µs', of: (row) => row.p50Us },
  { title: 'p99', of: (row) => row.p99Us },
  { title: 'p99.9', of: (row) => row.p999Us },
  { title: 'max', of: (row) => row.maxUs },
  { title: 'CPU µs/IO', of: (row) => row.cpuUsPerIo },
  { title: 'RSS MiB', of: (row) => row.rssMiB },
  { title: 'loop ms', of: (row) => row.loopDelayMs },
  { title: 'stored', of: (row) => ratio(row.storedRatio) },
  { title: 'ampl.', of: (row) => ratio(row.amplification) },
  { title: '', of: (row) => row.note },
]

export function rowLine(row: Row): string {
  const { location, rf, services, depth, data } = row.cell
  return (
    `${row.job}, ${location} RF${rf} ${services} ${data} QD${depth}: ` +
    `${figure(row.iops)} IOPS, p99 ${figure(row.p99Us)} µs${row.note === '' ? '' : `, ${row.note}`}`
  )
}
