/**
 * Packs large writes on all cores: the slices of a write are taken one by one by workers and by this thread, until none is
 * left. A few writes are laid out for that at a time; more wait for a place.
 *
 * This thread takes a slice a turn of the event loop, so that whatever else it has to do goes on between: it is the only one
 * that can do that. While the workers are not there (they start with the first large write), or busy, it does what is left.
 *
 * A worker that fails takes all with it: the writes under way are packed here, and from then on so is everything.
 */
import { Worker } from 'node:worker_threads'
import { kernel } from '../../base/chosen-path.ts'
import { KERNEL_MEMORY_PAGES } from '../../base/kernel.ts'
import { MiB, SECTOR_BYTES } from '../../base/units.ts'
import type { PackedSlices, SlicePacker, SliceRange } from '../types.ts'
import { PackStage, STAGE_WORDS } from './pack-stage.ts'

/**
 * Writes of so many bytes are worth waking another thread for. Measured on two cores, files, one at a time and eight: writes
 * of 64 KiB became 13 % slower and no faster by it, of 256 KiB 7 and 20 % faster, of 1 MiB 20 % faster. A little less than
 * 256 KiB, as a write of those may have a few zeros or duplicates.
 */
const WORTH_BYTES = 192 * 1024
/** The longest write, and the most slices that it can have: one of each block. */
const STAGE_BYTES = 1 * MiB
const STAGE_SLICES = 256
/**
 * Writes that are laid out at a time, 2 MiB each and 1 MiB for each worker: enough for a worker to have the next when it
 * ends one.
 */
const STAGES_MAX = 4

/** What a worker tells: the slices that it packed of a stage, and where they are. */
interface Told {
  readonly id: number
  /** Of the worker, from 1 on. */
  readonly number: number
  readonly packed: number
  readonly output: Uint8Array
}

/** A worker, and output of its own that is to go back to it with the next stage. */
interface Helper {
  readonly worker: Worker
  readonly returned: Uint8Array[]
}

/** A write that waits for a place. */
interface Job {
  readonly data: Uint8Array
  readonly slices: readonly SliceRange[]
  readonly resolve: (packed: PackedSlices) => void
}

export class ThreadPacker implements SlicePacker {
  private readonly threads: number
  /** By id. */
  private readonly stages: PackStage[] = []
  private readonly spare: PackStage[] = []
  /** Laid out and not packed yet, the oldest first. */
  private readonly underWay = new Set<PackStage>()
  private readonly jobs: Job[] = []
  /** The one numbered n is at n − 1. */
  private helpers: Helper[] = []
  /** No workers, any more. */
  private ended: boolean
  private helps = false
  private closing: Promise<void> | undefined

  /** @param threads workers beside the calling thread; 0: none, and nothing is ever packed here. */
  constructor(threads: number) {
    this.threads = threads
    this.ended = threads === 0 || kernel === undefined
  }

  pack(data: Uint8Array, slices: readonly SliceRange[]): Promise<PackedSlices> | undefined {
    if (this.ended || slices.length < 2) return undefined
    let bytes = 0
    for (const slice of slices) bytes += slice.bytes
    if (bytes < WORTH_BYTES) return undefined
    return new Promise((resolve) => {
      this.jobs.push({ data, slices, resolve })
      this.layOut()
    })
  }

  /** Ends the workers; what they had under way is packed by this thread. */
  close(): Promise<void> {
    this.closing ??= this.end()
    return this.closing
  }

  private async end(): Promise<void> {
    this.ended = true
    const { helpers } = this
    this.helpers = []
    await Promise.all(helpers.map(({ worker }) => worker.terminate()))
    for (const stage of this.underWay) {
      stage.packAll()
      stage.onPacked!()
    }
  }

  /** Gives those who wait the places that are free. */
  private layOut(): void {
    while (this.jobs.length > 0) {
      const stage = this.takeStage()
      if (stage === undefined) return
      const { data, slices, resolve } = this.jobs.shift()!
      stage.fill(data, slices)
      stage.onPacked = () => {
        this.underWay.delete(stage)
        resolve(stage)
      }
      if (this.ended) {
        stage.packAll()
        stage.onPacked()
        continue
      }
      stage.share()
      this.underWay.add(stage)
      for (const helper of this.helpers) call(helper, stage)
      this.helpSoon()
    }
  }

  private hear({ id, number, packed, output }: Told): void {
    if (this.ended) return
    const stage = this.stages[id]!
    if (stage.receive(number, packed, output)) stage.onPacked!()
  }

  private helpSoon(): void {
    if (this.helps) return
    this.helps = true
    setImmediate(() => {
      this.helps = false
      this.help()
    })
  }

  /** Packs one slice that nobody has taken, if there is one. */
  private help(): void {
    for (const stage of this.underWay) {
      const outcome = stage.packOne()
      if (outcome === 'taken') continue
      if (outcome === 'last') stage.onPacked!()
      this.helpSoon()
      return
    }
  }

  private takeStage(): PackStage | undefined {
    const spare = this.spare.pop()
    if (spare !== undefined || this.stages.length === STAGES_MAX) return spare
    if (this.stages.length === 0) this.start()
    const id = this.stages.length
    const stage = new PackStage(id, STAGE_BYTES, STAGE_SLICES, (free) => {
      for (const [i, { returned }] of this.helpers.entries()) {
        const output = free.takeOutput(i + 1)
        if (output !== undefined) returned.push(output)
      }
      this.spare.push(free)
      this.layOut()
    })
    this.stages.push(stage)
    for (const { worker } of this.helpers) worker.postMessage({ id, stage: stage.memory })
    return stage
  }

  private start(): void {
    const data = {
      kernelModule: kernel!.module,
      memoryPages: KERNEL_MEMORY_PAGES,
      leastSaved: SECTOR_BYTES,
      outputsMax: STAGES_MAX,
      words: STAGE_WORDS,
    }
    for (let number = 1; number <= this.threads; number++) {
      const worker = new Worker(new URL('./pack-worker.mjs', import.meta.url), {
        workerData: { ...data, number },
        name: 'hither-pack',
      })
      worker.unref()
      worker.on('message', (told: Told) => this.hear(told))
      worker.on('error', () => void this.close())
      this.helpers.push({ worker, returned: [] })
    }
  }
}

/** The stage has slices to be packed. */
function call({ worker, returned }: Helper, { id }: PackStage): void {
  const output = returned.pop()
  if (output === undefined) worker.postMessage({ id })
  else worker.postMessage({ id, output }, [output.buffer as ArrayBuffer])
}
