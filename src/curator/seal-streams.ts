/**
 * Asks owners to seal what is open of their streams. An owner does so by itself when an append fails; a stream that is
 * idle would go on with one copy less, until somebody looks.
 */
import type { NodeId, VDiskId } from '../base/units.ts'
import { decodeRecord, keys, type OwnerRecord } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'
import { BULK_TIMEOUT_MS, METHOD } from '../replication/methods.ts'
import type { CuratorContext } from './context.ts'

/** `undefined`: the vDisk was deleted. */
export async function ownerOf(catalog: Catalog, stream: VDiskId): Promise<NodeId | undefined> {
  const entry = await catalog.get(keys.owner(stream))
  return entry === undefined ? undefined : decodeRecord<OwnerRecord>(entry.value).node
}

/** `false` when the owner could not be asked; its successor will be. A deleted vDisk's log is sealed by the reclaim. */
export async function sealStream(context: CuratorContext, stream: VDiskId): Promise<boolean> {
  const { platform, membership, rpc } = context
  const owner = await ownerOf(platform.catalog, stream)
  if (owner === undefined) return true
  if (!membership.isAlive(owner)) return false
  try {
    await rpc.call(owner, METHOD.rotateStream, { vdisk: stream }, [], BULK_TIMEOUT_MS)
    return true
  } catch {
    return false
  }
}

/** Has every open egroup sealed whose copy on this node is gone, with its device. */
export async function sealLostHere(context: CuratorContext): Promise<void> {
  const { directory, store, stores } = context
  const streams = new Set<VDiskId>()
  for (const [egroup, { value }] of directory.all()) {
    if (value.state === 'open' && value.copies.some((copy) => copy.node === stores.self)) {
      if (store.info(egroup) === undefined) streams.add(value.stream)
    }
  }
  await Promise.all([...streams].map((stream) => sealStream(context, stream)))
}

/** Has every stream sealed that has an open egroup, so that a scrub, which reads sealed copies, leaves out nothing. */
export async function sealAllOpen(context: CuratorContext): Promise<void> {
  const streams = new Set<VDiskId>()
  for (const [, { value }] of context.directory.all()) if (value.state === 'open') streams.add(value.stream)
  await Promise.all([...streams].map((stream) => sealStream(context, stream)))
  await context.directory.catchUp()
}
