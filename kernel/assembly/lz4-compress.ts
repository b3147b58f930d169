// LZ4 block compression (github.com/lz4/lz4, doc/lz4_Block_format.md), greedy, one table of 16-bit positions.
//
// Any table entry is a candidate: its four bytes are compared in the input of this call, so an empty entry (position 0)
// needs no mark. The table is cleared for each call all the same: the output must depend on nothing but the input.
//
// Two ends come from the format: the last match starts 12 bytes before the end or earlier, and the last 5 bytes are
// literals. A third one is ours: when the literals pending since the last match cannot fit the limit any more, the
// search stops, so data that does not shrink costs less than its whole length.
import { TABLE } from './memory'

const MATCH_BYTES_MIN: u32 = 4
const END_LITERALS: usize = 5
const LAST_MATCH_START: usize = 12
/** Up to this length a table of 2,048 entries, beyond it 8,192: clearing 16 KiB for one block costs more than it finds. */
const SMALL_INPUT: u32 = 4096
/** After 2^SKIP_SHIFT probes without a match the search moves in steps of two, then three, and so on. */
const SKIP_SHIFT: u32 = 6

// @ts-ignore: decorator
@inline
function slotOf(word: u64, shift: u64): usize {
  return TABLE + (<usize>(((word << 24) * 889523592379) >> shift) << 1)
}

/** What a length of `rest` beyond its nibble adds: bytes of 255, and a last one below it. Returns the new end. */
// @ts-ignore: decorator
@inline
function putLength(out: usize, rest: u32): usize {
  while (rest >= 255) {
    store<u8>(out++, 255)
    rest -= 255
  }
  store<u8>(out, <u8>rest)
  return out + 1
}

/** Position behind the last byte that equals its partner `distance` earlier; from `at` on, not beyond `end`. */
// @ts-ignore: decorator
@inline
function matchEnd(at: usize, match: usize, end: usize): usize {
  while (at + 8 <= end) {
    const differs = load<u64>(at) ^ load<u64>(match)
    if (differs != 0) return at + <usize>(ctz<u64>(differs) >> 3)
    at += 8
    match += 8
  }
  while (at < end && load<u8>(at) == load<u8>(match)) {
    at++
    match++
  }
  return at
}

/** The literals that end a block. Returns the bytes of the whole block, or 0 when it gets too long. */
function putLastLiterals(from: usize, end: usize, out: usize, outEnd: usize, outStart: usize): u32 {
  const literals = <u32>(end - from)
  const lengthBytes: u32 = literals < 15 ? 0 : (literals - 15) / 255 + 1
  if (out + 1 + lengthBytes + literals > outEnd) return 0
  if (literals < 15) {
    store<u8>(out++, <u8>(literals << 4))
  } else {
    store<u8>(out++, 15 << 4)
    out = putLength(out, literals - 15)
  }
  memory.copy(out, from, literals)
  return <u32>(out + literals - outStart)
}

/**
 * Compresses `bytes` (1 … 64 KiB) at `from` to `to`. Returns the bytes of the block, or 0 when it would be longer than
 * `limit`; then up to `limit` bytes at `to` hold anything. Writes nothing outside of them. May read up to 16 bytes on
 * either side of the input, which never matter.
 */
export function compress(from: usize, bytes: u32, to: usize, limit: u32): u32 {
  const end = from + bytes
  const outEnd = to + limit
  if (bytes <= <u32>LAST_MATCH_START) return putLastLiterals(from, end, to, outEnd, to)
  const bits: u32 = bytes <= SMALL_INPUT ? 11 : 13
  const shift: u64 = 64 - bits
  memory.fill(TABLE, 0, <usize>2 << bits)
  const lastStart = end - LAST_MATCH_START
  const matchLimit = end - END_LITERALS
  let at = from + 1
  let pending = from
  let out = to
  while (true) {
    // The next match.
    const hopeless = pending + (outEnd - out)
    const stop = min(lastStart, hopeless)
    let probes: u32 = 1 << SKIP_SHIFT
    let next = at
    let match: usize
    let step: u32 = 1
    let nextSlot = slotOf(load<u64>(next), shift)
    do {
      const slot = nextSlot
      at = next
      next += step
      step = probes++ >> SKIP_SHIFT
      if (next > stop) return stop < lastStart ? 0 : putLastLiterals(pending, end, out, outEnd, to)
      match = from + load<u16>(slot)
      nextSlot = slotOf(load<u64>(next), shift)
      store<u16>(slot, <u16>(at - from))
    } while (load<u32>(match) != load<u32>(at))
    // Backwards: eight bytes at a time, which is most often all.
    let room = min<usize>(at - pending, match - from)
    if (room > 0) {
      while (true) {
        const differs = load<u64>(at - 8) ^ load<u64>(match - 8)
        const same = min<usize>(<usize>(clz<u64>(differs) >> 3), room)
        at -= same
        match -= same
        room -= same
        if (same < 8) break
      }
    }
    // The literals before it.
    const literals = <u32>(at - pending)
    let tokenAt = out++
    if (out + literals + (literals >> 8) + 3 > outEnd) return 0
    let token = literals << 4
    if (literals >= 15) {
      token = 15 << 4
      out = putLength(out, literals - 15)
    }
    if (out + literals + 15 <= outEnd) {
      v128.store(out, v128.load(pending))
      const copyEnd = out + literals
      while (out + 16 < copyEnd) {
        out += 16
        pending += 16
        v128.store(out, v128.load(pending))
      }
      out = copyEnd
    } else {
      memory.copy(out, pending, literals)
      out += literals
    }
    // The match, and every further one that follows at once.
    while (true) {
      if (out + 2 > outEnd) return 0
      store<u16>(out, <u16>(at - match))
      out += 2
      // The first eight bytes apart: most matches end in them.
      let stopAt = at + MATCH_BYTES_MIN
      let partner = match + MATCH_BYTES_MIN
      if (stopAt + 8 <= matchLimit) {
        const differs = load<u64>(stopAt) ^ load<u64>(partner)
        if (differs != 0) stopAt += <usize>(ctz<u64>(differs) >> 3)
        else stopAt = matchEnd(stopAt + 8, partner + 8, matchLimit)
      } else {
        stopAt = matchEnd(stopAt, partner, matchLimit)
      }
      const length = <u32>(stopAt - at) - MATCH_BYTES_MIN
      at = stopAt
      if (length < 15) {
        store<u8>(tokenAt, <u8>(token + length))
      } else {
        store<u8>(tokenAt, <u8>(token + 15))
        if (out + (length - 15) / 255 + 1 > outEnd) return 0
        out = putLength(out, length - 15)
      }
      pending = at
      if (at > lastStart) return putLastLiterals(pending, end, out, outEnd, to)
      store<u16>(slotOf(load<u64>(at - 2), shift), <u16>(at - 2 - from))
      const word = load<u64>(at)
      const slot = slotOf(word, shift)
      match = from + load<u16>(slot)
      store<u16>(slot, <u16>(at - from))
      if (load<u32>(match) != <u32>word) break
      if (out >= outEnd) return 0
      tokenAt = out++
      token = 0
    }
    at++
  }
}
