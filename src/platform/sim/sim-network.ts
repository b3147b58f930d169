/**
 * The external network of the simulated world: frames in virtual time, over modelled NICs and switches
 * (network-model.ts), with faults (network-faults.ts). A frame is one event of the loop, a duplicate another.
 *
 * Time. A frame leaves when its lanes (the sender's port, and the uplink of its rack) have served what was
 * sent before it, and arrives after a latency drawn for it. Frames of one endpoint to another never arrive in another
 * order than sent, unless a fault makes them.
 *
 * Life and death are those of the loopback network (real/loopback-network.ts): a frame is meant for the endpoint that was
 * open when it was sent; who exchanged frames with an endpoint that closes is told, and so is who sends to a name that
 * is not there. Such news travels as long as a frame (there and back for a refusal), in order with the frames, also
 * those of the next endpoint of the name; a cut or the loss of both switches swallows it.
 */
import { HitherError } from '../../base/errors.ts'
import type { NodeId } from '../../base/units.ts'
import { Endpoint } from '../endpoint.ts'
import type { Network, Random } from '../types.ts'
import type { SimLoop } from './loop.ts'
import { type MsRange, NetworkFaults } from './network-faults.ts'
import {
  type Distance,
  distanceOf,
  Lane,
  latencyMs,
  type NicModel,
  type Place,
  placeByNumber,
  SAME_NODE_MS,
  type SwitchName,
  switchOf,
  TEN_GBE,
} from './network-model.ts'

/** What a frame that was given back is filled with. */
const GIVEN_BACK = 0xdb

export interface SimNetworkOptions {
  /** Of all NICs; default 10 GbE. */
  readonly model?: NicModel
  /** The NIC of a node that has another one. */
  readonly modelOf?: (node: NodeId) => NicModel | undefined
  /** Default: by the number at the end of the name (`placeByNumber`). */
  readonly placeOf?: (endpoint: string) => Place
  /** Of the default `placeOf`; default 16. */
  readonly nodesPerRack?: number
}

/** Four chassis of four nodes. */
const NODES_PER_RACK = 16

/** Two frames of a flow are at least so far apart, about the smallest packet of 10 GbE: rounding cannot swap them. */
const ARRIVAL_GAP_MS = 0.0001

/** The way from one name to another. Outlives the endpoints. */
interface Flow {
  readonly from: Place
  readonly to: Place
  readonly distance: Distance
  readonly model: NicModel
  readonly lanes: readonly Lane[]
  readonly home: SwitchName
  /** When the last frame in order arrives. */
  lastMs: number
}

export class SimNetwork {
  readonly faults = new NetworkFaults()
  /** Bytes of frames sent so far, lost ones too, by how far they had to go. */
  readonly carried: Record<Distance, number> = { sameNode: 0, sameRack: 0, crossRack: 0 }
  readonly #loop: SimLoop
  readonly #random: Random
  readonly #modelOf: (node: NodeId) => NicModel
  readonly #placeOf: (endpoint: string) => Place
  readonly #endpoints = new Map<string, Endpoint>()
  /** By sender and receiver. */
  readonly #flows = new Map<string, Map<string, Flow>>()
  readonly #lanes = new Map<string, Lane>()

  constructor(loop: SimLoop, random: Random, options: SimNetworkOptions = {}) {
    const { model = TEN_GBE, nodesPerRack = NODES_PER_RACK } = options
    this.#loop = loop
    this.#random = random
    this.#modelOf = (node) => options.modelOf?.(node) ?? model
    this.#placeOf = options.placeOf ?? ((endpoint) => placeByNumber(endpoint, nodesPerRack))
  }

  /** Opens the endpoint `name`. Throws `IN_USE` while one of this name is open. */
  endpoint(name: string): Network {
    if (this.#endpoints.has(name)) {
      throw new HitherError('IN_USE', `the network endpoint ${name} is open already; close it first`)
    }
    const endpoint = new Endpoint(name, {
      takeFrame: (length) => new Uint8Array(length),
      // Whoever looks at it all the same is found out.
      giveBack: (frame) => frame.fill(GIVEN_BACK),
      find: (peer) => this.#endpoints.get(peer),
      carry: (sender, to, target, frame) => this.#carry(sender, to, target, frame),
      tellClosed: (peer) => this.#tellClosed(name, peer),
      forget: () => this.#endpoints.delete(name),
    })
    this.#endpoints.set(name, endpoint)
    return endpoint
  }

