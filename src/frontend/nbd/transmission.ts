/**
 * The transmission phase of one connection: from requests to calls of a `VDisk`, and from their results to replies.
 *
 * **One request.** The parser announces its header; `begin` judges it (request-rules.ts) and admits it, or makes the
 * connection wait. Once its payload is there, `taken` calls the vDisk. When the vDisk has answered, the reply joins
 * this turn's batch. When the socket has taken the batch, the request's place and bytes are free again. Requests run
 * side by side and are answered in the order in which the vDisk finishes them.
 *
 * **Bounds.** A request is admitted (socket/intake.ts) with the bytes of its payload, at its header, and counts until its
 * reply has left. Nothing is queued beyond the chunk that was being parsed.
 *
 * **Speed.** A request lives in a `Slot` that is used again and again, with its two callbacks made once: what a request
 * allocates is the promise that the vDisk returns, the one that `then` makes, and for a write the view of its payload.
 *
 * **The end.** After DISC, or when the client has said all it will (FIN), what is under way is answered, and then the
 * connection is closed. `drain` (the door closes) does the same, and answers what still comes with ESHUTDOWN; `abandon`
 * answers what is under way with ESHUTDOWN, without waiting for it. After a broken connection the requests under way
 * run to their end unheard; their buffers and bytes return when they have.
 */
import type { Socket } from 'node:net'
import type { AllocationRun, VDisk, WriteOptions } from '../../api.ts'
import { asHitherError } from '../../base/errors.ts'
import { GiB } from '../../base/units.ts'
import { type BufferPool, HEADROOM_BYTES } from '../socket/buffer-pool.ts'
import { Intake, type IntakeLimits } from '../socket/intake.ts'
import { ReplyWriter } from '../socket/reply-writer.ts'
import { errnoOf } from './errors.ts'
import { replyBlockStatus, replyData, replyDone, replyError, replyNoData } from './replies.ts'
import { type RequestHeader, RequestParser, type RequestSink, type Verdict } from './request-parser.ts'
import { CACHE_STEP_BYTES, costOf, judge, type Refusal, type RequestContext } from './request-rules.ts'
import { Slot } from './slot.ts'
import {
  CMD_BLOCK_STATUS,
  CMD_CACHE,
  CMD_DISC,
  CMD_FLAG_FUA,
  CMD_FLAG_REQ_ONE,
  CMD_FLUSH,
  CMD_READ,
  CMD_TRIM,
  CMD_WRITE,
  CMD_WRITE_ZEROES,
  ESHUTDOWN,
  PAYLOAD_BYTES_MAX,
} from './wire.ts'

/** Longest range of which one BLOCK_STATUS is answered; it is a hint, and a client asks on for the rest. */
const BLOCK_STATUS_BYTES_MAX = 1 * GiB
/** Most extents in one answer; the protocol advises against more than 2^20. */
const BLOCK_STATUS_RUNS_MAX = 1 << 16
const FUA: WriteOptions = { fua: true }
const SHUTTING_DOWN: Refusal = { errno: ESHUTDOWN, message: 'this server is shutting down' }

/** What one connection may have under way, and what it shares with the others of its door. */
export interface TransmissionLimits extends IntakeLimits {
  readonly pool: BufferPool
}

/** The export that was negotiated, and how to talk about it. */
export interface NegotiatedExport {
  readonly vdisk: VDisk
  readonly structuredReplies: boolean
  /** `base:allocation` was selected for this export. */
  readonly blockStatus: boolean
}

export class Transmission implements RequestSink, RequestContext {
  readonly structuredReplies: boolean
  readonly blockStatus: boolean
  readonly readOnly: boolean
  readonly #socket: Socket
  readonly #vdisk: VDisk
  readonly #limits: TransmissionLimits
  readonly #onFailure: (error: unknown) => void
  readonly #parser: RequestParser
  readonly #out: ReplyWriter
  readonly #slots: Slot[] = []
  readonly #idleSlots: Slot[] = []
  readonly #intake: Intake
  #refusal: Refusal = SHUTTING_DOWN
  /** Bytes of the request whose payload is arriving, or −1 when none is. */
  #arriving = -1
  /** The client will send no more. */
  #inputEnded = false
  #draining = false
  #broken = false

