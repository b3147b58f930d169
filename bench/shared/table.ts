/** Tables for terminals and for Markdown: columns as wide as they need to be, numbers to the right. */

export interface Column<Row> {
  readonly title: string
  readonly of: (row: Row) => string | number
}

/** For a terminal. */
export function textTable<Row>(columns: ReadonlyArray<Column<Row>>, rows: readonly Row[]): string {
  const lines = [columns.map(({ title }) => title), ...rows.map((row) => cellsOf(columns, row))]
  const widths = columns.map((_, i) => Math.max(...lines.map((line) => line[i]!.length)))
  const right = columns.map(({ of }) => rows.length > 0 && rows.every((row) => typeof of(row) === 'number'))
  return lines
    .map((line) =>
      line
        .map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** The same as a table of GitHub's Markdown. */
export function markdownTable<Row>(columns: ReadonlyArray<Column<Row>>, rows: readonly Row[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`
  const right = columns.map(({ of }) => rows.length > 0 && rows.every((row) => typeof of(row) === 'number'))
  return [
    line(columns.map(({ title }) => title)),
    `|${right.map((isRight) => (isRight ? '--:' : '---')).join('|')}|`,
    ...rows.map((row) => line(cellsOf(columns, row))),
  ].join('\n')
}

/** Three significant digits, thousands apart. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '–'
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.abs(value) || 1)))
  return value.toLocaleString('en-US', { maximumFractionDigits: Math.min(3, digits), useGrouping: true })
}

function cellsOf<Row>(columns: ReadonlyArray<Column<Row>>, row: Row): string[] {
  return columns.map(({ of }) => {
    const value = of(row)
    return typeof value === 'number' ? figure(value) : value
  })
}
