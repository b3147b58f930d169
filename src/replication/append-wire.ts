/**
 * An append on the wire: u32 egroup, u32 generation, u32 offset, u32 flags (1: sync), then the frame. Binary, as it is on the
 * path of every write, and with many vDisks each write is a frame of its own.
 */
import { HitherError } from '../base/errors.ts'
import type { AppendRequest } from '../extent-store/types.ts'

const HEAD_BYTES = 16
const FLAG_SYNC = 1

export function encodeAppend({ egroup, generation, offset, sync, parts }: AppendRequest): Uint8Array[] {
  const head = new Uint8Array(HEAD_BYTES)
  const view = new DataView(head.buffer)
  view.setUint32(0, egroup, true)
  view.setUint32(4, generation, true)
  view.setUint32(8, offset, true)
  view.setUint32(12, sync ? FLAG_SYNC : 0, true)
  return [head, ...parts]
}

/** The frame is a view into `body`. Throws `PROTOCOL_ERROR`. */
export function decodeAppend(body: Uint8Array): AppendRequest {
  if (body.length < HEAD_BYTES) {
    throw new HitherError('PROTOCOL_ERROR', `an append of ${body.length} bytes has no head`)
  }
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
  const flags = view.getUint32(12, true)
  if ((flags & ~FLAG_SYNC) !== 0) {
    throw new HitherError('PROTOCOL_ERROR', `an append has flags that nobody knows: ${flags}`)
  }
  return {
    egroup: view.getUint32(0, true),
    generation: view.getUint32(4, true),
    offset: view.getUint32(8, true),
    sync: flags === FLAG_SYNC,
    parts: [body.subarray(HEAD_BYTES)],
  }
}
