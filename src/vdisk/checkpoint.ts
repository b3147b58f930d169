/**
 * Map checkpoint: makes the replay position move forward.
 *
 *   1. In one turn: note the position P behind the last applied frame, and take all dirty leaf pages. Writes go on;
 *      a page that they change is copied before, is dirty again, and what they write is behind P in the log.
 *   2. Append the pages as they were as slices of the vDisk's own stream; tell each parent where its page is now.
 *   3. The same for every inner level, bottom-up, to the root. Inner pages change only here.
 *   4. One compare-and-set puts (root, levels, P) into the catalog, guarded by ownership and by the root before it
 *      (root-writer.ts).
 * A crash before 4: the old root and the old position still hold, the new pages are garbage for the Curator. After 4:
 * frames before P are not needed for replay any more. Pages are never changed in place, so a snapshot is a kept root.
 */

import { isZero } from '../base/bytes.ts'
import { asHitherError } from '../base/errors.ts'
import type { PageRef, RootRecord } from '../cluster/records.ts'
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
  let linked = 0
  try {
    for (let from = 0; from < pages.length; from += PAGES_PER_STEP) {
      const step = pages.slice(from, from + PAGES_PER_STEP)
      const refs = await appendPages(deps, step)
      for (let i = 0; i < step.length; i++) {
        const page = step[i]!
        const linking = map.link(page.level, page.index, refs[i]!)
        if (linking !== undefined) await linking
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
async function appendPages(
  { map, queue }: CheckpointDeps,
  pages: readonly Page[],
): Promise<Array<PageRef | null>> {
  const batch = queue.batch(pages.length * PAGE_BYTES, 'map')
  const slots = pages.map((page) => {
    const bytes = map.readTaken(page)
    return isZero(bytes, 0, PAGE_BYTES) ? null : batch.builder.addSlice(bytes, 0, PAGE_BYTES, KIND_PAGE, true)
  })
  if (slots.every((slot) => slot === null)) return slots.map(() => null)
  const placement = await queue.commit(batch, false)
  return slots.map((slot) =>
    slot === null ? null : { egroup: placement.egroup, slot: placement.baseSlot + slot },
  )
}
