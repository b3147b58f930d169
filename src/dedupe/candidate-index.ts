/**
 * The candidate index: fingerprint of a 4 KiB block → where a block with that fingerprint may be stored.
 *
 * A hit is a candidate only. The caller compares the bytes, because xxHash64 can be collided on purpose, because the
 * index keeps 44 of the 64 bits, and because an entry may be stale. The index may also forget anything at any time:
 * that costs space, never correctness.
 *
 * Layout. Segments of 1,024 buckets of 8 entries of 12 bytes. One bucket is 24 words: 8 high halves of fingerprints,
 * 8 egroups (0: the entry is free), 8 packed words: bits 0–18 the ref (slot << 3 | block of the slice), bit 19 "hit
 * since it was last spared", bits 20–31 the top of the low half. A lookup reads one bucket, nothing else.
 *
 * Growth is linear hashing: one segment at a time, when three eighths of the entries are in use (a segment whose turn
 * has not come is up to twice as full as the mean). A new segment takes over part of exactly one old one, bucket by bucket, so the longest pause is the walk over 8,192 entries. An entry
 * never moves to a segment with a lower number, so a sweep that goes up through the segments misses none, even when
 * inserts make the index grow meanwhile.
 *
 * Full buckets. The victim is the entry in the lowest egroup (ids ascend, so: the oldest data, the likeliest to be
 * dead) that was not hit since it was last spared; when all were hit, all lose that mark and the lowest goes. So the
 * blocks of a base image that are written again and again stay, whatever passes by. At the budget the table fills to
 * nearly 100 %: 12 to 13 bytes for each fingerprint kept.
 *
 * Reclaim and the watermark. The sweep of a reclaim first sets the watermark above every egroup that it judges, then
 * forgets every entry whose slot it found dead, then lets the slots go. Entries of the local node are inserted for
 * frames that it has just written, so they are not among the dead. But news from a peer may be older than the
 * sweep: a message that was under way could bring back a slot that has just been found dead, and the next write of
 * the same bytes would refer to a slot that is being removed. So `insertRemote` refuses every egroup below the
 * watermark; what it refuses costs a lost chance to dedupe, no more.
 */
import { invariant } from '../base/errors.ts'

const WAYS = 8
const BUCKETS = 1024
const BUCKET_BITS = 10
const EGROUPS_AT = WAYS
const PACKED_AT = 2 * WAYS
const BUCKET_WORDS = 3 * WAYS
const SEGMENT_ENTRIES = BUCKETS * WAYS
const SEGMENT_BYTES = BUCKETS * BUCKET_WORDS * 4

const REF_MASK = 0x0007_ffff
const HIT_BIT = 0x0008_0000
const LOW_SHIFT = 20
const LOW_MASK = 0xfff0_0000

/** Whether the slot of this entry is gone, or about to go. */
export type IsDead = (egroup: number, ref: number) => boolean

export class CandidateIndex {
  /** Result of the last `lookup` that answered `true`. Read only. */
  egroup = 0
  /** Result of the last `lookup` that answered `true`: slot << 3 | block of the slice. Read only. */
  ref = 0

  readonly #segmentsMax: number
  readonly #segments: Uint32Array[] = []
  /** The smallest power of two that is not below the number of segments, less one. */
  #mask = 0
  #count = 0
  #watermark = 0
  // biome-ignore lint/correctness/noUnusedPrivateClassMembers: what is read in vain has to go somewhere, or it is not read.
  #touched = 0

  /** @param capacityBytes most memory that the index may take; at least one segment (96 KiB) is used. */
  constructor(capacityBytes: number) {
    this.#segmentsMax = Math.max(1, Math.floor(capacityBytes / SEGMENT_BYTES))
    this.#segments.push(new Uint32Array(BUCKETS * BUCKET_WORDS))
  }

  /** Fingerprints kept. */
  get count(): number {
    return this.#count
  }

