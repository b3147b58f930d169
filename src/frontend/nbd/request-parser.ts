/**
 * The way in of one connection: cuts the byte stream into requests, all that a chunk holds in one go.
 *
 * - Payloads are gathered in pool buffers: a chunk's memory is used again for the next one.
 * - Before a payload is received, `RequestSink.begin` decides: take it, skip it, or wait. After `wait` the parser keeps
 *   the rest of the chunk and consumes nothing until `resume`; the owner of the socket stops reading meanwhile.
 * - Anything that is no request throws `PROTOCOL_ERROR`: the stream cannot be trusted from there on.
 */
import { HitherError } from '../../base/errors.ts'
import { type BufferPool, HEADROOM_BYTES } from '../socket/buffer-pool.ts'
import { Unparsed } from '../socket/unparsed.ts'
import { CMD_WRITE, PAYLOAD_BYTES_MAX, REQUEST_HEADER_BYTES, REQUEST_MAGIC, readU64 } from './wire.ts'

/** One decoded request header. The parser has one, and uses it again for the next request. */
export interface RequestHeader {
  flags: number
  command: number
  cookieHigh: number
  cookieLow: number
  offset: number
  length: number
}

/** `take`: run it. `skip`: its payload is of no use. `wait`: ask again on `resume`. `stop`: nothing follows. */
export type Verdict = 'take' | 'skip' | 'wait' | 'stop'

export interface RequestSink {
  /** A header has arrived, and its payload not yet. May be called again for the same header after `wait`. */
  begin(header: RequestHeader): Verdict
  /**
   * A request that was taken is complete. `payload` is set for a WRITE that is not empty, and lies in `pooled`, a pool
   * buffer that the sink gives back.
   */
  taken(header: RequestHeader, payload: Buffer | undefined, pooled: Buffer | undefined): void
  /** A request that was skipped is over, payload and all: time to say why. */
  skipped(header: RequestHeader): void
}

export class RequestParser {
  readonly #sink: RequestSink
  readonly #pool: BufferPool
  readonly #header: RequestHeader = {
    flags: 0,
    command: 0,
    cookieHigh: 0,
    cookieLow: 0,
    offset: 0,
    length: 0,
  }
  /** A header that arrives in pieces is put together here. */
  readonly #partialHeader = Buffer.allocUnsafeSlow(REQUEST_HEADER_BYTES)
  #partialHeaderBytes = 0
  /** What comes next in the stream. */
  #state: 'header' | 'undecided' | 'payload' | 'skipping' | 'stopped' = 'header'
  /** Payload bytes of the current request that have not arrived. */
  #missing = 0
  #payload: Buffer | undefined
  #pooled: Buffer | undefined
  readonly #unparsed = new Unparsed()

  constructor(sink: RequestSink, pool: BufferPool) {
    this.#sink = sink
    this.#pool = pool
  }

  /** The client has begun a request, and owes the rest of it. */
  get owed(): boolean {
    return this.#state === 'payload' || this.#state === 'skipping' || this.#partialHeaderBytes > 0
  }

  /** Parses everything in `chunk`, which is the parser's during the call. `false` when the sink said `wait`. */
  push(chunk: Buffer): boolean {
    return this.#parse(this.#unparsed.takeWith(chunk))
  }

  /** Goes on after a `wait`. `false` when the sink said it again. */
  resume(): boolean {
    return this.#parse(this.#unparsed.take())
  }

  /** Lets go of everything; the connection is over. */
  stop(): void {
    this.#state = 'stopped'
    this.#unparsed.drop()
    this.#payload = undefined
    if (this.#pooled !== undefined) this.#pool.give(this.#pooled)
    this.#pooled = undefined
  }

  #parse(chunk: Buffer): boolean {
    let at = 0
    for (;;) {
      switch (this.#state) {
        case 'header': {
          const next = this.#readHeader(chunk, at)
          if (next < 0) return true
          at = next
          this.#state = 'undecided'
          break
        }
        case 'undecided': {
          const verdict = this.#sink.begin(this.#header)
          if (verdict === 'wait') {
            this.#unparsed.keep(chunk, at)
            return false
          }
          this.#enter(verdict)
          break
        }
        case 'payload':
          at = this.#receive(chunk, at)
          if (this.#missing > 0) return true
          break
        case 'skipping':
          at = this.#skip(chunk, at)
          if (this.#missing > 0) return true
          break
        case 'stopped':
          return true
      }
    }
  }

  /** Returns the position after the header, or −1 when the chunk ended first. */
  #readHeader(chunk: Buffer, at: number): number {
    const have = this.#partialHeaderBytes
    const left = chunk.length - at
    if (have === 0 && left >= REQUEST_HEADER_BYTES) {
      this.#decode(chunk, at)
      return at + REQUEST_HEADER_BYTES
    }
    const more = Math.min(REQUEST_HEADER_BYTES - have, left)
    chunk.copy(this.#partialHeader, have, at, at + more)
    this.#partialHeaderBytes = have + more
    if (this.#partialHeaderBytes < REQUEST_HEADER_BYTES) return -1
    this.#partialHeaderBytes = 0
    this.#decode(this.#partialHeader, 0)
    return at + more
  }

  #decode(source: Buffer, at: number): void {
    if (source.readUInt32BE(at) !== REQUEST_MAGIC) {
      throw new HitherError(
        'PROTOCOL_ERROR',
        `an NBD request began with 0x${source.toString('hex', at, at + 4)}`,
      )
    }
    const header = this.#header
    header.flags = source.readUInt16BE(at + 4)
    header.command = source.readUInt16BE(at + 6)
    header.cookieHigh = source.readUInt32BE(at + 8)
    header.cookieLow = source.readUInt32BE(at + 12)
    header.offset = readU64(source, at + 16)
    header.length = source.readUInt32BE(at + 24)
    if (header.command === CMD_WRITE && header.length > PAYLOAD_BYTES_MAX) {
      throw new HitherError(
        'PROTOCOL_ERROR',
        `an NBD client announced a write of ${header.length} bytes; the most is ${PAYLOAD_BYTES_MAX}`,
      )
    }
  }

  #enter(verdict: Verdict): void {
    const payloadBytes = this.#header.command === CMD_WRITE ? this.#header.length : 0
    this.#missing = payloadBytes
    if (verdict === 'stop') this.#state = 'stopped'
    else if (verdict === 'skip') this.#state = 'skipping'
    else {
      this.#state = 'payload'
      if (payloadBytes > 0) {
        this.#pooled = this.#pool.take(payloadBytes)
        this.#payload = this.#pooled.subarray(HEADROOM_BYTES, HEADROOM_BYTES + payloadBytes)
      }
    }
  }

  /** Receives payload from `at` on; hands the request over when it is whole. Returns the position after it. */
  #receive(chunk: Buffer, at: number): number {
    const payload = this.#payload
    const end = at + Math.min(this.#missing, chunk.length - at)
    if (payload !== undefined) {
      chunk.copy(payload, payload.length - this.#missing, at, end)
      this.#missing -= end - at
      if (this.#missing > 0) return end
    }
    const pooled = this.#pooled
    this.#payload = undefined
    this.#pooled = undefined
    this.#state = 'header'
    this.#sink.taken(this.#header, payload, pooled)
    return end
  }

  #skip(chunk: Buffer, at: number): number {
    const end = at + Math.min(this.#missing, chunk.length - at)
    this.#missing -= end - at
    if (this.#missing === 0) {
      this.#state = 'header'
      this.#sink.skipped(this.#header)
    }
    return end
  }
}
