/**
 * The file systems that this CVM serves: those whose files disk it owns. One is loaded with the first request after the
 * disk came here, and forgotten when the disk goes, or when a commit of it failed.
 */
import type { NodeId, VDiskId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import { keys, type VDiskRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { Disks } from '../files/disks.ts'
import { FileService } from '../files/file-service.ts'
import type { Platform } from '../platform/types.ts'
import type { OwnedVDisk } from '../vdisk/owned-vdisk.ts'
import { Administration } from './administration.ts'
import { FileAdministration } from './file-administration.ts'
import type { StoragePort } from './port.ts'
import type { Space } from './space.ts'
import { through, WriteSession } from './write-session.ts'

export interface FileServicesDeps {
  readonly platform: Platform
  readonly membership: Membership
  readonly vdisks: RecordsView<VDiskRecord>
  readonly space: Space
  /** Leads to the owner of any vDisk. */
  readonly port: StoragePort
  readonly handOver: (vdisk: VDiskId, to: NodeId) => Promise<void>
  readonly onError: (where: string, error: unknown) => void
}

interface Served {
  readonly vdisk: OwnedVDisk
  readonly service: Promise<FileService>
}

export class FileServices {
  private readonly deps: FileServicesDeps
  private readonly disks: Disks
  private lives = 0
  private readonly served = new Map<VDiskId, Served>()

  constructor(deps: FileServicesDeps) {
    this.deps = deps
    this.disks = new ClusterDisks(deps)
  }

  /** Answers a request (files/messages.ts) to the file system in a vDisk that this CVM owns. */
  async handle(vdisk: OwnedVDisk, request: Uint8Array): Promise<Uint8Array> {
    return (await this.serviceOf(vdisk)).handle(request)
  }

  /** The vDisk is another CVM's now. */
  forget(id: VDiskId): void {
    const served = this.served.get(id)
    if (served === undefined) return
    this.served.delete(id)
    endOf(served)
  }

  close(): void {
    for (const id of [...this.served.keys()]) this.forget(id)
  }

  private async serviceOf(vdisk: OwnedVDisk): Promise<FileService> {
    for (;;) {
      const served = this.served.get(vdisk.id)
      if (served === undefined || served.vdisk !== vdisk) return this.load(vdisk, served).service
      const service = await served.service
      if (!service.ended) return service
      // Another request may have begun to load the next.
      if (this.served.get(vdisk.id) === served) return this.load(vdisk, served).service
    }
  }

  private load(vdisk: OwnedVDisk, before: Served | undefined): Served {
    const service = this.loadAfter(vdisk, before)
    const served = { vdisk, service }
    this.served.set(vdisk.id, served)
    service.catch(() => {
      if (this.served.get(vdisk.id) === served) this.served.delete(vdisk.id)
    })
    return served
  }

  private async loadAfter(vdisk: OwnedVDisk, before: Served | undefined): Promise<FileService> {
    // What an owner of an earlier generation has under way is fenced; what this one has, is not.
    if (before !== undefined && before.vdisk === vdisk) await endOf(before)
    else if (before !== undefined) endOf(before)
    const { platform, onError } = this.deps
    return FileService.load({
      vdisk,
      container: vdisk.info.container,
      life: ++this.lives,
      clock: platform.clock,
      random: platform.random,
      disks: this.disks,
      assertSpace: () => this.deps.space.assertTakesData(vdisk.policy),
      assertServing: () => vdisk.assertCanAnswer(),
      onError,
    })
  }
}

async function endOf(served: Served): Promise<void> {
  try {
    await (await served.service).end()
  } catch {
    // It was never loaded.
  }
}

/** The vDisks of the cluster, as a file system uses them. */
class ClusterDisks implements Disks {
  private readonly deps: FileServicesDeps
  private readonly administration: Administration
  private readonly files: FileAdministration
  private sessions = 0

  constructor(deps: FileServicesDeps) {
    const { platform, port, handOver } = deps
    this.deps = deps
    this.administration = new Administration({
      catalog: platform.catalog,
      random: platform.random,
      control: (vdisk, request) => port.control(vdisk, request),
      handOver,
    })
    this.files = new FileAdministration({
      catalog: platform.catalog,
      administration: this.administration,
      handOver,
    })
  }

  *all(): Iterable<VDiskRecord> {
    for (const [, entry] of this.deps.vdisks.all()) yield entry.value
  }

  record(vdisk: VDiskId): VDiskRecord | undefined {
    return this.deps.vdisks.value(keys.vdisk(vdisk))
  }

  /** The watch may tell of a change of ours later than what comes next looks. */
  async refresh(vdisk: VDiskId): Promise<void> {
    await this.deps.vdisks.refresh(keys.vdisk(vdisk))
  }

  onChange(changed: (record: VDiskRecord | undefined) => void): () => void {
    return this.deps.vdisks.onChange((_key, record) => changed(record))
  }

  async create(name: string, container: string, size: number, node: NodeId): Promise<VDiskId> {
    const id = await this.administration.createHiddenVDisk(name, { size, container, node })
    await this.refresh(id)
    return id
  }

  async rename(vdisk: VDiskId, name: string): Promise<void> {
    await this.files.renameVDisk(vdisk, name)
    await this.refresh(vdisk)
  }

  async remove(vdisk: VDiskId): Promise<void> {
    await this.files.removeVDisk(vdisk)
    await this.refresh(vdisk)
  }

  async resize(vdisk: VDiskId, size: number): Promise<void> {
    await this.deps.port.control(vdisk, { type: 'resize', size, discardData: false })
  }

  write(vdisk: VDiskId, offset: number, data: Uint8Array): Promise<void> {
    return this.session().write(offset, offset + data.length, through(this.deps.port), (port, attempt) =>
      port.write(vdisk, offset, data, true, attempt),
    )
  }

  erase(vdisk: VDiskId, offset: number, length: number): Promise<void> {
    return this.session().write(offset, offset + length, through(this.deps.port), (port, attempt) =>
      port.erase(vdisk, offset, length, true, attempt),
    )
  }

  private session(): WriteSession {
    return new WriteSession(`${this.deps.membership.incarnation}/files/${++this.sessions}`, 0)
  }
}
