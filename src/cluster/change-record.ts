/** Compare-and-set of one record of the catalog, until it sticks. */
import { codeOf } from '../base/errors.ts'
import type { Catalog, CatalogEntry } from '../platform/types.ts'
import { decodeRecord, encodeRecord } from './records.ts'

/**
 * Applies `change` to the record as it is (`undefined`: there is none) until it sticks, and returns what there is then.
 * `change` returns its argument to leave that as it is, and `undefined` to remove the record. It is applied again when
 * the catalog did not answer, so it must bear to be applied to its own outcome. Rejects with `TIMEOUT` when the
 * catalog cannot be read either.
 *
 * @param known the entry, when the caller has just read it.
 */
export async function changeRecord<T>(
  catalog: Catalog,
  key: string,
  change: (record: T | undefined) => T | undefined,
  known?: CatalogEntry,
): Promise<T | undefined> {
  for (let entry = known ?? (await catalog.get(key)); ; entry = await catalog.get(key)) {
    const found = entry === undefined ? undefined : decodeRecord<T>(entry.value)
    const next = change(found)
    if (next === found) return next
    try {
      const { ok } = await catalog.commit({
        when: [{ key, revision: entry?.revision ?? 0 }],
        ...(next === undefined ? { remove: [key] } : { put: [{ key, value: encodeRecord(next) }] }),
      })
      if (ok) return next
    } catch (error) {
      if (codeOf(error) !== 'TIMEOUT') throw error
    }
  }
}