  /** `onFailure` is told what makes it impossible to go on; the connection must be destroyed then. */
  constructor(
    socket: Socket,
    negotiated: NegotiatedExport,
    limits: TransmissionLimits,
    onFailure: (error: unknown) => void,
  ) {
    this.structuredReplies = negotiated.structuredReplies
    this.blockStatus = negotiated.blockStatus
    this.readOnly = negotiated.vdisk.readOnly
    this.#socket = socket
    this.#vdisk = negotiated.vdisk
    this.#limits = limits
    this.#onFailure = onFailure
    this.#parser = new RequestParser(this, limits.pool)
    this.#intake = new Intake(socket, limits, () => this.#resume())
    this.#out = new ReplyWriter(socket, limits.pool, this.#sent)
  }

  /** Of the export, now: it follows a resize. */
  get size(): number {
    return this.#vdisk.size
  }

  /** The client owes us the rest of a request, or does not take our replies: either way it is its turn. */
  get clientOwes(): boolean {
    return (this.#parser.owed && !this.#intake.waiting) || this.#out.writing
  }

  /** Takes what has arrived; `chunk` is the transmission's during the call. */
  receive(chunk: Buffer): void {
    if (this.#broken) return
    try {
      this.#parsed(this.#parser.push(chunk))
    } catch (error) {
      this.#onFailure(error)
    }
  }

  /** The client will send no more: answers what is under way, then closes the connection. */
  finish(): void {
    this.#inputEnded = true
    this.#endWhenIdle()
  }

  /** As `finish`, and refuses what still comes. */
  drain(): void {
    this.#draining = true
    this.#endWhenIdle()
  }

  /** Answers everything under way with ESHUTDOWN and closes the connection. */
  abandon(): void {
    if (this.#broken) return
    this.#draining = true
    this.#inputEnded = true
    for (const slot of this.#slots) {
      if (!slot.active || slot.abandoned) continue
      replyError(this.#out, slot, SHUTTING_DOWN.errno, SHUTTING_DOWN.message, this.structuredReplies)
      this.#out.commit(slot.cost)
      slot.abandoned = true
      slot.cost = 0
    }
    this.#endWhenIdle()
  }

  /** The connection is gone. Requests under way run on; nothing is answered any more. */
  disconnected(): void {
    if (this.#broken) return
    this.#broken = true
    this.#parser.stop()
    // What the vDisk still has keeps its bytes until it is done.
    let held = 0
    for (const slot of this.#slots) if (slot.active) held += slot.cost
    this.#intake.close(held)
  }

  // What the parser asks and tells.

  begin(header: RequestHeader): Verdict {
    if (header.command === CMD_DISC) {
      this.#inputEnded = true
      return 'stop'
    }
    const refusal = this.#draining ? SHUTTING_DOWN : judge(header, this)
    if (!this.#admit(refusal.errno === 0 ? costOf(header) : 0)) return 'wait'
    this.#refusal = refusal
    return refusal.errno === 0 ? 'take' : 'skip'
  }

  taken(header: RequestHeader, payload: Buffer | undefined, pooled: Buffer | undefined): void {
    const slot = this.#idleSlots.pop() ?? this.#newSlot()
    slot.begin(header, this.#arriving, pooled)
    this.#arriving = -1
    try {
      this.#start(slot, payload)
    } catch (error) {
      this.#failed(slot, error)
    }
  }

  skipped(header: RequestHeader): void {
    replyError(this.#out, header, this.#refusal.errno, this.#refusal.message, this.structuredReplies)
    this.#out.commit(0)
    this.#arriving = -1
  }

  // From the request to the vDisk, and back.

  #start(slot: Slot, payload: Buffer | undefined): void {
    const { command, offset, length } = slot
    if (length === 0 && command !== CMD_FLUSH) {
      this.#done(slot, undefined)
      return
    }
    const options = (slot.flags & CMD_FLAG_FUA) !== 0 ? FUA : undefined
    switch (command) {
      case CMD_READ:
        this.#readInto(slot, length)
        return
      case CMD_WRITE:
        this.#vdisk.write(offset, payload!, options).then(slot.done, slot.failed)
        return
      case CMD_FLUSH:
        this.#vdisk.flush().then(slot.done, slot.failed)
        return
      case CMD_TRIM:
        this.#vdisk.trim(offset, length, options).then(slot.done, slot.failed)
        return
      case CMD_WRITE_ZEROES:
        // NO_HOLE asks for space set aside. In a log no write goes where the last one went: there is none to keep.
        this.#vdisk.writeZeroes(offset, length, options).then(slot.done, slot.failed)
        return
      case CMD_CACHE:
        // A hint: what is past the largest payload is left alone.
        slot.length = Math.min(length, PAYLOAD_BYTES_MAX)
        this.#readInto(slot, Math.min(length, CACHE_STEP_BYTES))
        return
      case CMD_BLOCK_STATUS:
        this.#vdisk.allocation(offset, Math.min(length, BLOCK_STATUS_BYTES_MAX)).then(slot.done, slot.failed)
    }
  }

  #readInto(slot: Slot, length: number): void {
    const pooled = slot.pooled ?? this.#limits.pool.take(length)
    slot.pooled = pooled
    slot.target = pooled.subarray(HEADROOM_BYTES, HEADROOM_BYTES + length)
    this.#vdisk.readInto(slot.offset, slot.target).then(slot.done, slot.failed)
  }

  #done(slot: Slot, runs: AllocationRun[] | undefined): void {
    if (this.#broken || slot.abandoned) {
      this.#release(slot)
      return
    }
    switch (slot.command) {
      case CMD_READ:
        if (slot.target === undefined) replyNoData(this.#out, slot, this.structuredReplies)
        else if (!replyData(this.#out, slot, slot.target, slot.pooled!, this.structuredReplies)) {
          slot.pooled = undefined
        }
        break
      case CMD_CACHE:
        if (this.#cacheOn(slot)) return
        replyDone(this.#out, slot)
        break
      case CMD_BLOCK_STATUS: {
        const one = (slot.flags & CMD_FLAG_REQ_ONE) !== 0
        replyBlockStatus(this.#out, slot, runs!, one ? 1 : BLOCK_STATUS_RUNS_MAX)
        break
      }
      default:
        replyDone(this.#out, slot)
    }
    this.#answered(slot)
  }

  #failed(slot: Slot, reason: unknown): void {
    if (this.#broken || slot.abandoned) {
      this.#release(slot)
      return
    }
    const error = asHitherError(reason)
    replyError(this.#out, slot, errnoOf(error, slot.command), error.message, this.structuredReplies)
    this.#answered(slot)
  }

  /** Reads the next part of a CACHE request; `false` when there is none, or the door closes. */
  #cacheOn(slot: Slot): boolean {
    if (slot.target === undefined || this.#draining) return false
    slot.offset += slot.target.length
    slot.length -= slot.target.length
    if (slot.length === 0) return false
    try {
      this.#readInto(slot, Math.min(slot.length, CACHE_STEP_BYTES))
    } catch (error) {
      this.#failed(slot, error)
    }
    return true
  }

  #answered(slot: Slot): void {
    this.#out.commit(slot.cost)
    this.#recycle(slot)
  }

  /** Ends a request that nobody hears of any more. */
  #release(slot: Slot): void {
    if (this.#broken) this.#limits.budget.give(slot.cost)
    this.#recycle(slot)
  }

  #recycle(slot: Slot): void {
    if (slot.pooled !== undefined) this.#limits.pool.give(slot.pooled)
    slot.pooled = undefined
    slot.target = undefined
    slot.active = false
    this.#idleSlots.push(slot)
  }

  #newSlot(): Slot {
    const slot = new Slot(this.#onDone, this.#onFailed)
    this.#slots.push(slot)
    return slot
  }

  readonly #onDone = (slot: Slot, runs: AllocationRun[] | undefined): void => {
    try {
      this.#done(slot, runs)
    } catch (error) {
      this.#onFailure(error)
    }
  }

  readonly #onFailed = (slot: Slot, error: unknown): void => this.#failed(slot, error)

  // Admission and back-pressure.

  #admit(cost: number): boolean {
    if (!this.#intake.tryTake(cost)) return false
    this.#arriving = cost
    return true
  }

  /** The socket has taken the replies to `requests` requests, which held `bytes`. */
  readonly #sent = (requests: number, bytes: number): void => {
    if (this.#broken) return
    this.#intake.give(requests, bytes)
    if (!this.#intake.retry()) this.#endWhenIdle()
  }

  #resume(): void {
    try {
      this.#parsed(this.#parser.resume())
    } catch (error) {
      this.#onFailure(error)
    }
  }

  #parsed(all: boolean): void {
    this.#intake.parsed(all)
    this.#endWhenIdle()
  }

  /** Closes the connection when nobody wants it any more and all is answered. */
  #endWhenIdle(): void {
    if (!(this.#inputEnded || this.#draining) || this.#intake.waiting || this.#broken) return
    if (this.#inputEnded && this.#arriving >= 0) this.#dropArriving()
    if (this.#intake.idle) this.#socket.destroySoon()
  }

  /** The rest of the request that was arriving will not come. */
  #dropArriving(): void {
    this.#parser.stop()
    this.#intake.give(1, this.#arriving)
    this.#arriving = -1
  }
}
