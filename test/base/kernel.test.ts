/**
 * Guards: the kernel's LZ4 is the format's, both ways, against the package as the oracle; whatever its decoder is
 * given, it gives an error or the promised bytes, keeps out of what lies beside its output, never traps, and never
 * takes another answer than the oracle for right. HITHER_LONG=1 gives it a million damaged inputs, else 20,000.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CODEC_RAW_BYTES_MAX } from '../../src/base/data-path.ts'
import { codeOf } from '../../src/base/errors.ts'
import { type Kernel, loadKernel } from '../../src/base/kernel.ts'
import { kernel, packages } from './data-paths.ts'

const LONG = process.env['HITHER_LONG'] === '1'
const MUTATIONS = LONG ? 1_000_000 : 20_000
const GUARD = 0xa5
const GUARD_BYTES = 64

const loaded = loadKernel() as Kernel
const { exports, memory } = loaded
const INPUT = exports.INPUT.value
const OUTPUT = exports.OUTPUT.value

/** Small and repeatable; the engine's generator is not at hand below `platform`. */
function generator(seed: number): (bound: number) => number {
  let state = seed >>> 0 || 1
  return (bound) => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % bound
  }
}

/** Bytes in the styles that data comes in: words that come again, records, noise, runs, and all of them mixed. */
function sample(next: (bound: number) => number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + 1 + next(600))
    const style = next(5)
    const back = 1 + next(Math.min(at + 1, 40_000))
    for (; at < end; at++) {
      if (style === 0) bytes[at] = next(256)
      else if (style === 1) bytes[at] = 97 + next(3)
      else if (style === 2) bytes[at] = 0
      else if (style === 3) bytes[at] = at % 13
      else bytes[at] = at >= back ? bytes[at - back]! : 1
    }
  }
  return bytes
}

function compressed(path: typeof kernel, raw: Uint8Array): Uint8Array {
  const target = new Uint8Array(CODEC_RAW_BYTES_MAX * 2)
  return target.slice(0, path.compressInto(raw, 0, raw.length, target, 0, target.length))
}

function decompressed(path: typeof kernel, stored: Uint8Array, rawBytes: number): Uint8Array | undefined {
  const target = new Uint8Array(rawBytes)
  try {
    path.decompressInto(stored, 0, stored.length, target, 0, rawBytes)
    return target
  } catch (error) {
    if (codeOf(error) !== 'CHECKSUM_MISMATCH') throw error
    return undefined
  }
}

describe('the LZ4 of the kernel', () => {
  it('is read by the package, and reads what the package wrote', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: CODEC_RAW_BYTES_MAX }), (seed, length) => {
        const raw = sample(generator(seed), length)
        const ours = compressed(kernel, raw)
        const theirs = compressed(packages, raw)
        for (const path of [kernel, packages]) {
          expect(Buffer.compare(decompressed(path, ours, length)!, raw)).toBe(0)
          expect(Buffer.compare(decompressed(path, theirs, length)!, raw)).toBe(0)
        }
      }),
      { numRuns: LONG ? 5000 : 150 },
    )
  })

  it('does so for every short length, where the rules for the end of a block bite', () => {
    const next = generator(7)
    for (let length = 1; length <= 300; length++) {
      for (const raw of [
        sample(next, length),
        new Uint8Array(length),
        new Uint8Array(length).fill(9, length >> 1),
      ]) {
        const ours = compressed(kernel, raw)
        expect(keepsEndRules(ours, length)).toBe(true)
        expect(Buffer.compare(decompressed(packages, ours, length)!, raw)).toBe(0)
        expect(Buffer.compare(decompressed(kernel, ours, length)!, raw)).toBe(0)
        expect(Buffer.compare(decompressed(kernel, compressed(packages, raw), length)!, raw)).toBe(0)
      }
    }
  })

  it('depends on nothing but the input', () => {
    const next = generator(3)
    const raw = sample(next, 4096)
    const first = compressed(kernel, raw)
    for (let i = 0; i < 20; i++) compressed(kernel, sample(next, 1 + next(CODEC_RAW_BYTES_MAX)))
    expect(Buffer.compare(compressed(kernel, raw), first)).toBe(0)
    expect(first.length).toBeLessThan(4096)
  })

  it('keeps to every limit, and writes nothing behind it', () => {
    const next = generator(11)
    for (let round = 0; round < 300; round++) {
      const raw = sample(next, 1 + next(3000))
      const full = compressed(kernel, raw).length
      const limit = next(2) === 0 ? full - next(Math.min(full, 40)) : 1 + next(full + 100)
      memory.set(raw, INPUT)
      memory.fill(GUARD, OUTPUT, OUTPUT + limit + 2 * GUARD_BYTES)
      const stored = exports.compress(INPUT, raw.length, OUTPUT + GUARD_BYTES, limit)
      expect(stored === 0 || stored === full).toBe(true)
      if (limit < full) expect(stored).toBe(0)
      expect(guardsHold(OUTPUT + GUARD_BYTES, limit)).toBe(true)
    }
  })

  it('takes what a block can shrink to, once it can', () => {
    const next = generator(13)
    let fitted = 0
    for (let round = 0; round < 300; round++) {
      const raw = sample(next, 1 + next(3000))
      const target = new Uint8Array(raw.length * 2 + 16)
      const full = compressed(kernel, raw).length
      const exact = kernel.compressInto(raw, 0, raw.length, target, 0, full)
      if (exact === full) fitted++
      else expect(exact).toBe(0)
    }
    // The search may give up when a match that reaches back could still have made it fit; hardly ever does.
    expect(fitted).toBeGreaterThan(290)
  })
})

