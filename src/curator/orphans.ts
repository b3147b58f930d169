/**
 * Streams whose vDisk is gone. Their egroups belong to nobody; what clones and duplicates still refer to must stay, the
 * rest is garbage. Open ones are fenced and sealed first, as in a takeover, so that they are judged like all others:
 * the guard of the takeover is that still nobody owns the stream.
 */
import { asHitherError } from '../base/errors.ts'
import type { VDiskId } from '../base/units.ts'
import { lastPart } from '../cluster/records.ts'
import { recoverStream } from '../replication/recover-stream.ts'
import type { CuratorContext } from './context.ts'

/** Revision of a key that does not exist. */
const NO_OWNER = 0

/**
 * The streams that have egroups, and whose vDisk was deleted before this call. A vDisk's number is never used twice,
 * and it has egroups only once it exists: a stream that is found here is an orphan for good.
 */
export async function adoptOrphans(context: CuratorContext): Promise<Set<VDiskId>> {
  const { directory, platform, onError } = context
  await directory.catchUp()
  /** Stream → highest generation of an open egroup; 0 when all are sealed. */
  const open = new Map<VDiskId, number>()
  for (const [, { value }] of directory.all()) {
    const generation = value.state === 'open' ? value.generation : 0
    open.set(value.stream, Math.max(generation, open.get(value.stream) ?? 0))
  }
  for (const { key } of await platform.catalog.list('vdisk/')) open.delete(Number(lastPart(key)))
  for (const [stream, generation] of open) {
    if (generation === 0) continue
    context.proceed()
    try {
      const { stores } = context
      const guard = { stream, revision: NO_OWNER }
      await recoverStream(stream, generation + 1, guard, { stores, directory, isDeleted: true })
    } catch (error) {
      // What is open still is not judged. Copies that cannot be reached now come again with the next scan.
      if (asHitherError(error).retryable) continue
      onError(`sealing the log of the deleted vDisk ${stream}`, error)
    }
  }
  return new Set(open.keys())
}
