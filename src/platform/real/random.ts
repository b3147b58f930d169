/** Randomness: `seededRandom` repeats itself for the same seed, `osRandom` never does. */
import { randomFillSync } from 'node:crypto'
import { xoroshiro128plusFromState } from 'pure-rand/generator/xoroshiro128plus'
import type { Random } from '../types.ts'

/** Numbers fetched from the operating system at a time. */
const OS_BATCH = 1024

/** The same seed gives the same numbers, on every machine. `seed`: any integer, of which the low 32 bits count. */
export function seededRandom(seed: number): Random {
  // Neighbouring seeds must not give neighbouring first numbers, so the seed is spread over the whole state.
  const generator = xoroshiro128plusFromState([1, 2, 3, 4].map((word) => scramble(seed, word)))
  return fromU32(() => generator.next() >>> 0)
}

/** From the operating system's generator, a batch at a time. */
export function osRandom(): Random {
  const batch = new Uint32Array(OS_BATCH)
  let used = OS_BATCH
  return fromU32(() => {
    if (used === OS_BATCH) {
      randomFillSync(batch)
      used = 0
    }
    return batch[used++]!
  })
}

/** The finalizer of MurmurHash3 over a Weyl sequence: every bit of the seed reaches every bit of the word. */
function scramble(seed: number, word: number): number {
  let mixed = (seed + Math.imul(word, 0x9e3779b9)) | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return mixed ^ (mixed >>> 16)
}

function fromU32(u32: () => number): Random {
  return {
    u32,
    below(bound) {
      // Drawn again when it falls into the last, incomplete run of `bound` numbers: else the low ones came more often.
      if (bound <= 2 ** 32) {
        const limit = 2 ** 32 - (2 ** 32 % bound)
        let draw = u32()
        while (draw >= limit) draw = u32()
        return draw % bound
      }
      const limit = 2 ** 53 - (2 ** 53 % bound)
      let draw = u53(u32)
      while (draw >= limit) draw = u53(u32)
      return draw % bound
    },
  }
}

function u53(u32: () => number): number {
  return (u32() >>> 11) * 2 ** 32 + u32()
}
