/**
 * What the operations of one extent store share: its devices, its copies, and the order between operations.
 *
 * Order: everything that changes a copy runs under the lock of its egroup, one at a time. Reads take no lock: they
 * pin the placement that they read from.
 */
import { HitherError } from '../base/errors.ts'
import { KeyedMutex } from '../base/queue.ts'
import { EGROUP_BYTES, type EgroupId, MiB, type Tier } from '../base/units.ts'
import type { BulkWork } from '../platform/bulk-work.ts'
import { FramePool } from '../platform/frame-pool.ts'
import type { Copy } from './copy.ts'
import type { CopyEntry } from './copy-table.ts'
import { FrameBuilder } from './frame-writer.ts'
import { SlotIndexCache } from './slot-index.ts'
import type { StoreDevice } from './store-device.ts'
import type { SpaceUse } from './types.ts'

/** Builders kept for the next rewrite or partial write; each holds about 1 MiB. */
const IDLE_BUILDERS_MAX = 4
/** Log buffers kept for whoever needs the log of a copy next. Fresh memory costs more than what is done in it. */
const IDLE_LOGS_MAX = 4
/** The log of an egroup, and what a repair may add to it. */
const LOG_BUFFER_BYTES = EGROUP_BYTES + MiB

export class StoreContext {
  readonly devices: StoreDevice[] = []
  readonly copies = new Map<EgroupId, Copy>()
  readonly locks = new KeyedMutex<EgroupId>()
  readonly indexes: SlotIndexCache
  readonly bulk: BulkWork
  /** Memory of log bytes that are read to be sent. */
  readonly logReads = new FramePool()
  readonly #idleBuilders: FrameBuilder[] = []
  readonly #idleLogs: Uint8Array[] = []
  readonly #background = new Set<Promise<unknown>>()
  #serial = 0

  constructor(slotIndexBytes: number, bulk: BulkWork) {
    this.bulk = bulk
    this.indexes = new SlotIndexCache(slotIndexBytes)
  }

  /** The copy, of any kind; `COPY_MISSING` when this node has none. */
  copyOf(egroup: EgroupId): Copy {
    const copy = this.copies.get(egroup)
    if (copy === undefined) throw copyMissing(egroup)
    return copy
  }

  /** The copy, unless it is partial: for what only full copies can do. */
  fullCopyOf(egroup: EgroupId): Copy {
    const copy = this.copyOf(egroup)
    if (copy.isPartial) throw copyMissing(egroup)
    return copy
  }

  /** As `fullCopyOf`; `CONFLICT` while it is open. */
  sealedCopyOf(egroup: EgroupId): Copy {
    const copy = this.fullCopyOf(egroup)
    if (copy.isOpen) {
      throw new HitherError('CONFLICT', `egroup ${egroup} is still open here; seal it first`)
    }
    return copy
  }

  /** Serial number for the next table entry. */
  nextSerial(): number {
    return ++this.#serial
  }

  /** Makes later serials higher than this one. */
  seenSerial(serial: number): void {
    this.#serial = Math.max(this.#serial, serial)
  }

  /** Devices of the tier that can take `units` for `use`, the emptiest first. */
  devicesFor(tier: Tier, units: number, use: SpaceUse): StoreDevice[] {
    return this.devices
      .filter((device) => device.tier === tier && device.freeUnitsFor(use) >= units)
      .sort((a, b) => b.freeUnits - a.freeUnits)
  }

  /** Writes the copy's entry with `changes`. The copy is as before when it fails. */
  async putEntry(copy: Copy, changes: Partial<CopyEntry>): Promise<CopyEntry> {
    const entry = { ...copy.entry, ...changes, serial: this.nextSerial() }
    await copy.device.putEntry(entry)
    return entry
  }

  /**
   * Puts `copy`, whose entry is durable, in the place of the one before it, and gives back what that one took. When
   * they are on one device, its entry has been replaced; else it is removed here. Should that fail, its device is out
   * of service, and the next start, if it reads it again, sees by the serial which of the two is the old one.
   */
  async install(copy: Copy): Promise<void> {
    const before = this.copies.get(copy.egroup)
    this.copies.set(copy.egroup, copy)
    if (before === undefined) return
    this.indexes.forget(before)
    if (before.device !== copy.device) {
      try {
        await before.device.removeEntry(before.egroup)
      } catch {
        return
      }
    }
    before.device.retire(before.placement)
  }

  /** Forgets the copies of a device that is out of service. */
  dropCopiesOf(device: StoreDevice): void {
    for (const [egroup, copy] of this.copies) {
      if (copy.device !== device) continue
      this.copies.delete(egroup)
      this.indexes.forget(copy)
    }
  }

  /** Runs `work` with an empty builder that nobody else uses meanwhile. */
  async withBuilder<T>(work: (builder: FrameBuilder) => Promise<T>): Promise<T> {
    const builder = this.#idleBuilders.pop() ?? new FrameBuilder()
    try {
      return await work(builder)
    } finally {
      builder.reset()
      if (this.#idleBuilders.length < IDLE_BUILDERS_MAX) this.#idleBuilders.push(builder)
    }
  }

  /** Runs `work` with memory for a log of `bytes`, of any content and maybe longer, that nobody else uses meanwhile. */
  async withLogBuffer<T>(bytes: number, work: (log: Uint8Array) => Promise<T>): Promise<T> {
    if (bytes > LOG_BUFFER_BYTES) return work(new Uint8Array(bytes))
    const log = this.#idleLogs.pop() ?? new Uint8Array(LOG_BUFFER_BYTES)
    try {
      return await work(log)
    } finally {
      if (this.#idleLogs.length < IDLE_LOGS_MAX) this.#idleLogs.push(log)
    }
  }

  /** Keeps an eye on work that nobody awaits. Its failure has taken its device out of service, which tells. */
  inBackground(work: Promise<unknown>): void {
    this.#background.add(work)
    const done = (): void => void this.#background.delete(work)
    work.then(done, done)
  }

  /** Resolves when no background work is left. */
  async idle(): Promise<void> {
    while (this.#background.size > 0) await Promise.allSettled(this.#background)
  }
}

export function copyMissing(egroup: EgroupId): HitherError {
  return new HitherError('COPY_MISSING', `this node has no copy of egroup ${egroup}`)
}
