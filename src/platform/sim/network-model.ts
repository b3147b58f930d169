/**
 * What the simulated network is made of: where nodes stand, what their NICs can do, and the queues (lanes) that frames
 * wait in. sim-network.ts puts frames on it; network-faults.ts breaks it.
 *
 * A rack has two top-of-rack switches, `tor-a` and `tor-b`. Each NIC has a port to both, and each switch its own uplink.
 * Which of the two a pair of endpoints uses follows from a hash of their names, as with bonded links (IEEE 802.1AX).
 *
 * Only arithmetic that IEEE 754 defines to the last bit is used, so that a seed gives the same times everywhere.
 */
import type { NodeId } from '../../base/units.ts'
import type { Random } from '../types.ts'
import type { Latency } from './device-models.ts'

export const SWITCHES = ['tor-a', 'tor-b'] as const
export type SwitchName = (typeof SWITCHES)[number]

/** Where an endpoint is. Endpoints of one node reach each other without the network. */
export interface Place {
  readonly node: NodeId
  /** Chassis of several nodes, counted from 1. */
  readonly block: number
  /** Counted from 1. */
  readonly rack: number
}

export type Distance = 'sameNode' | 'sameRack' | 'crossRack'

/** Network cards of a node, with the switches and uplinks that belong to their class. */
export interface NicModel {
  /** Payload that one port carries. */
  readonly bytesPerSecond: number
  /** Both hosts together: system calls, kernel, interrupts, DMA. One way, ms. */
  readonly hostMs: number
  /** Cables, ms. */
  readonly propagationMs: number
  /** The way through the switch, with the queues of others in it. One way, ms. */
  readonly switchMs: Latency
  /** What a frame to another rack takes longer: spine and the other rack's switch, ms. */
  readonly crossRackMs: number
  /** Payload that the uplinks of one top-of-rack switch carry, each way, for all nodes of the rack. */
  readonly crossRackBytesPerSecond: number
}

/** Payload per byte on the wire: 1,448 bytes of a full TCP segment with time stamps take 1,538 (IEEE 802.3, RFC 7323). */
const PAYLOAD_SHARE = 1448 / 1538

/**
 * Kernel TCP over 10 GbE. Cables: 5 ns a metre, 30 m. Times of hosts and switches are choices in known ranges: data
 * sheets of cut-through switches name about 1 µs; Rumble et al., "It's Time for Low Latency" (HotOS 2011) call round
 * trips under 100 µs out of reach of the hardware of the years before, and most of what is left the hosts' part; Barroso
 * et al., "Attack of the Killer Microseconds" (CACM 2017) put queueing at tens to hundreds of µs, hence `p99`; `max` is
 * 2.5 MB of a switch's buffer that others filled.
 */
export const TEN_GBE: NicModel = {
  bytesPerSecond: (10e9 / 8) * PAYLOAD_SHARE,
  hostMs: 0.02,
  propagationMs: 0.000_15,
  switchMs: { median: 0.002, p99: 0.05, max: 2 },
  // Two more switches and 200 m of fibre.
  crossRackMs: 0.005,
  // One 40 GbE uplink a switch: 4:1 for 16 nodes.
  crossRackBytesPerSecond: (40e9 / 8) * PAYLOAD_SHARE,
}

/**
 * Kernel TCP over 1 GbE. Switches of this class store and forward: a full packet once more at line rate, 12.3 µs. Hosts
 * wait for moderated interrupts (20,000 a second are a common limit: up to 50 µs). `max`: 0.5 MB of buffer.
 */
export const ONE_GBE: NicModel = {
  bytesPerSecond: (1e9 / 8) * PAYLOAD_SHARE,
  hostMs: 0.045,
  propagationMs: 0.000_15,
  switchMs: { median: 0.015, p99: 0.2, max: 4 },
  // Two more store-and-forward hops, the uplinks being ten times faster, and their queues.
  crossRackMs: 0.015,
  // One 10 GbE uplink a switch: 1.6:1 for 16 nodes.
  crossRackBytesPerSecond: (10e9 / 8) * PAYLOAD_SHARE,
}

/**
 * One way between endpoints of one node, ms, however large the frame: a TCP connection over the virtual switch of the
 * hypervisor, which copies in memory. About the hosts' part of a 10 GbE frame.
 */
export const SAME_NODE_MS = 0.02

/** Four nodes a chassis, as twin servers of 2 U have. */
const NODES_PER_BLOCK = 4

/**
 * The place that a name tells of: the digits at its end are the number of a node, from 1, so that `node-3` and
 * `host:node-3` are one node. A name without digits (`observer`) is a node of its own in the first rack.
 */
export function placeByNumber(endpoint: string, nodesPerRack: number): Place {
  const digits = /\d+$/.exec(endpoint)
  if (digits === null) return { node: endpoint, block: 1, rack: 1 }
  const number = Number(digits[0])
  const before = Math.max(0, number - 1)
  return {
    node: `node-${number}`,
    block: Math.floor(before / NODES_PER_BLOCK) + 1,
    rack: Math.floor(before / nodesPerRack) + 1,
  }
}

export function distanceOf(a: Place, b: Place): Distance {
  if (a.node === b.node) return 'sameNode'
  return a.rack === b.rack ? 'sameRack' : 'crossRack'
}

/** The switch of a pair of endpoints while both are up; the same for both ways. FNV-1a over both names. */
export function switchOf(a: string, b: string): SwitchName {
  const pair = a < b ? `${a}\n${b}` : `${b}\n${a}`
  let hash = 0x811c9dc5
  for (let at = 0; at < pair.length; at++) hash = Math.imul(hash ^ pair.charCodeAt(at), 0x01000193)
  hash ^= hash >>> 16
  return SWITCHES[(hash ^ (hash >>> 8)) & 1]!
}

/** Time on the way between two nodes, without queues and bytes, ms. By the sender's model. */
export function latencyMs(model: NicModel, distance: Distance, random: Random): number {
  const extra = distance === 'crossRack' ? model.crossRackMs : 0
  return model.hostMs + model.propagationMs + extra + drawSwitchMs(model.switchMs, random)
}

/** An idle switch takes half of the median. Between the three points, times thin out towards the slow end. */
function drawSwitchMs({ median, p99, max }: Latency, random: Random): number {
  const at = random.u32() / 2 ** 32
  if (at < 0.5) return median * (0.5 + at)
  const [low, high, part] = at < 0.99 ? [median, p99, (at - 0.5) / 0.49] : [p99, max, (at - 0.99) / 0.01]
  return low + (high - low) * part * part * part * part
}

/** The smallest thing on an Ethernet: 64 bytes, preamble and gap. */
const SMALLEST_PACKET_BYTES = 84

/**
 * A port or uplink, one way, for the pairs of one switch: serves in the order of sending, a frame's bytes at a time.
 * A frame goes through its lanes as a stream of packets, so it takes as long as the slowest of them.
 */
export class Lane {
  readonly #bytesPerMs: number
  #freeAtMs = 0

  constructor(bytesPerSecond: number) {
    this.#bytesPerMs = bytesPerSecond / 1000
  }

  /**
   * Puts so many bytes on the lane and returns when the last has passed, ms. `share`: part of the bandwidth there is,
   * over 0 up to 1.
   */
  take(nowMs: number, bytes: number, share: number): number {
    const serviceMs = Math.max(bytes, SMALLEST_PACKET_BYTES) / (this.#bytesPerMs * share)
    this.#freeAtMs = Math.max(this.#freeAtMs, nowMs) + serviceMs
    return this.#freeAtMs
  }
}
