/** The network side of `hangable` (hang.ts): frames are kept, both ways, while the gate is shut. */
import { MiB } from '../../base/units.ts'
import type { Network } from '../types.ts'
import type { Gate } from './gate.ts'

/** Bytes of frames kept while hung, both ways together. */
const KEPT_BYTES_MAX = 64 * MiB

export class GatedNetwork implements Network {
  readonly self: string
  readonly #gate: Gate
  readonly #inner: Network
  #peerDown: (peer: string) => void = () => undefined
  #keptBytes = 0
  /** Peers to or from which a frame had to be dropped: their connection counts as broken until the gate opens. */
  readonly #broken = new Set<string>()

  constructor(gate: Gate, inner: Network) {
    this.#gate = gate
    this.#inner = inner
    this.self = inner.self
  }

  send(to: string, parts: readonly Uint8Array[]): void {
    if (this.#gate.open) {
      this.#inner.send(to, parts)
      return
    }
    if (this.#gate.dead) return
    const copies = parts.map((part) => part.slice())
    const bytes = copies.reduce((sum, part) => sum + part.length, 0)
    this.#keep(to, bytes, () => this.#inner.send(to, copies))
  }

  onFrame(handler: (from: string, frame: Uint8Array) => void): void {
    this.#inner.onFrame((from, frame) => {
      if (this.#gate.open) handler(from, frame)
      else this.#keep(from, frame.length, () => handler(from, frame))
    })
  }

  giveBack(frame: Uint8Array): void {
    this.#inner.giveBack(frame)
  }

  onPeerDown(handler: (peer: string) => void): void {
    this.#peerDown = handler
    this.#inner.onPeerDown((peer) => this.#tellDown(peer))
  }

  sentBytes(): number {
    return this.#inner.sentBytes()
  }

  close(): Promise<void> {
    return this.#gate.call(() => this.#inner.close())
  }

  #tellDown(peer: string): void {
    this.#gate.pass(() => {
      if (!this.#gate.dead) this.#peerDown(peer)
    })
  }

  #keep(peer: string, bytes: number, go: () => void): void {
    if (this.#gate.dead || this.#broken.has(peer)) return
    if (this.#keptBytes + bytes > KEPT_BYTES_MAX) {
      this.#broken.add(peer)
      this.#gate.pass(() => {
        this.#broken.delete(peer)
        if (!this.#gate.dead) this.#peerDown(peer)
      })
      return
    }
    this.#keptBytes += bytes
    this.#gate.pass(() => {
      this.#keptBytes -= bytes
      if (!this.#gate.dead) go()
    })
  }
}
