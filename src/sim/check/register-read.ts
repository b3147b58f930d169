/** What a read returned, taken apart into cells, and the report when it cannot be. */
import { BLOCK_CELLS, CELL, readCell } from './contents.ts'
import type { Fault } from './register-cell.ts'

export interface Violation {
  readonly cell: number
  /**
   * `garbage`: bytes of no value. `nowhere`: a value never written there. `early`: read before its write began.
   * `stale`: overwritten before the read began. `inversion`: a newer value had been read before. `refused`: a write
   * that was said to have no effect. `snapshot`: a snapshot that changed. `length`: not as many bytes as asked for.
   */
  readonly kind: Fault['kind'] | 'garbage' | 'snapshot' | 'length'
  /** For people: the read and the history of the cell. */
  readonly message: string
}

/** Takes the cells of a read apart and judges each; the first violation. */
export function judgeBytes(
  firstCell: number,
  count: number,
  bytes: Uint8Array,
  judge: (cell: number, value: number) => Violation | undefined,
): Violation | undefined {
  if (bytes.length !== count * CELL) {
    const message = `${placeOf(firstCell)}: a read of ${count * CELL} bytes returned ${bytes.length}.`
    return { cell: firstCell, kind: 'length', message }
  }
  for (let i = 0; i < count; i++) {
    const cell = firstCell + i
    const value = readCell(bytes, i * CELL, cell)
    if (value < 0) {
      const start = Buffer.from(bytes.subarray(i * CELL, i * CELL + 16)).toString('hex')
      return {
        cell,
        kind: 'garbage',
        message: `${placeOf(cell)}: a read returned bytes that nobody wrote: ${start}….`,
      }
    }
    const violation = judge(cell, value)
    if (violation !== undefined) return violation
  }
  return undefined
}

export function placeOf(cell: number): string {
  return `cell ${cell} (block ${Math.floor(cell / BLOCK_CELLS)}, byte ${cell * CELL})`
}
