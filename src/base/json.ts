/** JSON as bytes, for the small and slow values of the catalog and of control messages. */
import { type ErrorCode, HitherError } from './errors.ts'

const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

/** The bytes of `value`, owned by the caller. A value that JSON cannot carry is refused with `BAD_ARGUMENT`. */
export function encodeJson(value: unknown): Uint8Array {
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new HitherError('BAD_ARGUMENT', 'a value cannot be written as JSON', { cause })
  }
  if (text === undefined) {
    throw new HitherError('BAD_ARGUMENT', `a value of type ${typeof value} cannot be written as JSON`)
  }
  return encoder.encode(text)
}

/**
 * The value in `bytes`. Only the syntax is checked, the shape is the writer's promise. Bytes that are not JSON are
 * refused with `code`: a peer's with `PROTOCOL_ERROR`, the catalog's with `CATALOG_CORRUPT`.
 */
export function decodeJson<T>(bytes: Uint8Array, code: ErrorCode = 'PROTOCOL_ERROR'): T {
  try {
    return JSON.parse(decoder.decode(bytes)) as T
  } catch (cause) {
    throw new HitherError(code, `${bytes.length} bytes are not JSON`, { cause })
  }
}
