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

interface Opened {
  readonly node: NodeId
  readonly container: string
  readonly opening: Promise<HostFileSystem>
}

export class HostFiles {
  private readonly deps: HostFilesDeps
  private readonly opened = new Map<string, Opened>()
  private closed = false
  private version = 0

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
      exportsVersion: () => this.version,
      fileSystem: (container) => this.fileSystem(node, path, container),
    }
  }

  /** How a container is exported has changed: doors ask again. */
  exportChanged(): void {
    this.version += 1
  }

  /** A container is exported no more: what hosts have open of it ends. */
  async unexported(container: string): Promise<void> {
    this.exportChanged()
    const gone = new HitherError('FILE_STALE', `container ${container} is not exported any more`)
    await this.closeThose((of) => of.container === container, gone)
  }

  async close(): Promise<void> {
    this.closed = true
    await this.closeThose(() => true, closedError())
  }

  /** The node goes, and its host with it: another that gets its name has file systems of its own. */
  async leave(node: NodeId): Promise<void> {
    await this.closeThose(
      (of) => of.node === node,
      new HitherError('CVM_DOWN', `${node} is no node of the cluster any more`),
    )
  }

  /** The file system of an exported container on a host. `NOT_FOUND`. */
  fileSystem(node: NodeId, path: HostPath, container: string): Promise<HostFileSystem> {
    if (this.closed) return Promise.reject(closedError())
    const key = `${node}/${container}`
    const known = this.opened.get(key)
    if (known !== undefined) return known.opening
    const opening = this.open(node, path, container)
    const opened = { node, container, opening }
    this.opened.set(key, opened)
    opening.catch(() => {
      if (this.opened.get(key) === opened) this.opened.delete(key)
    })
    return opening
  }

  private async closeThose(isMeant: (opened: Opened) => boolean, reason: HitherError): Promise<void> {
    const meant = [...this.opened].filter(([, opened]) => isMeant(opened))
    for (const [key] of meant) this.opened.delete(key)
    const opened = await Promise.allSettled(meant.map(([, { opening }]) => opening))
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close(reason)
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

function closedError(): HitherError {
  return new HitherError('CLUSTER_CLOSED', 'the cluster is closed')
}

/** Eight bytes: the number of the file system, and what changes when un-synced writes may have been lost. */
function verifier(id: number, generation: number): Uint8Array {
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, id)
  view.setUint32(4, generation)
  return bytes
}
