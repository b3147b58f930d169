/**
 * hither, embedded: a cluster inside this process.
 *
 * ```ts
 * import { openCluster, GiB } from 'hither'
 *
 * await using cluster = await openCluster('file:./data', { nodes: 4, rf: 2 })
 * await using disk = await cluster.createVDisk('vm1-root', { size: 8 * GiB, vm: 'vm1' })
 * await disk.write(0, block) // resolves when durable on two nodes
 * ```
 */
import type { Cluster, ClusterComponents, ClusterSettings } from './api.ts'
import { openEmbedded } from './embedded/cluster.ts'

export type * from './api.ts'
export { HitherError } from './base/errors.ts'
export { GiB, KiB, MiB, TiB } from './base/units.ts'

/**
 * Opens a cluster, or creates it when there is none yet.
 *
 * `location`: `memory:` (gone when closed) or `file:DIR` (one folder a node, one file a device; recovered after any
 * crash). `settings` that shape a cluster (nodes, sizes, RF of the default container) count when it is created.
 * Errors: `BAD_LOCATION`, `BAD_SETTING`, `DATA_IN_USE` (another process has it open), `CATALOG_CORRUPT`.
 */
export function openCluster(
  location: string,
  settings: ClusterSettings = {},
  components: ClusterComponents = {},
): Promise<Cluster> {
  return openEmbedded(location, settings, components)
}
