/**
 * An RPC server on a TCP port. Whom `close` cuts off after the grace sends again what was not answered, here or to another
 * door.
 */
import type { HitherError } from '../../../base/errors.ts'
import type { BufferPool } from '../../socket/buffer-pool.ts'
import { ByteBudget } from '../../socket/byte-budget.ts'
import { SocketServer } from '../../socket/socket-server.ts'
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
  /** Buffers of this server, also for its programs' payloads. */
  readonly pool: BufferPool
  readonly onError: (error: HitherError) => void
}

export interface RpcServer {
  /** The TCP port. */
  readonly port: number
  /** Connections now. */
  connections(): number
  close(): Promise<void>
}

/** Serves `programs` on `host`:`port` (0: any free one). Rejects with `IN_USE` or `BAD_SETTING`. */
export async function serveRpc(
  programs: readonly Program[],
  where: { host: string; port: number },
  settings: RpcServerSettings,
): Promise<RpcServer> {
  const { connectionsMax, bytesTotalMax, closeGraceMs, ...limits } = settings
  const shared: ConnectionSettings = {
    ...limits,
    programs,
    budget: new ByteBudget(bytesTotalMax),
    scratch: new XdrWriter(),
    underWay: new CallsUnderWay(),
  }
  const server = new SocketServer({
    connectionsMax,
    onError: settings.onError,
    connect: (socket) => new Connection(socket, shared),
  })
  await server.listen(where)
  return {
    port: server.port,
    connections: () => server.connections(),
    close: () => server.close(closeGraceMs, [(connection) => connection.destroy()]),
  }
}
