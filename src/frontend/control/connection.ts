/**
 * The server's end of one control connection: handshake, requests side by side, streams, and what is left behind when
 * the peer goes away.
 *
 * Bounds. At most `REQUESTS_IN_FLIGHT_MAX` requests run; what the socket delivered beyond them waits in a queue of at
 * most one chunk, and the socket is not read meanwhile. Nor is it read while the peer leaves `OUTPUT_BYTES_MAX` of
 * answers unread. A request that is running when the peer goes away runs to its end; its transfers are abandoned.
 */
import type { Socket } from 'node:net'
import { asHitherError, HitherError } from '../../base/errors.ts'
import { encodeMessage, type Message, MessageReader } from './framing.ts'
import { type MethodContext, methodHandler, streamHandler } from './methods.ts'
import { Params } from './params.ts'
import {
  CONTROL_HELLO,
  CONTROL_VERSION,
  HELLO_DEADLINE_MS,
  OUTPUT_BYTES_MAX,
  REQUEST_LINE_BYTES_MAX,
  REQUESTS_IN_FLIGHT_MAX,
  STREAMS_MAX,
  TRANSFER_BYTES_MAX,
} from './protocol.ts'

export class ControlConnection {
  readonly #socket: Socket
  readonly #context: MethodContext
  readonly #reader = new MessageReader({
    lineBytesMax: REQUEST_LINE_BYTES_MAX,
    payloadBytesMax: TRANSFER_BYTES_MAX,
  })
  readonly #waiting: Message[] = []
  readonly #running = new Set<number>()
  readonly #streams = new Map<number, AbortController>()
  readonly #drained = new Set<() => void>()
  readonly #helloTimer: NodeJS.Timeout
  readonly #ended: Promise<void>
  #greeted = false
  #over = false

  constructor(socket: Socket, context: MethodContext) {
    this.#socket = socket
    this.#context = context
    this.#ended = new Promise<void>((resolve) => {
      socket.once('close', () => resolve(this.#cleanUp()))
    })
    this.#helloTimer = setTimeout(() => this.#fail('no hello came'), HELLO_DEADLINE_MS)
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('drain', () => this.#onDrain())
    socket.on('error', () => socket.destroy())
  }

  /** Resolves when the socket is closed and its transfers are abandoned. */
  get ended(): Promise<void> {
    return this.#ended
  }

  close(): Promise<void> {
    this.#socket.destroy()
    return this.#ended
  }

  #receive(chunk: Buffer): void {
    if (this.#over) return
    try {
      this.#reader.push(chunk, (message) => this.#waiting.push(message))
      this.#pump()
    } catch (error) {
      this.#fail(asHitherError(error).message)
    }
  }

  /** Starts what may start, and reads on unless something is full. Throws `PROTOCOL_ERROR`. */
  #pump(): void {
    while (this.#waiting.length > 0 && this.#hasRoom()) this.#handle(this.#waiting.shift()!)
    if (this.#waiting.length > 0 || !this.#hasRoom()) this.#socket.pause()
    else this.#socket.resume()
  }

  #hasRoom(): boolean {
    return this.#running.size < REQUESTS_IN_FLIGHT_MAX && this.#socket.writableLength <= OUTPUT_BYTES_MAX
  }

  #handle(message: Message): void {
    const { header } = message
    if (!this.#greeted) {
      this.#greet(header)
      return
    }
    const cancelled = header['cancel']
    if (cancelled !== undefined) {
      this.#streams.get(cancelled as number)?.abort()
      return
    }
    const id = header['id']
    const method = header['method']
    if (!Number.isSafeInteger(id) || typeof method !== 'string') {
      throw new HitherError('PROTOCOL_ERROR', 'a request needs a whole number "id" and a string "method"')
    }
    if (this.#running.has(id as number)) {
      throw new HitherError('PROTOCOL_ERROR', `request id ${id} is still in use`)
    }
    this.#running.add(id as number)
    void this.#run(id as number, method, message)
  }

  #greet(header: Readonly<Record<string, unknown>>): void {
    if (header['hello'] !== CONTROL_HELLO) {
      throw new HitherError('PROTOCOL_ERROR', `this is the control socket of hither; say hello first`)
    }
    if (header['version'] !== CONTROL_VERSION) {
      throw new HitherError(
        'PROTOCOL_ERROR',
        `the server speaks version ${CONTROL_VERSION} of the control protocol, not ${header['version']}; use the command line of the same release`,
      )
    }
    clearTimeout(this.#helloTimer)
    this.#greeted = true
    this.#send({ hello: CONTROL_HELLO, version: CONTROL_VERSION })
  }

  async #run(id: number, method: string, message: Message): Promise<void> {
    try {
      const params = new Params(message.header['params'])
      const stream = streamHandler(method)
      const result =
        stream === undefined
          ? await this.#call(method, params, message.payload)
          : await this.#stream(id, (signal) => stream(this.#context, params, signal))
      if (result instanceof Uint8Array) this.#send({ id, result: null }, result)
      else this.#send({ id, result })
    } catch (error) {
      const { code, message: text } = asHitherError(error)
      this.#send({ id, error: { code, message: text } })
    }
    this.#running.delete(id)
    try {
      this.#pump()
    } catch (error) {
      this.#fail(asHitherError(error).message)
    }
  }

  #call(method: string, params: Params, payload: Uint8Array | undefined): unknown {
    const handler = methodHandler(method)
    if (handler === undefined) {
      throw new HitherError('BAD_ARGUMENT', `the control protocol has no method ${method}`)
    }
    return handler(this.#context, params, payload)
  }

  async #stream(id: number, open: (signal: AbortSignal) => AsyncIterable<unknown>): Promise<null> {
    if (this.#streams.size >= STREAMS_MAX) {
      throw new HitherError('BAD_ARGUMENT', `a connection has at most ${STREAMS_MAX} streams`)
    }
    const stop = new AbortController()
    this.#streams.set(id, stop)
    try {
      for await (const event of open(stop.signal)) {
        this.#send({ id, event })
        if (this.#socket.writableNeedDrain) {
          await new Promise<void>((resolve) => this.#drained.add(resolve))
        }
        if (this.#over) break
      }
      return null
    } finally {
      this.#streams.delete(id)
    }
  }

  #send(header: object, payload?: Uint8Array): void {
    if (this.#over) return
    this.#socket.cork()
    for (const part of encodeMessage(header, payload)) this.#socket.write(part)
    this.#socket.uncork()
  }

  #onDrain(): void {
    for (const resume of this.#drained) resume()
    this.#drained.clear()
    try {
      this.#pump()
    } catch (error) {
      this.#fail(asHitherError(error).message)
    }
  }

  /** Tells the peer what it did wrong, as the last thing on this connection. */
  #fail(message: string): void {
    if (this.#over) return
    this.#send({ error: { code: 'PROTOCOL_ERROR', message } })
    this.#over = true
    this.#waiting.length = 0
    this.#socket.end()
    // A peer that keeps its end open has nothing more to say that counts.
    this.#socket.resume()
    setTimeout(() => this.#socket.destroy(), 1_000).unref()
  }

  async #cleanUp(): Promise<void> {
    this.#over = true
    clearTimeout(this.#helloTimer)
    this.#waiting.length = 0
    for (const stop of this.#streams.values()) stop.abort()
    for (const resume of this.#drained) resume()
    await this.#context.transfers.close()
  }
}
