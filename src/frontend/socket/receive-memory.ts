/**
 * What arrives at a socket, in memory that is used again and again.
 *
 * Node gives each chunk that it reads a buffer of 64 KiB of its own. At hundreds of MB a second the garbage collector
 * then runs every 35 ms, whatever the heap looks like: 1 MiB writes through NBD were a quarter slower for it
 * (docs/decisions/0010-receive-memory.md). A socket that is made with `onread` reads into one buffer instead. Node has no
 * option for that on the sockets that a server accepts; so the connection is handed over to a second socket, by fields
 * that Node does not document. Where they are not as expected, the accepted socket is used as it is: slower, and right.
 */
import { type OnReadOpts, type Server, Socket } from 'node:net'
import { KiB } from '../../base/units.ts'

/** A write of 1 MiB then takes a few calls; and one for each connection is not much. */
const RECEIVE_BYTES = 256 * KiB

/** What is not documented of a socket: what it does its IO with, and the server that counts it. */
interface Accepted {
  _handle: { readonly useUserBuffer?: unknown } | null | undefined
  _server: Server | null | undefined
}

/**
 * A socket for the same connection that emits `data` with chunks that are the listener's **during the call only**; until
 * it is resumed, none come. `accepted` must not have been read (`pauseOnConnect`), and is nobody's afterwards.
 */
export function receiveIntoOneBuffer(accepted: Socket): Socket {
  const from = accepted as unknown as Accepted
  const { _handle: handle, _server: server } = from
  if (typeof handle?.useUserBuffer !== 'function' || server == null) return accepted
  const onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(RECEIVE_BYTES),
    callback(bytes, buffer) {
      socket.emit('data', buffer.subarray(0, bytes))
      return true
    },
  }
  const options = { handle, onread, allowHalfOpen: true, readable: true, writable: true, pauseOnCreate: true }
  const socket: Socket = new Socket(options)
  from._handle = null
  from._server = null
  Object.assign(socket, { _server: server } satisfies Pick<Accepted, '_server'>)
  return socket
}
