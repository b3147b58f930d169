/** Records the size of a vDisk, as its owner. */
import { codeOf, HitherError } from '../base/errors.ts'
import { decodeRecord, encodeRecord, keys, type VDiskRecord } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'
import { type OwnerGuard, ownerCondition } from '../replication/owner-guard.ts'

/**
 * On top of the record in the catalog, whose home may have changed; again when the catalog did not answer, so that the
 * size in use is the one recorded. Returns the record as it is then.
 */
export async function putSize(catalog: Catalog, guard: OwnerGuard, size: number): Promise<VDiskRecord> {
  const key = keys.vdisk(guard.stream)
  for (let unheard = false; ; ) {
    const entry = await catalog.get(key)
    if (entry === undefined) throw new HitherError('NOT_FOUND', `vDisk ${guard.stream} was deleted`)
    const record: VDiskRecord = { ...decodeRecord<VDiskRecord>(entry.value), size }
    try {
      const result = await catalog.commit({
        when: [ownerCondition(guard), { key, revision: entry.revision }],
        put: [{ key, value: encodeRecord(record) }],
      })
      if (result.ok) return record
      // The change may be that of the attempt before.
      if (!unheard) throw new HitherError('STALE_GENERATION', `vDisk ${record.name} was changed meanwhile`)
      unheard = false
    } catch (error) {
      if (codeOf(error) !== 'TIMEOUT') throw error
      unheard = true
    }
  }
}
