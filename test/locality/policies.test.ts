import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { LocalityPolicyName } from '../../src/api.ts'
import { HitherError } from '../../src/base/errors.ts'
import { createLocalityPolicy, LOCALITY_POLICY_NAMES } from '../../src/locality/create-policy.ts'
import type { CompletionView, LocalityPolicy, PrefetchRange, ReadSeen } from '../../src/locality/policy.ts'

const BLOCKS_PER_MIB = 256

/** A node after a move: what is held, and what crossed the wire. */
class Node {
  readonly held = new Set<number>()
  fetched = 0
  never = 0
  readonly asked: PrefetchRange[] = []
  readonly #policy: LocalityPolicy

  constructor(policy: LocalityPolicy) {
    this.#policy = policy
  }

  read(start: number, count: number, now: number, overrides: Partial<ReadSeen> = {}): void {
    let heldBlocks = 0
    for (let block = start; block < start + count; block++) if (this.held.has(block)) heldBlocks++
    const remoteBlocks = count - heldBlocks
    this.fetched += remoteBlocks
    this.never += count
    const read = { vdisk: 1, start, count, remoteBlocks, heldBlocks, lateBlocks: 0, now, ...overrides }
    const decision = this.#policy.onRead(read)
    if (decision.keep) for (let block = start; block < start + count; block++) this.held.add(block)
    for (const range of decision.prefetch) {
      this.asked.push(range)
      const before = this.held.size
      for (let block: number = range.start; block < range.start + range.count; block++) this.held.add(block)
      this.fetched += this.held.size - before
      this.#policy.onPrefetched(read.vdisk, range, this.held.size - before)
    }
  }
}

const view = (overrides: Partial<CompletionView>): CompletionView => ({
  liveBytes: 1_000,
  heldBytes: 0,
  randomTouches: 0,
  sequentialTouches: 0,
  ...overrides,
})

describe('createLocalityPolicy', () => {
  it('makes every policy by its name', () => {
    for (const name of LOCALITY_POLICY_NAMES) expect(createLocalityPolicy(name).name).toBe(name)
  })

  it('refuses another name, and tells which there are', () => {
    const make = () => createLocalityPolicy('toString' as LocalityPolicyName)
    expect(make).toThrow(HitherError)
    expect(make).toThrow(/never, classic, keep, readahead/)
  })
})

describe('never and keep', () => {
  it('never keeps nothing, keep keeps what was read, and neither reads ahead', () => {
    for (const [name, held] of [
      ['never', 0],
      ['keep', 320],
    ] as const) {
      const node = new Node(createLocalityPolicy(name))
      for (let i = 0; i < 20; i++) node.read(i * 16, 16, i)
      expect(node.held.size).toBe(held)
      expect(node.asked).toEqual([])
    }
  })

  it('complete an egroup: never does not, keep does when 7/8 are here', () => {
    const nearly = view({ heldBytes: 875 })
    expect(createLocalityPolicy('never').shouldComplete(nearly)).toBe(false)
    expect(createLocalityPolicy('keep').shouldComplete(nearly)).toBe(true)
    expect(createLocalityPolicy('keep').shouldComplete(view({ heldBytes: 874 }))).toBe(false)
    expect(createLocalityPolicy('keep').shouldComplete(view({ liveBytes: 0 }))).toBe(false)
  })
})

describe('classic', () => {
  it('copies the whole group at the third random touch in ten minutes, and keeps nothing before', () => {
    const node = new Node(createLocalityPolicy('classic'))
    node.read(1_024, 1, 0)
    node.read(1_500, 1, 20_000)
    expect(node.held.size).toBe(0)
    node.read(1_700, 1, 40_000)
    expect(node.asked).toEqual([{ start: 1_024, count: 1_024, reason: 'group' }])
    expect(node.held.size).toBe(1_024)
  })

  it('needs ten samples of sequential reading', () => {
    const node = new Node(createLocalityPolicy('classic'))
    for (let i = 0; i < 10; i++) node.read(i * 8, 8, i * 10_000)
    expect(node.asked).toHaveLength(1)
    const policy = createLocalityPolicy('classic')
    expect(policy.shouldComplete(view({ randomTouches: 2, sequentialTouches: 9 }))).toBe(false)
    expect(policy.shouldComplete(view({ randomTouches: 3 }))).toBe(true)
    expect(policy.shouldComplete(view({ sequentialTouches: 10 }))).toBe(true)
  })
})

