/**
 * Request and response over the frames of a `Network`: ids, deadlines, errors that keep their code. One RPC endpoint
 * per network endpoint. A call ends in exactly one of: the answer, the remote error, `TIMEOUT`, `CVM_DOWN` (the
 * peer's endpoint is gone). It is never sent again from here: retry is the business of whoever knows whether the
 * call is idempotent.
 *
 * The network may lose, duplicate and re-order frames. A handler runs at most once a call in the life of its
 * endpoint: the second arrival of a request is dropped, whether the first is under way or answered (call-window.ts).
 * An answer is not repeated: when it is lost, the caller times out and knows nothing. A call has the number
 * (incarnation of the caller, id among its calls to this peer), which no later life of the caller uses again, and the
 * answer carries it back, so that an answer meant for an earlier life settles nothing.
 *
 *   0  u32 magic      4  u8 kind (1 request, 2 answer, 3 error)   5  u8 version (1)   6  u16 method
 *   8  u32 incarnation of the caller     12  u32 call id
 *  16  u32 header bytes (JSON)           20  u32 body bytes
 *  24  header, body
 */
import { asHitherError, type ErrorCode, HitherError } from '../base/errors.ts'
import { decodeJson, encodeJson } from '../base/json.ts'
import type { Clock, Network } from '../platform/types.ts'
import { CallWindows } from './call-window.ts'
import { type Deadline, Deadlines } from './deadlines.ts'

const MAGIC = 0x48525043
const VERSION = 1
const ENVELOPE_BYTES = 24
const KIND_REQUEST = 1
const KIND_ANSWER = 2
const KIND_ERROR = 3

export interface RpcReply {
  readonly header?: unknown
  readonly body?: readonly Uint8Array[]
  /** Called when the body is on its way: its memory is the handler's again. */
  readonly sent?: () => void
}

/** `body` is the handler's to keep, unless it was registered to borrow it. */
export type RpcHandler = (header: never, body: Uint8Array, from: string) => Promise<RpcReply>

export interface RpcAnswer<T> {
  readonly header: T
  /** The caller owns it. */
  readonly body: Uint8Array
}

/** A call that has not been answered yet. */
class PendingCall implements Deadline {
  readonly timeoutMs: number
  /** Its number among the deadlines. */
  deadline = 0
  readonly resolve: (answer: RpcAnswer<never>) => void
  readonly reject: (error: HitherError) => void
  private readonly outgoing: Outgoing
  private readonly id: number

  constructor(
    outgoing: Outgoing,
    id: number,
    timeoutMs: number,
    resolve: PendingCall['resolve'],
    reject: PendingCall['reject'],
  ) {
    this.outgoing = outgoing
    this.id = id
    this.timeoutMs = timeoutMs
    this.resolve = resolve
    this.reject = reject
  }

  expire(): void {
    const { peer, pending } = this.outgoing
    pending.delete(this.id)
    this.reject(new HitherError('TIMEOUT', `${peer} did not answer within ${this.timeoutMs} ms`))
  }
}

/** The calls to one peer. */
interface Outgoing {
  readonly peer: string
  nextId: number
  readonly pending: Map<number, PendingCall>
}

/** What an answer repeats of its request. */
interface CallName {
  readonly method: number
  readonly incarnation: number
  readonly id: number
}

const NOTHING: readonly Uint8Array[] = []

export class RpcEndpoint {
  private readonly network: Network
  private readonly deadlines: Deadlines
  private readonly handlers = new Map<number, { readonly handler: RpcHandler; readonly borrows: boolean }>()
  private readonly outgoing = new Map<string, Outgoing>()
  private readonly seen = new CallWindows()
  private readonly incarnation: number
  private opened = false
  private closed = false

  /**
   * `incarnation`, a u32, must differ from those of earlier endpoints of the same name. The default is drawn from the
   * time: an endpoint is born later than the calls of the one before it.
   */
  constructor(network: Network, clock: Clock, incarnation: number = bornAt(clock)) {
    this.network = network
    this.deadlines = new Deadlines(clock)
    this.incarnation = incarnation >>> 0
    network.onFrame((from, frame) => this.receive(from, frame))
    network.onPeerDown((peer) => this.peerDown(peer))
  }

  /** Every handler is there: requests are served from now on. Until then they are answered with `CVM_DOWN`. */
  open(): void {
    this.opened = true
  }

  handle(method: number, handler: RpcHandler): void {
    this.handlers.set(method, { handler, borrows: false })
  }

  /** For a handler that uses the body only until its promise resolves: the memory carries another frame then. */
  handleBorrowed(method: number, handler: RpcHandler): void {
    this.handlers.set(method, { handler, borrows: true })
  }

  /** Sends a request. `header` is JSON, or `undefined` for none; the body's parts are read before this returns. */
  call<T>(
    to: string,
    method: number,
    header: unknown,
    body: readonly Uint8Array[],
    timeoutMs: number,
  ): Promise<RpcAnswer<T>> {
    if (this.closed) return Promise.reject(new HitherError('CVM_DOWN', 'this CVM has stopped'))
    const { outgoing, id } = this.nextCall(to)
    return new Promise<RpcAnswer<T>>((resolve, reject) => {
      const pending = new PendingCall(outgoing, id, timeoutMs, resolve as PendingCall['resolve'], reject)
      pending.deadline = this.deadlines.add(timeoutMs, pending)
      outgoing.pending.set(id, pending)
      const headerBytes = header === undefined ? undefined : encodeJson(header)
      const call = { method, incarnation: this.incarnation, id }
      this.network.send(to, envelope(KIND_REQUEST, call, headerBytes, body))
    })
  }

