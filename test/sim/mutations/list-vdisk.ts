/** Bugs between a client's request and the log: map, checkpoint, reduction, cache, partial blocks. */
import { FORCED_COLLISIONS } from './circumstances.ts'
import type { Mutation } from './mutation.ts'

export const VDISK_MUTATIONS: readonly Mutation[] = [
  {
    name: 'dedupe-without-compare',
    breaks: 'a duplicate has the same bytes: with forced collisions, a fingerprint alone counts',
    file: 'vdisk/reduce.ts',
    find: 'const same = cache.equals(candidates.egroup, candidates.ref, data, at)',
    replace: 'const same = true as boolean | undefined',
    given: [FORCED_COLLISIONS],
  },
  {
    name: 'dedupe-compares-fetched-blocks-not',
    breaks: 'a duplicate has the same bytes: with forced collisions, what was not cached is not compared',
    file: 'vdisk/reduce.ts',
    find: 'const same = inside && sameBytes(raw, at, data, offset + i * BLOCK_BYTES, BLOCK_BYTES)',
    replace: 'const same = inside && sameBytes(raw, at, raw, at, BLOCK_BYTES)',
    given: [FORCED_COLLISIONS],
  },
  {
    name: 'zero-by-first-sector',
    breaks: 'only a block of zeros is a hole',
    file: 'vdisk/reduce.ts',
    find: 'if (isZero(data, at, BLOCK_BYTES)) {',
    replace: 'if (isZero(data, at, 512)) {',
  },
  {
    name: 'cache-fills-wrong-block',
    breaks: 'the cache holds the bytes of its key: every block of a slice is kept as the first',
    file: 'vdisk/reduce.ts',
    find: 'cache.insert(egroup, (slot << 3) | sub, raw, sub * BLOCK_BYTES)',
    replace: 'cache.insert(egroup, (slot << 3) | sub, raw, 0)',
  },
  {
    name: 'cache-key-without-egroup',
    breaks: 'the cache holds the bytes of its key: slots of different egroups are taken for each other',
    file: 'vdisk/block-cache.ts',
    find: 'while (frame !== NONE && (this.#refs[frame] !== ref || this.#egroups[frame] !== egroup)) {',
    replace: 'while (frame !== NONE && this.#refs[frame] !== ref) {',
    also: [
      {
        file: 'vdisk/block-cache.ts',
        find: 'let hash = Math.imul(egroup, 0x9e37_79b1) ^ Math.imul(',
        replace: 'let hash = Math.imul(egroup & 0, 0x9e37_79b1) ^ Math.imul(',
      },
    ],
  },
  {
    name: 'partial-write-loses-tail',
    breaks: 'a write changes its own bytes only: the rest of a block behind it is lost',
    file: 'vdisk/write-path.ts',
    find: 'if (tail < blocks.length && (lastBlock > 0 || head === 0)) {',
    replace: 'if (tail < blocks.length && lastBlock > 0) {',
  },
  {
    name: 'range-lock-equal-only',
    breaks: 'writes of parts of one block go one after the other: only equal ranges exclude each other',
    file: 'base/range-lock.ts',
    find: 'if (entry.start < end && entry.end > start) count++',
    replace: 'if (entry.start === start && entry.end === end) count++',
    also: [
      {
        file: 'base/range-lock.ts',
        find: 'if (later.start >= end || later.end <= start) continue',
        replace: 'if (later.start !== start || later.end !== end) continue',
      },
    ],
  },
  {
    name: 'trim-rounds-outward',
    breaks: 'a trim changes its own bytes only: the block in which it begins goes as a whole',
    file: 'vdisk/write-path.ts',
    find: 'const innerStart = Math.ceil(offset / BLOCK_BYTES)',
    replace: 'const innerStart = Math.floor(offset / BLOCK_BYTES)',
  },
  {
    name: 'checkpoint-position-too-late',
    breaks: 'the replay position is not behind what the root holds: it is taken after the pages were written',
    file: 'vdisk/checkpoint.ts',
    find: 'levels: map.levels, replay, mappedBlocks }',
    replace: 'levels: map.levels, replay: queue.applied, mappedBlocks }',
  },
  {
    name: 'checkpoint-root-too-early',
    breaks: 'the replay position is not behind what the root holds: the root is the one before',
    file: 'vdisk/checkpoint.ts',
    find: 'const mappedBlocks = map.mappedBlocks\n',
    replace: 'const mappedBlocks = map.mappedBlocks\n  const root = map.root\n',
    also: [{ file: 'vdisk/checkpoint.ts', find: '{ root: map.root, levels', replace: '{ root, levels' }],
  },
  {
    name: 'checkpoint-parent-not-told',
    breaks: 'a page that was written is reached from the root',
    file: 'vdisk/page-map.ts',
    find: '    this.markDirty(parent)\n',
    replace: '',
  },
  {
    name: 'checkpoint-commit-unconditional',
    breaks: 'the replay position moves forward only: a late commit of an earlier checkpoint goes in',
    file: 'vdisk/root-writer.ts',
    find: '[ownerCondition(this.guard), { key: this.key, revision }]',
    replace: '[ownerCondition(this.guard)]',
    runs: { scenario: 'network' },
  },
  {
    name: 'read-unverified',
    breaks: 'a read never answers with damaged bytes: a slice is not verified',
    file: 'extent-store/read-slots.ts',
    find: 'if (failed || !hashMatches(buffer, from, storedBytes, checksumHi, checksumLo)) {',
    replace: 'if (failed) {',
    runs: { scenario: 'media' },
  },
  {
    name: 'repair-misplaced',
    breaks: 'a repair writes the slice where it belongs',
    file: 'extent-store/rewrite.ts',
    find: 'await copy.device.write(copy.placement, index.offset(row), [bytes])',
    replace: 'await copy.device.write(copy.placement, Math.max(0, index.offset(row) - 512), [bytes])',
    runs: { scenario: 'media' },
  },
]
