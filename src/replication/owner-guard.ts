/**
 * What makes a change of the catalog one of the vDisk's owner only: the revision of `owner/<vDisk>` is a condition of its
 * commit, so that a deposed owner cannot change anything.
 */
import { HitherError } from '../base/errors.ts'
import type { VDiskId } from '../base/units.ts'
import { keys } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'

export interface OwnerGuard {
  readonly stream: VDiskId
  /** Revision of `owner/<stream>` when this CVM became owner; 0: nobody owns it any more. */
  readonly revision: number
}

/** For `when` of a commit. */
export function ownerCondition({ stream, revision }: OwnerGuard): { key: string; revision: number } {
  return { key: keys.owner(stream), revision }
}

/** Asks the catalog. Throws `STALE_GENERATION` when the guard does not hold any more. */
export async function assertOwned(catalog: Catalog, guard: OwnerGuard): Promise<void> {
  const owner = await catalog.get(keys.owner(guard.stream))
  if ((owner?.revision ?? 0) !== guard.revision) throw deposed(guard)
}

export function deposed({ stream }: OwnerGuard): HitherError {
  return new HitherError('STALE_GENERATION', `another CVM owns vDisk ${stream} now`)
}
