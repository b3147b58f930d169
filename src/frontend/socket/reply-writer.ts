/**
 * The way out of one connection: gathers the replies of one turn of the event loop, and hands them to the socket in one
 * vectored write.
 *
 * 1. Headers and payloads up to 1 KiB are copied into a batch buffer: so few bytes cost less to copy than to send as a
 *    part of their own. Larger payloads become parts of their own, uncopied, their header in front of them.
 * 2. `flush` hands everything gathered so far to the socket. At most one write is under way: what is gathered
 *    meanwhile goes out with the next one, so that a slow client makes batches larger, not more numerous.
 * 3. When the socket has taken everything, the buffers go back to the pool and `onSent` is called.
 *
 * It bounds nothing itself: a request counts as under way until its reply has left (intake.ts).
 */
import type { Socket } from 'node:net'
import { KiB } from '../../base/units.ts'
import type { BufferPool } from './buffer-pool.ts'

/** Payloads up to this are copied into the batch. */
export const COPY_BYTES_MAX = 1 * KiB
/** Size of a batch buffer: room for more replies without payload than a connection may have under way. */
const BATCH_BYTES = 32 * KiB

export class ReplyWriter {
  readonly #socket: Socket
  readonly #pool: BufferPool
  readonly #onSent: (replies: number, bytes: number) => void
  /** Where the next reply goes: `#batch` from `#start` is gathered up to `#end`, and not yet among the parts. */
  #batch: Buffer | undefined
  #start = 0
  #end = 0
  #parts: Buffer[] = []
  /** Pool buffers that the parts lie in. */
  #held: Buffer[] = []
  /** Replies gathered, and the bytes that their requests hold. */
  #replies = 0
  #bytes = 0
  #writing = false
  #scheduled = false
  /** The same of the write under way. */
  #sendingHeld: Buffer[] = []
  #sendingReplies = 0
  #sendingBytes = 0

  /** `onSent` is called when the socket has taken a write: how many replies it held, and their requests' bytes. */
  constructor(socket: Socket, pool: BufferPool, onSent: (replies: number, bytes: number) => void) {
    this.#socket = socket
    this.#pool = pool
    this.#onSent = onSent
  }

  /** A write is under way: the client (or the network) has not taken all of it yet. */
  get writing(): boolean {
    return this.#writing
  }

  /**
   * Makes room for `length` bytes (at most `BATCH_BYTES`) at the end of the batch, and returns where
   * they begin in `buffer`. The caller fills them before the next call of anything here.
   */
  reserve(length: number): number {
    if (this.#batch === undefined || this.#end + length > this.#batch.length) this.#turnPage()
    const at = this.#end
    this.#end = at + length
    return at
  }

  /** The buffer that the last `reserve` was about. */
  get buffer(): Buffer {
    return this.#batch!
  }

  /** Adds `payload` as a part of its own. It must not change until sent; then `pooled`, in which it lies, goes back. */
  append(payload: Buffer, pooled: Buffer | undefined): void {
    this.#closePart()
    this.#parts.push(payload)
    if (pooled !== undefined) this.#held.push(pooled)
  }

  /**
   * Ends a reply, whose request holds `bytes` until it is sent. It leaves when this turn's completions are all through:
   * after the microtasks that are queued now, and those that these queue.
   */
  commit(bytes: number): void {
    this.#replies += 1
    this.#bytes += bytes
    if (this.#scheduled || this.#writing) return
    this.#scheduled = true
    process.nextTick(this.#scheduledFlush)
  }

  /** Hands what is gathered to the socket, unless a write is under way; then it follows when that is done. */
  flush(): void {
    if (this.#writing || this.#socket.destroyed) return
    this.#closePart()
    const parts = this.#parts
    if (parts.length === 0) return
    this.#sendingHeld = this.#held
    if (this.#batch !== undefined) this.#sendingHeld.push(this.#batch)
    this.#batch = undefined
    this.#start = 0
    this.#end = 0
    this.#parts = []
    this.#held = []
    this.#sendingReplies = this.#replies
    this.#sendingBytes = this.#bytes
    this.#replies = 0
    this.#bytes = 0
    this.#writing = true
    const last = parts.length - 1
    if (last > 0) this.#socket.cork()
    for (let i = 0; i < last; i += 1) this.#socket.write(parts[i]!)
    this.#socket.write(parts[last]!, this.#written)
    if (last > 0) this.#socket.uncork()
  }

  readonly #scheduledFlush = (): void => {
    this.#scheduled = false
    this.flush()
  }

  readonly #written = (error?: Error | null): void => {
    this.#writing = false
    const held = this.#sendingHeld
    this.#sendingHeld = []
    // After an error the kernel may still read the buffers: they are left to the garbage collector.
    if (error) return
    for (const buffer of held) this.#pool.give(buffer)
    this.#onSent(this.#sendingReplies, this.#sendingBytes)
    this.flush()
  }

  /** What the batch has gathered becomes a part. */
  #closePart(): void {
    if (this.#end === this.#start) return
    this.#parts.push(this.#batch!.subarray(this.#start, this.#end))
    this.#start = this.#end
  }

  #turnPage(): void {
    this.#closePart()
    if (this.#batch !== undefined) this.#held.push(this.#batch)
    this.#batch = this.#pool.take(BATCH_BYTES)
    this.#start = 0
    this.#end = 0
  }
}
