/**
 * The client's end of the control protocol: what the command line, or any other program on the host, uses to reach a
 * running cluster.
 */
import { connect, type Socket } from 'node:net'
import { asHitherError, type ErrorCode, HitherError } from '../../base/errors.ts'
import { encodeMessage, type Message, MessageReader } from './framing.ts'
import {
  CONTROL_HELLO,
  CONTROL_VERSION,
  type ControlMethod,
  type ControlMethods,
  type ControlStream,
  type ControlStreams,
  HELLO_DEADLINE_MS,
  RESPONSE_LINE_BYTES_MAX,
  TRANSFER_BYTES_MAX,
} from './protocol.ts'
import { resolveSocketPath } from './socket-path.ts'

interface Pending {
  event(event: unknown): void
  resolve(result: unknown): void
  reject(error: HitherError): void
}

/**
 * Connects to the control socket at `path`. Rejects with `CLUSTER_UNREACHABLE` when no server answers there, with
 * `PROTOCOL_ERROR` when it speaks another version.
 */
export async function connectControl(path: string): Promise<ControlClient> {
  const target = await resolveSocketPath(path)
  if (target === undefined) throw unreachable(path)
  const socket = await open(path, target)
  const client = new ControlClient(socket)
  await client.greet()
  return client
}

/** Events of one stream that wait for their reader; beyond them the connection is not read. */
const EVENTS_WAITING_MAX = 256

/**
 * One connection. Any number of requests may be under way; the server runs them side by side. A reader of `stream` that
 * does not keep up holds up the whole connection.
 */
