/** What a network is made of: network cards, switches, and where an endpoint stands. Numbers are named with their source. */
import type { Random } from '../types.ts'

export interface NicModel {
  /** Bytes a second, each way. */
  readonly bytesPerSecond: number
  /** One way between two nodes of a rack, without the time of the bytes: median, and the rare worst. Milliseconds. */
  readonly latencyMs: { readonly median: number; readonly max: number }
  /** More for a frame that goes to another rack. Milliseconds. */
  readonly crossRackMs: number
}

/**
 * 10 GbE: 1.25 GB/s less the headers of Ethernet, IP and TCP (1,460 of 1,538 bytes). Kernel to kernel about 25 µs
 * with interrupt moderation (as netperf's TCP_RR shows: 50 µs there and back); the tail is a queue in the switch.
 */
export const TEN_GBE: NicModel = {
  bytesPerSecond: 1_186_000_000,
  latencyMs: { median: 0.025, max: 1 },
  crossRackMs: 0.01,
}

/** 1 GbE: a tenth of the bytes; about 60 µs one way with the usual moderation of such cards. */
export const ONE_GBE: NicModel = {
  bytesPerSecond: 118_600_000,
  latencyMs: { median: 0.06, max: 4 },
  crossRackMs: 0.03,
}

/** Within a node: a virtual switch in memory (a host to its own CVM). Milliseconds one way, bytes a second. */
export const SAME_NODE_MS = 0.01
export const SAME_NODE_BYTES_PER_SECOND = 5_000_000_000

export interface Place {
  readonly node: string
  readonly block: string
  readonly rack: string
}

const NODES_PER_BLOCK = 4
const NODES_PER_RACK = 16

/** Endpoints are named after their node (`node-3`, `host:node-3`); others stand on a node of their own. */
export function defaultPlace(endpoint: string): Place {
  const node = endpoint.slice(endpoint.lastIndexOf(':') + 1)
  const number = Number(/\d+$/.exec(node)?.[0] ?? 1) - 1
  return {
    node,
    block: `block-${Math.floor(number / NODES_PER_BLOCK) + 1}`,
    rack: `rack-${Math.floor(number / NODES_PER_RACK) + 1}`,
  }
}

/** One frame's way through the air: near the median, and now and then up to the worst. Only exact arithmetic. */
export function latencyMs(model: NicModel, random: Random): number {
  const { median, max } = model.latencyMs
  if (random.below(1000) === 0) return median + ((max - median) * random.below(1000)) / 1000
  return median * (0.8 + random.below(600) / 1000)
}
