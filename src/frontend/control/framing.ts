/**
 * Messages of the control protocol to bytes and back. The reader is fed whatever the socket delivers and hands out the
 * messages that are complete; it holds at most one line and one payload, both bounded.
 */
import { HitherError } from '../../base/errors.ts'

export interface Message {
  readonly header: Readonly<Record<string, unknown>>
  /** The receiver owns it. */
  readonly payload: Uint8Array | undefined
}

const NEWLINE = 0x0a
const utf8 = new TextDecoder('utf-8', { fatal: true })

/** The parts to send, in order. The payload is not copied: leave it alone until the message is answered. */
export function encodeMessage(header: object, payload?: Uint8Array): Uint8Array[] {
  if (payload === undefined) return [Buffer.from(`${JSON.stringify(header)}\n`)]
  return [Buffer.from(`${JSON.stringify({ ...header, bytes: payload.byteLength })}\n`), payload]
}

export class MessageReader {
  readonly #lineBytesMax: number
  readonly #payloadBytesMax: number
  #lineParts: Uint8Array[] = []
  #lineBytes = 0
  /** Of the message whose payload is being received. */
  #header: Record<string, unknown> | undefined
  #payload: Uint8Array | undefined
  #payloadFilled = 0

  constructor(limits: { lineBytesMax: number; payloadBytesMax: number }) {
    this.#lineBytesMax = limits.lineBytesMax
    this.#payloadBytesMax = limits.payloadBytesMax
  }

  /**
   * Takes the next bytes of the connection and calls `receive` for each message that they complete. Throws
   * `PROTOCOL_ERROR` on malformed input, after the messages before it were delivered; the connection is over then.
   */
  push(chunk: Uint8Array, receive: (message: Message) => void): void {
    let at = 0
    while (at < chunk.byteLength) {
      at = this.#header === undefined ? this.#takeLine(chunk, at) : this.#takePayload(chunk, at)
      const header = this.#header
      const payload = this.#payload
      if (header === undefined) continue
      if (payload !== undefined && this.#payloadFilled < payload.byteLength) continue
      this.#header = undefined
      this.#payload = undefined
      receive({ header, payload })
    }
  }

  #takeLine(chunk: Uint8Array, start: number): number {
    const newline = chunk.indexOf(NEWLINE, start)
    const end = newline < 0 ? chunk.byteLength : newline
    this.#lineBytes += end - start
    if (this.#lineBytes > this.#lineBytesMax) {
      throw new HitherError('PROTOCOL_ERROR', `a line is longer than ${this.#lineBytesMax} bytes`)
    }
    this.#lineParts.push(chunk.subarray(start, end))
    if (newline < 0) return end
    const line = this.#lineParts.length === 1 ? this.#lineParts[0]! : Buffer.concat(this.#lineParts)
    this.#lineParts = []
    this.#lineBytes = 0
    this.#takeHeader(parseLine(line))
    return end + 1
  }

  #takeHeader(header: Record<string, unknown>): void {
    this.#header = header
    const bytes = header['bytes']
    if (bytes === undefined) return
    if (!Number.isSafeInteger(bytes) || (bytes as number) < 0 || (bytes as number) > this.#payloadBytesMax) {
      throw new HitherError('PROTOCOL_ERROR', `"bytes" must be 0 to ${this.#payloadBytesMax}`)
    }
    this.#payload = Buffer.allocUnsafeSlow(bytes as number)
    this.#payloadFilled = 0
  }

  #takePayload(chunk: Uint8Array, start: number): number {
    const payload = this.#payload!
    const end = Math.min(chunk.byteLength, start + payload.byteLength - this.#payloadFilled)
    payload.set(chunk.subarray(start, end), this.#payloadFilled)
    this.#payloadFilled += end - start
    return end
  }
}

function parseLine(line: Uint8Array): Record<string, unknown> {
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(line))
  } catch (cause) {
    throw new HitherError('PROTOCOL_ERROR', 'a line is not JSON', { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new HitherError('PROTOCOL_ERROR', 'a line is not a JSON object')
  }
  return value as Record<string, unknown>
}
