/**
 * Record marking (RFC 5531, section 11): cuts a TCP stream into records, each made of fragments.
 *
 *     fragment    last(1 bit) length(31 bits) bytes
 *
 * - A chunk's memory is used again for the next one. A small record of one fragment that lies whole within a chunk is
 *   handed on as a copy. Any other is gathered in a pool buffer.
 * - Memory is asked for before it is used. Up to `SMALL_RECORD_BYTES` a record is gathered for free (one per connection);
 *   for a larger one the sink must admit its length, or for one of several fragments, whose length nobody knows, the
 *   most that it may become. After a "no" the parser keeps the rest of the chunk and consumes nothing until `resume`; the
 *   owner of the socket stops reading meanwhile.
 * - A record longer than `recordBytesMax`, or of too many fragments, throws `PROTOCOL_ERROR`: the stream ends there.
 */
import { HitherError } from '../../../base/errors.ts'
import { KiB } from '../../../base/units.ts'
import { type BufferPool, HEADROOM_BYTES } from '../../socket/buffer-pool.ts'
import { Unparsed } from '../../socket/unparsed.ts'

/** Every call that carries no file data fits: credentials 800 bytes, a symbolic link's target 4,096. */
export const SMALL_RECORD_BYTES = 8 * KiB
/** Clients send one fragment, or a few; a stream of tiny or empty ones is no work for a server. */
export const FRAGMENTS_MAX = 1024
const MARK_BYTES = 4
const LAST = 0x8000_0000

export interface RecordSink {
  /** Whether a record of up to `bytes` may be received now. */
  admit(bytes: number): boolean
  /**
   * A whole record. `pooled` is the pool buffer in which it lies, if any, which is the sink's from now on. `false`: not
   * now, call again on `resume`; only for a record that needed no admission.
   */
  record(bytes: Buffer, pooled: Buffer | undefined): boolean
}

export class RecordParser {
  readonly #sink: RecordSink
  readonly #pool: BufferPool
  readonly #recordBytesMax: number
  readonly #partialMark = Buffer.allocUnsafeSlow(MARK_BYTES)
  #partialMarkBytes = 0
  #state: 'mark' | 'fragment' | 'stopped' = 'mark'
  /** Of the record: fragments begun, bytes announced, and whether the sink admitted it. */
  #fragments = 0
  #announced = 0
  #admitted = false
  /** Of the fragment: bytes that have not arrived, and whether it is the last. */
  #missing = 0
  #last = false
  #gathered: Buffer | undefined
  #gatheredBytes = 0
  readonly #unparsed = new Unparsed()

  constructor(sink: RecordSink, pool: BufferPool, recordBytesMax: number) {
    this.#sink = sink
    this.#pool = pool
    this.#recordBytesMax = recordBytesMax
  }

  /** The client has begun a record, and owes the rest of it. */
  get owed(): boolean {
    return this.#state === 'fragment' || this.#fragments > 0 || this.#partialMarkBytes > 0
  }

  /** Parses everything in `chunk`, which is the parser's during the call. `false` when the sink wants to wait. */
  push(chunk: Buffer): boolean {
    return this.#parse(this.#unparsed.takeWith(chunk))
  }

  /** Goes on after a wait. `false` when the sink wants to wait again. */
  resume(): boolean {
    return this.#parse(this.#unparsed.take())
  }