  /** Memory taken now, bytes. */
  get sizeBytes(): number {
    return this.#segments.length * SEGMENT_BYTES
  }

  /** Segments now; `forgetInSegment` takes 0 … segments − 1. */
  get segments(): number {
    return this.#segments.length
  }

  get watermark(): number {
    return this.#watermark
  }

  /**
   * Brings the bucket of a fingerprint into the processor's cache. Of many fingerprints, those that are touched one after
   * the other wait for memory together; those that are looked up or kept, each by itself.
   */
  touch(hi: number): void {
    const words = this.#segments[this.#segmentOf(hi)]!
    const first = bucketOf(hi) * BUCKET_WORDS
    // 96 bytes may lie in three lines.
    this.#touched = words[first]! ^ words[first + BUCKET_WORDS / 2]! ^ words[first + BUCKET_WORDS - 1]!
  }

  /** Looks a fingerprint (two unsigned halves) up. When `true`, the candidate is in `egroup` and `ref`. */
  lookup(hi: number, lo: number): boolean {
    const words = this.#segments[this.#segmentOf(hi)]!
    const at = find(words, hi, lo)
    if (at < 0) return false
    const packed = words[at + PACKED_AT]!
    words[at + PACKED_AT] = packed | HIT_BIT
    this.egroup = words[at + EGROUPS_AT]!
    this.ref = packed & REF_MASK
    return true
  }

  /**
   * Keeps a block that this node has stored (and whose frame is acknowledged). The newest place of a fingerprint
   * replaces the one before.
   */
  insert(hi: number, lo: number, egroup: number, ref: number): void {
    checkPlace(egroup, ref)
    const words = this.#segments[this.#segmentOf(hi)]!
    const at = find(words, hi, lo)
    if (at < 0) {
      this.#add(words, hi, lo, egroup, ref)
      return
    }
    words[at + EGROUPS_AT] = egroup
    words[at + PACKED_AT] = (words[at + PACKED_AT]! & HIT_BIT) | ref | (lo & LOW_MASK)
  }

  /**
   * Keeps what a peer told. Answers `false` and changes nothing when the egroup is below the watermark, or the
   * fingerprint is known already.
   */
  insertRemote(hi: number, lo: number, egroup: number, ref: number): boolean {
    if (egroup < this.#watermark) return false
    const words = this.#segments[this.#segmentOf(hi)]!
    if (find(words, hi, lo) >= 0) return false
    checkPlace(egroup, ref)
    this.#add(words, hi, lo, egroup, ref)
    return true
  }

  /** Forgets a candidate that proved wrong. A fingerprint that by now leads elsewhere is left alone. */
  remove(hi: number, lo: number, egroup: number, ref: number): boolean {
    const words = this.#segments[this.#segmentOf(hi)]!
    const at = find(words, hi, lo)
    if (at < 0 || words[at + EGROUPS_AT] !== egroup || (words[at + PACKED_AT]! & REF_MASK) !== ref)
      return false
    words[at + EGROUPS_AT] = 0
    words[at + PACKED_AT] = 0
    this.#count--
    return true
  }

  /** From now on peers' news of egroups below `egroup` is refused. Never goes down. */
  setWatermark(egroup: number): void {
    this.#watermark = Math.max(this.#watermark, egroup)
  }

  /** Forgets every dead entry; answers how many. A walk over the whole table: 5 to 10 ns an entry. */
  forget(isDead: IsDead): number {
    let forgotten = 0
    for (let segment = 0; segment < this.#segments.length; segment++) {
      forgotten += this.forgetInSegment(segment, isDead)
    }
    return forgotten
  }

  /**
   * The part of `forget` for one segment. Called for 0, 1, … until `segments` is reached, with other work in
   * between, it sees every entry that was there at the start.
   */
  forgetInSegment(segment: number, isDead: IsDead): number {
    const words = this.#segments[segment]!
    let forgotten = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const first = bucket * BUCKET_WORDS
      for (let at = first; at < first + WAYS; at++) {
        const egroup = words[at + EGROUPS_AT]!
        if (egroup === 0 || !isDead(egroup, words[at + PACKED_AT]! & REF_MASK)) continue
        words[at + EGROUPS_AT] = 0
        words[at + PACKED_AT] = 0
        forgotten++
      }
    }
    this.#count -= forgotten
    return forgotten
  }

