/**
 * A small portmapper (RFC 1833, version 2), over TCP and UDP: tells clients that know no port, like qemu's `nfs://` and
 * ESXi, where NFS and MOUNT are. It registers nothing for anybody.
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { RequestKey } from '../../api.ts'
import { asHitherError, HitherError } from '../../base/errors.ts'
import { KiB, MiB } from '../../base/units.ts'
import { BufferPool } from '../socket/buffer-pool.ts'
import { checkPort, listenError } from '../socket/listen.ts'
import { clientAddress } from './rpc/client-address.ts'
import { dispatch } from './rpc/dispatch.ts'
import { SUCCESS, writeAccepted } from './rpc/message.ts'
import { nullProcedure, type Procedure, type Program } from './rpc/program.ts'
import { serveRpc } from './rpc/server.ts'
import { XdrWriter } from './rpc/xdr.ts'
import {
  MOUNT_PROGRAM,
  MOUNT_VERSION,
  NFS_PROGRAM,
  NFS_VERSION,
  PORTMAP_PROGRAM,
  PORTMAP_VERSION,
} from './wire.ts'

export const PORTMAP_PORT = 111
const TCP = 6
const UDP = 17
const RECORD_BYTES_MAX = 4 * KiB

export interface PortmapOptions {
  /** Address to listen on. Default `127.0.0.1`. */
  host?: string
  /** Default 111, which needs the rights for it; 0 for any that is free. */
  port?: number
  /** Where NFS and MOUNT are. */
  nfsPort: number
  /** Told of what it could not read, and of defects. */
  onError?: (error: HitherError) => void
}

export interface PortmapServer extends AsyncDisposable {
  /** The port, of TCP and UDP. */
  readonly port: number
  close(): Promise<void>
}

interface Mapping {
  readonly program: number
  readonly version: number
  readonly protocol: number
  readonly port: number
}

/** Rejects with `IN_USE` when a portmapper runs already, or with `BAD_SETTING`. */
export async function servePortmap(options: PortmapOptions): Promise<PortmapServer> {
  checkPort(options.port)
  checkPort(options.nfsPort)
  const host = options.host ?? '127.0.0.1'
  const onError = options.onError ?? (() => {})
  const mappings: Mapping[] = []
  const programs = [portmapProgram(mappings)]
  const tcp = await serveRpc(
    programs,
    { host, port: options.port ?? PORTMAP_PORT },
    {
      recordBytesMax: RECORD_BYTES_MAX,
      connectionsMax: 64,
      requestsMax: 16,
      bytesMax: 64 * KiB,
      bytesTotalMax: 1 * MiB,
      stallTimeoutMs: 10_000,
      closeGraceMs: 200,
      pool: new BufferPool(1 * MiB),
      onError,
    },
  )
  const { port } = tcp
  mappings.push(
    { program: PORTMAP_PROGRAM, version: PORTMAP_VERSION, protocol: TCP, port },
    { program: PORTMAP_PROGRAM, version: PORTMAP_VERSION, protocol: UDP, port },
    { program: MOUNT_PROGRAM, version: MOUNT_VERSION, protocol: TCP, port: options.nfsPort },
    { program: NFS_PROGRAM, version: NFS_VERSION, protocol: TCP, port: options.nfsPort },
  )
  try {
    const udp = await listenUdp(programs, host, port, onError)
    const close = async (): Promise<void> => {
      await Promise.all([tcp.close(), new Promise<void>((resolve) => udp.close(() => resolve()))])
    }
    return { port, close, [Symbol.asyncDispose]: close }
  } catch (error) {
    await tcp.close()
    throw error
  }
}

function portmapProgram(mappings: readonly Mapping[]): Program {
  const refuse: Procedure = (args) => {
    for (let i = 0; i < 4; i += 1) args.u32()
    return {
      run: () => (out) => {
        out.bool(false)
        return undefined
      },
    }
  }
  const getPort: Procedure = (args) => {
    const program = args.u32()
    const version = args.u32()
    const protocol = args.u32()
    args.u32()
    return {
      run: () => (out) => {
        const ofProgram = mappings.filter((one) => one.program === program && one.protocol === protocol)
        // As others do: of another version one learns by asking the program itself.
        out.u32((ofProgram.find((one) => one.version === version) ?? ofProgram[0])?.port ?? 0)
        return undefined
      },
    }
  }
  const dump: Procedure = () => ({
    run: () => (out) => {
      for (const { program, version, protocol, port } of mappings) {
        out.bool(true)
        for (const value of [program, version, protocol, port]) out.u32(value)
      }
      out.bool(false)
      return undefined
    },
  })
  return {
    number: PORTMAP_PROGRAM,
    version: PORTMAP_VERSION,
    procedures: [nullProcedure, refuse, refuse, getPort, dump],
  }
}

/** One datagram is one call; what cannot be read is not answered. */
function listenUdp(
  programs: readonly Program[],
  host: string,
  port: number,
  onError: (error: HitherError) => void,
): Promise<Socket> {
  const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4' })
  socket.on('message', (message, from) => {
    void answerDatagram(programs, message, from.address).then(
      (answer) => socket.send(answer, from.port, from.address, () => {}),
      (error) => onError(new HitherError('PROTOCOL_ERROR', 'a datagram was no call', { cause: error })),
    )
  })
  return new Promise((resolve, reject) => {
    const failed = (error: NodeJS.ErrnoException): void => reject(listenError(error, `${host}:${port} (UDP)`))
    socket.once('error', failed)
    socket.bind(port, host, () => {
      socket.off('error', failed)
      socket.on('error', (error) => onError(asHitherError(error)))
      resolve(socket)
    })
  })
}

/** Nothing that a portmapper does needs one. */
const NO_KEY: RequestKey = { high: 0, low: 0 }

async function answerDatagram(programs: readonly Program[], message: Buffer, from: string): Promise<Buffer> {
  const out = new XdrWriter()
  const call = dispatch(message, programs)
  if (typeof call === 'function') call(out)
  else {
    const { header, credentials, prepared } = call
    const { procedure } = header
    const client = clientAddress(from)
    const write = await prepared.run({
      procedure,
      credentials,
      client,
      key: undefined,
      withoutXid: () => NO_KEY,
      isAwaited: () => true,
    })
    writeAccepted(out, header.xid, SUCCESS)
    write(out)
  }
  return out.view()
}
