/**
 * One client connection of an RPC server, from accept to close: records in, calls side by side, answers out in the order
 * in which they are ready.
 *
 * **Bounds.** A call is admitted (socket/intake.ts) with the bytes of its record and its results, and counts until the
 * answer has left. Nothing is queued beyond the chunk that was being parsed.
 *
 * | what happens | what is done |
 * |---|---|
 * | a record begun, or an answer not taken, with no progress for `stallTimeoutMs` | destroyed |
 * | bytes that are no calls | destroyed, reported |
 * | a call that this server does not understand | refused, the connection goes on |
 * | the client says FIN | answers what is under way, then closes; a WRITE that storage did not do yet is not tried again |
 * | the door closes | as with FIN, and reads no more: the client sends again what was not answered |
 * | reset | calls under way run on unheard; their buffers and bytes return when they have |
 */
import type { Socket } from 'node:net'
import type { RequestKey } from '../../../api.ts'
import { asHitherError, HitherError } from '../../../base/errors.ts'
import { type BufferPool, HEADROOM_BYTES } from '../../socket/buffer-pool.ts'
import { Intake, type IntakeLimits } from '../../socket/intake.ts'
import { COPY_BYTES_MAX, ReplyWriter } from '../../socket/reply-writer.ts'
import type { CallsUnderWay } from './calls-under-way.ts'
import { clientAddress } from './client-address.ts'
import { type Accepted, dispatch } from './dispatch.ts'
import { SUCCESS, SYSTEM_ERR, writeAccepted } from './message.ts'
import type { Payload, Program, WriteResults } from './program.ts'
import { RecordParser, type RecordSink } from './record-parser.ts'
import { requestKey } from './request-key.ts'
import { XdrError, type XdrWriter } from './xdr.ts'

/** What the connections of one server have in common. */
export interface ConnectionSettings extends IntakeLimits {
  readonly programs: readonly Program[]
  readonly recordBytesMax: number
  readonly pool: BufferPool
  /** Where answers are written before they are sent: one at a time. */
  readonly scratch: XdrWriter
  readonly underWay: CallsUnderWay
  readonly stallTimeoutMs: number
  /** Told why a connection was ended, and of calls that failed for a defect of ours. */
  readonly onError: (error: HitherError) => void
}

const MARK_BYTES = 4
const LAST_FRAGMENT = 0x8000_0000

export class Connection implements RecordSink {
  readonly #socket: Socket
  readonly #settings: ConnectionSettings
  readonly #client: string
  readonly #parser: RecordParser
  readonly #out: ReplyWriter
  readonly #intake: Intake
  /** Bytes of calls that run. */
  #runningBytes = 0
  /** Bytes of the record that is arriving, when they had to be admitted. */
  #arriving = 0
  #inputEnded = false
  /** The client said FIN: as a rule it has gone elsewhere. */
  #left = false
  #broken = false
  /** Resolves when the socket is closed. */
  readonly ended: Promise<void>