  /** Of a fingerprint that is not kept yet, and would be in `segment`. */
  #add(segment: Uint32Array, hi: number, lo: number, egroup: number, ref: number): void {
    const words = this.#growIfDue() ? this.#segments[this.#segmentOf(hi)]! : segment
    const at = this.#place(words, bucketOf(hi))
    words[at] = hi
    words[at + EGROUPS_AT] = egroup
    words[at + PACKED_AT] = ref | (lo & LOW_MASK)
  }

  #segmentOf(hi: number): number {
    const hash = hi >>> BUCKET_BITS
    const segment = hash & this.#mask
    return segment < this.#segments.length ? segment : hash & (this.#mask >>> 1)
  }

  /** A free entry of the bucket, or the victim's. Its packed word is 0. */
  #place(words: Uint32Array, bucket: number): number {
    const first = bucket * BUCKET_WORDS
    let oldest = -1
    let oldestUnhit = -1
    for (let at = first; at < first + WAYS; at++) {
      const egroup = words[at + EGROUPS_AT]!
      if (egroup === 0) {
        this.#count++
        return at
      }
      if (oldest < 0 || egroup < words[oldest + EGROUPS_AT]!) oldest = at
      if ((words[at + PACKED_AT]! & HIT_BIT) !== 0) continue
      if (oldestUnhit < 0 || egroup < words[oldestUnhit + EGROUPS_AT]!) oldestUnhit = at
    }
    if (oldestUnhit < 0) {
      for (let at = first + PACKED_AT; at < first + BUCKET_WORDS; at++) words[at] = words[at]! & ~HIT_BIT
      oldestUnhit = oldest
    }
    words[oldestUnhit + PACKED_AT] = 0
    return oldestUnhit
  }

  /** Adds one segment when it is time; `true` when it did. */
  #growIfDue(): boolean {
    const segments = this.#segments
    if (segments.length === this.#segmentsMax || this.#count * 8 < segments.length * SEGMENT_ENTRIES * 3)
      return false
    const added = segments.length
    if (added > this.#mask) this.#mask = this.#mask * 2 + 1
    const source = segments[added & (this.#mask >>> 1)]!
    const target = new Uint32Array(BUCKETS * BUCKET_WORDS)
    segments.push(target)
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      const first = bucket * BUCKET_WORDS
      for (let at = first; at < first + WAYS; at++) {
        if (source[at + EGROUPS_AT] === 0 || this.#segmentOf(source[at]!) !== added) continue
        // The same place in the same bucket: free, as nothing but this move has written to the new segment.
        target[at] = source[at]!
        target[at + EGROUPS_AT] = source[at + EGROUPS_AT]!
        target[at + PACKED_AT] = source[at + PACKED_AT]!
        source[at + EGROUPS_AT] = 0
        source[at + PACKED_AT] = 0
      }
    }
    return true
  }
}

function checkPlace(egroup: number, ref: number): void {
  invariant(egroup > 0 && ref >= 0 && ref <= REF_MASK, 'egroup and ref name a block of a slice')
}

function bucketOf(hi: number): number {
  return hi & (BUCKETS - 1)
}

/** Index of the word with the high half of this fingerprint, or −1. */
function find(words: Uint32Array, hi: number, lo: number): number {
  const first = bucketOf(hi) * BUCKET_WORDS
  for (let at = first; at < first + WAYS; at++) {
    if (words[at] !== hi) continue
    if ((words[at + PACKED_AT]! ^ lo) >>> LOW_SHIFT === 0 && words[at + EGROUPS_AT] !== 0) return at
  }
  return -1
}
