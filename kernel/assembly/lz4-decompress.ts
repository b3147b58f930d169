// LZ4 block decompression. Trusts nothing: whatever the input holds, it reads only the input and what it has written,
// and writes only the output. Long copies run 16 bytes at a time where both sides have the room, else byte by byte.

/** Decompresses `bytes` at `from` into exactly `rawBytes` at `to`. Returns 1, or 0 when the input is no such block. */
export function decompress(from: usize, bytes: u32, to: usize, rawBytes: u32): u32 {
  let at = from
  let out = to
  const end = from + bytes
  const outEnd = to + rawBytes
  while (at < end) {
    const token = <u32>load<u8>(at++)
    let literals = token >> 4
    let length = token & 15
    if (literals < 15 && at + 18 <= end && out + 48 <= outEnd && length < 15) {
      // Most sequences: short literals, a short match, and room on both sides.
      v128.store(out, v128.load(at))
      at += literals
      out += literals
      const distance = <usize>load<u16>(at)
      at += 2
      if (distance == 0 || distance > out - to) return 0
      const match = out - distance
      if (distance >= 16) {
        v128.store(out, v128.load(match))
        store<u16>(out, load<u16>(match, 16), 16)
        out += length + 4
        continue
      }
      if (distance >= 8) {
        store<u64>(out, load<u64>(match))
        store<u64>(out, load<u64>(match, 8), 8)
        store<u16>(out, load<u16>(match, 16), 16)
        out += length + 4
        continue
      }
      const copyEnd = out + length + 4
      out = copyNear(out, distance, copyEnd)
      continue
    }
    if (literals == 15) {
      let more: u32
      do {
        if (at >= end) return 0
        more = load<u8>(at++)
        literals += more
      } while (more == 255)
    }
    if (<usize>literals > end - at || <usize>literals > outEnd - out) return 0
    memory.copy(out, at, literals)
    at += literals
    out += literals
    if (at == end) break
    if (end - at < 2) return 0
    const distance = <usize>load<u16>(at)
    at += 2
    if (distance == 0 || distance > out - to) return 0
    if (length == 15) {
      let more: u32
      do {
        if (at >= end) return 0
        more = load<u8>(at++)
        length += more
      } while (more == 255)
    }
    length += 4
    if (<usize>length > outEnd - out) return 0
    const copyEnd = out + length
    if (distance >= 16 && outEnd - copyEnd >= 16) {
      let match = out - distance
      do {
        v128.store(out, v128.load(match))
        out += 16
        match += 16
      } while (out < copyEnd)
      out = copyEnd
    } else {
      out = copyNear(out, distance, copyEnd)
    }
  }
  return out == outEnd ? 1 : 0
}

/** A match that repeats itself, or has no room to write more than it has. Returns `copyEnd`. */
function copyNear(out: usize, distance: usize, copyEnd: usize): usize {
  const match = out - distance
  if (distance == 1) {
    memory.fill(out, load<u8>(match), copyEnd - out)
    return copyEnd
  }
  if (distance >= 8) {
    while (out + 8 <= copyEnd) {
      store<u64>(out, load<u64>(out - distance))
      out += 8
    }
  }
  while (out < copyEnd) {
    store<u8>(out, load<u8>(out - distance))
    out++
  }
  return copyEnd
}
