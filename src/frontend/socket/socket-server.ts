/**
 * A listening socket and the set of its connections, as every door that answers requests has them.
 *
 * `close` goes in steps: 1. no new connections; 2. connections finish what they have under way, and end; 3. after the grace
 * the door does with whoever is still there what it sees fit, from the milder to the harder.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { asHitherError, type HitherError, invariant } from '../../base/errors.ts'
import { listening } from './listen.ts'
import { receiveIntoOneBuffer } from './receive-memory.ts'

/** How often a probe tells whether an idle client is still there. */
const KEEP_ALIVE_MS = 60_000
/** How long connections may take to end after each step that follows the grace. */
const LAST_WORDS_MS = 250

/** One connection, from accept to close. */
export interface ServedConnection {
  /** Resolves when the socket is closed, and what the connection held is let go of. */
  readonly ended: Promise<void>
  /** The door closes: finishes what is under way, and goes. */
  shutdown(): void
}

export interface SocketServerSettings<C> {
  /** More connections than this are refused. */
  readonly connectionsMax: number
  /** Told of what goes wrong outside of any connection. */
  readonly onError: (error: HitherError) => void
  /**
   * Takes over a socket that was accepted. Its errors are seen to: they destroy it, and its `close` follows. What it
   * emits as `data` is the listener's during the call only (receive-memory.ts).
   */
  readonly connect: (socket: Socket) => C
}

export class SocketServer<C extends ServedConnection> {
  readonly #server: Server
  readonly #connections = new Set<C>()
  readonly #connect: (socket: Socket) => C
  #closed: Promise<void> | undefined

  constructor({ connectionsMax, onError, connect }: SocketServerSettings<C>) {
    this.#connect = connect
    this.#server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      this.#accept(receiveIntoOneBuffer(socket)),
    )
    // Later than at the start: a connection could not be accepted, for want of file descriptors. The door stays open.
    this.#server.on('error', (error) => {
      if (this.#server.listening) onError(asHitherError(error))
    })
    this.#server.maxConnections = connectionsMax
  }

  /** As `listening`. */
  listen(where: { host: string; port: number } | { path: string }): Promise<void> {
    return listening(this.#server, where)
  }

  /** The TCP port, while it listens on one. */
  get port(): number {
    const address = this.#server.address()
    invariant(typeof address === 'object' && address !== null, 'a server that listens on TCP has a port')
    return address.port
  }

  /** Connections now. */
  connections(): number {
    return this.#connections.size
  }

  /** `harder`: what is done to the connections that have not ended `graceMs` after `shutdown`, step by step. */
  close(graceMs: number, harder: ReadonlyArray<(connection: C) => void>): Promise<void> {
    this.#closed ??= this.#close(graceMs, harder)
    return this.#closed
  }

  #accept(socket: Socket): void {
    socket.setNoDelay(true)
    socket.setKeepAlive(true, KEEP_ALIVE_MS)
    // Resets and broken pipes are the client's way to leave. `close` follows, and cleans up.
    socket.on('error', () => socket.destroy())
    const connection = this.#connect(socket)
    this.#connections.add(connection)
    void connection.ended.finally(() => this.#connections.delete(connection))
    if (this.#closed !== undefined) connection.shutdown()
  }

  async #close(graceMs: number, harder: ReadonlyArray<(connection: C) => void>): Promise<void> {
    const serverClosed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.shutdown()
    let ended = await this.#allEnded(graceMs)
    for (const step of harder) {
      if (ended) break
      for (const connection of this.#connections) step(connection)
      ended = await this.#allEnded(LAST_WORDS_MS)
    }
    await serverClosed
  }

  /** Waits until every connection has ended, at most `ms`; whether they have. */
  async #allEnded(ms: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined
    const patience = new Promise<false>((resolve) => {
      timer = setTimeout(() => resolve(false), ms)
    })
    const all = Promise.all([...this.#connections].map((connection) => connection.ended))
    try {
      return await Promise.race([all.then(() => true), patience])
    } finally {
      clearTimeout(timer)
    }
  }
}
