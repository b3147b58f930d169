/**
 * What threads share while they pack the slices of one write: what there is to do, and the input. The output is each
 * thread's own, and goes from one to the other when it is complete: copies out of shared memory take several times as long.
 *
 * Whoever decrements `left` to n ≥ 0 has taken slice n and packs it. That of a stage that has nothing to do is 0 or less, so
 * a thread that comes late finds nothing. What a thread has put into a row is read when its output has come.
 */
import { packSlice } from '../../base/codec.ts'
import { hashOut } from '../../base/hash.ts'
import type { PackedSlices, SliceRange } from '../types.ts'

/** Words of the row of each slice. */
export const STAGE_WORDS = { ROW: 6, AT: 0, RAW: 1, STORED: 2, HIGH: 3, LOW: 4, BY: 5 } as const
const { ROW, AT, RAW, STORED, HIGH, LOW, BY } = STAGE_WORDS

/** Number of the thread that owns the stages, in the rows of what it packs; workers count from 1. */
const OWNER = 0

export interface StageMemory {
  /** Slices that nobody has taken. */
  readonly left: Int32Array
  readonly rows: Uint32Array
  readonly input: Uint8Array
}

export class PackStage implements PackedSlices {
  readonly id: number
  readonly memory: StageMemory
  /** To be called when the last slice is packed. */
  onPacked: (() => void) | undefined
  private readonly onReleased: (stage: PackStage) => void
  private slices = 0
  private done = 0
  /** By number of the thread; at the same places as the input. */
  private readonly outputs: (Uint8Array | undefined)[]

  constructor(id: number, bytes: number, slicesMax: number, onReleased: (stage: PackStage) => void) {
    this.id = id
    this.onReleased = onReleased
    this.memory = {
      left: new Int32Array(new SharedArrayBuffer(4)),
      rows: new Uint32Array(new SharedArrayBuffer(slicesMax * ROW * 4)),
      input: new Uint8Array(new SharedArrayBuffer(bytes)),
    }
    this.outputs = [new Uint8Array(bytes)]
  }

  /** Copies the slices in. */
  fill(data: Uint8Array, slices: readonly SliceRange[]): void {
    const { rows, input } = this.memory
    let at = 0
    for (const [slice, { offset, bytes }] of slices.entries()) {
      const row = slice * ROW
      rows[row + AT] = at
      rows[row + RAW] = bytes
      input.set(data.subarray(offset, offset + bytes), at)
      at += bytes
    }
    this.slices = slices.length
    this.done = 0
  }

  /** From here on any thread may take slices. */
  share(): void {
    Atomics.store(this.memory.left, 0, this.slices)
  }

  /** Packs a slice, unless other threads have taken all. */
  packOne(): 'taken' | 'packed' | 'last' {
    const slice = Atomics.sub(this.memory.left, 0, 1) - 1
    if (slice < 0) return 'taken'
    this.pack(slice)
    return this.isLast(1) ? 'last' : 'packed'
  }

  /** A worker has packed `count` slices into `output`. `true`: they were the last. */
  receive(worker: number, count: number, output: Uint8Array): boolean {
    this.outputs[worker] = output
    return this.isLast(count)
  }

  /** Packs all slices, whoever had taken them: their threads are gone, or were never told. */
  packAll(): void {
    Atomics.store(this.memory.left, 0, 0)
    this.outputs.length = 1
    for (let slice = 0; slice < this.slices; slice++) this.pack(slice)
  }

  /** What the worker had put its slices into, to be used again. */
  takeOutput(worker: number): Uint8Array | undefined {
    const output = this.outputs[worker]
    this.outputs[worker] = undefined
    return output
  }

  private isLast(count: number): boolean {
    this.done += count
    return this.done === this.slices
  }

  private pack(slice: number): void {
    const { rows, input } = this.memory
    const row = slice * ROW
    const at = rows[row + AT]!
    rows[row + STORED] = packSlice(input, at, rows[row + RAW]!, this.outputs[OWNER]!, at)
    rows[row + HIGH] = hashOut[0]!
    rows[row + LOW] = hashOut[1]!
    rows[row + BY] = OWNER
  }

  bytes(slice: number): Uint8Array {
    const { rows } = this.memory
    const row = slice * ROW
    const at = rows[row + AT]!
    return this.outputs[rows[row + BY]!]!.subarray(at, at + rows[row + STORED]!)
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