  /** Nothing more is parsed; what was gathered is given back. */
  stop(): void {
    this.#state = 'stopped'
    this.#unparsed.drop()
    if (this.#gathered !== undefined) this.#pool.give(this.#gathered)
    this.#gathered = undefined
  }

  #parse(chunk: Buffer): boolean {
    let at = 0
    for (;;) {
      if (this.#state === 'stopped') return true
      if (this.#state === 'mark') {
        at = this.#readMark(chunk, at)
        if (at < 0) return true
      }
      if (!this.#admit()) return this.#keep(chunk, at)
      const end = Math.min(at + this.#missing, chunk.length)
      if (this.#isWhole(end - at)) {
        if (!this.#sink.record(Buffer.from(chunk.subarray(at, end)), undefined)) return this.#keep(chunk, at)
        this.#ended()
      } else {
        this.#gather(chunk, at, end)
        if (this.#missing > 0) return true
        if (!this.#last) this.#state = 'mark'
        else if (!this.#sinkTakesGathered()) return this.#keep(chunk, end)
      }
      at = end
    }
  }

  /** The sink wants to wait: what of `chunk` begins at `at` is for later. */
  #keep(chunk: Buffer, at: number): false {
    this.#unparsed.keep(chunk, at)
    return false
  }

  /** The record is small and one fragment, of which `here` bytes are at hand, and nothing was gathered. */
  #isWhole(here: number): boolean {
    if (here > SMALL_RECORD_BYTES || here !== this.#missing) return false
    return this.#last && this.#fragments === 1 && this.#gathered === undefined
  }

  /** Reads a fragment's mark, and returns where it ends in `chunk`; −1 when it has not all arrived. */
  #readMark(chunk: Buffer, at: number): number {
    const bytes = Math.min(MARK_BYTES - this.#partialMarkBytes, chunk.length - at)
    chunk.copy(this.#partialMark, this.#partialMarkBytes, at, at + bytes)
    this.#partialMarkBytes += bytes
    if (this.#partialMarkBytes < MARK_BYTES) return -1
    this.#partialMarkBytes = 0
    const mark = this.#partialMark.readUInt32BE(0)
    this.#last = mark >= LAST
    this.#missing = mark % LAST
    this.#announced += this.#missing
    this.#fragments += 1
    if (this.#announced > this.#recordBytesMax) {
      throw new HitherError('PROTOCOL_ERROR', `a record is longer than ${this.#recordBytesMax} bytes`)
    }
    if (this.#fragments > FRAGMENTS_MAX) {
      throw new HitherError('PROTOCOL_ERROR', `a record has more than ${FRAGMENTS_MAX} fragments`)
    }
    this.#state = 'fragment'
    return at + bytes
  }

  #admit(): boolean {
    if (this.#admitted || this.#announced <= SMALL_RECORD_BYTES) return true
    const one = this.#last && this.#fragments === 1
    this.#admitted = this.#sink.admit(one ? this.#announced : this.#recordBytesMax)
    return this.#admitted
  }

  #sinkTakesGathered(): boolean {
    const gathered = this.#gathered!
    const record = gathered.subarray(HEADROOM_BYTES, HEADROOM_BYTES + this.#gatheredBytes)
    // Before the call: whatever happens in it, the buffer is the sink's.
    this.#gathered = undefined
    if (!this.#sink.record(record, gathered)) {
      this.#gathered = gathered
      return false
    }
    this.#ended()
    return true
  }

  #gather(chunk: Buffer, at: number, end: number): void {
    const needed = this.#gatheredBytes + this.#missing
    if (this.#gathered === undefined || this.#gathered.length - HEADROOM_BYTES < needed)
      this.#makeRoom(needed)
    chunk.copy(this.#gathered!, HEADROOM_BYTES + this.#gatheredBytes, at, end)
    this.#gatheredBytes += end - at
    this.#missing -= end - at
  }

  #makeRoom(needed: number): void {
    const small = needed <= SMALL_RECORD_BYTES
    const one = this.#last && this.#fragments === 1
    const grown = this.#pool.take(small ? SMALL_RECORD_BYTES : one ? needed : this.#recordBytesMax)
    const old = this.#gathered
    this.#gathered = grown
    if (old === undefined) return
    old.copy(grown, HEADROOM_BYTES, HEADROOM_BYTES, HEADROOM_BYTES + this.#gatheredBytes)
    this.#pool.give(old)
  }

  #ended(): void {
    if (this.#state === 'fragment') this.#state = 'mark'
    this.#fragments = 0
    this.#announced = 0
    this.#admitted = false
    this.#missing = 0
    this.#gatheredBytes = 0
  }
}
