/**
 * Reads slots of a copy. Slots that lie near each other in the log are fetched with one device read; runs are read in
 * parallel. Every slice is verified before it is handed out: a wrong checksum or a device error makes it `corrupt`,
 * and the caller reads another copy and repairs this one.
 */
import { codeOf } from '../base/errors.ts'
import { hashMatches } from '../base/hash.ts'
import { type EgroupId, KiB, MiB, type SlotIndex as SlotNumber } from '../base/units.ts'
import type { Copy } from './copy.ts'
import { metaCodec, metaKind } from './frame-format.ts'
import { copyWithIndex } from './load-index.ts'
import type { Placement } from './placement.ts'
import { copyOf, isSparse, readBuffer, runMemory } from './read-buffers.ts'
import type { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { SliceRead } from './types.ts'

/** Bytes read for nothing that are cheaper than a second read. */
const GAP_BYTES_MAX = 16 * KiB
const RUN_BYTES_MAX = MiB

/** One slot that was asked for: where the answer goes, and its row of the index. */
interface Wanted {
  readonly at: number
  readonly row: number
}

/**
 * In the order asked for. The bytes belong to the caller, for a short time (read-buffers.ts); slices share buffers. Callbacks, not
 * `async` functions: it is on the path of every read that is not cached. Throws when the copy is not here.
 */
export function readSlots(
  context: StoreContext,
  egroup: EgroupId,
  slots: readonly SlotNumber[],
): Promise<SliceRead[]> {
  const copy = context.copyOf(egroup)
  const { index } = copy
  return index === undefined ? loadAndRead(context, egroup, slots) : readIndexed(context, copy, index, slots)
}

async function loadAndRead(
  context: StoreContext,
  egroup: EgroupId,
  slots: readonly SlotNumber[],
): Promise<SliceRead[]> {
  let loaded: { readonly copy: Copy; readonly index: SlotIndex }
  try {
    loaded = await copyWithIndex(context, egroup)
  } catch (error) {
    if (codeOf(error) === 'CVM_DOWN') throw error
    // Throws when the copy is gone. Else its index cannot be read: like any read error, that is to be repaired.
    context.copyOf(egroup)
    return slots.map((slot) => ({ status: 'corrupt', slot }))
  }
  return readIndexed(context, loaded.copy, loaded.index, slots)
}

function readIndexed(
  context: StoreContext,
  copy: Copy,
  index: SlotIndex,
  slots: readonly SlotNumber[],
): Promise<SliceRead[]> {
  if (!copy.isOpen) context.indexes.touch(copy)
  const answers: SliceRead[] = new Array(slots.length)
  const wanted: Wanted[] = []
  for (let at = 0; at < slots.length; at++) {
    const slot = slots[at]!
    const row = index.find(slot)
    if (row >= 0) wanted.push({ at, row })
    else answers[at] = { status: index.complete ? 'missing' : 'corrupt', slot }
  }
  if (wanted.length === 0) return Promise.resolve(answers)
  if (wanted.length > 1) wanted.sort((a, b) => index.offset(a.row) - index.offset(b.row))
  const { placement } = copy
  const runs: Promise<unknown>[] = []
  placement.pin()
  for (let first = 0; first < wanted.length; ) {
    const next = runEnd(index, wanted, first)
    runs.push(readRun(copy, placement, index, wanted, first, next, answers))
    first = next
  }
  const all = runs.length === 1 ? runs[0]! : Promise.all(runs)
  return all.then(
    () => {
      placement.unpin()
      return answers
    },
    (error: unknown) => {
      placement.unpin()
      throw error
    },
  )
}

/** End of the run of `wanted`, which is in the order of the log, that begins at `first` and is read with one call. */
function runEnd(index: SlotIndex, wanted: readonly Wanted[], first: number): number {
  const start = index.offset(wanted[first]!.row)
  let end = start + index.storedBytes(wanted[first]!.row)
  let next = first + 1
  for (; next < wanted.length; next++) {
    const { row } = wanted[next]!
    const offset = index.offset(row)
    const sliceEnd = offset + index.storedBytes(row)
    if (offset - end > GAP_BYTES_MAX || sliceEnd - start > RUN_BYTES_MAX) break
    end = Math.max(end, sliceEnd)
  }
  return next
}

function readRun(
  copy: Copy,
  placement: Placement,
  index: SlotIndex,
  wanted: readonly Wanted[],
  first: number,
  next: number,
  answers: SliceRead[],
): Promise<void> {
  const start = index.offset(wanted[first]!.row)
  let end = start
  let wantedBytes = 0
  for (let i = first; i < next; i++) {
    const { row } = wanted[i]!
    wantedBytes += index.storedBytes(row)
    end = Math.max(end, index.offset(row) + index.storedBytes(row))
  }
  const sparse = isSparse(end - start, wantedBytes)
  const buffer = sparse ? runMemory.take(end - start) : readBuffer(end - start)
  const answer = (failed: boolean): void => {
    for (let i = first; i < next; i++) {
      const { at, row } = wanted[i]!
      answers[at] = sliceAt(index, row, buffer, index.offset(row) - start, failed, sparse)
    }
  }
  return copy.device.read(placement, start, buffer).then(
    () => {
      answer(false)
      if (sparse) runMemory.giveBack(buffer)
    },
    (error: unknown) => {
      // A CVM that dies while it reads knows nothing about the copy.
      if (codeOf(error) === 'CVM_DOWN') throw error
      answer(true)
    },
  )
}

/**
 * The slice of a row, whose bytes are in `buffer` from `from`, if they are what they should be.
 * @param copied the slice is not to share `buffer`
 */
function sliceAt(
  index: SlotIndex,
  row: number,
  buffer: Uint8Array,
  from: number,
  failed: boolean,
  copied: boolean,
): SliceRead {
  const storedBytes = index.storedBytes(row)
  const slot = index.slot(row)
  const checksumHi = index.checksumHi(row)
  const checksumLo = index.checksumLo(row)
  if (failed || !hashMatches(buffer, from, storedBytes, checksumHi, checksumLo)) {
    return { status: 'corrupt', slot }
  }
  const meta = index.meta(row)
  return {
    status: 'ok',
    slice: {
      slot,
      codec: metaCodec(meta),
      kind: metaKind(meta),
      rawBytes: index.rawBytes(row),
      checksumHi,
      checksumLo,
      bytes: copied ? copyOf(buffer, from, storedBytes) : buffer.subarray(from, from + storedBytes),
    },
  }
}
