/**
 * The external network in virtual time. A frame waits for the card of its sender (bytes over bandwidth), then takes its
 * latency, and arrives behind the frames sent to the same peer before it, unless a fault lets others overtake it.
 *
 * Life and death are as on a real network of one process (real/loopback-network.ts): a frame is meant for the endpoint
 * that was open when it was sent; closing drops what is under way from and to it, and tells whoever ever exchanged a
 * frame with it; whoever sends to a name that is not there is told, too. All of that over the same way as frames, so
 * a cut between the two swallows such news.
 */
import { HitherError } from '../../base/errors.ts'
import type { Network, Random } from '../types.ts'
import type { SimLoop } from './loop.ts'
import { NetworkFaults } from './network-faults.ts'
import {
  defaultPlace,
  latencyMs,
  type NicModel,
  type Place,
  SAME_NODE_BYTES_PER_SECOND,
  SAME_NODE_MS,
  TEN_GBE,
} from './network-model.ts'

/** An overtaken frame comes so many ms late at most. */
const OVERTAKEN_MS = 50

export interface SimNetworkOptions {
  /** Default 10 GbE. */
  readonly model?: NicModel
  /** The card of a node that has another one. */
  readonly modelOf?: (node: string) => NicModel | undefined
  readonly placeOf?: (endpoint: string) => Place
}

/** Bytes carried so far, by how far they went. */
export interface CarriedBytes {
  sameNode: number
  sameRack: number
  crossRack: number
}

export class SimNetwork {
  readonly faults = new NetworkFaults()
  readonly carried: CarriedBytes = { sameNode: 0, sameRack: 0, crossRack: 0 }
  readonly #loop: SimLoop
  readonly #random: Random
  readonly #options: SimNetworkOptions
  readonly #endpoints = new Map<string, Endpoint>()
  /** By node: when its card has sent what it was given. */
  readonly #cardFreeAt = new Map<string, number>()
  /** By pair of endpoints: when the last frame in order arrives. */
  readonly #lastArrival = new Map<string, number>()

  constructor(loop: SimLoop, random: Random, options: SimNetworkOptions = {}) {
    this.#loop = loop
    this.#random = random
    this.#options = options
  }

  /** Opens the endpoint `name`. Throws `IN_USE` while one of this name is open. */
  endpoint(name: string): Network {
    if (this.#endpoints.has(name)) {
      throw new HitherError('IN_USE', `the network endpoint ${name} is open already; close it first`)
    }
    const endpoint = new Endpoint(name, (this.#options.placeOf ?? defaultPlace)(name), this)
    this.#endpoints.set(name, endpoint)
    return endpoint
  }

  /** For its endpoints. */
  find(name: string): Endpoint | undefined {
    return this.#endpoints.get(name)
  }

  /** For its endpoints. */
  forget(name: string): void {
    this.#endpoints.delete(name)
  }

  /** For its endpoints: calls `arrive` when a frame of so many bytes is there; perhaps twice, or never. */
  carry(from: Place, to: Place, pair: string, bytes: number, arrive: () => void): void {
    const { faults } = this
    if (from.node === to.node) {
      this.carried.sameNode += bytes
      this.#inOrder(pair, SAME_NODE_MS + (bytes / SAME_NODE_BYTES_PER_SECOND) * 1000, arrive)
      return
    }
    const sameRack = from.rack === to.rack
    this.carried[sameRack ? 'sameRack' : 'crossRack'] += bytes
    const model = this.#options.modelOf?.(from.node) ?? this.#options.model ?? TEN_GBE
    const { now } = this.#loop
    const starts = Math.max(now, this.#cardFreeAt.get(from.node) ?? 0)
    const sent = starts + (bytes / (model.bytesPerSecond * faults.bandwidth)) * 1000
    this.#cardFreeAt.set(from.node, sent)
    let ms = sent - now + latencyMs(model, this.#random) + (sameRack ? 0 : model.crossRackMs)
    if (faults.isCut(from.node, to.node)) {
      faults.injected.cut++
      return
    }
    if (this.#happens(faults.loss)) {
      faults.injected.loss++
      return
    }
    if (this.#happens(faults.delay)) {
      faults.injected.delay++
      ms += faults.delayMs.min + ((faults.delayMs.max - faults.delayMs.min) * this.#random.below(1000)) / 1000
    }
    if (this.#happens(faults.duplication)) {
      faults.injected.duplication++
      this.#loop.after(ms + this.#random.below(OVERTAKEN_MS), arrive)
    }
    if (this.#happens(faults.reorder)) {
      faults.injected.reorder++
      this.#loop.after(ms + this.#random.below(OVERTAKEN_MS), arrive)
      return
    }
    this.#inOrder(pair, ms, arrive)
  }

  #inOrder(pair: string, ms: number, arrive: () => void): void {
    const { now } = this.#loop
    const at = Math.max(now + ms, this.#lastArrival.get(pair) ?? 0)
    this.#lastArrival.set(pair, at)
    this.#loop.after(at - now, arrive)
  }

  #happens(probability: number): boolean {
    return probability > 0 && this.#random.below(1_000_000) < probability * 1_000_000
  }
}

class Endpoint implements Network {
  readonly self: string
  readonly place: Place
  closed = false
  frameHandler: (from: string, frame: Uint8Array) => void = () => undefined
  peerDownHandler: (peer: string) => void = () => undefined
  readonly #network: SimNetwork
  /** Endpoints with which a frame was exchanged: those to tell when this one closes. */
  readonly #peers = new Set<Endpoint>()
  #sentBytes = 0

  constructor(name: string, place: Place, network: SimNetwork) {
    this.self = name
    this.place = place
    this.#network = network
  }

  send(to: string, parts: readonly Uint8Array[]): void {
    if (this.closed) return
    const frame = joined(parts)
    this.#sentBytes += frame.length
    const target = this.#network.find(to)
    if (target === undefined) {
      this.#network.carry(this.place, this.place, `${this.self}<${to}`, 0, () => {
        if (!this.closed) this.peerDownHandler(to)
      })
      return
    }
    if (target !== this) {
      this.#peers.add(target)
      target.#peers.add(this)
    }
    let copies = 0
    this.#network.carry(this.place, target.place, `${this.self}>${to}`, frame.length, () => {
      // Each receiver owns its bytes, also when a frame comes twice.
      if (!target.closed && !this.closed)
        target.frameHandler(this.self, copies++ === 0 ? frame : frame.slice())
    })
  }

  onFrame(handler: (from: string, frame: Uint8Array) => void): void {
    this.frameHandler = handler
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
    this.#network.forget(this.self)
    for (const peer of this.#peers) {
      peer.#peers.delete(this)
      this.#network.carry(this.place, peer.place, `${this.self}>${peer.self}`, 0, () => {
        if (!peer.closed) peer.peerDownHandler(this.self)
      })
    }
    this.#peers.clear()
    return Promise.resolve()
  }
}

/** A copy in one piece: what was sent is the sender's again at once. */
function joined(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0
  for (const part of parts) length += part.length
  const frame = new Uint8Array(length)
  let at = 0
  for (const part of parts) {
    frame.set(part, at)
    at += part.length
  }
  return frame
}