  #carry(sender: Endpoint, to: string, target: Endpoint | undefined, frame: Uint8Array): void {
    const flow = this.#flow(sender.self, to)
    this.carried[flow.distance] += frame.length
    if (target === undefined) {
      this.#refuse(sender, to, flow)
      return
    }
    const deliver = (): void => {
      if (!target.closed && !sender.closed) target.frameHandler(sender.self, frame)
    }
    if (flow.distance === 'sameNode') {
      this.#loop.after(SAME_NODE_MS, deliver)
      return
    }
    if (this.#swallows(flow) || this.#happens('loss')) return
    const { faults } = this
    if (faults.carrier(flow.home) !== flow.home) faults.injected.failover++
    const held = this.#happens('delay') ? this.#within(faults.delayMs) : 0
    const arrival = this.#leave(flow, frame.length) + this.#latency(flow) + held
    const overtaken = this.#happens('reorder')
    const at = overtaken ? arrival + this.#within(faults.reorderMs) : this.#inOrder(flow, arrival)
    this.#arrive(flow, at, deliver)
    if (this.#happens('duplication')) {
      const copy = frame.slice()
      this.#arrive(flow, at + this.#within(faults.reorderMs), () => {
        if (!target.closed && !sender.closed) target.frameHandler(sender.self, copy)
      })
    }
  }

  /** Tells `sender` that nobody is at `to`. */
  #refuse(sender: Endpoint, to: string, flow: Flow): void {
    const back = this.#flow(to, sender.self)
    const tell = (): void => {
      if (!sender.closed) sender.peerDownHandler(to)
    }
    if (flow.distance === 'sameNode') {
      this.#loop.after(2 * SAME_NODE_MS, tell)
    } else if (!this.#swallows(flow) && !this.#swallows(back)) {
      const there = this.#leave(flow, 0) + this.#latency(flow)
      this.#arrive(back, this.#inOrder(back, there + this.#latency(back)), tell)
    }
  }

  /** Tells `peer` that the endpoint `name` closed. */
  #tellClosed(name: string, peer: Endpoint): void {
    const flow = this.#flow(name, peer.self)
    const tell = (): void => {
      if (!peer.closed) peer.peerDownHandler(name)
    }
    if (flow.distance === 'sameNode') this.#loop.after(SAME_NODE_MS, tell)
    else if (!this.#swallows(flow)) {
      this.#arrive(flow, this.#inOrder(flow, this.#leave(flow, 0) + this.#latency(flow)), tell)
    }
  }

  #arrive(flow: Flow, atMs: number, act: () => void): void {
    const { faults } = this
    this.#loop.after(Math.max(0, atMs - this.#loop.now), () => {
      if (faults.isCut(flow.from.node, flow.to.node)) faults.injected.cut++
      else act()
    })
  }

  /** When the last of so many bytes is through the lanes. */
  #leave(flow: Flow, bytes: number): number {
    const { now } = this.#loop
    const share = this.faults.bandwidthShare
    let end = now
    for (const lane of flow.lanes) end = Math.max(end, lane.take(now, bytes, share))
    return end
  }

  #latency(flow: Flow): number {
    return latencyMs(flow.model, flow.distance, this.#random)
  }

  /** When something that would arrive at `arrivalMs` does, behind what was sent before it. */
  #inOrder(flow: Flow, arrivalMs: number): number {
    flow.lastMs = Math.max(arrivalMs, flow.lastMs + ARRIVAL_GAP_MS)
    return flow.lastMs
  }

  /** The network is not there for what is sent now. */
  #swallows(flow: Flow): boolean {
    const { faults } = this
    if (faults.isCut(flow.from.node, flow.to.node)) faults.injected.cut++
    else if (faults.carrier(flow.home) === undefined) faults.injected.noSwitch++
    else return false
    return true
  }

  /** Draws for a fault by chance, and counts it. Draws nothing while it is off. */
  #happens(kind: 'loss' | 'duplication' | 'reorder' | 'delay'): boolean {
    const chance = this.faults[kind]
    if (chance === 0 || this.#fraction() >= chance) return false
    this.faults.injected[kind]++
    return true
  }

  #within({ min, max }: MsRange): number {
    return min + (max - min) * this.#fraction()
  }

  /** 0 up to, not including, 1. */
  #fraction(): number {
    return this.#random.u32() / 2 ** 32
  }

  #flow(from: string, to: string): Flow {
    let flows = this.#flows.get(from)
    if (flows === undefined) {
      flows = new Map()
      this.#flows.set(from, flows)
    }
    let flow = flows.get(to)
    if (flow === undefined) {
      flow = this.#plan(from, to)
      flows.set(to, flow)
    }
    return flow
  }

  #plan(fromName: string, toName: string): Flow {
    const [from, to] = [this.#placeOf(fromName), this.#placeOf(toName)]
    const model = this.#modelOf(from.node)
    const home = switchOf(fromName, toName)
    const distance = distanceOf(from, to)
    const lanes: Lane[] = []
    if (distance !== 'sameNode') lanes.push(this.#lane(`${from.node} ${home}`, model.bytesPerSecond))
    if (distance === 'crossRack') {
      lanes.push(this.#lane(`rack ${from.rack} ${home}`, model.crossRackBytesPerSecond))
    }
    return { from, to, distance, model, lanes, home, lastMs: 0 }
  }

  /** Lanes are shared by all flows that go this way. */
  #lane(way: string, bytesPerSecond: number): Lane {
    let lane = this.#lanes.get(way)
    if (lane === undefined) {
      lane = new Lane(bytesPerSecond)
      this.#lanes.set(way, lane)
    }
    return lane
  }
}
