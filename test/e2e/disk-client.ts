/**
 * A disk as a program sees it through an NBD door, with many requests in flight. It never sends anything again: a
 * request was acknowledged, refused, or the connection ended first, and the caller learns which.
 */
import * as wire from '../../src/frontend/nbd/wire.ts'
import { RawClient, type Reply } from '../frontend/nbd/raw-client.ts'

/** The door refused a request. */
export class Refused extends Error {
  /** Error number of the NBD document: 5 EIO, 28 ENOSPC, … */
  readonly errno: number

  constructor(errno: number) {
    super(`the door answered with error ${errno}`)
    this.errno = errno
  }
}

interface Waiting {
  readonly done: (reply: Reply) => void
  readonly failed: (error: Error) => void
}

export class DiskClient implements Disposable {
  readonly #client: RawClient
  readonly #waiting = new Map<bigint, Waiting>()
  #ended: Error | undefined

  private constructor(client: RawClient) {
    this.#client = client
  }

  /** `uri`: nbd://ADDRESS:PORT/DISK. */
  static async connect(uri: string): Promise<DiskClient> {
    const { port, pathname } = new URL(uri)
    const raw = await RawClient.connect({ port: Number(port) })
    await raw.go(pathname.slice(1), { structured: true })
    const client = new DiskClient(raw)
    void client.#receive()
    return client
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const { chunks } = await this.#request(wire.CMD_READ, offset, length)
    const bytes = Buffer.alloc(length)
    for (const { type, payload } of chunks) {
      if (type !== wire.CHUNK_OFFSET_DATA) continue
      payload.copy(bytes, Number(payload.readBigUInt64BE(0)) - offset, 8)
    }
    return bytes
  }

  async write(offset: number, payload: Buffer): Promise<void> {
    await this.#request(wire.CMD_WRITE, offset, payload.length, payload)
  }

  async writeZeroes(offset: number, length: number): Promise<void> {
    await this.#request(wire.CMD_WRITE_ZEROES, offset, length)
  }

  async trim(offset: number, length: number): Promise<void> {
    await this.#request(wire.CMD_TRIM, offset, length)
  }

  async flush(): Promise<void> {
    await this.#request(wire.CMD_FLUSH, 0, 0)
  }

  [Symbol.dispose](): void {
    this.#client.close()
  }

  async #request(command: number, offset: number, length: number, payload?: Buffer): Promise<Reply> {
    if (this.#ended !== undefined) throw this.#ended
    const cookie = this.#client.send(command, offset, length, payload === undefined ? {} : { payload })
    const reply = await new Promise<Reply>((done, failed) => this.#waiting.set(cookie, { done, failed }))
    if (reply.error !== 0) throw new Refused(reply.error)
    return reply
  }

  async #receive(): Promise<void> {
    try {
      for (;;) {
        const reply = await this.#client.reply()
        this.#waiting.get(reply.cookie)?.done(reply)
        this.#waiting.delete(reply.cookie)
      }
    } catch (error) {
      this.#ended = error as Error
      for (const waiting of this.#waiting.values()) waiting.failed(this.#ended)
      this.#waiting.clear()
    }
  }
}
