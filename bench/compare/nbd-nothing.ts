/**
 * The limit of a door in Node: an NBD server that keeps nothing. Reads are zeros, everything else is done at once. Requests
 * are parsed a chunk at a time and answered with one write a chunk; as little else as the protocol allows.
 * `nbd-nothing.ts SOCKET`.
 */
import { createServer, type Socket } from 'node:net'
import {
  CMD_DISC,
  CMD_READ,
  CMD_WRITE,
  EXPORT_NAME_PADDING_BYTES,
  FLAG_CAN_MULTI_CONN,
  FLAG_HAS_FLAGS,
  FLAG_SEND_FLUSH,
  FLAG_SEND_FUA,
  FLAG_SEND_TRIM,
  GREETING_MAGIC,
  HANDSHAKE_FIXED_NEWSTYLE,
  HANDSHAKE_NO_ZEROES,
  INFO_EXPORT,
  OPT_ABORT,
  OPT_EXPORT_NAME,
  OPT_GO,
  OPT_INFO,
  OPTION_HEADER_BYTES,
  OPTION_MAGIC,
  OPTION_REPLY_HEADER_BYTES,
  OPTION_REPLY_MAGIC_HIGH,
  OPTION_REPLY_MAGIC_LOW,
  REP_ACK,
  REP_ERR_UNSUP,
  REP_INFO,
  REQUEST_HEADER_BYTES,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
} from '../../src/frontend/nbd/wire.ts'
import { EXPORT_BYTES } from './nbd-servers.ts'

const CLIENT_FLAGS_BYTES = 4
const TRANSMISSION_FLAGS =
  FLAG_HAS_FLAGS | FLAG_SEND_FLUSH | FLAG_SEND_FUA | FLAG_SEND_TRIM | FLAG_CAN_MULTI_CONN
const ZEROS = Buffer.alloc(32 * 1024 * 1024)

function greeting(): Buffer {
  const bytes = Buffer.alloc(18)
  bytes.write(GREETING_MAGIC + OPTION_MAGIC, 'latin1')
  bytes.writeUInt16BE(HANDSHAKE_FIXED_NEWSTYLE | HANDSHAKE_NO_ZEROES, 16)
  return bytes
}

function optionReply(option: number, type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(OPTION_REPLY_HEADER_BYTES)
  head.writeUInt32BE(OPTION_REPLY_MAGIC_HIGH, 0)
  head.writeUInt32BE(OPTION_REPLY_MAGIC_LOW, 4)
  head.writeUInt32BE(option, 8)
  head.writeUInt32BE(type, 12)
  head.writeUInt32BE(data.length, 16)
  return Buffer.concat([head, data])
}

function exportInfo(): Buffer {
  const bytes = Buffer.alloc(12)
  bytes.writeUInt16BE(INFO_EXPORT, 0)
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
    while (this.#phase === 'options' && bytes.length >= OPTION_HEADER_BYTES) {
      const option = bytes.readUInt32BE(8)
      const length = bytes.readUInt32BE(12)
      if (bytes.length < OPTION_HEADER_BYTES + length) break
      bytes = bytes.subarray(OPTION_HEADER_BYTES + length)
      if (option === OPT_GO || option === OPT_INFO) {
        this.#socket.write(optionReply(option, REP_INFO, exportInfo()))
        this.#socket.write(optionReply(option, REP_ACK, Buffer.alloc(0)))
        if (option === OPT_GO) this.#phase = 'requests'
      } else if (option === OPT_EXPORT_NAME) {
        this.#socket.write(Buffer.concat([exportInfo().subarray(2), Buffer.alloc(EXPORT_NAME_PADDING_BYTES)]))
        this.#phase = 'requests'
      } else if (option === OPT_ABORT) {
        this.#socket.end(optionReply(option, REP_ACK, Buffer.alloc(0)))
        break
      } else {
        this.#socket.write(optionReply(option, REP_ERR_UNSUP, Buffer.alloc(0)))
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
    while (this.#payload === 0 && bytes.length - at >= REQUEST_HEADER_BYTES) {
      const command = bytes.readUInt16BE(at + 6)
      const length = bytes.readUInt32BE(at + 24)
      if (command === CMD_DISC) {
        this.#socket.end()
        break
      }
      const reply = Buffer.allocUnsafe(SIMPLE_REPLY_BYTES)
      reply.writeUInt32BE(SIMPLE_REPLY_MAGIC, 0)
      reply.writeUInt32BE(0, 4)
      bytes.copy(reply, 8, at + 8, at + 16)
      at += REQUEST_HEADER_BYTES
      if (command === CMD_WRITE) {
        const here = Math.min(length, bytes.length - at)
        at += here
        this.#payload = length - here
      }
      if (this.#payload > 0) this.#owed = reply
      else replies.push(reply)
      if (command === CMD_READ) replies.push(ZEROS.subarray(0, length))
    }
    this.#socket.cork()
    for (const reply of replies) this.#socket.write(reply)
    this.#socket.uncork()
    return bytes.subarray(at)
  }
}

const server = createServer((socket) => new Connection(socket)).listen(process.argv[2])
process.once('SIGTERM', () => server.close(() => process.exit(0)))
