/**
 * An RPC server on a TCP port: listens, and keeps the set of its connections.
 *
 * `close` goes in steps: 1. no new connections; 2. connections finish what they have under way, and end; 3. after the grace
 * whoever is still there is cut off: its client sends again what was not answered, here or to another door.
 */
import { createServer, type Server, type Socket } from 'node:net'
import { asHitherError, type HitherError } from '../../../base/errors.ts'
import { MiB } from '../../../base/units.ts'
import { BufferPool } from '../../socket/buffer-pool.ts'
import { ByteBudget } from '../../socket/byte-budget.ts'
import { allEnded, listening } from '../../socket/listen.ts'
import { CallsUnderWay } from './calls-under-way.ts'
import { Connection, type ConnectionSettings } from './connection.ts'
import type { Program } from './program.ts'
import { XdrWriter } from './xdr.ts'

/** Times are milliseconds, sizes bytes. */
export interface RpcServerSettings {
  readonly recordBytesMax: number
  readonly connectionsMax: number
  readonly requestsMax: number
  readonly bytesMax: number
  readonly bytesTotalMax: number
  readonly stallTimeoutMs: number
  readonly closeGraceMs: number
  readonly onError: (error: HitherError) => void
}

/** Idle buffers kept for the next calls: 16 of the largest, as many as one busy client has under way. */
const POOL_BYTES = 32 * MiB
/** How long a connection may take to end after it was cut. */
const CUT_MS = 250

export class RpcServer {
  /** The TCP port, once it listens. */
  port = 0
  /** Buffers of this server, also for its programs' payloads. */
  readonly pool = new BufferPool(POOL_BYTES)
  readonly #server: Server
  readonly #connections = new Set<Connection>()
  readonly #settings: RpcServerSettings
  #closed: Promise<void> | undefined

  constructor(settings: RpcServerSettings) {
    this.#settings = settings
    this.#server = createServer({ allowHalfOpen: true })
    this.#server.maxConnections = settings.connectionsMax
    // Later than at the start: a connection could not be accepted, for want of file descriptors. The door stays open.
    this.#server.on('error', (error) => {
      if (this.#server.listening) settings.onError(asHitherError(error))
    })
  }

  /** Serves `programs` on `host`:`port` (0: any free one). Rejects with `IN_USE` or `BAD_SETTING`. */
  async listen(programs: readonly Program[], where: { host: string; port: number }): Promise<void> {
    const settings: ConnectionSettings = {
      ...this.#settings,
      programs,
      budget: new ByteBudget(this.#settings.bytesTotalMax),
      pool: this.pool,
      scratch: new XdrWriter(),
      underWay: new CallsUnderWay(),
    }
    this.#server.on('connection', (socket) => this.#accept(socket, settings))
    await listening(this.#server, where)
    const address = this.#server.address()
    if (typeof address === 'object' && address !== null) this.port = address.port
  }

  connections(): number {
    return this.#connections.size
  }

  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  #accept(socket: Socket, settings: ConnectionSettings): void {
    const connection = new Connection(socket, settings)
    this.#connections.add(connection)
    void connection.ended.finally(() => this.#connections.delete(connection))
    if (this.#closed !== undefined) connection.shutdown()
  }

  async #close(): Promise<void> {
    const serverClosed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    for (const connection of this.#connections) connection.shutdown()
    if (!(await allEnded(this.#connections, this.#settings.closeGraceMs))) {
      for (const connection of this.#connections) connection.destroy()
      await allEnded(this.#connections, CUT_MS)
    }
    await serverClosed
  }
}
