/**
 * A small NBD client that speaks bytes: tests see exactly what the door said, and can say whatever they like. It shares
 * no code with the door but the table of numbers.
 */
import { connect, type Socket } from 'node:net'
import * as wire from '../../../src/frontend/nbd/wire.ts'

export interface OptionReply {
  option: number
  type: number
  data: Buffer
}

export interface Chunk {
  flags: number
  type: number
  payload: Buffer
}

/** A whole reply: a simple one has no chunks. */
export interface Reply {
  cookie: bigint
  error: number
  /** Data of a simple reply to a READ. */
  data: Buffer | undefined
  chunks: Chunk[]
}

export class RawClient {
  readonly socket: Socket
  structured = false
  /** What has come and was not read; never empty. */
  #chunks: Buffer[] = [Buffer.alloc(0)]
  #have = 0
  #ended = false
  #wake: (() => void) | undefined
  #cookie = 0n

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk) => {
      this.#chunks.push(chunk)
      this.#have += chunk.length
      this.#wake?.()
    })
    const over = (): void => {
      this.#ended = true
      this.#wake?.()
    }
    socket.on('end', over)
    socket.on('close', over)
    socket.on('error', over)
  }

  static connect(where: { port: number } | { path: string }): Promise<RawClient> {
    return new Promise((resolve, reject) => {
      const socket = connect({ ...where, allowHalfOpen: true } as { port: number; allowHalfOpen: boolean })
      socket.once('error', reject)
      socket.once('connect', () => resolve(new RawClient(socket)))
    })
  }

  /** Rejects when the connection ends first. */
  async read(length: number): Promise<Buffer> {
    while (this.#have < length) {
      if (this.#ended) throw new Error(`connection ended after ${this.#have} of ${length} bytes`)
      await this.#more()
    }
    if (length > this.#chunks[0]!.length) this.#chunks = [Buffer.concat(this.#chunks)]
    const first = this.#chunks[0]!
    this.#have -= length
    this.#chunks[0] = first.subarray(length)
    return first.subarray(0, length)
  }

  /** Everything until the server ends the connection. */
  async readToEnd(): Promise<Buffer> {
    while (!this.#ended) await this.#more()
    return Buffer.concat(this.#chunks)
  }

  #more(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  close(): void {
    this.socket.destroy()
  }

  // Handshake

  /** Reads the greeting and answers with `flags`. */
  async greet(flags = wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES): Promise<number> {
    const greeting = await this.read(18)
    if (greeting.toString('latin1', 0, 16) !== 'NBDMAGICIHAVEOPT') throw new Error('not the NBD greeting')
    this.socket.write(u32(flags))
    return greeting.readUInt16BE(16)
  }

  sendOption(option: number, data: Buffer = Buffer.alloc(0), announced = data.length): void {
    this.socket.write(Buffer.concat([Buffer.from('IHAVEOPT'), u32(option), u32(announced), data]))
  }

  async readOptionReply(): Promise<OptionReply> {
    const header = await this.read(20)
    if (header.readBigUInt64BE(0) !== 0x3e889045565a9n) throw new Error('not an option reply')
    return {
      option: header.readUInt32BE(8),
      type: header.readUInt32BE(12),
      data: await this.read(header.readUInt32BE(16)),
    }
  }

  /** Sends an option and returns all its replies, the final one last. */
  async option(option: number, data?: Buffer): Promise<OptionReply[]> {
    this.sendOption(option, data)
    const replies: OptionReply[] = []
    for (;;) {
      const reply = await this.readOptionReply()
      replies.push(reply)
      if (reply.type === wire.REP_ACK || reply.type >= 0x8000_0000) return replies
    }
  }

  /** Handshake up to transmission; throws when the server does not agree. */
  async go(
    name: string,
    options: { structured?: boolean; blockStatus?: boolean } = {},
  ): Promise<{ size: bigint; flags: number }> {
    await this.greet()
    if (options.structured || options.blockStatus) {
      await this.#expectAck(wire.OPT_STRUCTURED_REPLY)
      this.structured = true
    }
    if (options.blockStatus) {
      await this.#expectAck(wire.OPT_SET_META_CONTEXT, metaContextData(name, ['base:allocation']))
    }
    const replies = await this.#expectAck(wire.OPT_GO, infoData(name))
    const info = replies.find((reply) => reply.type === wire.REP_INFO && reply.data.readUInt16BE(0) === 0)!
    return { size: info.data.readBigUInt64BE(2), flags: info.data.readUInt16BE(10) }
  }

  async #expectAck(option: number, data?: Buffer): Promise<OptionReply[]> {
    const replies = await this.option(option, data)
    const last = replies.at(-1)!
    if (last.type !== wire.REP_ACK)
      throw new Error(`option ${option}: ${last.type.toString(16)} ${last.data}`)
    return replies
  }

  // Transmission

  /** Sends a request and returns its cookie. */
  send(
    command: number,
    offset: number | bigint,
    length: number,
    options: { flags?: number; payload?: Buffer } = {},
  ): bigint {
    this.#cookie += 1n
    this.socket.write(encodeRequest(this.#cookie, command, offset, length, options))
    return this.#cookie
  }

  /** Reads one whole reply. `readLength`: what a successful simple reply to a READ carries. */
  async reply(readLength = 0): Promise<Reply> {
    const chunks: Chunk[] = []
    for (;;) {
      const magic = (await this.read(4)).readUInt32BE(0)
      if (magic === wire.SIMPLE_REPLY_MAGIC) {
        const rest = await this.read(12)
        const error = rest.readUInt32BE(0)
        const data = error === 0 && readLength > 0 ? await this.read(readLength) : undefined
        return { error, cookie: rest.readBigUInt64BE(4), data, chunks }
      }
      if (magic !== wire.STRUCTURED_REPLY_MAGIC) throw new Error(`not a reply: ${magic.toString(16)}`)
      const rest = await this.read(16)
      const chunk = {
        flags: rest.readUInt16BE(0),
        type: rest.readUInt16BE(2),
        payload: await this.read(rest.readUInt32BE(12)),
      }
      chunks.push(chunk)
      if ((chunk.flags & wire.CHUNK_FLAG_DONE) === 0) continue
      const failed = chunks.find((one) => one.type === wire.CHUNK_ERROR)
      const error = failed?.payload.readUInt32BE(0) ?? 0
      return { error, cookie: rest.readBigUInt64BE(4), data: undefined, chunks }
    }
  }

  /** Sends one request and returns its reply. */
  async request(
    command: number,
    offset: number | bigint,
    length: number,
    options: { flags?: number; payload?: Buffer } = {},
  ): Promise<Reply> {
    const cookie = this.send(command, offset, length, options)
    const reply = await this.reply(command === wire.CMD_READ && !this.structured ? length : 0)
    if (reply.cookie !== cookie) throw new Error(`reply to ${reply.cookie}, not to ${cookie}`)
    return reply
  }
}

export function u16(value: number): Buffer {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

/** Data of INFO and GO. */
export function infoData(name: string | Buffer, requests: readonly number[] = []): Buffer {
  const bytes = Buffer.from(name)
  return Buffer.concat([u32(bytes.length), bytes, u16(requests.length), ...requests.map(u16)])
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export function metaContextData(name: string, queries: readonly string[]): Buffer {
  const encoded = queries.flatMap((query) => [u32(Buffer.byteLength(query)), Buffer.from(query)])
  return Buffer.concat([u32(Buffer.byteLength(name)), Buffer.from(name), u32(queries.length), ...encoded])
}

export function encodeRequest(
  cookie: bigint,
  command: number,
  offset: number | bigint,
  length: number,
  options: { flags?: number; payload?: Buffer } = {},
): Buffer {
  const header = Buffer.alloc(28)
  header.writeUInt32BE(wire.REQUEST_MAGIC, 0)
  header.writeUInt16BE(options.flags ?? 0, 4)
  header.writeUInt16BE(command, 6)
  header.writeBigUInt64BE(cookie, 8)
  header.writeBigUInt64BE(BigInt(offset), 16)
  header.writeUInt32BE(length, 24)
  return options.payload === undefined ? header : Buffer.concat([header, options.payload])
}
