/**
 * Inputs of the micro benchmarks. From a seed alone, so that hashes of results are the same on every machine: the
 * pools of shared/data.ts hold what is installed there.
 */
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

const WORDS = (
  'segment index of the next frame that is written to every copy before it counts as there offset length generation ' +
  'const return await function readonly string number lease owner stream block slice egroup catalog record {}();=>'
).split(' ')

/** 1 MiB: of four blocks, two of words (they compress to about 40 %), one of noise, one half words and half noise. */
export function microBlocks(): Uint8Array {
  const random = seededRandom(7)
  const bytes = new Uint8Array(MiB)
  for (let block = 0; block < MiB / BLOCK_BYTES; block++) {
    const end = (block + 1) * BLOCK_BYTES
    const wordsEnd = [end, end, end - BLOCK_BYTES, end - BLOCK_BYTES / 2][block % 4]!
    let at = block * BLOCK_BYTES
    while (at < wordsEnd) {
      const word = Buffer.from(`${WORDS[random.below(WORDS.length)]} `)
      const taken = word.subarray(0, wordsEnd - at)
      bytes.set(taken, at)
      at += taken.length
    }
    for (; at < end; at++) bytes[at] = random.u32()
  }
  return bytes
}

/** `count` numbers below 2^32, the same every time for one seed. */
export function microNumbers(count: number, seed: number): Uint32Array {
  const random = seededRandom(seed)
  return Uint32Array.from({ length: count }, () => random.u32())
}
