/**
 * The NBD door. One door serves one host's path to storage.
 *
 * `close` goes in steps: 1. no new connections; 2. connections with nothing under way end, the others finish what they
 * have, and refuse more with ESHUTDOWN; 3. after the grace, what is still under way is answered with ESHUTDOWN; 4.
 * after a further moment whoever still holds on is cut off.
 */
import { lstat, rm } from 'node:fs/promises'
import { connect } from 'node:net'
import type { StoragePath } from '../../api.ts'
import { codeOf, HitherError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import { BufferPool } from '../socket/buffer-pool.ts'
import { ByteBudget } from '../socket/byte-budget.ts'
import { atLeast, checkPort, urlHost } from '../socket/listen.ts'
import { SocketServer } from '../socket/socket-server.ts'
import { Connection, type ConnectionSettings } from './connection.ts'
import { ExportDirectory } from './export-directory.ts'
import { PAYLOAD_BYTES_MAX } from './wire.ts'

/** Plain settings of a door. Times are milliseconds, sizes bytes. */
export interface NbdOptions {
  /** Address to listen on. Default `127.0.0.1`: NBD has no passwords, so more than that is for you to decide. */
  host?: string
  /** TCP port; 0 for any that is free. Default 0. */
  port?: number
  /** Listens on a unix socket at this path instead of TCP. A stale one that nobody answers is replaced. */
  socket?: string
  /** More connections than this are refused. Default 1,024. */
  connectionsMax?: number
  /** Requests under way per connection; more wait in the socket. Default 256. */
  requestsMax?: number
  /** Payload bytes under way per connection; at least 32 MiB. Default 64 MiB. */
  bytesMax?: number
  /** Payload bytes under way on all connections together; at least 32 MiB. Default 256 MiB. */
  bytesTotalMax?: number
  /** How long a client may take to choose its export. Default 30,000. */
  handshakeTimeoutMs?: number
  /** How long a client may owe the rest of a request, or not take a reply, without any progress. Default 60,000. */
  stallTimeoutMs?: number
  /** How long `close` waits for requests under way. Default 2,000. */
  closeGraceMs?: number
  /** Told of each connection that was ended for what it sent, or for a defect of ours. */
  onError?: (error: HitherError) => void
}

/** A door that is open. */
export interface NbdServer extends AsyncDisposable {
  /** For clients; add the export's name as the path, e.g. `nbd://127.0.0.1:10809` + `/disk1`. */
  readonly url: string
  /** The TCP port, or `undefined` on a unix socket. */
  readonly port: number | undefined
  /** Connections now. */
  connections(): number
  /** Stops listening, lets requests under way finish within the grace, and closes every connection. */
  close(): Promise<void>
}

/** Idle buffers kept for the next requests. */
const POOL_BYTES = 16 * MiB

/**
 * Opens an NBD door onto `path`: every vDisk it lists is an export of that name. Rejects with `BAD_SETTING`, or with
 * `IN_USE` when somebody listens there already.
 */
export async function serveNbd(path: StoragePath, options: NbdOptions = {}): Promise<NbdServer> {
  checkOptions(options)
  const door = new Door(path, options)
  await door.listen(options)
  return door
}

class Door implements NbdServer {
  url = ''
  port: number | undefined
  readonly #server: SocketServer<Connection>
  readonly #closeGraceMs: number

  constructor(path: StoragePath, options: NbdOptions) {
    const settings: ConnectionSettings = {
      exports: new ExportDirectory(path),
      limits: {
        requestsMax: options.requestsMax ?? 256,
        bytesMax: options.bytesMax ?? 64 * MiB,
        budget: new ByteBudget(options.bytesTotalMax ?? 256 * MiB),
        pool: new BufferPool(POOL_BYTES),
      },
      handshakeTimeoutMs: options.handshakeTimeoutMs ?? 30_000,
      stallTimeoutMs: options.stallTimeoutMs ?? 60_000,
      onError: options.onError ?? (() => {}),
    }
    this.#closeGraceMs = options.closeGraceMs ?? 2_000
    this.#server = new SocketServer({
      connectionsMax: options.connectionsMax ?? 1_024,
      onError: settings.onError,
      connect: (socket) => new Connection(socket, settings),
    })
  }

  async listen(options: NbdOptions): Promise<void> {
    if (options.socket !== undefined) {
      await this.#listenOnSocket(options.socket)
      this.url = `nbd+unix:///?socket=${encodeURIComponent(options.socket).replaceAll('%2F', '/')}`
      return
    }
    const host = options.host ?? '127.0.0.1'
    await this.#server.listen({ host, port: options.port ?? 0 })
    this.port = this.#server.port
    this.url = `nbd://${urlHost(host)}:${this.port}`
  }

  connections(): number {
    return this.#server.connections()
  }

  close(): Promise<void> {
    return this.#server.close(this.#closeGraceMs, [
      (connection) => connection.abandon(),
      (connection) => connection.destroy(),
    ])
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #listenOnSocket(path: string): Promise<void> {
    try {
      await this.#server.listen({ path })
    } catch (error) {
      if (codeOf(error) !== 'IN_USE' || !(await isStaleSocket(path))) throw error
      await rm(path)
      await this.#server.listen({ path })
    }
  }
}

function checkOptions(options: NbdOptions): void {
  if (options.socket !== undefined && (options.port !== undefined || options.host !== undefined)) {
    throw new HitherError('BAD_SETTING', 'an NBD door listens on a unix socket or on TCP, not both')
  }
  checkPort(options.port)
  atLeast('NBD', 'bytesMax', options.bytesMax, PAYLOAD_BYTES_MAX)
  atLeast('NBD', 'bytesTotalMax', options.bytesTotalMax, PAYLOAD_BYTES_MAX)
  atLeast('NBD', 'requestsMax', options.requestsMax, 1)
  atLeast('NBD', 'connectionsMax', options.connectionsMax, 1)
  atLeast('NBD', 'handshakeTimeoutMs', options.handshakeTimeoutMs, 1)
  atLeast('NBD', 'stallTimeoutMs', options.stallTimeoutMs, 1)
  atLeast('NBD', 'closeGraceMs', options.closeGraceMs, 0)
}

/** A unix socket lies at `path`, and nobody listens on it: what a killed process leaves behind. */
async function isStaleSocket(path: string): Promise<boolean> {
  const stat = await lstat(path).catch(() => undefined)
  if (stat === undefined || !stat.isSocket()) return false
  return new Promise((resolve) => {
    const probe = connect({ path })
    probe.once('connect', () => {
      probe.destroy()
      resolve(false)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => resolve(error.code === 'ECONNREFUSED'))
  })
}
