/** What file systems change in the catalog, each as one transaction: exports, files disks, and the vDisks of files. */
import type { ContainerInfo, ExportOptions } from '../api.ts'
import { codeOf, HitherError } from '../base/errors.ts'
import { filesDiskName } from '../base/hidden-disks.ts'
import { type NodeId, VDISK_BYTES_MAX, type VDiskId } from '../base/units.ts'
import {
  type ContainerRecord,
  decodeRecord,
  encodeRecord,
  keys,
  type VDiskRecord,
} from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'
import type { Administration } from './administration.ts'
import { checkExport } from './export-options.ts'

/** How long a vDisk that followed its user stays at least, the first time; and at most. Milliseconds. */
const FOLLOW_HOLD_MS = 30_000
const FOLLOW_HOLD_MS_MAX = 3_600_000
/** After so many of those times it is as if it had never moved. */
const FOLLOW_FORGOTTEN = 10

export interface FileAdministrationDeps {
  readonly catalog: Catalog
  readonly administration: Administration
  /** Asks the owner's CVM to hand the vDisk over. */
  readonly handOver: (vdisk: VDiskId, to: NodeId) => Promise<void>
}

export class FileAdministration {
  private readonly deps: FileAdministrationDeps

  constructor(deps: FileAdministrationDeps) {
    this.deps = deps
  }

  /**
   * Exports a container, with defaults for what is left out, or ends that: `undefined`. What is so already stays.
   * `NOT_FOUND`, `BAD_SETTING`.
   */
  async setExport(name: string, options: Partial<ExportOptions> | undefined): Promise<ContainerInfo> {
    const wanted = options && checkExport(options)
    const key = keys.container(name)
    for (;;) {
      const entry = await this.deps.catalog.get(key)
      if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no container ${name}`)
      const { export: _, ...policy } = decodeRecord<ContainerRecord>(entry.value)
      const record: ContainerRecord = wanted === undefined ? policy : { ...policy, export: wanted }
      const result = await this.deps.catalog.commit({
        when: [{ key, revision: entry.revision }],
        put: [{ key, value: encodeRecord(record) }],
      })
      if (result.ok) return record
    }
  }

  /** The vDisk that holds the files of an exported container; made when there is none. `NOT_FOUND`. */
  async filesDisk(container: string): Promise<VDiskId> {
    const entry = await this.deps.catalog.get(keys.container(container))
    const exported = entry && decodeRecord<ContainerRecord>(entry.value).export
    if (exported === undefined)
      throw new HitherError('NOT_FOUND', `there is no exported container ${container}`)
    const name = filesDiskName(container)
    const known = await this.idOf(name)
    if (known !== undefined) return known
    try {
      return await this.deps.administration.createHiddenVDisk(name, { size: VDISK_BYTES_MAX, container })
    } catch (error) {
      const made = await this.idOf(name)
      if (made === undefined) throw error
      return made
    }
  }

  /** The vDisk has another name from now on. `NOT_FOUND`, `ALREADY_EXISTS`. */
  async renameVDisk(id: VDiskId, name: string): Promise<void> {
    const entry = await this.deps.catalog.get(keys.vdisk(id))
    if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no vDisk ${id}`)
    const record = decodeRecord<VDiskRecord>(entry.value)
    if (record.name === name) return
    const result = await this.deps.catalog.commit({
      when: [
        { key: entry.key, revision: entry.revision },
        { key: keys.name(name), revision: 0 },
      ],
      put: [
        { key: keys.name(name), value: encodeRecord({ id }) },
        { key: entry.key, value: encodeRecord({ ...record, name }) },
      ],
      remove: [keys.name(record.name)],
    })
    if (!result.ok) throw new HitherError('CONFLICT', `vDisk ${record.name} was changed meanwhile; try again`)
  }

  /**
   * The home of a vDisk without a VM follows the host that uses it, and the vDisk with it. `false` when it has followed
   * another too short a time ago: each move doubles the time until the next, so that two hosts that use one vDisk do
   * not tear it to and fro. What was long ago does not count. Also `false` when the host's node is being drained.
   */
  async follow(id: VDiskId, node: NodeId, now: number): Promise<boolean> {
    const entry = await this.deps.catalog.get(keys.vdisk(id))
    if (entry === undefined) return false
    const record = decodeRecord<VDiskRecord>(entry.value)
    if (record.vm !== undefined || record.node === node) return false
    const { at, times } = record.followed ?? { at: 0, times: 0 }
    const holdMs = times === 0 ? 0 : Math.min(FOLLOW_HOLD_MS * 2 ** (times - 1), FOLLOW_HOLD_MS_MAX)
    if (now - at < holdMs) return false
    const takes = await this.deps.administration.taking(node).catch((error: unknown) => {
      if (codeOf(error) !== 'CONFLICT') throw error
    })
    if (takes === undefined) return false
    const recent = now - at < holdMs * FOLLOW_FORGOTTEN ? times : 0
    const next: VDiskRecord = { ...record, node, followed: { at: now, times: recent + 1 } }
    const result = await this.deps.catalog.commit({
      when: [{ key: entry.key, revision: entry.revision }, takes],
      put: [{ key: entry.key, value: encodeRecord(next) }],
    })
    if (result.ok) await this.deps.handOver(id, node)
    return result.ok
  }

  /** Removes a vDisk by its number; nothing happens when it is gone. */
  async removeVDisk(id: VDiskId): Promise<void> {
    const entry = await this.deps.catalog.get(keys.vdisk(id))
    if (entry !== undefined)
      await this.deps.administration.deleteVDisk(decodeRecord<VDiskRecord>(entry.value).name)
  }

  private async idOf(name: string): Promise<VDiskId | undefined> {
    const entry = await this.deps.catalog.get(keys.name(name))
    return entry && decodeRecord<{ id: VDiskId }>(entry.value).id
  }
}
