/**
 * Snapshots with a name that stay for a while, and what is in them: an old one is read through a clone, as a user would,
 * and has to be what its disk was at the moment of the snapshot, after all that was overwritten, taken over and reclaimed
 * since.
 */
import type { VDisk } from '../../api.ts'
import { CELL } from '../check/contents.ts'
import type { SnapshotModel } from '../check/register-snapshot.ts'
import type { SimCluster } from '../cluster.ts'
import { DiskLoad, type LoadDeps } from './disk-load.ts'

/** Snapshots that stay, of all disks together; above it the oldest goes. */
const KEPT_MAX = 6

export interface Image {
  /** Its disk, as it is called and as it was when the image was taken. */
  readonly source: DiskLoad
  readonly name: string
  readonly model: SnapshotModel
  /** `undefined`: a resize had an unknown outcome then. */
  readonly cells: number | undefined
}

export class Images {
  private readonly sim: SimCluster
  private readonly deps: LoadDeps
  /** Oldest first. */
  private readonly kept: Image[] = []
  private count = 0

  constructor(sim: SimCluster, deps: LoadDeps) {
    this.sim = sim
    this.deps = deps
  }

  get all(): readonly Image[] {
    return this.kept
  }

  /** A snapshot that stays, taken now. The caller keeps the disk from being resized meanwhile. */
  async take(source: DiskLoad): Promise<Image> {
    const name = `snap-${++this.count}`
    const { cells } = source
    const model = await watched(source, async () => void (await source.disk.snapshot(name)))
    const image: Image = { source, name, model, cells }
    this.kept.push(image)
    this.deps.tally.op('snapshot')
    if (this.kept.length > KEPT_MAX) await this.forget(this.kept[0]!)
    return image
  }

  /** A clone of the image, with `plan`'s name and ways. */
  async clone(image: Image, plan: Partial<DiskLoad['plan']> & { readonly name: string }): Promise<DiskLoad> {
    const { source } = image
    const disk = await this.sim.cluster.cloneVDisk(source.plan.name, plan.name, {
      snapshot: image.name,
      vm: source.plan.vm,
    })
    return cloned(source, disk, image.model, image.cells, plan, this.deps)
  }

  /** Reads all of an image, and lets the clone go again. */
  async lookBack(image: Image, must: boolean): Promise<void> {
    const load = await this.clone(image, { name: `look-${++this.count}` })
    try {
      await load.readAll(must)
    } finally {
      await load.disk.close()
    }
    await this.sim.cluster.deleteVDisk(load.plan.name)
    load.model.release()
    this.deps.tally.op('snapshot read')
  }

  /** Deletes a snapshot. Its clones go on, and their model holds on to the image as long as they do. */
  async forget(image: Image): Promise<void> {
    if (!this.lose(image)) return
    await this.sim.cluster.deleteSnapshot(image.source.plan.name, image.name)
  }

  /** The disk is being deleted, and its snapshots with it. */
  loseAllOf(source: DiskLoad): void {
    for (const image of this.kept.filter((each) => each.source === source)) this.lose(image)
  }

  /** Whatever comes of the request: one that is not answered may have been done. */
  private lose(image: Image): boolean {
    const at = this.kept.indexOf(image)
    if (at < 0) return false
    this.kept.splice(at, 1)
    image.model.release()
    return true
  }
}

/** The model of what `work` takes an image of, at some moment while it runs. */
export async function watched(source: DiskLoad, work: () => Promise<void>): Promise<SnapshotModel> {
  const token = source.model.snapshotBegin()
  try {
    await work()
  } catch (error) {
    source.model.snapshotFailed(token)
    throw error
  }
  return source.model.snapshotEnd(token)
}

/** A clone as a disk with clients. It has to be as long as its source was, when that is known. */
export function cloned(
  source: DiskLoad,
  disk: VDisk,
  image: SnapshotModel,
  cells: number | undefined,
  plan: Partial<DiskLoad['plan']> & { readonly name: string },
  deps: LoadDeps,
): DiskLoad {
  const own = disk.size / CELL
  if (cells !== undefined && own !== cells)
    deps.onViolation(`size: ${plan.name} has ${own} cells, and its source had ${cells}`)
  const as = { ...source.plan, clients: 1, cells: own, ...plan }
  return new DiskLoad(as, disk, DiskLoad.modelOf(source.plan, image), deps)
}
