/**
 * Changes of the records of nodes. A commit that was not answered is looked up: each change here reaches its end, or
 * rejects with `TIMEOUT` when the catalog cannot be read either, and bears to be asked for again.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import { decodeRecord, encodeRecord, keys, type NodeRecord } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'

/** `CONFLICT` when there is another record of the node; one that is the same is an earlier attempt's. */
export async function addNodeRecord(catalog: Catalog, record: NodeRecord): Promise<void> {
  const stands = await changeNodeRecord(catalog, record.node, (found) => found ?? record)
  if (stands === undefined || JSON.stringify(stands) !== JSON.stringify(record)) {
    throw new HitherError('CONFLICT', `there is a node ${record.node} already`)
  }
}

export async function removeNodeRecord(catalog: Catalog, node: NodeId): Promise<void> {
  await changeNodeRecord(catalog, node, () => undefined)
}

/**
 * Applies `change` to the record as it is (`undefined`: there is none) until it sticks, and returns what there is then.
 * It returns its argument to leave that as it is, and `undefined` to remove the record; it must bear its own outcome.
 */
export async function changeNodeRecord(
  catalog: Catalog,
  node: NodeId,
  change: (record: NodeRecord | undefined) => NodeRecord | undefined,
): Promise<NodeRecord | undefined> {
  const key = keys.node(node)
  for (;;) {
    const entry = await catalog.get(key)
    const found = entry === undefined ? undefined : decodeRecord<NodeRecord>(entry.value)
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
