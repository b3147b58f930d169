/** The exports of a cluster, host by host: one `FileSystem` for each container on each host. */
import type { ContainerInfo, FilePath, VDisk } from '../api.ts'
import { HitherError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import { keys, type OwnerRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { Administration } from '../cvm/administration.ts'
import type { FileAdministration } from '../cvm/file-administration.ts'
import type { HostPath } from '../cvm/host-path.ts'
import type { Clock, Random } from '../platform/types.ts'
import { HostFileSystem } from './host-file-system.ts'

export interface HostFilesDeps {
  readonly administration: Administration
  readonly fileAdministration: FileAdministration
  readonly clock: Clock
  readonly random: Random
  readonly owners: RecordsView<OwnerRecord>
  /** Opens a vDisk for a file, on the path of a host. */
  readonly openDisk: (node: NodeId, vdisk: VDiskId, size: () => number) => VDisk
  /** A host uses the vDisk of a file much. */
  readonly onUsed: (node: NodeId, vdisk: VDiskId) => void
  /** Bytes of all nodes together, all copies counted. */
  readonly space: () => { sizeBytes: number; usedBytes: number }
}

export class HostFiles {
  private readonly deps: HostFilesDeps
  private readonly opening = new Map<string, Promise<HostFileSystem>>()
  private closed = false

  constructor(deps: HostFilesDeps) {
    this.deps = deps
  }

  /** What a file door on this host needs. */
  pathOf(node: NodeId, path: HostPath): FilePath {
    return {
      node,
      listExports: async () =>
        (await this.deps.administration.listContainers()).filter(
          (container) => container.export !== undefined,
        ),
      fileSystem: (container) => this.fileSystem(node, path, container),
    }
  }

  async close(): Promise<void> {
    this.closed = true
    const opened = await Promise.allSettled([...this.opening.values()])
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close()
  }

  /** The node goes, and its host with it: another that gets its name has file systems of its own. */
  async leave(node: NodeId): Promise<void> {
    const leaving = [...this.opening].filter(([key]) => key.startsWith(`${node}/`))
    for (const [key] of leaving) this.opening.delete(key)
    const opened = await Promise.allSettled(leaving.map(([, opening]) => opening))
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close()
  }

  /** The file system of an exported container on a host. `NOT_FOUND`. */
  fileSystem(node: NodeId, path: HostPath, container: string): Promise<HostFileSystem> {
    if (this.closed) return Promise.reject(new HitherError('CLUSTER_CLOSED', 'the cluster is closed'))
    const key = `${node}/${container}`
    let opening = this.opening.get(key)
    if (opening === undefined) {
      opening = this.open(node, path, container)
      this.opening.set(key, opening)
      opening.catch(() => this.opening.delete(key))
    }
    return opening
  }

  private async open(node: NodeId, path: HostPath, container: string): Promise<HostFileSystem> {
    const { fileAdministration, clock, random, owners, openDisk, onUsed, space } = this.deps
    const id = await fileAdministration.filesDisk(container)
    const policy = await this.policyOf(container)
    const verifierOf = (generation: number) => verifier(id, policy.durability === 'sync' ? 0 : generation)
    const generationOf = (vdisk: VDiskId | undefined) =>
      vdisk === undefined ? 0 : (owners.value(keys.owner(vdisk))?.generation ?? 0)
    return new HostFileSystem({
      container,
      id,
      node,
      path,
      clock,
      random,
      openDisk: (vdisk, size) => openDisk(node, vdisk, size),
      onUsed: (vdisk) => onUsed(node, vdisk),
      verifier: (vdisk) => verifierOf(generationOf(vdisk)),
      verifierNow: async (vdisk) => {
        // What was written is synced in either case; but what was written to an owner before may be gone.
        if (vdisk !== undefined && policy.durability === 'flush') await owners.refresh(keys.owner(vdisk))
        return verifierOf(generationOf(vdisk))
      },
      space: () => {
        const { sizeBytes, usedBytes } = space()
        const totalBytes = Math.floor(sizeBytes / policy.rf)
        return { totalBytes, freeBytes: Math.max(0, totalBytes - Math.floor(usedBytes / policy.rf)) }
      },
    })
  }

  private async policyOf(container: string): Promise<ContainerInfo> {
    const policy = (await this.deps.administration.listContainers()).find(({ name }) => name === container)
    if (policy === undefined) throw new HitherError('NOT_FOUND', `there is no container ${container}`)
    return policy
  }
}

/** Eight bytes: the number of the file system, and what changes when un-synced writes may have been lost. */
function verifier(id: number, generation: number): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, id)
  view.setUint32(4, generation)
  return bytes
}
