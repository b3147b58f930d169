/**
 * Byte-wise reading and writing of a socket during the handshake, where clarity counts and speed does not. It keeps at
 * most a chunk or two that nobody has asked for, and `send` waits while the client does not take what was sent.
 */
import type { Socket } from 'node:net'
import { KiB } from '../../base/units.ts'

/** Unasked bytes above which the socket is not read. */
const READ_AHEAD_BYTES = 64 * KiB

export class HandshakeChannel {
  readonly #socket: Socket
  #chunks: Buffer[] = []
  #have = 0
  /** No more bytes will come. */
  #ended = false
  /** Nobody is there to write to. */
  #gone = false
  /** Called when more bytes have come, or none will. */
  #wake: (() => void) | undefined

  constructor(socket: Socket) {
    this.#socket = socket
    socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    socket.on('close', this.#onClose)
    socket.on('drain', this.#onWritable)
  }

  /** The next `length` bytes, or `undefined` when the connection ends first. */
  async take(length: number): Promise<Buffer | undefined> {
    while (this.#have < length) {
      if (this.#ended) return undefined
      await this.#more()
    }
    const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks)
    this.#have -= length
    this.#chunks = this.#have > 0 ? [all.subarray(length)] : []
    return all.subarray(0, length)
  }

  /** Throws `length` bytes away as they come. `false` when the connection ends first. */
  async skip(length: number): Promise<boolean> {
    let left = length
    while (left > 0) {
      const step = Math.min(left, Math.max(this.#have, 1))
      if ((await this.take(step)) === undefined) return false
      left -= step
    }
    return true
  }

  /** Resolves when the client is not far behind; `false` when the connection has ended. */
  async send(bytes: Buffer): Promise<boolean> {
    if (this.#gone) return false
    let writable = this.#socket.write(bytes)
    while (!writable && !this.#gone) {
      await this.#pause()
      writable = !this.#socket.writableNeedDrain
    }
    return !this.#gone
  }

  /** Acts from now on as if the client would send no more: whoever waits for bytes is told that there are none. */
  close(): void {
    this.#onEnd()
  }

  /** Ends this channel's use of the socket, which is paused then, and returns what nobody has asked for. */
  detach(): Buffer[] {
    const rest = this.#chunks
    this.#chunks = []
    this.#socket.off('data', this.#onData)
    this.#socket.off('end', this.#onEnd)
    this.#socket.off('close', this.#onClose)
    this.#socket.off('drain', this.#onWritable)
    this.#socket.pause()
    return rest
  }

  #more(): Promise<void> {
    this.#socket.resume()
    return this.#pause()
  }

  #pause(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  readonly #onData = (chunk: Buffer): void => {
    this.#chunks.push(Buffer.from(chunk))
    this.#have += chunk.length
    if (this.#have >= READ_AHEAD_BYTES) this.#socket.pause()
    this.#wake?.()
  }

  readonly #onEnd = (): void => {
    this.#ended = true
    this.#wake?.()
  }

  readonly #onClose = (): void => {
    this.#gone = true
    this.#onEnd()
  }

  readonly #onWritable = (): void => this.#wake?.()
}
