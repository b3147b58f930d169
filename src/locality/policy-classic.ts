/**
 * The classic rule of thumb, for comparison and for those who want it: a 4 MiB group is copied whole once it has 3
 * random or 10 sequential touches within 10 minutes (see `TouchWindow`). Until then nothing is kept. On a trace of
 * a real VM it changes next to nothing (docs/decisions/0003-locality-policy.md).
 */
import { BLOCK_BYTES, EGROUP_BYTES } from '../base/units.ts'
import { RANDOM_TOUCHES_HOT, SEQUENTIAL_TOUCHES_HOT, TouchWindow } from './heat.ts'
import {
  type CompletionView,
  LET_GO,
  type LocalityPolicy,
  type PrefetchRange,
  type ReadDecision,
  type ReadSeen,
} from './policy.ts'

const GROUP_BLOCKS = EGROUP_BYTES / BLOCK_BYTES
/** Groups of one vDisk are numbered apart from those of another: the largest vDisk has 2^24 groups. */
const GROUPS_PER_VDISK = 2 ** 24

class ClassicPolicy implements LocalityPolicy {
  readonly name = 'classic'
  readonly #touches = new TouchWindow()

  onRead(read: ReadSeen): ReadDecision {
    if (read.remoteBlocks === 0) return LET_GO
    const end = read.start + read.count
    let hot: PrefetchRange[] | undefined
    for (let at: number = read.start; at < end; ) {
      const group = Math.floor(at / GROUP_BLOCKS)
      const next = Math.min(end, (group + 1) * GROUP_BLOCKS)
      if (this.#touches.touch(read.vdisk * GROUPS_PER_VDISK + group, at, next - at, read.now)) {
        hot ??= []
        hot.push({ start: group * GROUP_BLOCKS, count: GROUP_BLOCKS, reason: 'group' })
      }
      at = next
    }
    return hot ? { keep: true, prefetch: hot } : LET_GO
  }

  onPrefetched(): void {}

  shouldComplete(view: CompletionView): boolean {
    return view.randomTouches >= RANDOM_TOUCHES_HOT || view.sequentialTouches >= SEQUENTIAL_TOUCHES_HOT
  }

  /** Nothing to do: the touches of a vDisk that is gone leave the window within 10 minutes. */
  forget(): void {}
}

export function createClassicPolicy(): LocalityPolicy {
  return new ClassicPolicy()
}
