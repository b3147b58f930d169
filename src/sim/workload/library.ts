/**
 * What administrators do all through the run: snapshots, clones with clients of their own, boot storms, looks at old
 * snapshots, resizes, and deletes.
 */
import type { VDisk } from '../../api.ts'
import { asHitherError } from '../../base/errors.ts'
import { KeyedMutex } from '../../base/queue.ts'
import type { SimCluster } from '../cluster.ts'
import { pick } from '../schedule/pick.ts'
import type { DiskLoad, LoadDeps } from './disk-load.ts'
import { cloned, type Image, Images, watched } from './images.ts'

const CLONES_MAX = 3
const EVERY_MS = 3_000
/** A disk does not get shorter than this: every pattern has room. */
const CELLS_LEAST = 128
/** A storm is so many clones, and lasts so long. */
const STORM_CLONES = 3
const STORM_MS = 300
const STORM_THINK_MS = 5

type Step = 'clone' | 'storm' | 'look-back' | 'resize' | 'drop'

const STEPS: readonly Step[] = [
  'clone',
  'clone',
  'clone',
  'storm',
  'look-back',
  'look-back',
  'resize',
  'resize',
  'drop',
]

export class Library {
  private readonly sim: SimCluster
  private readonly loads: DiskLoad[]
  private readonly deps: LoadDeps
  private readonly images: Images
  /** A disk is not resized while an image of it is taken: the image could be of either size. */
  private readonly turns = new KeyedMutex<string>()
  private count = 0
  private stopped = false
  private running: Promise<void> | undefined

  /** @param loads of all disks; clones join it, and leave it when they are deleted. */
  constructor(sim: SimCluster, loads: DiskLoad[], deps: LoadDeps) {
    this.sim = sim
    this.loads = loads
    this.deps = deps
    this.images = new Images(sim, deps)
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
    if (!this.stopped && source !== undefined) await this.take(source)
  }

  /** Reads every snapshot that stayed, when all is well. */
  async readKept(): Promise<void> {
    for (const image of this.images.all) await this.images.lookBack(image, true)
  }

  private async run(): Promise<void> {
    const { loop, random } = this.deps
    for (;;) {
      await loop.sleep(random.below(2 * EVERY_MS))
      if (this.stopped) return
      try {
        await this.step(pick(random, STEPS))
      } catch (cause) {
        const error = asHitherError(cause)
        this.deps.tally.op(`library failed: ${error.code}`)
        if (error.code === 'INTERNAL') this.deps.onViolation(`error: library: ${error.message}`)
      }
    }
  }

  private async step(step: Step): Promise<void> {
    const { random } = this.deps
    const clones = this.loads.filter((load) => load.plan.name.startsWith('clone'))
    const disk = pick(random, this.loads)
    if (step === 'look-back' && this.images.all.length > 0)
      return this.images.lookBack(pick(random, this.images.all), false)
    if (step === 'resize') return this.resize(disk)
    if (step === 'storm') return this.storm(disk)
    if (clones.length > 0 && (step === 'drop' || clones.length >= CLONES_MAX))
      return this.drop(pick(random, clones))
    return this.copy(disk)
  }

  private take(source: DiskLoad): Promise<Image> {
    return this.turns.run(source.plan.name, () => this.images.take(source))
  }

  /** Half of the clones start from a snapshot with a name, the others from the disk as it is. */
  private async copy(source: DiskLoad): Promise<void> {
    const { random, tally } = this.deps
    const plan = { name: `clone-${++this.count}` }
    const named = random.below(2) === 0
    let load: DiskLoad
    if (named) {
      const image = await this.take(source)
      load = await this.images.clone(image, plan)
      if (random.below(2) === 0) await this.images.forget(image)
    } else {
      load = await this.cloneOfNow(source, plan)
    }
    tally.op('clone')
    this.loads.push(load)
    load.start()
  }

  private cloneOfNow(source: DiskLoad, plan: { readonly name: string }): Promise<DiskLoad> {
    return this.turns.run(source.plan.name, async () => {
      const { cells } = source
      const { name, vm } = source.plan
      let disk: VDisk | undefined
      const image = await watched(source, async () => {
        disk = await this.sim.cluster.cloneVDisk(name, plan.name, { vm })
      })
      const load = cloned(source, disk!, image, cells, plan, this.deps)
      image.release()
      return load
    })
  }

  /** Clones of one image that all start at once, and are gone again. */
  private async storm(source: DiskLoad): Promise<void> {
    const image = await this.take(source)
    const booting: DiskLoad[] = []
    try {
      for (let i = 0; i < STORM_CLONES; i++) {
        const name = `boot-${++this.count}`
        booting.push(
          await this.images.clone(image, { name, pattern: 'boot', readShare: 0.9, thinkMs: STORM_THINK_MS }),
        )
      }
    } finally {
      this.loads.push(...booting)
      for (const load of booting) load.start()
    }
    await this.deps.loop.sleep(STORM_MS)
    for (const load of booting) await this.drop(load)
    this.deps.tally.op('boot storm')
  }

  /** To anything between half of the disk and all that it may have, not always whole blocks. */
  private resize(load: DiskLoad): Promise<void> {
    const { random } = this.deps
    const least = Math.max(CELLS_LEAST, Math.floor(load.cellsMax / 4))
    let cells = least + random.below(load.cellsMax - least)
    if (random.below(2) === 0) cells -= cells % 8
    return this.turns.run(load.plan.name, () => load.resize(cells))
  }

  private async drop(load: DiskLoad): Promise<void> {
    await load.stop()
    await load.disk.close()
    // Whatever comes of it: a request that is not answered may have been done.
    this.loads.splice(this.loads.indexOf(load), 1)
    this.images.loseAllOf(load)
    await this.sim.cluster.deleteVDisk(load.plan.name)
    load.model.release()
    this.deps.tally.op('clone deleted')
  }
}
