/**
 * How the catalog stores its keys in a KvLog: the value of each is its revision (u32 high, u32 low, little-endian), then
 * the caller's bytes. One more key, which no caller can name, holds in the same form the bound of used revisions.
 */

export const REVISION_KEY = '\0revision'

const REVISION_BYTES = 8

export function encodeStored(revision: number, value: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(REVISION_BYTES + value.length)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, Math.floor(revision / 2 ** 32), true)
  view.setUint32(4, revision >>> 0, true)
  bytes.set(value, REVISION_BYTES)
  return bytes
}

export function encodeBound(revision: number): Uint8Array {
  return encodeStored(revision, new Uint8Array(0))
}

/** `value` is a view of `bytes`. */
export function decodeStored(bytes: Uint8Array): { revision: number; value: Uint8Array } {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  return {
    revision: view.getUint32(0, true) * 2 ** 32 + view.getUint32(4, true),
    value: bytes.subarray(REVISION_BYTES),
  }
}