  /** The owner of an answer's body uses it no more: its memory may carry another frame. */
  giveBack(body: Uint8Array): void {
    this.network.giveBack(body)
  }

  /** Fails every call under way to `peer`, e.g. because its lease has ended. */
  peerDown(peer: string): void {
    const outgoing = this.outgoing.get(peer)
    if (outgoing !== undefined) this.failAll(outgoing, `${peer} is down`)
  }

  close(): void {
    this.closed = true
    for (const outgoing of this.outgoing.values()) this.failAll(outgoing, 'this CVM has stopped')
    this.deadlines.close()
    this.handlers.clear()
  }

  private nextCall(to: string): { outgoing: Outgoing; id: number } {
    let outgoing = this.outgoing.get(to)
    if (outgoing === undefined) {
      outgoing = { peer: to, nextId: 1, pending: new Map() }
      this.outgoing.set(to, outgoing)
    }
    const id = outgoing.nextId
    outgoing.nextId = (id + 1) >>> 0
    return { outgoing, id }
  }

  private receive(from: string, frame: Uint8Array): void {
    if (this.closed || frame.length < ENVELOPE_BYTES) return
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
    const headerBytes = view.getUint32(16, true)
    const bodyBytes = view.getUint32(20, true)
    if (view.getUint32(0, true) !== MAGIC || view.getUint8(5) !== VERSION) return
    if (ENVELOPE_BYTES + headerBytes + bodyBytes !== frame.length) return
    const kind = view.getUint8(4)
    const call = {
      method: view.getUint16(6, true),
      incarnation: view.getUint32(8, true),
      id: view.getUint32(12, true),
    }
    const headerPart = frame.subarray(ENVELOPE_BYTES, ENVELOPE_BYTES + headerBytes)
    const body = frame.subarray(ENVELOPE_BYTES + headerBytes)
    let header: never
    try {
      header = (headerBytes === 0 ? undefined : decodeJson(headerPart)) as never
    } catch {
      return
    }
    if (kind !== KIND_REQUEST) this.settle(from, kind, call, header, body)
    else if (this.seen.admit(from, call.incarnation, call.id))
      void this.serve(from, call, header, body, frame)
  }

  private async serve(
    from: string,
    call: CallName,
    header: never,
    body: Uint8Array,
    frame: Uint8Array,
  ): Promise<void> {
    let reply: readonly Uint8Array[]
    let sent: (() => void) | undefined
    try {
      if (!this.opened) throw new HitherError('CVM_DOWN', 'this CVM is starting')
      const served = this.handlers.get(call.method)
      if (served === undefined) throw new HitherError('PROTOCOL_ERROR', `there is no method ${call.method}`)
      const result = await served.handler(header, body, from)
      // Not when it failed: a device that is given up on may still be writing.
      if (served.borrows) this.network.giveBack(frame)
      sent = result.sent
      const replyHeader = result.header === undefined ? undefined : encodeJson(result.header)
      reply = envelope(KIND_ANSWER, call, replyHeader, result.body ?? NOTHING)
    } catch (cause) {
      const error = asHitherError(cause)
      reply = envelope(KIND_ERROR, call, encodeJson({ code: error.code, message: error.message }), NOTHING)
    }
    if (!this.closed) this.network.send(from, reply)
    sent?.()
  }

  private failAll(outgoing: Outgoing, why: string): void {
    for (const [id, call] of outgoing.pending) {
      outgoing.pending.delete(id)
      this.deadlines.met(call.timeoutMs, call.deadline)
      call.reject(new HitherError('CVM_DOWN', why))
    }
  }

  private settle(from: string, kind: number, of: CallName, header: unknown, body: Uint8Array): void {
    if (of.incarnation !== this.incarnation) return
    const pending = this.outgoing.get(from)?.pending
    const call = pending?.get(of.id)
    if (call === undefined) return
    pending?.delete(of.id)
    this.deadlines.met(call.timeoutMs, call.deadline)
    if (kind === KIND_ANSWER) {
      call.resolve({ header: header as never, body })
    } else {
      const error = header as { code: ErrorCode; message: string }
      call.reject(new HitherError(error.code, error.message))
    }
  }
}

/** A u32 out of every bit of both times, so that lives of one name differ across restarts of the process as well. */
function bornAt(clock: Clock): number {
  const times = new Uint32Array(new Float64Array([clock.now(), clock.wall()]).buffer)
  let hash = 0x811c9dc5
  for (const word of times) {
    hash = Math.imul(hash ^ word, 0x01000193)
    hash = Math.imul(hash ^ (hash >>> 15), 0x85ebca6b)
    hash ^= hash >>> 13
  }
  return hash >>> 0
}

function envelope(
  kind: number,
  call: CallName,
  header: Uint8Array | undefined,
  body: readonly Uint8Array[],
): readonly Uint8Array[] {
  let bodyBytes = 0
  for (const part of body) bodyBytes += part.length
  const head = new Uint8Array(ENVELOPE_BYTES)
  const view = new DataView(head.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint8(4, kind)
  view.setUint8(5, VERSION)
  view.setUint16(6, call.method, true)
  view.setUint32(8, call.incarnation, true)
  view.setUint32(12, call.id, true)
  view.setUint32(16, header?.length ?? 0, true)
  view.setUint32(20, bodyBytes, true)
  return header === undefined ? [head, ...body] : [head, header, ...body]
}
