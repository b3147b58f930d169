/**
 * An endpoint of a network inside one process, real or simulated: it copies what it sends, counts it, and remembers whom
 * to tell when it closes. How frames and such news get to the others is its network's business.
 */
import type { Network } from './types.ts'

/** What an endpoint needs of its network. */
export interface NetworkSide {
  /** Memory for a frame of so many bytes, which the endpoint fills. */
  takeFrame(length: number): Uint8Array
  giveBack(frame: Uint8Array): void
  /** The endpoint that is open under this name now. */
  find(peer: string): Endpoint | undefined
  /** Brings the frame, which is a copy of what was sent, or tells the sender that there is no `target`. */
  carry(sender: Endpoint, to: string, target: Endpoint | undefined, frame: Uint8Array): void
  tellClosed(peer: Endpoint): void
  forget(): void
}

export class Endpoint implements Network {
  readonly self: string
  closed = false
  frameHandler: (from: string, frame: Uint8Array) => void = () => undefined
  peerDownHandler: (peer: string) => void = () => undefined
  readonly #network: NetworkSide
  /** Endpoints with which a frame was exchanged: those to tell when this one closes. */
  readonly #peers = new Set<Endpoint>()
  #sentBytes = 0

  constructor(name: string, network: NetworkSide) {
    this.self = name
    this.#network = network
  }

  send(to: string, parts: readonly Uint8Array[]): void {
    if (this.closed) return
    const frame = this.#join(parts)
    this.#sentBytes += frame.length
    const target = this.#network.find(to)
    if (target !== undefined && target !== this) {
      this.#peers.add(target)
      target.#peers.add(this)
    }
    this.#network.carry(this, to, target, frame)
  }

  onFrame(handler: (from: string, frame: Uint8Array) => void): void {
    this.frameHandler = handler
  }

  giveBack(frame: Uint8Array): void {
    this.#network.giveBack(frame)
  }

  onPeerDown(handler: (peer: string) => void): void {
    this.peerDownHandler = handler
  }

  sentBytes(): number {
    return this.#sentBytes
  }

  close(): Promise<void> {
    if (this.closed) return Promise.resolve()
    this.closed = true
    this.#network.forget()
    for (const peer of this.#peers) {
      peer.#peers.delete(this)
      this.#network.tellClosed(peer)
    }
    this.#peers.clear()
    return Promise.resolve()
  }

  /** A copy in one piece: what was sent is the sender's again at once. */
  #join(parts: readonly Uint8Array[]): Uint8Array {
    let length = 0
    for (const part of parts) length += part.length
    const frame = this.#network.takeFrame(length)
    let at = 0
    for (const part of parts) {
      frame.set(part, at)
      at += part.length
    }
    return frame
  }
}
