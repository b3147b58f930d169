/**
 * The limit of a door in Node: an NBD server that keeps nothing. Reads are zeros, everything else is done at once. Requests
 * are parsed a chunk at a time and answered with one write a chunk; as little else as the protocol allows.
 * `nbd-nothing.ts SOCKET`.
 */
import { createServer, type Socket } from 'node:net'
import { EXPORT_BYTES } from './nbd-servers.ts'

const REQUEST_BYTES = 28
const OPTION_BYTES = 16
const CLIENT_FLAGS_BYTES = 4
const OPTION_EXPORT_NAME = 1
const OPTION_ABORT = 2
const OPTION_INFO = 6
const OPTION_GO = 7
const REPLY_ACK = 1
const REPLY_INFO = 3
const REPLY_UNSUPPORTED = 0x8000_0001
const COMMAND_READ = 0
const COMMAND_WRITE = 1
const COMMAND_DISCONNECT = 2
/** HAS_FLAGS, SEND_FLUSH, SEND_FUA, SEND_TRIM, CAN_MULTI_CONN. */
const TRANSMISSION_FLAGS = 0x12d
const ZEROS = Buffer.alloc(32 * 1024 * 1024)

function greeting(): Buffer {
  const bytes = Buffer.alloc(18)
  bytes.write('NBDMAGICIHAVEOPT', 'latin1')
  bytes.writeUInt16BE(3, 16)
  return bytes
}

function optionReply(option: number, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(20)
  head.writeBigUInt64BE(0x3e889045565a9n, 0)
  head.writeUInt32BE(option, 8)
  head.writeUInt32BE(type, 12)
  head.writeUInt32BE(data.length, 16)
  return Buffer.concat([head, data])
}

function exportInfo(): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt16BE(0, 0)
  bytes.writeBigUInt64BE(BigInt(EXPORT_BYTES), 2)
  bytes.writeUInt16BE(TRANSMISSION_FLAGS, 10)
  return bytes
}

class Connection {
  readonly #socket: Socket
  #rest: Buffer = Buffer.alloc(0)
  #phase: 'flags' | 'options' | 'requests' = 'flags'
  /** Bytes of a write's payload that are still to come, and its reply, which must not be earlier. */
  #payload = 0
  #owed: Buffer | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.setNoDelay?.(true)
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => this.#receive(chunk))
    socket.write(greeting())
  }

  #receive(chunk: Buffer): void {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk])
    if (this.#phase === 'flags' && bytes.length >= CLIENT_FLAGS_BYTES) {
      this.#phase = 'options'
      bytes = bytes.subarray(CLIENT_FLAGS_BYTES)
    }
    if (this.#phase === 'options') bytes = this.#options(bytes)
    this.#rest = this.#phase === 'requests' ? this.#requests(bytes) : bytes
  }

  #options(from: Buffer): Buffer {
    let bytes = from
    while (this.#phase === 'options' && bytes.length >= OPTION_BYTES) {
      const option = bytes.readUInt32BE(8)
      const length = bytes.readUInt32BE(12)
      if (bytes.length < OPTION_BYTES + length) break
      bytes = bytes.subarray(OPTION_BYTES + length)
      if (option === OPTION_GO || option === OPTION_INFO) {
        this.#socket.write(optionReply(option, REPLY_INFO, exportInfo()))
        this.#socket.write(optionReply(option, REPLY_ACK, Buffer.alloc(0)))
        if (option === OPTION_GO) this.#phase = 'requests'
      } else if (option === OPTION_EXPORT_NAME) {
        this.#socket.write(Buffer.concat([exportInfo().subarray(2), Buffer.alloc(124)]))
        this.#phase = 'requests'
      } else if (option === OPTION_ABORT) {
        this.#socket.end(optionReply(option, REPLY_ACK, Buffer.alloc(0)))
        break
      } else {
        this.#socket.write(optionReply(option, REPLY_UNSUPPORTED, Buffer.alloc(0)))
      }
    }
    return bytes
  }

  #requests(bytes: Buffer): Buffer {
    const replies: Buffer[] = []
    let at = Math.min(this.#payload, bytes.length)
    this.#payload -= at
    if (this.#payload === 0 && this.#owed !== undefined) {
      replies.push(this.#owed)
      this.#owed = undefined
    }
    while (this.#payload === 0 && bytes.length - at >= REQUEST_BYTES) {
      const command = bytes.readUInt16BE(at + 6)
      const length = bytes.readUInt32BE(at + 24)
      if (command === COMMAND_DISCONNECT) {
        this.#socket.end()
        break
      }
      const reply = Buffer.allocUnsafe(16)
      reply.writeUInt32BE(0x67446698, 0)
      reply.writeUInt32BE(0, 4)
      bytes.copy(reply, 8, at + 8, at + 16)
      at += REQUEST_BYTES
      if (command === COMMAND_WRITE) {
        const here = Math.min(length, bytes.length - at)
        at += here
        this.#payload = length - here
      }
      if (this.#payload > 0) this.#owed = reply
      else replies.push(reply)
      if (command === COMMAND_READ) replies.push(ZEROS.subarray(0, length))
    }
    this.#socket.cork()
    for (const reply of replies) this.#socket.write(reply)
    this.#socket.uncork()
    return bytes.subarray(at)
  }
}

const server = createServer((socket) => new Connection(socket)).listen(process.argv[2])
process.once('SIGTERM', () => server.close(() => process.exit(0)))