/** Whether the guards around `length` bytes of output at `to`, as far as there is memory, are as they were. */
function guardsHold(to: number, length: number): boolean {
  for (let at = to - GUARD_BYTES; at < to; at++) if (memory[at] !== GUARD) return false
  const end = Math.min(memory.length, to + length + GUARD_BYTES)
  for (let at = to + length; at < end; at++) if (memory[at] !== GUARD) return false
  return true
}

/** Blocks to damage: of both compressors, short and long; short ones take less time and have as many cases. */
function corpus(next: (bound: number) => number): Array<{ raw: Uint8Array; stored: Uint8Array }> {
  return Array.from({ length: 400 }, (_, i) => {
    const raw = sample(next, 1 + next([40, 400, 4096][i % 3]!))
    return { raw, stored: compressed(i % 2 === 0 ? kernel : packages, raw) }
  })
}

function damage(next: (bound: number) => number, stored: Uint8Array, other: Uint8Array): Uint8Array {
  switch (next(5)) {
    case 0: // bits
      return flipped(next, stored)
    case 1: // cut short
      return stored.slice(0, 1 + next(stored.length))
    case 2: // the head of one, the tail of another
      return Buffer.concat([stored.subarray(0, next(stored.length)), other.subarray(next(other.length))])
    case 3: {
      // noise
      const noise = new Uint8Array(1 + next(60))
      for (let i = 0; i < noise.length; i++) noise[i] = next(3) === 0 ? 255 : next(256)
      return noise
    }
    default: {
      // extreme bytes: long lengths, zero and far distances
      const bytes = stored.slice()
      for (let hits = 1 + next(3); hits > 0; hits--)
        bytes[next(bytes.length)] = [0, 255, 0xf0, 0x0f][next(4)]!
      return bytes
    }
  }
}

function flipped(next: (bound: number) => number, stored: Uint8Array): Uint8Array {
  const bytes = stored.slice()
  for (let hits = 1 + next(4); hits > 0; hits--) bytes[next(bytes.length)]! ^= 1 << next(8)
  return bytes
}

/**
 * The format read by the letter, without a thought for speed: the bytes, or `undefined`. `onMatch` hears where each match
 * starts and ends.
 */
function reference(
  stored: Uint8Array,
  rawBytes: number,
  onMatch?: (start: number, end: number) => void,
): Uint8Array | undefined {
  const out = new Uint8Array(rawBytes)
  let size = 0
  let at = 0
  const lengthFrom = (nibble: number): number => {
    let length = nibble
    if (nibble < 15) return length
    for (;;) {
      const more = stored[at++]
      if (more === undefined) return Number.NaN
      length += more
      if (more < 255) return length
    }
  }
  while (at < stored.length) {
    const token = stored[at++]!
    const literals = lengthFrom(token >> 4)
    if (!(literals <= stored.length - at && literals <= rawBytes - size)) return undefined
    for (let i = 0; i < literals; i++) out[size++] = stored[at++]!
    if (at === stored.length) break
    if (stored.length - at < 2) return undefined
    const distance = stored[at]! | (stored[at + 1]! << 8)
    at += 2
    if (distance === 0 || distance > size) return undefined
    const length = lengthFrom(token & 15) + 4
    if (!(length <= rawBytes - size)) return undefined
    onMatch?.(size, size + length)
    for (let i = 0; i < length; i++, size++) out[size] = out[size - distance]!
  }
  return size === rawBytes ? out : undefined
}

/** The last 5 bytes are literals, and the last match starts 12 bytes before the end or earlier: decoders may count on it. */
function keepsEndRules(stored: Uint8Array, rawBytes: number): boolean {
  let kept = true
  reference(stored, rawBytes, (start, end) => {
    kept &&= start <= rawBytes - 12 && end <= rawBytes - 5
  })
  return kept
}

describe('the decoder of the kernel', () => {
  it(`given ${MUTATIONS} damaged inputs: refuses, or gives the bytes of the format, and touches nothing else`, () => {
    const next = generator(2026)
    const blocks = corpus(next)
    let accepted = 0
    for (let round = 0; round < MUTATIONS; round++) {
      const { raw, stored } = blocks[next(blocks.length)]!
      const bytes = damage(next, stored, blocks[next(blocks.length)]!.stored)
      const rawBytes = next(4) === 0 ? 1 + next(5000) : raw.length
      // In turns, the output or the input ends where the memory ends: one byte further would trap.
      const outputAtEnd = round % 2 === 0
      const from = outputAtEnd ? INPUT : memory.length - bytes.length
      const to = outputAtEnd ? memory.length - rawBytes : OUTPUT + GUARD_BYTES
      memory.set(bytes, from)
      // What follows the input must not matter.
      if (outputAtEnd) memory.fill(next(256), from + bytes.length, from + bytes.length + GUARD_BYTES)
      memory.fill(GUARD, to - GUARD_BYTES, Math.min(memory.length, to + rawBytes + GUARD_BYTES))
      const done = exports.decompress(from, bytes.length, to, rawBytes)
      if (!guardsHold(to, rawBytes)) expect.fail(`round ${round}: bytes beside the output changed`)
      const right = reference(bytes, rawBytes)
      if ((done === 1) !== (right !== undefined)) expect.fail(`round ${round}: answer ${done}`)
      if (right === undefined) continue
      accepted++
      if (Buffer.compare(memory.subarray(to, to + rawBytes), right) !== 0) {
        expect.fail(`round ${round}: other bytes than the format says`)
      }
    }
    // Damage to literals cannot be seen by a decoder; most other damage must be.
    expect(accepted).toBeGreaterThan(MUTATIONS / 100)
    expect(accepted).toBeLessThan(MUTATIONS / 2)
  }, 600_000)
})
