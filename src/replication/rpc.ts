/**
 * Request and response over the frames of a `Network`: ids, deadlines, errors that keep their code. One RPC endpoint
 * per network endpoint. A call ends in exactly one of: the answer, the remote error, `TIMEOUT`, `CVM_DOWN` (the
 * peer's endpoint is gone). It is never sent again from here: retry is the business of whoever knows whether the
 * call is idempotent.
 *
 *   0  u32 magic      4  u8 kind (1 request, 2 answer, 3 error)   5  u8 0   6  u16 method
 *   8  u32 call id   12  u32 header bytes (JSON)                  16 u32 body bytes
 *  20  header, body
 */
import { asHitherError, type ErrorCode, HitherError } from '../base/errors.ts'
import { decodeJson, encodeJson } from '../base/json.ts'
import type { Clock, Network } from '../platform/types.ts'

const MAGIC = 0x48525043
const ENVELOPE_BYTES = 20
const KIND_REQUEST = 1
const KIND_ANSWER = 2
const KIND_ERROR = 3

export interface RpcReply {
  readonly header?: unknown
  readonly body?: readonly Uint8Array[]
}

/** `body` is the handler's to keep. */
export type RpcHandler = (header: never, body: Uint8Array, from: string) => Promise<RpcReply>

export interface RpcAnswer<T> {
  readonly header: T
  /** The caller owns it. */
  readonly body: Uint8Array
}

interface PendingCall {
  readonly to: string
  readonly resolve: (answer: RpcAnswer<never>) => void
  readonly reject: (error: HitherError) => void
  readonly cancelTimer: () => void
}

const NOTHING: readonly Uint8Array[] = []

export class RpcEndpoint {
  private readonly network: Network
  private readonly clock: Clock
  private readonly handlers = new Map<number, RpcHandler>()
  private readonly pending = new Map<number, PendingCall>()
  private nextId = 1
  private opened = false
  private closed = false

  constructor(network: Network, clock: Clock) {
    this.network = network
    this.clock = clock
    network.onFrame((from, frame) => this.receive(from, frame))
    network.onPeerDown((peer) => this.peerDown(peer))
  }

  /** Every handler is there: requests are served from now on. Until then they are answered with `CVM_DOWN`. */
  open(): void {
    this.opened = true
  }

  handle(method: number, handler: RpcHandler): void {
    this.handlers.set(method, handler)
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
    return new Promise<RpcAnswer<T>>((resolve, reject) => {
      const id = this.nextId
      this.nextId = id === 0xffff_ffff ? 1 : id + 1
      const cancelTimer = this.clock.after(timeoutMs, () => {
        if (this.pending.delete(id)) {
          reject(new HitherError('TIMEOUT', `${to} did not answer within ${timeoutMs} ms`))
        }
      })
      this.pending.set(id, { to, resolve: resolve as PendingCall['resolve'], reject, cancelTimer })
      const headerBytes = header === undefined ? undefined : encodeJson(header)
      this.network.send(to, envelope(KIND_REQUEST, method, id, headerBytes, body))
    })
  }

  /** Fails every call under way to `peer`, e.g. because its lease has ended. */
  peerDown(peer: string): void {
    for (const [id, call] of this.pending) {
      if (call.to !== peer) continue
      this.pending.delete(id)
      call.cancelTimer()
      call.reject(new HitherError('CVM_DOWN', `${peer} is down`))
    }
  }

  close(): void {
    this.closed = true
    for (const call of this.pending.values()) {
      call.cancelTimer()
      call.reject(new HitherError('CVM_DOWN', 'this CVM has stopped'))
    }
    this.pending.clear()
    this.handlers.clear()
  }

  private receive(from: string, frame: Uint8Array): void {
    if (this.closed || frame.length < ENVELOPE_BYTES) return
    const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength)
    const headerBytes = view.getUint32(12, true)
    const bodyBytes = view.getUint32(16, true)
    if (view.getUint32(0, true) !== MAGIC || ENVELOPE_BYTES + headerBytes + bodyBytes !== frame.length) return
    const kind = view.getUint8(4)
    const method = view.getUint16(6, true)
    const id = view.getUint32(8, true)
    const headerPart = frame.subarray(ENVELOPE_BYTES, ENVELOPE_BYTES + headerBytes)
    const body = frame.subarray(ENVELOPE_BYTES + headerBytes)
    let header: never
    try {
      header = (headerBytes === 0 ? undefined : decodeJson(headerPart)) as never
    } catch {
      return
    }
    if (kind === KIND_REQUEST) void this.serve(from, method, id, header, body)
    else this.settle(kind, id, header, body)
  }

  private async serve(
    from: string,
    method: number,
    id: number,
    header: never,
    body: Uint8Array,
  ): Promise<void> {
    let reply: readonly Uint8Array[]
    try {
      if (!this.opened) throw new HitherError('CVM_DOWN', 'this CVM is starting')
      const handler = this.handlers.get(method)
      if (handler === undefined) throw new HitherError('PROTOCOL_ERROR', `there is no method ${method}`)
      const result = await handler(header, body, from)
      const replyHeader = result.header === undefined ? undefined : encodeJson(result.header)
      reply = envelope(KIND_ANSWER, method, id, replyHeader, result.body ?? NOTHING)
    } catch (cause) {
      const error = asHitherError(cause)
      reply = envelope(
        KIND_ERROR,
        method,
        id,
        encodeJson({ code: error.code, message: error.message }),
        NOTHING,
      )
    }
    if (!this.closed) this.network.send(from, reply)
  }

  private settle(kind: number, id: number, header: unknown, body: Uint8Array): void {
    const call = this.pending.get(id)
    if (call === undefined) return
    this.pending.delete(id)
    call.cancelTimer()
    if (kind === KIND_ANSWER) {
      call.resolve({ header: header as never, body })
    } else {
      const error = header as { code: ErrorCode; message: string }
      call.reject(new HitherError(error.code, error.message))
    }
  }
}

function envelope(
  kind: number,
  method: number,
  id: number,
  header: Uint8Array | undefined,
  body: readonly Uint8Array[],
): readonly Uint8Array[] {
  let bodyBytes = 0
  for (const part of body) bodyBytes += part.length
  const head = new Uint8Array(ENVELOPE_BYTES)
  const view = new DataView(head.buffer)
  view.setUint32(0, MAGIC, true)
  view.setUint8(4, kind)
  view.setUint16(6, method, true)
  view.setUint32(8, id, true)
  view.setUint32(12, header?.length ?? 0, true)
  view.setUint32(16, bodyBytes, true)
  return header === undefined ? [head, ...body] : [head, header, ...body]
}
