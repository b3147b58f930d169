// xxHash64 with seed 0 (github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
import { RESULTS } from './memory'

const P1: u64 = 0x9e3779b185ebca87
const P2: u64 = 0xc2b2ae3d27d4eb4f
const P3: u64 = 0x165667b19e3779f9
const P4: u64 = 0x85ebca77c2b2ae63
const P5: u64 = 0x27d4eb2f165667c5

/** The four lanes of a hash whose input comes in parts. */
let lane1: u64 = 0
let lane2: u64 = 0
let lane3: u64 = 0
let lane4: u64 = 0

// @ts-ignore: decorator
@inline
function round(lane: u64, input: u64): u64 {
  return rotl<u64>(lane + input * P2, 31) * P1
}

// @ts-ignore: decorator
@inline
function merge(hash: u64, lane: u64): u64 {
  return (hash ^ round(0, lane)) * P1 + P4
}

/** Hash of what is left behind the last whole stripe of 32 bytes. */
function finish(start: u64, at: usize, end: usize): u64 {
  let hash = start
  while (at + 8 <= end) {
    hash = rotl<u64>(hash ^ round(0, load<u64>(at)), 27) * P1 + P4
    at += 8
  }
  if (at + 4 <= end) {
    hash = rotl<u64>(hash ^ (<u64>load<u32>(at) * P1), 23) * P2 + P3
    at += 4
  }
  while (at < end) {
    hash = rotl<u64>(hash ^ (<u64>load<u8>(at) * P5), 11) * P1
    at++
  }
  hash = (hash ^ (hash >> 33)) * P2
  hash = (hash ^ (hash >> 29)) * P3
  return hash ^ (hash >> 32)
}

/** Hash of `bytes` bytes at `from`. */
export function hashOf(from: usize, bytes: u32): u64 {
  const end = from + bytes
  if (bytes < 32) return finish(P5 + bytes, from, end)
  let a: u64 = P1 + P2
  let b: u64 = P2
  let c: u64 = 0
  let d: u64 = 0 - P1
  let at = from
  const last = end - 32
  do {
    a = round(a, load<u64>(at))
    b = round(b, load<u64>(at, 8))
    c = round(c, load<u64>(at, 16))
    d = round(d, load<u64>(at, 24))
    at += 32
  } while (at <= last)
  let hash = rotl<u64>(a, 1) + rotl<u64>(b, 7) + rotl<u64>(c, 12) + rotl<u64>(d, 18)
  hash = merge(merge(merge(merge(hash, a), b), c), d)
  return finish(hash + bytes, at, end)
}

/** Leaves the hash of `bytes` bytes at `from` in the first two words of RESULTS: low half, high half. */
export function hash(from: usize, bytes: u32): void {
  store<u64>(RESULTS, hashOf(from, bytes))
}

/** Starts a hash whose input comes in parts. */
export function hashBegin(): void {
  lane1 = P1 + P2
  lane2 = P2
  lane3 = 0
  lane4 = 0 - P1
}

/** Takes a part: `bytes` is a multiple of 32. */
export function hashPart(from: usize, bytes: u32): void {
  let a = lane1
  let b = lane2
  let c = lane3
  let d = lane4
  const end = from + bytes
  for (let at = from; at < end; at += 32) {
    a = round(a, load<u64>(at))
    b = round(b, load<u64>(at, 8))
    c = round(c, load<u64>(at, 16))
    d = round(d, load<u64>(at, 24))
  }
  lane1 = a
  lane2 = b
  lane3 = c
  lane4 = d
}

/** Takes the last part, of less than 32 bytes; `total`, at least 32, counts all parts. The hash is in RESULTS. */
export function hashEnd(from: usize, bytes: u32, total: u32): void {
  let hash = rotl<u64>(lane1, 1) + rotl<u64>(lane2, 7) + rotl<u64>(lane3, 12) + rotl<u64>(lane4, 18)
  hash = merge(merge(merge(merge(hash, lane1), lane2), lane3), lane4)
  store<u64>(RESULTS, finish(hash + total, from, from + bytes))
}
