/**
 * Packs large writes on all cores: the slices of one write are taken one by one by this thread and by workers, until none
 * is left. So this thread is kept for less time than if it did all by itself, and while the workers are not there (they
 * start with the first large write), or busy, or gone, it does what is left.
 *
 * A worker that fails takes all with it: the writes under way are packed here, and from then on so is everything.
 */
import { Worker } from 'node:worker_threads'
import { kernel } from '../../base/chosen-path.ts'
import { KERNEL_MEMORY_PAGES } from '../../base/kernel.ts'
import { MiB, SECTOR_BYTES } from '../../base/units.ts'
import type { PackedSlices, SlicePacker, SliceRange } from '../types.ts'
import { PackStage, STAGE_WORDS } from './pack-stage.ts'

/** Writes of so many bytes are worth waking another thread for: it costs about as much as packing one 4 KiB block. */
const WORTH_BYTES = 64 * 1024
/** The longest write, and the most slices that it can have: one of each block. */
const STAGE_BYTES = 1 * MiB
const STAGE_SLICES = 256
/** Writes that may be packed at a time. */
const STAGES_MAX = 4

export class ThreadPacker implements SlicePacker {
  private readonly threads: number
  /** By id. */
  private readonly stages: PackStage[] = []
  private readonly spare: PackStage[] = []
  private readonly waiting = new Set<PackStage>()
  private workers: Worker[] = []
  /** No workers, any more. */
  private ended: boolean

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
    const stage = this.takeStage()
    if (stage === undefined) return undefined
    stage.fill(data, slices)
    for (const worker of this.workers) worker.postMessage({ id: stage.id })
    if (stage.help()) return Promise.resolve(stage)
    return new Promise((resolve) => {
      this.waiting.add(stage)
      stage.onPacked = () => {
        this.waiting.delete(stage)
        resolve(stage)
      }
    })
  }

  /** Ends the workers; what they had under way is packed by this thread. */
  async close(): Promise<void> {
    this.ended = true
    const { workers } = this
    this.workers = []
    await Promise.all(workers.map((worker) => worker.terminate()))
    for (const stage of this.waiting) {
      stage.packAll()
      stage.onPacked!()
    }
  }

  private takeStage(): PackStage | undefined {
    const spare = this.spare.pop()
    if (spare !== undefined || this.stages.length === STAGES_MAX) return spare
    if (this.stages.length === 0) this.start()
    const id = this.stages.length
    const stage = new PackStage(id, STAGE_BYTES, STAGE_SLICES, (free) => this.spare.push(free))
    this.stages.push(stage)
    for (const worker of this.workers) worker.postMessage({ id, stage: stage.memory })
    return stage
  }

  private start(): void {
    const workerData = {
      kernelModule: kernel!.module,
      memoryPages: KERNEL_MEMORY_PAGES,
      leastSaved: SECTOR_BYTES,
      words: STAGE_WORDS,
    }
    for (let i = 0; i < this.threads; i++) {
      const worker = new Worker(new URL('./pack-worker.mjs', import.meta.url), {
        workerData,
        name: 'hither-pack',
      })
      worker.unref()
      worker.on('message', (id: number) => this.stages[id]!.onPacked!())
      worker.on('error', () => void this.close())
      this.workers.push(worker)
    }
  }
}
