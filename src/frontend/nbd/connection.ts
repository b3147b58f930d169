/**
 * One client connection from accept to close: handshake, then transmission, and what can befall it in either. Whatever
 * a client does wrong ends its own connection only.
 *
 * | what happens | what is done |
 * |---|---|
 * | the handshake takes longer than `handshakeTimeoutMs` | destroyed |
 * | a request begun, or a reply not taken, with no progress for `stallTimeoutMs` | destroyed |
 * | bytes that are not the protocol | destroyed, reported |
 * | reset, broken pipe | cleaned up |
 * | the client says DISC or FIN | answers what is under way, then closes |
 * | the door closes | as above, within the door's grace; see `shutdown` and `abandon` |
 */
import type { Socket } from 'node:net'
import { asHitherError, type HitherError } from '../../base/errors.ts'
import type { ExportDirectory } from './export-directory.ts'
import { HandshakeChannel } from './handshake-channel.ts'
import { Negotiation } from './negotiation.ts'
import { type NegotiatedExport, Transmission, type TransmissionLimits } from './transmission.ts'

export interface ConnectionSettings {
  readonly exports: ExportDirectory
  readonly limits: TransmissionLimits
  readonly handshakeTimeoutMs: number
  readonly stallTimeoutMs: number
  /** Told why a connection was ended, when it was not the client's wish. */
  readonly onError: (error: HitherError) => void
}

export class Connection {
  readonly #socket: Socket
  readonly #settings: ConnectionSettings
  readonly #channel: HandshakeChannel
  #transmission: Transmission | undefined
  #closing = false
  /** Resolves when the socket is closed and the vDisk handle, if there was one, too. */
  readonly ended: Promise<void>

  constructor(socket: Socket, settings: ConnectionSettings) {
    this.#socket = socket
    this.#settings = settings
    this.#channel = new HandshakeChannel(socket)
    this.ended = this.#run()
  }

  /** The door closes: finishes what is under way, refuses what comes, and goes. */
  shutdown(): void {
    this.#closing = true
    this.#channel.close()
    this.#transmission?.drain()
  }

  /** The door's patience is over: what is under way is answered with ESHUTDOWN, and the connection goes. */
  abandon(): void {
    if (this.#transmission === undefined) this.#socket.destroy()
    else this.#transmission.abandon()
  }

  /** Cuts the connection. */
  destroy(): void {
    this.#socket.destroy()
  }

  async #run(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#socket.once('close', () => resolve()))
    const negotiated = await this.#negotiate()
    if (negotiated === undefined) {
      this.#socket.destroySoon()
      return closed
    }
    this.#transmit(negotiated)
    await closed
    try {
      await negotiated.vdisk.close()
    } catch (error) {
      this.#settings.onError(asHitherError(error))
    }
  }

  async #negotiate(): Promise<NegotiatedExport | undefined> {
    const deadline = setTimeout(() => this.#socket.destroy(), this.#settings.handshakeTimeoutMs)
    deadline.unref()
    try {
      return await new Negotiation(this.#channel, this.#settings.exports, () => this.#closing).run()
    } catch (error) {
      this.#fail(error)
      return undefined
    } finally {
      clearTimeout(deadline)
    }
  }

  #transmit(negotiated: NegotiatedExport): void {
    const socket = this.#socket
    const early = this.#channel.detach()
    const transmission = new Transmission(socket, negotiated, this.#settings.limits, (error) =>
      this.#fail(error),
    )
    this.#transmission = transmission
    socket.on('data', (chunk: Buffer) => transmission.receive(chunk))
    socket.on('end', () => transmission.finish())
    socket.on('close', () => transmission.disconnected())
    socket.setTimeout(this.#settings.stallTimeoutMs, () => {
      if (transmission.clientOwes) socket.destroy()
    })
    socket.resume()
    for (const chunk of early) transmission.receive(chunk)
    if (socket.destroyed) transmission.disconnected()
    else if (this.#closing) transmission.drain()
    else if (socket.readableEnded) transmission.finish()
  }

  #fail(error: unknown): void {
    this.#socket.destroy()
    this.#settings.onError(asHitherError(error))
  }
}