  constructor(socket: Socket, settings: ConnectionSettings) {
    this.#socket = socket
    this.#settings = settings
    this.#client = clientAddress(socket.remoteAddress ?? '')
    this.#parser = new RecordParser(this, settings.pool, settings.recordBytesMax)
    this.#intake = new Intake(socket, settings, () => this.#parse(() => this.#parser.resume()))
    this.#out = new ReplyWriter(socket, settings.pool, this.#sent)
    socket.on('data', (chunk: Buffer) => this.#parse(() => this.#parser.push(chunk)))
    socket.on('end', () => {
      this.#left = true
      this.#finish()
    })
    socket.on('close', () => this.#disconnected())
    socket.setTimeout(settings.stallTimeoutMs, () => {
      if (this.#clientOwes) socket.destroy()
    })
    this.ended = new Promise((resolve) => socket.once('close', () => resolve()))
    socket.resume()
  }

  /** The door closes: answers what is under way, and goes. */
  shutdown(): void {
    this.#socket.pause()
    this.#intake.stopWaiting()
    this.#finish()
  }

  /** Cuts the connection. */
  destroy(): void {
    this.#socket.destroy()
  }

  // What the parser asks and tells.

  admit(bytes: number): boolean {
    if (!this.#intake.tryTake(bytes)) return false
    this.#arriving = bytes
    return true
  }

  record(bytes: Buffer, pooled: Buffer | undefined): boolean {
    const call = dispatch(bytes, this.#settings.programs)
    const refused = typeof call === 'function'
    let cost = this.#arriving
    if (cost === 0) {
      cost = bytes.length + (refused ? 0 : (call.prepared.resultBytes ?? 0))
      if (!this.#intake.tryTake(cost)) return false
    }
    this.#arriving = 0
    if (!refused) {
      this.#run(call, cost, pooled)
      return true
    }
    const { scratch } = this.#settings
    begin(scratch)
    call(scratch)
    this.#send(scratch, undefined, cost)
    if (pooled !== undefined) this.#settings.pool.give(pooled)
    return true
  }

  // From the call to its answer.

  #run(call: Accepted, cost: number, pooled: Buffer | undefined): void {
    this.#runningBytes += cost
    const settled = (write: WriteResults | undefined): void => {
      this.#runningBytes -= cost
      this.#answer(call.header.xid, write, cost)
      if (pooled !== undefined) this.#settings.pool.give(pooled)
    }
    const failed = (error: unknown): void => {
      this.#settings.onError(asHitherError(error))
      settled(undefined)
    }
    let results: WriteResults | Promise<WriteResults>
    try {
      results = this.#start(call)
    } catch (error) {
      failed(error)
      return
    }
    if (typeof results === 'function') settled(results)
    else results.then(settled, failed)
  }

  #start({ header, credentials, args, prepared }: Accepted): WriteResults | Promise<WriteResults> {
    const { procedure } = header
    const withoutXid = (): RequestKey =>
      requestKey(this.#client, credentials.machine, { ...header, xid: 0 }, args)
    const call = { procedure, credentials, client: this.#client, withoutXid }
    if (!prepared.once) return prepared.run({ ...call, key: undefined, isAwaited: this.#isThere })
    const key = requestKey(this.#client, credentials.machine, header, args)
    return this.#settings.underWay.join(key, this.#isThere, (isAwaited) =>
      prepared.run({ ...call, key, isAwaited }),
    )
  }

  readonly #isThere = (): boolean => !this.#left && !this.#broken

  #answer(xid: number, write: WriteResults | undefined, cost: number): void {
    const { scratch, pool, budget } = this.#settings
    begin(scratch)
    let payload: Payload | undefined
    try {
      writeAccepted(scratch, xid, write === undefined ? SYSTEM_ERR : SUCCESS)
      payload = write?.(scratch)
    } catch (error) {
      this.#settings.onError(asHitherError(error))
      scratch.cutTo(MARK_BYTES)
      writeAccepted(scratch, xid, SYSTEM_ERR)
    }
    if (!this.#broken) {
      this.#send(scratch, payload, cost)
      return
    }
    if (payload !== undefined) pool.give(payload.pooled)
    budget.give(cost)
  }

  /** Sends what is in `scratch` behind a record mark, and the payload behind that. */
  #send(scratch: XdrWriter, payload: Payload | undefined, cost: number): void {
    const length = scratch.length
    scratch.patchU32(0, LAST_FRAGMENT + length - MARK_BYTES + (payload?.bytes.length ?? 0))
    if (length <= COPY_BYTES_MAX) this.#copyOut(scratch.view())
    else {
      const pooled = this.#settings.pool.take(length)
      scratch.view().copy(pooled, HEADROOM_BYTES)
      this.#out.append(pooled.subarray(HEADROOM_BYTES, HEADROOM_BYTES + length), pooled)
    }
    if (payload !== undefined) {
      if (payload.bytes.length > COPY_BYTES_MAX) this.#out.append(payload.bytes, payload.pooled)
      else {
        this.#copyOut(payload.bytes)
        this.#settings.pool.give(payload.pooled)
      }
    }
    this.#out.commit(cost)
  }

  #copyOut(bytes: Buffer): void {
    const at = this.#out.reserve(bytes.length)
    bytes.copy(this.#out.buffer, at)
  }

  // Admission and back-pressure.

  /** The client owes us the rest of a record, or does not take our answers: either way it is its turn. */
  get #clientOwes(): boolean {
    return (this.#parser.owed && !this.#intake.waiting && !this.#inputEnded) || this.#out.writing
  }

  /** The socket has taken the answers to `requests` calls, which held `bytes`. */
  readonly #sent = (requests: number, bytes: number): void => {
    if (this.#broken) return
    this.#intake.give(requests, bytes)
    if (!this.#intake.retry()) this.#endWhenIdle()
  }

  #parse(step: () => boolean): void {
    if (this.#broken) return
    try {
      this.#intake.parsed(step())
      this.#endWhenIdle()
    } catch (error) {
      this.#socket.destroy()
      this.#settings.onError(
        error instanceof XdrError
          ? new HitherError('PROTOCOL_ERROR', `no RPC call: ${error.message}`)
          : asHitherError(error),
      )
    }
  }

  /** No more will be read. */
  #finish(): void {
    this.#inputEnded = true
    this.#endWhenIdle()
  }

  #endWhenIdle(): void {
    if (!this.#inputEnded || this.#intake.waiting || this.#broken) return
    this.#parser.stop()
    if (this.#arriving > 0) {
      this.#intake.give(1, this.#arriving)
      this.#arriving = 0
    }
    if (this.#intake.idle) this.#socket.destroySoon()
  }

  #disconnected(): void {
    this.#broken = true
    this.#parser.stop()
    // Calls that run keep their bytes until they are done.
    this.#intake.close(this.#runningBytes)
  }
}

/** Leaves room for the record mark. */
function begin(scratch: XdrWriter): void {
  scratch.reset()
  scratch.u32(0)
}
