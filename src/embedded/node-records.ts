/**
 * Changes of the records of nodes. A commit that was not answered is looked up: each change here reaches its end, or
 * rejects with `TIMEOUT` when the catalog cannot be read either, and bears to be asked for again.
 */
import { HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import { changeRecord } from '../cluster/change-record.ts'
import { keys, type NodeRecord } from '../cluster/records.ts'
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

/** Changes the record as `changeRecord` does. */
export function changeNodeRecord(
  catalog: Catalog,
  node: NodeId,
  change: (record: NodeRecord | undefined) => NodeRecord | undefined,
): Promise<NodeRecord | undefined> {
  return changeRecord(catalog, keys.node(node), change)
}
