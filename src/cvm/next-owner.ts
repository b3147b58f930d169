/** The last step of a hand-over: the catalog is told who owns the vDisk from here on. */
import { codeOf, HitherError } from '../base/errors.ts'
import type { VDiskId } from '../base/units.ts'
import { encodeRecord, keys, type OwnerRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { Catalog } from '../platform/types.ts'

/** Attempts while the catalog does not answer; each takes as long as its client waits. */
const ATTEMPTS = 3

/**
 * Records the next owner. Without an answer it looks, since the target waits to be told; a `TIMEOUT` in the end leaves
 * open who owns the vDisk, and whoever is recorded activates it at its next IO. `STALE_GENERATION` when it is somebody
 * else already.
 * @param revision of the record that makes this CVM the owner
 */
export async function recordNextOwner(
  catalog: Catalog,
  owners: RecordsView<OwnerRecord>,
  id: VDiskId,
  revision: number,
  next: OwnerRecord,
): Promise<void> {
  const key = keys.owner(id)
  for (let attempt = 1; ; attempt++) {
    try {
      const result = await catalog.commit({
        when: [{ key, revision }],
        put: [{ key, value: encodeRecord(next) }],
      })
      if (result.ok) {
        owners.learn(key, next, result.revision)
        return
      }
    } catch (error) {
      if (codeOf(error) !== 'TIMEOUT' || attempt === ATTEMPTS) throw error
    }
    const now = await owners.refresh(key)
    if (now?.value.node === next.node && now.value.generation === next.generation) return
    if (now?.revision !== revision) {
      throw new HitherError('STALE_GENERATION', `another CVM owns vDisk ${id} now`)
    }
  }
}