describe('readahead', () => {
  it('is ahead of a sequential reader from its second read on, and wastes little at its end', () => {
    const node = new Node(createLocalityPolicy('readahead'))
    for (let i = 0; i < 64; i++) node.read(i * 16, 16, i * 5)
    const remoteAfterStart = node.fetched - 1_024
    expect(remoteAfterStart).toBeLessThanOrEqual(64)
    expect(node.asked.length).toBeGreaterThan(10)
  })

  it('does not read ahead of scattered reads', () => {
    const node = new Node(createLocalityPolicy('readahead'))
    for (let i = 0; i < 500; i++) node.read(((i * 7_919) % 5_000) * 200, 16, i * 100)
    // What it tries before it has learned that these reads do not go on: under 5 % of what is read.
    expect(node.fetched - 500 * 16).toBeLessThan(0.05 * 500 * 16)
  })

  it('fetches the rest of a region that is read at random', () => {
    const node = new Node(createLocalityPolicy('readahead'))
    for (const block of [70, 90, 110]) node.read(block, 2, block * 1_000)
    expect(node.asked.filter((range) => range.reason === 'region')).toEqual([
      { start: 64, count: 64, reason: 'region' },
    ])
  })

  it('asks for nothing while a vDisk is local, and knows its runs when it has moved', () => {
    const policy = createLocalityPolicy('readahead')
    const local = { remoteBlocks: 0, heldBlocks: 0, lateBlocks: 0 }
    let now = 0
    for (let file = 0; file < 200; file++) {
      for (let part = 0; part < 2; part++) {
        const start = file * 10_000 + part * 16
        now += 1
        const decision = policy.onRead({ vdisk: 1, start, count: 16, now, ...local })
        expect(decision.prefetch).toEqual([])
      }
    }
    now += 10_000
    const node = new Node(policy)
    node.read(9_000_000, 16, now)
    expect(node.asked).toEqual([{ start: 9_000_016, count: 16, reason: 'stream' }])
    node.read(9_000_016, 16, now + 1)
    expect(node.asked).toHaveLength(1)
  })

  it('starts afresh with a vDisk that it was told to forget', () => {
    const policy = createLocalityPolicy('readahead')
    const node = new Node(policy)
    for (let i = 0; i < 4; i++) node.read(i * 16, 16, i)
    node.asked.length = 0
    // Known, this read would be taken for the end of a file, and nothing asked for.
    node.read(64, 8, 10)
    expect(node.asked).toEqual([])
    policy.forget(1)
    node.read(72, 8, 11)
    expect(node.asked).toEqual([{ start: 80, count: 8, reason: 'stream' }])
  })

  it('keeps vDisks apart', () => {
    const policy = createLocalityPolicy('readahead')
    const first = new Node(policy)
    first.read(0, 16, 0, { vdisk: 1 })
    const second = new Node(policy)
    second.read(16, 16, 1, { vdisk: 2 })
    second.read(5_000, 16, 2, { vdisk: 2 })
    // Had the vDisks been one, block 16 would have gone on with the stream, and its window be past block 32.
    first.read(16, 16, 3, { vdisk: 1 })
    expect(first.asked.at(-1)?.start).toBe(32)
  })

  // Promise: whatever the guest does, the wire carries at most 32 MiB more than without any copies.
  it('never puts more than 32 MiB on the wire beyond never-copy', () => {
    const burst = fc.record({
      start: fc.integer({ min: 0, max: 4_000_000 }),
      reads: fc.integer({ min: 1, max: 40 }),
      size: fc.constantFrom(1, 2, 16, 17, 256),
      stride: fc.constantFrom(0, 1, 1, 1, 3),
      stepMs: fc.constantFrom(0, 1, 3_000),
    })
    fc.assert(
      fc.property(fc.array(burst, { minLength: 1, maxLength: 60 }), (bursts) => {
        const node = new Node(createLocalityPolicy('readahead'))
        let now = 0
        for (const { start, reads, size, stride, stepMs } of bursts) {
          for (let i = 0; i < reads; i++) {
            node.read(start + i * size * stride, size, now)
            now += stepMs
          }
        }
        const slack = 2 * BLOCKS_PER_MIB
        expect(node.fetched - node.never).toBeLessThanOrEqual(32 * BLOCKS_PER_MIB + slack)
      }),
      { numRuns: 50 },
    )
  })

  it('meets the worst guest: every guess of streams wrong, and the waste stays bounded', () => {
    const node = new Node(createLocalityPolicy('readahead'))
    // Runs that stop just after they have earned a prefetch.
    for (let run = 0; run < 20_000; run++) {
      node.read(run * 1_000, 16, run * 10)
      node.read(run * 1_000 + 16, 16, run * 10 + 1)
    }
    expect(node.fetched - node.never).toBeLessThanOrEqual(6 * BLOCKS_PER_MIB)
  })
})
