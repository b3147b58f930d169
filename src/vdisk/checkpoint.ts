/**
 * Map checkpoint: makes the replay position move forward.
 *
 *   1. In one turn: note the position P behind the last applied frame, and copy all dirty leaf pages. Writes go on;
 *      what they change from here on is dirty again, and is behind P in the log.
 *   2. Append the copies as slices of the vDisk's own stream; tell each parent where its page is now.
 *   3. The same for every inner level, bottom-up, to the root. Inner pages change only here.
 *   4. One compare-and-set puts (root, levels, P) into the catalog, guarded by ownership and by the root before it
 *      (root-writer.ts).
 * A crash before 4: the old root and the old position still hold, the new pages are garbage for the Curator. After 4:
 * frames before P are not needed for replay any more. Pages are never changed in place, so a snapshot is a kept root.
 */

import { isZero } from '../base/bytes.ts'
import { asHitherError } from '../base/errors.ts'
import type { RootRecord } from '../cluster/records.ts'
import { KIND_PAGE } from '../extent-store/types.ts'
import type { CommitQueue } from './commit-queue.ts'
import { PAGE_BYTES, type Page, type PageMap } from './page-map.ts'
import type { RootWriter } from './root-writer.ts'

/** Pages appended between two turns of the event loop, so that a checkpoint does not hold up IO. */
const PAGES_PER_STEP = 64

export interface CheckpointDeps {
  readonly map: PageMap
  readonly queue: CommitQueue
  readonly roots: RootWriter
  /** `flush` durability: the log up to here must be durable before the root may point past it. */
  readonly syncLog: () => Promise<void>
}

/** Not reentrant: one checkpoint of a vDisk at a time. Returns what is in the catalog now. */
export async function writeCheckpoint(deps: CheckpointDeps): Promise<RootRecord> {
  const { map, queue } = deps
  const replay = queue.applied
  const mappedBlocks = map.mappedBlocks
  for (let level = 0; level <= map.levels; level++) await writeLevel(deps, map.takeDirty(level))
  await deps.syncLog()
  const record: RootRecord = { root: map.root, levels: map.levels, replay, mappedBlocks }
  await deps.roots.put(record)
  return record
}

async function writeLevel(deps: CheckpointDeps, pages: readonly Page[]): Promise<void> {
  const { map } = deps
  // The copy: from the next turn on, writes may change the pages again.
  const copies = new Uint8Array(pages.length * PAGE_BYTES)
  for (const [i, page] of pages.entries()) {
    const words = page.words
    copies.set(new Uint8Array(words.buffer, words.byteOffset, PAGE_BYTES), i * PAGE_BYTES)
  }
  let linked = 0
  try {
    for (let from = 0; from < pages.length; from += PAGES_PER_STEP) {
      const step = pages.slice(from, from + PAGES_PER_STEP)
      const refs = await appendPages(
        deps,
        copies.subarray(from * PAGE_BYTES, (from + step.length) * PAGE_BYTES),
      )
      for (const [i, page] of step.entries()) {
        await map.link(page.level, page.index, refs[i]!)
        map.release(page)
        linked++
      }
    }
  } catch (error) {
    for (const page of pages.slice(linked)) map.giveBack(page)
    throw asHitherError(error)
  }
}

/** One batch, one frame. Returns where each page is; `null` for a page of holes, which is not stored. */
async function appendPages(deps: CheckpointDeps, copies: Uint8Array) {
  const batch = deps.queue.batch(copies.length, 'map')
  const slots: Array<number | null> = []
  for (let at = 0; at < copies.length; at += PAGE_BYTES) {
    const empty = isZero(copies, at, PAGE_BYTES)
    slots.push(empty ? null : batch.builder.addSlice(copies, at, PAGE_BYTES, KIND_PAGE, true))
  }
  if (slots.every((slot) => slot === null)) return slots.map(() => null)
  const placement = await deps.queue.commit(batch, false)
  return slots.map((slot) =>
    slot === null ? null : { egroup: placement.egroup, slot: placement.baseSlot + slot },
  )
}
