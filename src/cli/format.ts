/** Numbers and tables for people to read. Pure: text in, text out. */
import type { Colors } from 'picocolors/types.js'
import { oneDecimal } from '../base/format-bytes.ts'

/** `97.6 %` of a ratio from 0 to 1; never rounds up to a 100 % that is not true. */
export function formatRatio(ratio: number): string {
  const percent = ratio < 1 ? Math.min(99.9, ratio * 100) : 100
  return `${oneDecimal(percent)} %`
}

/** `340 ms`, `4.1 s`, `2 min 5 s`, `3 h 20 min`. */
export function formatDuration(ms: number): string {
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${oneDecimal(ms / 1_000)} s`
  const seconds = Math.round(ms / 1_000)
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return seconds % 60 === 0 ? `${minutes} min` : `${minutes} min ${seconds % 60} s`
  return minutes % 60 === 0 ? `${minutes / 60} h` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`
}

/** `1,024`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US')
}

export interface Column {
  readonly title: string
  readonly align?: 'left' | 'right'
}

/** A cell may be painted; its width is that of `text`. */
export type Cell = string | { readonly text: string; readonly paint: (text: string) => string }

/** Columns two spaces apart, as wide as their longest cell. Ends without a newline. */
export function formatTable(
  columns: readonly Column[],
  rows: ReadonlyArray<readonly Cell[]>,
  colors: Colors,
): string {
  const widths = columns.map((column, at) =>
    Math.max(column.title.length, ...rows.map((row) => textOf(row[at]).length)),
  )
  const line = (cells: readonly Cell[], paintAll: (text: string) => string) =>
    cells
      .map((cell, at) => {
        const last = at === columns.length - 1
        return paintAll(padCell(cell, widths[at]!, columns[at]!.align ?? 'left', last))
      })
      .join('  ')
  const titles = columns.map((column) => column.title)
  return [line(titles, colors.bold), ...rows.map((row) => line(row, (text) => text))].join('\n')
}

/** Lines of `name  value`, the values aligned. Rows with an undefined value are left out. */
export function formatPairs(
  pairs: ReadonlyArray<readonly [name: string, value: string | undefined]>,
  colors: Colors,
): string {
  const width = Math.max(...pairs.map(([name]) => name.length))
  return pairs
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${colors.dim(name.padEnd(width))}  ${value}`)
    .join('\n')
}

function padCell(cell: Cell, width: number, align: 'left' | 'right', last: boolean): string {
  const text = textOf(cell)
  const painted = typeof cell === 'string' ? cell : cell.paint(cell.text)
  const space = ' '.repeat(width - text.length)
  if (align === 'right') return space + painted
  return last ? painted : painted + space
}

function textOf(cell: Cell | undefined): string {
  if (cell === undefined) return ''
  return typeof cell === 'string' ? cell : cell.text
}
