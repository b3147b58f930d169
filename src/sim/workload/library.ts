/** Snapshots, clones with clients of their own, and their deletion, all through the run. */
import type { VDisk } from '../../api.ts'
import { asHitherError } from '../../base/errors.ts'
import { DiskModel } from '../check/register.ts'
import type { SnapshotModel } from '../check/register-snapshot.ts'
import type { SimCluster } from '../cluster.ts'
import { DiskLoad, type LoadDeps } from './disk-load.ts'

const CLONES_MAX = 3
/** Snapshots that stay, of all disks together; above it the oldest goes. */
const KEPT_MAX = 6
const EVERY_MS = 4_000

interface Kept {
  readonly disk: string
  readonly image: string
  readonly model: SnapshotModel
}

export class Library {
  private readonly sim: SimCluster
  private readonly loads: DiskLoad[]
  private readonly deps: LoadDeps
  /** Oldest first. */
  private readonly kept: Kept[] = []
  private count = 0
  private stopped = false
  private running: Promise<void> | undefined

  /** @param loads of all disks; clones join it, and leave it when they are deleted. */
  constructor(sim: SimCluster, loads: DiskLoad[], deps: LoadDeps) {
    this.sim = sim
    this.loads = loads
    this.deps = deps
  }

  start(): void {
    this.running = this.run()
  }

  async stop(): Promise<void> {
    this.stopped = true
    await this.running
  }

  /** A snapshot that stays, taken now; nothing when the disk is gone. */
  async snapshot(name: string): Promise<void> {
    const source = this.loads.find((load) => load.plan.name === name)
    if (this.stopped || source === undefined) return
    const image = `snap-${++this.count}`
    const model = await this.watched(source, async () => void (await source.disk.snapshot(image)))
    this.deps.tally.op('snapshot')
    this.kept.push({ disk: name, image, model })
  }

  private async run(): Promise<void> {
    const { loop, random } = this.deps
    for (;;) {
      await loop.sleep(random.below(2 * EVERY_MS))
      if (this.stopped) return
      const clones = this.loads.filter((load) => load.plan.name.startsWith('clone'))
      const steps = clones.length >= CLONES_MAX ? 1 : 3
      try {
        if (random.below(steps) === 0 && clones.length > 0)
          await this.drop(clones[random.below(clones.length)]!)
        else await this.copy(this.loads[random.below(this.loads.length)]!)
      } catch (cause) {
        const error = asHitherError(cause)
        this.deps.tally.op(`library failed: ${error.code}`)
        if (error.code === 'INTERNAL') this.deps.onViolation(`error: library: ${error.message}`)
      }
    }
  }

  /** Half of the clones start from a snapshot with a name, the others from the disk as it is. */
  private async copy(source: DiskLoad): Promise<void> {
    const { random, tally } = this.deps
    const { cluster } = this.sim
    const { name: from, vm } = source.plan
    const number = ++this.count
    const name = `clone-${number}`
    const image = `snap-${number}`
    const named = random.below(2) === 0
    let disk: VDisk | undefined
    const snapshot = await this.watched(source, async () => {
      if (named) await source.disk.snapshot(image)
      else disk = await cluster.cloneVDisk(from, name, { vm })
    })
    if (named) {
      this.kept.push({ disk: from, image, model: snapshot })
      disk = await cluster.cloneVDisk(from, name, { snapshot: image, vm })
      tally.op('snapshot')
    }
    const model = new DiskModel(source.plan.cells, snapshot)
    tally.op('clone')
    const load = new DiskLoad({ ...source.plan, name, clients: 1 }, disk!, model, this.deps)
    this.loads.push(load)
    load.start()
    if (!named) snapshot.release()
    else if (random.below(2) === 0) await this.forget(this.kept.at(-1)!)
    else if (this.kept.length > KEPT_MAX) await this.forget(this.kept[0]!)
  }

  /** Deletes a snapshot. Its clones go on, and their model holds on to the image as long as they do. */
  private async forget(snapshot: Kept): Promise<void> {
    // Whatever comes of it: a request that is not answered may have been done.
    this.kept.splice(this.kept.indexOf(snapshot), 1)
    snapshot.model.release()
    await this.sim.cluster.deleteSnapshot(snapshot.disk, snapshot.image)
  }

  /** The model of what `work` takes an image of, at some moment while it runs. */
  private async watched(source: DiskLoad, work: () => Promise<void>): Promise<SnapshotModel> {
    const token = source.model.snapshotBegin()
    try {
      await work()
    } catch (error) {
      source.model.snapshotFailed(token)
      throw error
    }
    return source.model.snapshotEnd(token)
  }

  private async drop(load: DiskLoad): Promise<void> {
    await load.stop()
    await load.disk.close()
    // Whatever comes of it: a request that is not answered may have been done.
    this.loads.splice(this.loads.indexOf(load), 1)
    await this.sim.cluster.deleteVDisk(load.plan.name)
    load.model.release()
    this.deps.tally.op('clone deleted')
  }
}
