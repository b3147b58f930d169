/** A set of small integers (slots, blocks, egroup offsets), one bit each, which grows with its largest member. */

const WORD_BITS = 32

export class Bitset {
  #words: Uint32Array
  #count = 0

  /** @param sizeBits a guess of the largest member + 1, to save growing. */
  constructor(sizeBits = 0) {
    this.#words = new Uint32Array(Math.ceil(sizeBits / WORD_BITS))
  }

  /** Members. */
  get count(): number {
    return this.#count
  }

  has(index: number): boolean {
    const word = this.#words[index >>> 5]
    return word !== undefined && (word & (1 << (index & 31))) !== 0
  }

  /** Adds `index` (0 … 2^32−1); `false` when it was there already. */
  set(index: number): boolean {
    const at = index >>> 5
    if (at >= this.#words.length) this.#grow(at + 1)
    const before = this.#words[at]!
    const bit = 1 << (index & 31)
    if ((before & bit) !== 0) return false
    this.#words[at] = before | bit
    this.#count++
    return true
  }

  /** Removes `index`; `false` when it was not there. */
  delete(index: number): boolean {
    if (!this.has(index)) return false
    const at = index >>> 5
    this.#words[at] = this.#words[at]! & ~(1 << (index & 31))
    this.#count--
    return true
  }

  /** Removes all, keeps the memory. */
  clear(): void {
    this.#words.fill(0)
    this.#count = 0
  }

  /** Members in ascending order. `visit` must not change the set. */
  forEach(visit: (index: number) => void): void {
    const words = this.#words
    for (let at = 0; at < words.length; at++) {
      let word = words[at]!
      while (word !== 0) {
        const bit = 31 - Math.clz32(word & -word)
        visit(at * WORD_BITS + bit)
        word &= word - 1
      }
    }
  }

  /** Adds all members of `other`. */
  or(other: Bitset): void {
    const theirs = other.#words
    if (theirs.length > this.#words.length) this.#grow(theirs.length)
    for (let at = 0; at < theirs.length; at++) {
      const before = this.#words[at]!
      const after = (before | theirs[at]!) >>> 0
      if (after === before) continue
      this.#words[at] = after
      this.#count += countBits(after) - countBits(before)
    }
  }

  /** Bit i of the set is bit i % 8 of byte ⌊i / 8⌋; zero bytes at the end are left out. A copy. */
  toBytes(): Uint8Array {
    const words = this.#words
    const bytes = new Uint8Array(words.length * 4)
    const view = new DataView(bytes.buffer)
    for (let at = 0; at < words.length; at++) view.setUint32(at * 4, words[at]!, true)
    let length = bytes.length
    while (length > 0 && bytes[length - 1] === 0) length--
    return bytes.slice(0, length)
  }

  /** Inverse of `toBytes`. */
  static fromBytes(bytes: Uint8Array): Bitset {
    const set = new Bitset(bytes.length * 8)
    const words = set.#words
    for (let at = 0; at < bytes.length; at++) {
      words[at >>> 2] = words[at >>> 2]! | (bytes[at]! << ((at & 3) * 8))
    }
    for (const word of words) set.#count += countBits(word)
    return set
  }

  #grow(wordsMin: number): void {
    const grown = new Uint32Array(Math.max(wordsMin, this.#words.length * 2))
    grown.set(this.#words)
    this.#words = grown
  }
}

function countBits(word: number): number {
  let rest = word - ((word >>> 1) & 0x5555_5555)
  rest = (rest & 0x3333_3333) + ((rest >>> 2) & 0x3333_3333)
  return Math.imul((rest + (rest >>> 4)) & 0x0f0f_0f0f, 0x0101_0101) >>> 24
}
