/**
 * What a VM asks of its disk: one request after the other, from a seed. When to ask is the business of guest.ts.
 * Only arithmetic that is exact everywhere: the same requests on every machine and Node version.
 */
import { BLOCK_BYTES, KiB } from '../../base/units.ts'
import type { Random } from '../../platform/types.ts'
import type { VmPlan } from './plan.ts'

export interface Request {
  readonly write: boolean
  readonly offset: number
  readonly length: number
}

/** Requests of a recorded trace by column, as the reader of trace files gives them; blocks are 4 KiB. */
export interface TraceColumns {
  readonly length: number
  /** First block. */
  readonly start: ArrayLike<number>
  /** Blocks, at least 1. */
  readonly count: ArrayLike<number>
  /** 1 for a write. */
  readonly write: ArrayLike<number>
  /** Milliseconds since the first request. */
  readonly timeMs: ArrayLike<number>
}

/** Draws of a share are made in this many steps. */
const SHARE_STEPS = 1_000_000
/** A boot reads files: runs of so many requests, 32 KiB to 1 MiB with the default block. */
const BOOT_RUN_MAX = 32
const BOOT_WRITE_BYTES = 4 * KiB
/** One request is at most this long, whatever a trace says. */
const REQUEST_BYTES_MAX = 4 * 2 ** 20

/** The next request, for ever. For every workload but `trace`. */
export function requestsOf(plan: VmPlan, random: Random): () => Request {
  const { blockBytes: length, workingSetBytes } = plan
  const places = Math.floor(workingSetBytes / length)
  const isWrite = (): boolean => random.below(SHARE_STEPS) >= plan.readShare * SHARE_STEPS
  if (plan.workload === 'sequential') {
    let place = -1
    return () => {
      place = (place + 1) % places
      return { write: isWrite(), offset: place * length, length }
    }
  }
  if (plan.workload === 'oltp') {
    const draw = zipf(places, random)
    return () => ({ write: isWrite(), offset: draw() * length, length })
  }
  if (plan.workload === 'boot') return bootRequests(plan, places, random, isWrite)
  return () => ({ write: isWrite(), offset: random.below(places) * length, length })
}

/** A request of a trace, folded into the working set of the VM. */
export function requestOfTrace(trace: TraceColumns, at: number, workingSetBytes: number): Request {
  const wanted = Math.min(trace.count[at]! * BLOCK_BYTES, REQUEST_BYTES_MAX, workingSetBytes)
  const from = (trace.start[at]! * BLOCK_BYTES) % workingSetBytes
  return { write: trace.write[at] === 1, offset: Math.min(from, workingSetBytes - wanted), length: wanted }
}

function bootRequests(plan: VmPlan, places: number, random: Random, isWrite: () => boolean): () => Request {
  const length = plan.blockBytes
  let place = 0
  let left = 0
  return () => {
    if (isWrite()) {
      const written = Math.min(BOOT_WRITE_BYTES, length)
      const offset = random.below(Math.floor(plan.workingSetBytes / written)) * written
      return { write: true, offset, length: written }
    }
    if (left === 0) {
      place = random.below(places)
      left = 1 + random.below(BOOT_RUN_MAX)
    }
    left--
    const offset = place * length
    place = (place + 1) % places
    return { write: false, offset, length }
  }
}

/**
 * Zipf with exponent 1: the k-th most popular of `count` places comes 1/k as often as the first. The popular places
 * lie scattered over the range.
 */
function zipf(count: number, random: Random): () => number {
  const cumulative = new Float64Array(count)
  const place = new Uint32Array(count)
  let sum = 0
  for (let rank = 0; rank < count; rank++) {
    sum += 1 / (rank + 1)
    cumulative[rank] = sum
    const other = random.below(rank + 1)
    place[rank] = place[other]!
    place[other] = rank
  }
  return () => {
    const point = (random.u32() / 2 ** 32) * sum
    let low = 0
    let high = count - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if (cumulative[middle]! > point) high = middle
      else low = middle + 1
    }
    return place[low]!
  }
}

/** Fills with bytes of which the share `compressible` of each 4 KiB block is zeros: no two blocks are equal. */
export function fillContent(target: Uint8Array, compressible: number, random: Random): void {
  const dense = Math.max(4, Math.round(BLOCK_BYTES * (1 - compressible)))
  for (let block = 0; block < target.length; block += BLOCK_BYTES) {
    const end = Math.min(target.length, block + dense)
    let state = random.u32() | 1
    for (let at = block; at < end; at++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      target[at] = state
    }
  }
}
