/**
 * Slices on the wire: per slice 32 bytes (u32 slot, u32 status, u32 codec, u32 kind, u32 raw bytes,
 * u32 stored bytes, the two halves of the checksum), followed by all stored bytes in the same order. A list of what slots
 * there are has 12 bytes for each (u32 slot, u32 stored bytes, u32 kind): a full egroup has a thousand, and as JSON they
 * held their thread up for milliseconds.
 */
import { HitherError } from '../base/errors.ts'
import type { SliceRead, SlotSummary, StoredSlice } from '../extent-store/types.ts'

const HEAD_BYTES = 32
const SUMMARY_BYTES = 12
const STATUS_OK = 0
const STATUS_MISSING = 1
const STATUS_CORRUPT = 2

export function encodeSliceReads(reads: readonly SliceRead[]): Uint8Array[] {
  const head = new Uint8Array(reads.length * HEAD_BYTES)
  const view = new DataView(head.buffer)
  const parts: Uint8Array[] = [head]
  for (let i = 0; i < reads.length; i++) {
    const read = reads[i]!
    const at = i * HEAD_BYTES
    if (read.status !== 'ok') {
      view.setUint32(at, read.slot, true)
      view.setUint32(at + 4, read.status === 'missing' ? STATUS_MISSING : STATUS_CORRUPT, true)
      continue
    }
    const slice = read.slice
    view.setUint32(at, slice.slot, true)
    view.setUint32(at + 4, STATUS_OK, true)
    view.setUint32(at + 8, slice.codec, true)
    view.setUint32(at + 12, slice.kind, true)
    view.setUint32(at + 16, slice.rawBytes, true)
    view.setUint32(at + 20, slice.bytes.length, true)
    view.setUint32(at + 24, slice.checksumHi, true)
    view.setUint32(at + 28, slice.checksumLo, true)
    parts.push(slice.bytes)
  }
  return parts
}

/** The slices' bytes are views into `body`. */
export function decodeSliceReads(body: Uint8Array, count: number): SliceRead[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  let at = count * HEAD_BYTES
  if (!Number.isInteger(count) || count < 0 || at > body.length) throw malformed()
  const reads: SliceRead[] = []
  for (let i = 0; i < count; i++) {
    const head = i * HEAD_BYTES
    const slot = view.getUint32(head, true)
    const status = view.getUint32(head + 4, true)
    if (status !== STATUS_OK) {
      reads.push({ status: status === STATUS_MISSING ? 'missing' : 'corrupt', slot })
      continue
    }
    const storedBytes = view.getUint32(head + 20, true)
    if (at + storedBytes > body.length) throw malformed()
    const slice: StoredSlice = {
      slot,
      codec: view.getUint32(head + 8, true),
      kind: view.getUint32(head + 12, true),
      rawBytes: view.getUint32(head + 16, true),
      checksumHi: view.getUint32(head + 24, true),
      checksumLo: view.getUint32(head + 28, true),
      bytes: body.subarray(at, at + storedBytes),
    }
    reads.push({ status: 'ok', slice })
    at += storedBytes
  }
  return reads
}

export function encodeSlotSummaries(slots: readonly SlotSummary[]): Uint8Array {
  const bytes = new Uint8Array(slots.length * SUMMARY_BYTES)
  const view = new DataView(bytes.buffer)
  let at = 0
  for (const { slot, storedBytes, kind } of slots) {
    view.setUint32(at, slot, true)
    view.setUint32(at + 4, storedBytes, true)
    view.setUint32(at + 8, kind, true)
    at += SUMMARY_BYTES
  }
  return bytes
}

export function decodeSlotSummaries(body: Uint8Array): SlotSummary[] {
  if (body.length % SUMMARY_BYTES !== 0) throw malformed()
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const slots: SlotSummary[] = []
  for (let at = 0; at < body.length; at += SUMMARY_BYTES) {
    slots.push({
      slot: view.getUint32(at, true),
      storedBytes: view.getUint32(at + 4, true),
      kind: view.getUint32(at + 8, true),
    })
  }
  return slots
}

function malformed(): HitherError {
  return new HitherError('PROTOCOL_ERROR', 'a message of slices is shorter than it claims')
}
