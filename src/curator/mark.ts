/**
 * Marks everything that one map root refers to: its pages, and the data slots that its leaves name.
 *
 * A tree is immutable, so it is walked beside the IO of its vDisk, without a lock. Snapshots and clones share most of
 * their pages: a page whose slot is marked already was walked, with all below it, and is skipped, so that a vDisk with
 * a thousand snapshots costs what has changed between them. Depth first, the children of one page at a time, read in
 * groups by egroup: memory is bounded by levels × 256 references.
 */
import { HitherError } from '../base/errors.ts'
import type { EgroupId, SlotIndex } from '../base/units.ts'
import type { PageRef } from '../cluster/records.ts'
import { KIND_PAGE } from '../extent-store/types.ts'
import type { Rest } from '../platform/bulk-work.ts'
import type { SliceReader } from '../replication/slice-reader.ts'
import { PAGE_BYTES, PAGE_WORDS } from '../vdisk/page-map.ts'
import { decodeSlice } from '../vdisk/reduce.ts'
import type { SlotSets } from './slot-sets.ts'

/** Pages read with one call: 128 KiB. */
const PAGES_PER_READ = 64

export interface TreeRoot {
  readonly root: PageRef | null
  /** Inner levels above the leaf pages. */
  readonly levels: number
}

export interface MarkDeps {
  readonly reader: SliceReader
  readonly rest: Rest
  /** Throws when the walk has to stop. */
  readonly proceed: () => void
}

/** Adds to `marks`. Rejects when a page cannot be read: then nothing may be concluded from the marks. */
export async function markTree(tree: TreeRoot, marks: SlotSets, deps: MarkDeps): Promise<void> {
  if (tree.root !== null) await markPages(tree.levels, [tree.root], marks, deps)
}

async function markPages(
  level: number,
  refs: readonly PageRef[],
  marks: SlotSets,
  deps: MarkDeps,
): Promise<void> {
  for (const [egroup, slots] of unmarked(refs, marks)) {
    for (let from = 0; from < slots.length; from += PAGES_PER_READ) {
      deps.proceed()
      const { slices } = await deps.reader.read(egroup, slots.slice(from, from + PAGES_PER_READ))
      const children: PageRef[][] = []
      for (const slice of slices) {
        if (slice.kind !== KIND_PAGE || slice.rawBytes !== PAGE_BYTES) {
          throw new HitherError('INTERNAL', `slot ${slice.slot} of egroup ${egroup} is no map page`)
        }
        const words = wordsOf(decodeSlice(slice))
        if (level === 0) markLeaf(words, marks)
        else children.push(childrenOf(words))
      }
      for (const below of children) await markPages(level - 1, below, marks, deps)
      await deps.rest()
    }
  }
}

/** Marks the pages, and groups those that are new by egroup. */
function unmarked(refs: readonly PageRef[], marks: SlotSets): Map<EgroupId, SlotIndex[]> {
  const found = new Map<EgroupId, SlotIndex[]>()
  for (const { egroup, slot } of refs) {
    if (!marks.add(egroup, slot)) continue
    const slots = found.get(egroup)
    if (slots === undefined) found.set(egroup, [slot])
    else slots.push(slot)
  }
  return found
}

function wordsOf(raw: Uint8Array): Uint32Array {
  const words = new Uint32Array(PAGE_WORDS)
  new Uint8Array(words.buffer).set(raw.subarray(0, PAGE_BYTES))
  return words
}

function childrenOf(words: Uint32Array): PageRef[] {
  const refs: PageRef[] = []
  for (let at = 0; at < PAGE_WORDS; at += 2) {
    const egroup = words[at]!
    if (egroup !== 0) refs.push({ egroup, slot: words[at + 1]! >>> 3 })
  }
  return refs
}

function markLeaf(words: Uint32Array, marks: SlotSets): void {
  for (let at = 0; at < PAGE_WORDS; at += 2) {
    const egroup = words[at]!
    if (egroup !== 0) marks.add(egroup, words[at + 1]! >>> 3)
  }
}
