/**
 * This node's partial copies: what came over the wire and is kept on SSD, and what goes again when space is needed.
 *
 * They are a cache, so they only ever take room that nobody else wants. They grow up to the mark to which anything may
 * fill the SSD; beyond it, a partial copy grows only in the place of a colder one. A copy of user data that would bring
 * the SSD over the mark at which tiering begins makes them give way, the coldest first. A copy that is completed
 * meanwhile is no partial copy any more, and stays (`ExtentStore.dropPartial`).
 *
 * Keeping runs one after the other, bounded; what does not fit is let go, and costs another trip over the wire.
 */
import { Mutex } from '../base/queue.ts'
import { type EgroupId, MiB } from '../base/units.ts'
import type { ExtentStore } from '../extent-store/extent-store.ts'
import type { StoredSlice } from '../extent-store/types.ts'
import type { HeatTable } from '../locality/heat.ts'
import { SSD_FILL, SSD_HIGH } from '../locality/marks.ts'
import type { Clock } from '../platform/types.ts'
import type { Directory } from '../replication/directory.ts'
import type { CvmCounters } from './cvm-counters.ts'
import { usageOf } from './space.ts'

/** Bytes of slices that wait to be stored; more are let go. */
const WAITING_BYTES_MAX = 16 * MiB

export interface PartialCopiesDeps {
  readonly store: ExtentStore
  readonly directory: Directory
  readonly heat: HeatTable
  readonly clock: Clock
  readonly counters: CvmCounters
  /** The space in use here has changed. */
  readonly onChanged: () => void
}

export class PartialCopies {
  private readonly deps: PartialCopiesDeps
  /** Egroups with a partial copy here; some may have become full, or gone, since. */
  private readonly known = new Set<EgroupId>()
  private readonly turn = new Mutex()
  private waitingBytes = 0
  private closed = false

  constructor(deps: PartialCopiesDeps) {
    this.deps = deps
    for (const { egroup, kind } of deps.store.copies()) if (kind === 'partial') this.known.add(egroup)
  }

  close(): void {
    this.closed = true
  }

  isPartial(egroup: EgroupId): boolean {
    return this.deps.store.info(egroup)?.kind === 'partial'
  }

  /**
   * Keeps slices of a sealed egroup; `false` when there is no room, or nothing to keep them for. The slices are only
   * read. Rejects as `ExtentStore.keepPartial`.
   */
  async keep(egroup: EgroupId, slices: readonly StoredSlice[]): Promise<boolean> {
    let bytes = 0
    for (const slice of slices) bytes += slice.bytes.length
    if (this.waitingBytes + bytes > WAITING_BYTES_MAX) return false
    this.waitingBytes += bytes
    try {
      return await this.turn.run(() => this.keepInTurn(egroup, slices, bytes))
    } finally {
      this.waitingBytes -= bytes
    }
  }

  /** Gives up partial copies, the coldest first, so that `bytes` more leave the SSD under its mark. Never rejects. */
  async makeRoom(bytes: number): Promise<void> {
    if (this.known.size === 0 || this.fits(bytes, SSD_HIGH)) return
    await this.turn.run(() => this.dropColdest(() => this.fits(bytes, SSD_HIGH)))
  }

  private async keepInTurn(
    egroup: EgroupId,
    slices: readonly StoredSlice[],
    bytes: number,
  ): Promise<boolean> {
    const { store, directory, counters, heat, clock } = this.deps
    const record = directory.record(egroup)
    if (this.closed || record?.state !== 'sealed') return false
    const before = store.info(egroup)
    if (before?.kind === 'full') return true
    if (!this.fits(bytes, SSD_FILL)) {
      const own = heat.heat(egroup, clock.now())
      await this.dropColdest(() => this.fits(bytes, SSD_FILL), { egroup, heat: own })
      if (!this.fits(bytes, SSD_FILL)) return false
    }
    this.known.add(egroup)
    const kept = await store.keepPartial(egroup, record.stream, slices)
    const after = store.info(egroup)
    if (after?.kind !== 'partial') return kept
    const grown = Math.max(0, after.length - (before?.length ?? 0))
    counters.localisedBytes += grown
    counters.backgroundBytes += grown
    if (grown > 0) this.deps.onChanged()
    return kept
  }

  /** Until `isEnough`; with `hotter`, only what is colder than that egroup goes. */
  private async dropColdest(
    isEnough: () => boolean,
    hotter?: { readonly egroup: EgroupId; readonly heat: number },
  ): Promise<void> {
    const { store, heat, clock } = this.deps
    const now = clock.now()
    const coldestFirst: Array<{ egroup: EgroupId; heat: number }> = []
    for (const egroup of this.known) {
      if (!this.isPartial(egroup)) this.known.delete(egroup)
      else coldestFirst.push({ egroup, heat: heat.heat(egroup, now) })
    }
    coldestFirst.sort((a, b) => a.heat - b.heat || a.egroup - b.egroup)
    for (const coldest of coldestFirst) {
      if (isEnough() || this.closed) return
      if (hotter !== undefined && (coldest.egroup === hotter.egroup || coldest.heat >= hotter.heat)) return
      try {
        await store.dropPartial(coldest.egroup)
        this.known.delete(coldest.egroup)
        this.deps.onChanged()
      } catch {
        // Its device has failed, and its copies are gone with it.
      }
    }
  }

  private fits(bytes: number, mark: number): boolean {
    const { ssd } = usageOf(this.deps.store)
    return ssd.usedBytes + bytes <= ssd.sizeBytes * mark
  }
}
