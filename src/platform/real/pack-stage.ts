/**
 * Memory that threads share while they pack the slices of one write: what there is to do, input, output.
 *
 * Whoever decrements `LEFT` to n ≥ 0 has taken slice n, packs it, and adds one to `DONE`; whose addition makes it `COUNT`
 * was the last, and tells. Both are atomic, which orders all other accesses. `LEFT` of a stage that has nothing to do
 * is 0 or less, so a thread that comes late finds nothing.
 */
import { packSlice } from '../../base/codec.ts'
import { hashOut } from '../../base/hash.ts'
import type { PackedSlices, SliceRange } from '../types.ts'

/** Words of the head, and of the row of each slice. */
export const STAGE_WORDS = {
  LEFT: 0,
  DONE: 1,
  COUNT: 2,
  ROW: 5,
  AT: 0,
  RAW: 1,
  STORED: 2,
  HIGH: 3,
  LOW: 4,
} as const
const { LEFT, DONE, COUNT, ROW, AT, RAW, STORED, HIGH, LOW } = STAGE_WORDS

export interface StageMemory {
  readonly head: Int32Array
  readonly rows: Uint32Array
  readonly input: Uint8Array
  readonly output: Uint8Array
}

export class PackStage implements PackedSlices {
  readonly id: number
  readonly memory: StageMemory
  /** To be called when another thread has packed the last slice. */
  onPacked: (() => void) | undefined
  private readonly onReleased: (stage: PackStage) => void

  constructor(id: number, bytes: number, slices: number, onReleased: (stage: PackStage) => void) {
    this.id = id
    this.onReleased = onReleased
    this.memory = {
      head: new Int32Array(new SharedArrayBuffer(3 * 4)),
      rows: new Uint32Array(new SharedArrayBuffer(slices * ROW * 4)),
      input: new Uint8Array(new SharedArrayBuffer(bytes)),
      output: new Uint8Array(new SharedArrayBuffer(bytes)),
    }
  }

  /** Copies the slices in. From here on any thread may take them. */
  fill(data: Uint8Array, slices: readonly SliceRange[]): void {
    const { head, rows, input } = this.memory
    let at = 0
    for (const [slice, { offset, bytes }] of slices.entries()) {
      const row = slice * ROW
      rows[row + AT] = at
      rows[row + RAW] = bytes
      input.set(data.subarray(offset, offset + bytes), at)
      at += bytes
    }
    head[COUNT] = slices.length
    Atomics.store(head, DONE, 0)
    Atomics.store(head, LEFT, slices.length)
  }

  /** Packs a slice, unless other threads have taken all. `last`: it was the last that was not done. */
  packOne(): 'taken' | 'packed' | 'last' {
    const { head } = this.memory
    const slice = Atomics.sub(head, LEFT, 1) - 1
    if (slice < 0) return 'taken'
    this.pack(slice)
    return Atomics.add(head, DONE, 1) + 1 === head[COUNT] ? 'last' : 'packed'
  }

  /** Packs all slices, whoever had taken them: their threads are gone. */
  packAll(): void {
    const { head } = this.memory
    Atomics.store(head, LEFT, 0)
    for (let slice = 0; slice < head[COUNT]!; slice++) this.pack(slice)
  }

  private pack(slice: number): void {
    const { rows, input, output } = this.memory
    const row = slice * ROW
    const at = rows[row + AT]!
    rows[row + STORED] = packSlice(input, at, rows[row + RAW]!, output, at)
    rows[row + HIGH] = hashOut[0]!
    rows[row + LOW] = hashOut[1]!
  }

  bytes(slice: number): Uint8Array {
    const { rows, output } = this.memory
    const at = rows[slice * ROW + AT]!
    return output.subarray(at, at + rows[slice * ROW + STORED]!)
  }

  checksumHi(slice: number): number {
    return this.memory.rows[slice * ROW + HIGH]!
  }

  checksumLo(slice: number): number {
    return this.memory.rows[slice * ROW + LOW]!
  }

  release(): void {
    this.onReleased(this)
  }
}
