/**
 * The control server: listens on a unix socket (mode 0600, so only its user gets in) and runs a `ControlConnection` per
 * client. It knows the cluster through api.ts only.
 */
import { chmod } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import type { Cluster } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import { ControlConnection } from './connection.ts'
import { EventLog } from './event-log.ts'
import { encodeMessage } from './framing.ts'
import { CONNECTIONS_MAX, type HostDoors } from './protocol.ts'
import { claimSocketPath, removeSocketPath } from './socket-path.ts'
import { Transfers } from './transfers.ts'

export interface ControlServer extends AsyncDisposable {
  /** As it was asked for; clients connect with it. */
  readonly path: string
  /** Ends all connections, abandons their transfers, removes the socket. The cluster stays open. */
  close(): Promise<void>
}

export interface ControlServerOptions {
  /** Of the socket. Folders on the way are created; a socket that a dead server left is replaced. */
  path: string
  /** Default: no doors. */
  doors?: HostDoors
}

const NO_DOORS: HostDoors = { list: () => [], refresh: async () => {} }

/** Rejects with `DATA_IN_USE` when a live server has the path, with `BAD_SETTING` when it cannot be used. */
export async function serveControl(cluster: Cluster, options: ControlServerOptions): Promise<ControlServer> {
  const { path } = options
  const doors = options.doors ?? NO_DOORS
  const events = new EventLog(cluster)
  const connections = new Set<ControlConnection>()
  const server = createServer((socket) => {
    if (connections.size >= CONNECTIONS_MAX) {
      refuse(socket)
      return
    }
    const transfers = new Transfers(cluster)
    const connection = new ControlConnection(socket, { cluster, doors, events, transfers })
    connections.add(connection)
    void connection.ended.finally(() => connections.delete(connection))
  })
  let target: string
  try {
    target = await claimSocketPath(path)
    await listen(server, target)
  } catch (error) {
    await events.close()
    if (error instanceof HitherError) throw error
    const reason = error instanceof Error ? error.message : String(error)
    throw new HitherError('BAD_SETTING', `cannot listen at ${path}: ${reason}`, { cause: error })
  }

  const closeOnce = async (): Promise<void> => {
    const stopped = new Promise<void>((resolve) => server.close(() => resolve()))
    await events.close()
    await Promise.all([...connections].map((connection) => connection.close()))
    await stopped
    await removeSocketPath(path, target)
  }
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= closeOnce()
    return closing
  }
  return { path, close, [Symbol.asyncDispose]: close }
}

/** Listens so that the socket is never there with a wider mode. */
async function listen(server: Server, path: string): Promise<void> {
  const listening = new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.once('listening', () => {
      server.removeListener('error', reject)
      resolve()
    })
  })
  bindPrivately(() => server.listen(path))
  await listening
  await chmod(path, 0o600)
}

/** The name is bound within the call of `listen`; worker threads have no umask of their own and rely on `chmod`. */
function bindPrivately(bind: () => void): void {
  let before: number
  try {
    before = process.umask(0o177)
  } catch {
    bind()
    return
  }
  try {
    bind()
  } finally {
    process.umask(before)
  }
}

function refuse(socket: Socket): void {
  socket.on('error', () => socket.destroy())
  const message = `the control socket has ${CONNECTIONS_MAX} connections already`
  for (const part of encodeMessage({ error: { code: 'TIMEOUT', message } })) socket.write(part)
  socket.end()
  socket.resume()
}
