/**
 * The NFS door: NFSv3 and MOUNT v3 on one TCP port. One door serves one host's path to the exported containers; all doors
 * of a cluster serve the same files under the same handles, so that a client of a failed host may go on at another.
 */
import type { FilePath } from '../../api.ts'
import type { HitherError } from '../../base/errors.ts'
import { MiB } from '../../base/units.ts'
import { BufferPool } from '../socket/buffer-pool.ts'
import { atLeast, checkPort, urlHost } from '../socket/listen.ts'
import { mountProgram } from './mount-program.ts'
import { nfsProgram } from './nfs-program.ts'
import { serveRpc } from './rpc/server.ts'
import { NfsService } from './service.ts'
import { RECORD_BYTES_MAX } from './wire.ts'

/** Plain settings of a door. Times are milliseconds, sizes bytes. */
export interface NfsOptions {
  /** Address to listen on. Default `127.0.0.1`. Who may use an export is also the export's own to say. */
  host?: string
  /** TCP port; 0 for any that is free. Default 0. */
  port?: number
  /** More connections than this are refused. Default 1,024. */
  connectionsMax?: number
  /** Calls under way per connection; more wait in the socket. Default 256. */
  requestsMax?: number
  /** Bytes of calls and answers under way per connection; at least 4 MiB. Default 64 MiB. */
  bytesMax?: number
  /** The same for all connections together; at least 4 MiB. Default 256 MiB. */
  bytesTotalMax?: number
  /** How long a client may owe the rest of a call, or not take an answer, without any progress. Default 60,000. */
  stallTimeoutMs?: number
  /** How long `close` waits for calls under way. Default 2,000. */
  closeGraceMs?: number
  /** Told of each connection that was ended for what it sent, and of defects of ours. */
  onError?: (error: HitherError) => void
}

/** A door that is open. */
export interface NfsServer extends AsyncDisposable {
  /** For clients; add the container as the path, e.g. `nfs://127.0.0.1:2049` + `/default`. */
  readonly url: string
  /** The TCP port. */
  readonly port: number
  /** Connections now. */
  connections(): number
  /** Stops listening, lets calls under way finish within the grace, and closes every connection. */
  close(): Promise<void>
}

/** Room for one call of each kind, whatever its size. */
const BYTES_LEAST = 4 * MiB
/** Idle buffers kept for the next calls: 16 of the largest, as many as one busy client has under way. */
const POOL_BYTES = 32 * MiB

/**
 * Opens an NFS door onto `path`: every container it lists is an export `/name`. Rejects with `BAD_SETTING`, or with
 * `IN_USE` when somebody listens there already.
 */
export async function serveNfs(path: FilePath, options: NfsOptions = {}): Promise<NfsServer> {
  checkOptions(options)
  const onError = options.onError ?? (() => {})
  const pool = new BufferPool(POOL_BYTES)
  const service = new NfsService(path, pool, onError)
  const programs = [nfsProgram(service), mountProgram(service)]
  const host = options.host ?? '127.0.0.1'
  const where = { host, port: options.port ?? 0 }
  const server = await serveRpc(programs, where, {
    recordBytesMax: RECORD_BYTES_MAX,
    connectionsMax: options.connectionsMax ?? 1_024,
    requestsMax: options.requestsMax ?? 256,
    bytesMax: options.bytesMax ?? 64 * MiB,
    bytesTotalMax: options.bytesTotalMax ?? 256 * MiB,
    stallTimeoutMs: options.stallTimeoutMs ?? 60_000,
    closeGraceMs: options.closeGraceMs ?? 2_000,
    pool,
    onError,
  })
  return {
    url: `nfs://${urlHost(host)}:${server.port}`,
    ...server,
    [Symbol.asyncDispose]: () => server.close(),
  }
}

function checkOptions(options: NfsOptions): void {
  checkPort(options.port)
  atLeast('NFS', 'bytesMax', options.bytesMax, BYTES_LEAST)
  atLeast('NFS', 'bytesTotalMax', options.bytesTotalMax, BYTES_LEAST)
  atLeast('NFS', 'requestsMax', options.requestsMax, 1)
  atLeast('NFS', 'connectionsMax', options.connectionsMax, 1)
  atLeast('NFS', 'stallTimeoutMs', options.stallTimeoutMs, 1)
  atLeast('NFS', 'closeGraceMs', options.closeGraceMs, 0)
}