export class ControlClient implements AsyncDisposable {
  readonly #socket: Socket
  readonly #reader = new MessageReader({
    lineBytesMax: RESPONSE_LINE_BYTES_MAX,
    payloadBytesMax: TRANSFER_BYTES_MAX,
  })
  readonly #pending = new Map<number, Pending>()
  /** Waits for the server's hello until `greet` has it. */
  #greeting: { resolve(): void; reject(error: HitherError): void } | undefined
  #lastId = 0
  /** Why nothing more can be asked. */
  #over: HitherError | undefined

  /** Use `connectControl`. */
  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', (chunk: Buffer) => this.#receive(chunk))
    socket.on('error', (error) => this.#end(lostConnection(error)))
    socket.on('close', () => this.#end(lostConnection()))
  }

  /** Exchanges hellos; once, before anything else. */
  async greet(): Promise<void> {
    const answered = new Promise<void>((resolve, reject) => {
      this.#greeting = { resolve, reject }
    })
    this.#write({ hello: CONTROL_HELLO, version: CONTROL_VERSION })
    const timer = setTimeout(() => {
      this.#end(new HitherError('CLUSTER_UNREACHABLE', 'the cluster does not answer on its control socket'))
    }, HELLO_DEADLINE_MS)
    try {
      await answered
    } finally {
      clearTimeout(timer)
      this.#greeting = undefined
    }
  }

  /**
   * Sends a request; resolves with its result or rejects with the server's error. `payload` must be left alone until
   * then.
   */
  call<M extends ControlMethod>(
    method: M,
    params: ControlMethods[M]['params'],
    payload?: Uint8Array,
  ): Promise<ControlMethods[M]['result']> {
    return new Promise((resolve, reject) => {
      this.#ask(method, params, payload, {
        event: () => {},
        resolve: (result) => resolve(result as ControlMethods[M]['result']),
        reject,
      })
    })
  }

  /** The events of a stream, until the server ends it or the loop over them is left. */
  async *stream<S extends ControlStream>(
    method: S,
    params: ControlStreams[S]['params'],
  ): AsyncGenerator<ControlStreams[S]['event'], void> {
    const events: Array<ControlStreams[S]['event']> = []
    let ended: { error: HitherError | undefined } | undefined
    let wake = () => {}
    const id = this.#ask(method, params, undefined, {
      event: (event) => {
        events.push(event as ControlStreams[S]['event'])
        if (events.length >= EVENTS_WAITING_MAX) this.#socket.pause()
        wake()
      },
      resolve: () => {
        ended = { error: undefined }
        wake()
      },
      reject: (error) => {
        ended = { error }
        wake()
      },
    })
    try {
      while (true) {
        while (events.length > 0) yield events.shift()!
        this.#socket.resume()
        if (ended !== undefined) {
          if (ended.error !== undefined) throw ended.error
          return
        }
        await new Promise<void>((resolve) => {
          wake = resolve
        })
      }
    } finally {
      this.#socket.resume()
      if (ended === undefined) this.#write({ cancel: id })
    }
  }

  /** Ends the connection; requests under way reject with `reason`. */
  async close(reason = new HitherError('CANCELLED', 'the connection was closed')): Promise<void> {
    this.#end(reason)
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #ask(method: string, params: object, payload: Uint8Array | undefined, pending: Pending): number {
    this.#lastId += 1
    const id = this.#lastId
    if (this.#over !== undefined) {
      pending.reject(this.#over)
      return id
    }
    this.#pending.set(id, pending)
    this.#write({ id, method, params }, payload)
    return id
  }

  #write(header: object, payload?: Uint8Array): void {
    if (this.#over !== undefined) return
    this.#socket.cork()
    for (const part of encodeMessage(header, payload)) this.#socket.write(part)
    this.#socket.uncork()
  }

  #receive(chunk: Buffer): void {
    if (this.#over !== undefined) return
    try {
      this.#reader.push(chunk, (message) => this.#take(message))
    } catch (error) {
      this.#end(asHitherError(error))
    }
  }

  #take({ header, payload }: Message): void {
    const id = header['id']
    if (id === undefined) {
      this.#takeGreeting(header)
      return
    }
    const pending = this.#pending.get(id as number)
    if (pending === undefined) return
    if (header['event'] !== undefined) {
      pending.event(header['event'])
      return
    }
    this.#pending.delete(id as number)
    if (header['error'] !== undefined) pending.reject(serverError(header['error']))
    else pending.resolve(payload ?? header['result'])
  }

  #takeGreeting(header: Readonly<Record<string, unknown>>): void {
    if (header['error'] !== undefined) {
      this.#end(serverError(header['error']))
    } else if (header['hello'] === CONTROL_HELLO && header['version'] === CONTROL_VERSION) {
      this.#greeting?.resolve()
    } else {
      this.#end(new HitherError('PROTOCOL_ERROR', 'what listens on the control socket is not hither'))
    }
  }

  #end(reason: HitherError): void {
    if (this.#over !== undefined) return
    this.#over = reason
    this.#socket.destroy()
    this.#greeting?.reject(reason)
    for (const pending of this.#pending.values()) pending.reject(reason)
    this.#pending.clear()
  }
}

function open(path: string, target: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(target)
    socket.once('connect', () => {
      socket.removeAllListeners('error')
      resolve(socket)
    })
    socket.once('error', (error) => reject(unreachable(path, error)))
  })
}

function unreachable(path: string, cause?: NodeJS.ErrnoException): HitherError {
  const why = cause?.code === 'EACCES' ? 'you may not connect to the control socket' : 'no cluster listens at'
  return new HitherError(
    'CLUSTER_UNREACHABLE',
    `${why} ${path}; start one with "hither start", or name its control socket with --control`,
    { cause },
  )
}

function lostConnection(cause?: Error): HitherError {
  return new HitherError('CLUSTER_UNREACHABLE', 'the connection to the cluster was lost', { cause })
}

/** An error as the server told it. Its code is passed on as it is: both ends speak the same version. */
function serverError(told: unknown): HitherError {
  const { code, message } = (told ?? {}) as { code?: unknown; message?: unknown }
  if (typeof code !== 'string' || typeof message !== 'string') {
    return new HitherError('PROTOCOL_ERROR', 'the server sent an error that has no code or message')
  }
  return new HitherError(code as ErrorCode, message)
}
