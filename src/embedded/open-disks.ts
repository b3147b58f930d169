/**
 * The vDisks that hosts have open: makes their handles, counts what goes over the paths, keeps what outlasts a handle
 * (its vDisk's track), and sends handles over another host's path when their VM moved or their node goes.
 */
import type { ClusterEventBody, VDisk, VDiskInfo } from '../api.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import { keys, type OwnerRecord, type VDiskRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { Administration } from '../cvm/administration.ts'
import type { HostPath } from '../cvm/host-path.ts'
import { WriteSession } from '../cvm/write-session.ts'
import type { Clock } from '../platform/types.ts'
import { DiskTrack } from './disk-track.ts'
import { Turns, VDiskHandle } from './vdisk-handle.ts'

export interface OpenDisksDeps {
  readonly clock: Clock
  readonly administration: Administration
  readonly vdisks: RecordsView<VDiskRecord>
  readonly owners: RecordsView<OwnerRecord>
  /** Begins the names of all write sessions: nobody else has or had it. */
  readonly incarnation: string
  /** The path of the host that uses the vDisk, as far as the views know. */
  readonly homePath: (vdisk: VDiskId) => HostPath | undefined
}

export class OpenDisks {
  readonly tracks = new Map<VDiskId, DiskTrack>()
  private readonly deps: OpenDisksDeps
  private readonly turns: Turns
  private readonly handles = new Set<VDiskHandle>()
  /** Handles, ever. */
  private opened = 0
  private localBytes = 0

  constructor(deps: OpenDisksDeps) {
    this.deps = deps
    this.turns = new Turns(deps.clock)
  }

  /** Bytes that hosts exchanged with the CVM of their own node. */
  get internalBytes(): number {
    return this.localBytes
  }

  /** @param fixed the handle stays on this path when its VM moves */
  open(info: VDiskInfo, path: HostPath, fixed: boolean): VDisk {
    const size = () => this.deps.vdisks.value(keys.vdisk(info.id))?.size ?? info.size
    const handle = this.newHandle(info, path, fixed, size)
    this.handles.add(handle)
    return handle
  }

  /** For a file system, which opens and closes as it likes: nobody has to wait until this handle is closed. */
  openForFile(path: HostPath, id: VDiskId, size: () => number): VDisk {
    const { vdisks, owners } = this.deps
    const record = vdisks.value(keys.vdisk(id))
    const generation = owners.value(keys.owner(id))?.generation ?? 0
    const info = { id, name: record?.name ?? String(id), readOnly: record?.readOnly === true, generation }
    return this.newHandle(info, path, true, size)
  }

  /** How many handles of the vDisk are open. */
  usersOf(name: string): number {
    return [...this.handles].filter((handle) => handle.name === name).length
  }

  /** The vDisk was deleted. */
  forget(vdisk: VDiskId): void {
    this.tracks.delete(vdisk)
  }

  takenOver(event: Extract<ClusterEventBody, { type: 'takeover' }>): void {
    for (const [, entry] of this.deps.vdisks.all()) {
      if (entry.value.name !== event.vdisk) continue
      const at = new Date(this.deps.clock.wall()).toISOString()
      this.tracks
        .get(entry.value.id)
        ?.takenOver({ at, from: event.from, to: event.to, pauseMs: Math.round(event.tookMs) })
    }
  }

  /** A VM moved: open handles of its vDisks take the path of its new host. */
  followVms(): void {
    for (const handle of this.handles) {
      const home = this.deps.homePath(handle.id)
      if (home !== undefined) handle.moveTo(home)
    }
  }

  /** The node goes: what still uses the path of its host takes that of its vDisk's new home, or `another`. */
  async leave(node: NodeId, another: () => HostPath): Promise<void> {
    const { vdisks, homePath } = this.deps
    const leaving = [...this.handles].filter((handle) => handle.host === node)
    // Its vDisks have a new home.
    await Promise.allSettled(leaving.map(({ id }) => vdisks.refresh(keys.vdisk(id))))
    for (const handle of leaving) {
      const home = homePath(handle.id)
      handle.moveTo(home === undefined || home.host === node ? another() : home)
    }
  }

  async close(): Promise<void> {
    await Promise.allSettled([...this.handles].map((handle) => handle.close()))
  }

  private newHandle(
    info: Pick<VDiskInfo, 'id' | 'name' | 'readOnly' | 'generation'>,
    path: HostPath,
    fixed: boolean,
    size: () => number,
  ): VDiskHandle {
    const { clock, administration, vdisks, incarnation } = this.deps
    let track = this.tracks.get(info.id)
    if (track === undefined) {
      track = new DiskTrack()
      this.tracks.set(info.id, track)
    }
    const handle: VDiskHandle = new VDiskHandle({
      id: info.id,
      name: info.name,
      readOnly: info.readOnly,
      path,
      fixed,
      clock,
      turns: this.turns,
      track,
      session: new WriteSession(`${incarnation}/${++this.opened}`, info.generation),
      administration,
      size,
      catchUp: () => vdisks.refresh(keys.vdisk(info.id)),
      count: (bytes) => {
        if (handle.isLocal) this.localBytes += bytes
      },
      onClose: (closed) => this.handles.delete(closed),
    })
    return handle
  }
}
