// LZ4 block decompression. Trusts nothing: whatever the input holds, it reads only the input and what it has written,
// and writes only the output. Copies run 16 bytes at a time where both sides have the room, else exactly.

/** Row d: which byte of the 16 at a match comes where, when the match repeats itself every d < 16 bytes. */
const REPEAT = memory.data<u8>([
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
  0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1,
  0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0,
  0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0,
  0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 5, 6, 0, 1, 2, 3, 4, 5, 6, 0, 1,
  0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 4, 5, 6, 7,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2, 3, 4, 5, 6,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3, 4, 5,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 1, 2, 3, 4,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 0, 1, 2, 3,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 1, 2,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0, 1,
  0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0,
])

/** Decompresses `bytes` at `from` into exactly `rawBytes` at `to`. Returns 1, or 0 when the input is no such block. */
export function decompress(from: usize, bytes: u32, to: usize, rawBytes: u32): u32 {
  let at = from
  let out = to
  const end = from + bytes
  const outEnd = to + rawBytes
  while (at < end) {
    const token = <u32>load<u8>(at++)
    let literals = token >> 4
    if (literals == 15) {
      let more: u32
      do {
        if (at >= end) return 0
        more = load<u8>(at++)
        literals += more
      } while (more == 255)
    }
    const literalsEnd = out + literals
    if (at + literals + 16 <= end && literalsEnd + 16 <= outEnd) {
      v128.store(out, v128.load(at))
      if (literals > 16) {
        let source = at
        do {
          out += 16
          source += 16
          v128.store(out, v128.load(source))
        } while (out + 16 < literalsEnd)
      }
      at += literals
      out = literalsEnd
    } else {
      if (<usize>literals > end - at || <usize>literals > outEnd - out) return 0
      memory.copy(out, at, literals)
      at += literals
      out = literalsEnd
      if (at == end) break
      if (end - at < 2) return 0
    }
    const distance = <usize>load<u16>(at)
    at += 2
    if (distance - 1 >= out - to) return 0
    let length = (token & 15) + 4
    if (length == 19) {
      let more: u32
      do {
        if (at >= end) return 0
        more = load<u8>(at++)
        length += more
      } while (more == 255)
    }
    const copyEnd = out + length
    if (copyEnd + 16 > outEnd) {
      if (<usize>length > outEnd - out) return 0
      copyExactly(out, distance, copyEnd)
    } else if (distance >= 16) {
      let source = out - distance
      v128.store(out, v128.load(source))
      while (out + 16 < copyEnd) {
        out += 16
        source += 16
        v128.store(out, v128.load(source))
      }
    } else {
      const pattern = patternAt(out - distance, distance)
      const period: usize = 16 - (<usize>16 % distance)
      v128.store(out, pattern)
      while (out + period < copyEnd) {
        out += period
        v128.store(out, pattern)
      }
    }
    out = copyEnd
  }
  return out == outEnd ? 1 : 0
}

/** The 16 bytes that a match `distance` < 16 bytes back stands for. */
// @ts-ignore: decorator
@inline
function patternAt(match: usize, distance: usize): v128 {
  return v128.swizzle(v128.load(match), v128.load(REPEAT + (distance << 4)))
}

/** A match near the end of the output: writes nothing behind `copyEnd`. */
function copyExactly(out: usize, distance: usize, copyEnd: usize): void {
  if (distance >= 16) {
    while (out + 16 <= copyEnd) {
      v128.store(out, v128.load(out - distance))
      out += 16
    }
  } else if (out + 16 <= copyEnd) {
    const pattern = patternAt(out - distance, distance)
    const period: usize = 16 - (<usize>16 % distance)
    do {
      v128.store(out, pattern)
      out += period
    } while (out + 16 <= copyEnd)
  }
  while (out < copyEnd) {
    store<u8>(out, load<u8>(out - distance))
    out++
  }
}
