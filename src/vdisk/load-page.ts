/** Loads one map page from the log, through the same verified and repairing reader as data. */
import { HitherError } from '../base/errors.ts'
import type { PageRef } from '../cluster/records.ts'
import { KIND_PAGE } from '../extent-store/types.ts'
import type { SliceReader } from '../replication/slice-reader.ts'
import { PAGE_BYTES, PAGE_WORDS } from './page-map.ts'
import { decodeSlice } from './reduce.ts'

export async function loadPageWords(reader: SliceReader, ref: PageRef): Promise<Uint32Array> {
  const slice = (await reader.read(ref.egroup, [ref.slot])).slices[0]!
  if (slice.kind !== KIND_PAGE || slice.rawBytes !== PAGE_BYTES) {
    throw new HitherError('INTERNAL', `slot ${ref.slot} of egroup ${ref.egroup} is no map page`)
  }
  const raw = decodeSlice(slice)
  const words = new Uint32Array(PAGE_WORDS)
  new Uint8Array(words.buffer).set(raw.subarray(0, PAGE_BYTES))
  return words
}
