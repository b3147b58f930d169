/**
 * Everything that one node keeps: the copies of egroups on its devices. This file is the door; each operation has a
 * file of its own.
 *
 *   recover.ts       what is there at open             append.ts        one frame
 *   create-copy.ts   an empty, open copy               read-slots.ts    slices, verified
 *   seal.ts          fence, seal                       rewrite.ts       compaction, repair
 *   import-copy.ts   from elsewhere, between tiers     partial-copy.ts  slices kept, completed
 *   scrub.ts         check everything
 *
 * Below them: sealed-log.ts and load-index.ts, store-device.ts (one device), copy-table.ts, placement.ts and
 * unit-allocator.ts (space), frame-*.ts and index-block.ts (bytes). docs/on-disk-format.md draws the bytes.
 *
 * Changes of one copy run one after the other, under the lock of its egroup; reads run beside them. Every rejection
 * is a `HitherError`: `COPY_MISSING` when this node has no (full) copy, `DEVICE_FAILED` when its device does not work,
 * and what the methods name.
 */
import type { Bitset } from '../base/bitset.ts'
import { Bitset as BitsetOf } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import {
  type EgroupId,
  type Generation,
  MiB,
  type SlotIndex,
  type Tier,
  type VDiskId,
} from '../base/units.ts'
import { UNDISTURBED } from '../platform/bulk-work.ts'
import type { BlockDevice } from '../platform/types.ts'
import { append } from './append.ts'
import { createCopy } from './create-copy.ts'
import { importLog, moveTier, withReceivedLog } from './import-copy.ts'
import { listFingerprints, listSlots, readLog } from './inspect.ts'
import { completePartial, keepPartial } from './partial-copy.ts'
import { readSlots } from './read-slots.ts'
import { recover } from './recover.ts'
import { compact, repairSlot } from './rewrite.ts'
import { scrub } from './scrub.ts'
import { fence, seal } from './seal.ts'
import { StoreContext } from './store-context.ts'
import { StoreDevice } from './store-device.ts'
import type {
  AppendRequest,
  CopyInfo,
  CopyState,
  DeviceUsage,
  ExtentStoreOptions,
  FingerprintEntry,
  NewCopy,
  ScrubReport,
  SliceRead,
  SlotSummary,
  StoredSlice,
} from './types.ts'

const SLOT_INDEX_BYTES_DEFAULT = 32 * MiB

export class ExtentStore {
  readonly #options: ExtentStoreOptions
  readonly #context: StoreContext
  #closed = false

  private constructor(options: ExtentStoreOptions) {
    this.#options = options
    this.#context = new StoreContext(
      options.slotIndexBytes ?? SLOT_INDEX_BYTES_DEFAULT,
      options.bulk ?? UNDISTURBED,
    )
    for (const device of options.devices) this.#context.devices.push(this.#storeDevice(device))
  }

  /**
   * Opens the node's devices, formats blank ones, and recovers their copies. A device that cannot be used is told to
   * `onDeviceFailed` and by `usage`; it never makes this reject.
   */
  static async open(options: ExtentStoreOptions): Promise<ExtentStore> {
    const store = new ExtentStore(options)
    await recover(store.#context)
    return store
  }

  /** All copies, in no order. */
  copies(): CopyInfo[] {
    return Array.from(this.#context.copies.values(), (copy) => copy.info())
  }

  info(egroup: EgroupId): CopyInfo | undefined {
    return this.#context.copies.get(egroup)?.info()
  }

  /**
   * An empty, open copy; durable when it resolves. Goes to the other tier when the one asked for has no room, and is
   * `NO_SPACE` when neither has. Replaces a partial copy; `ALREADY_EXISTS` for any other, unless it is still this one.
   */
  createCopy(copy: NewCopy): Promise<void> {
    return this.#change(copy.egroup, () => createCopy(this.#context, copy))
  }

  /**
   * Appends one frame; its slots can be read here as soon as it is written. The parts are the store's until it
   * settles. Appends to one copy run in the order of the calls. `STALE_GENERATION` (fenced), `COPY_SEALED`,
   * `OFFSET_MISMATCH` (not the end of the log here), `OUT_OF_RANGE` (the egroup is full), `CHECKSUM_MISMATCH` or
   * `BAD_ARGUMENT` (not the frame that was announced).
   */
  append(request: AppendRequest): Promise<void> {
    if (this.#closed) return Promise.reject(closedError())
    return append(this.#context, request)
  }

  /** Everything appended before the call is durable when it resolves. */
  async syncCopy(egroup: EgroupId): Promise<void> {
    await this.#context.copyOf(egroup).device.sync()
  }

  /**
   * Refuses appends of lower generations from now on, after those under way; tells how long the copy is. Both are
   * durable. `STALE_GENERATION` when it is fenced higher already.
   */
  fence(
    egroup: EgroupId,
    generation: Generation,
  ): Promise<{ readonly length: number; readonly state: CopyState }> {
    return this.#change(egroup, () => fence(this.#context, this.#context.fullCopyOf(egroup), generation))
  }

  /**
   * Cuts the log at `length`, the end of a frame, and seals it; all durable. `OFFSET_MISMATCH` when no frame ends
   * there, or the copy is sealed at another length; nothing happens when it is sealed at this one.
   */
  seal(egroup: EgroupId, generation: Generation, length: number): Promise<void> {
    return this.#change(egroup, () =>
      seal(this.#context, this.#context.fullCopyOf(egroup), generation, length),
    )
  }

  /**
   * Slices, in the order asked for, each verified; `missing` when the copy does not hold the slot, `corrupt` when its
   * bytes cannot be had. The bytes are the caller's; slices that lie near each other share one buffer.
   */
  readSlots(egroup: EgroupId, slots: readonly SlotIndex[]): Promise<SliceRead[]> {
    try {
      return readSlots(this.#context, egroup, slots)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  /** Raw log bytes, unverified; the caller's, until it is `doneWith` them, if ever. `OUT_OF_RANGE` past the end of the log. */
  async readLog(egroup: EgroupId, offset: number, length: number): Promise<Uint8Array> {
    return readLog(this.#context, egroup, offset, length)
  }

  /** What `readLog` returned may be overwritten. */
  doneWith(log: Uint8Array): void {
    this.#context.logReads.giveBack(log)
  }

  /** All slots that the copy holds, in the order of its log. */
  async slots(egroup: EgroupId): Promise<SlotSummary[]> {
    return listSlots(this.#context, egroup)
  }

  /** Fingerprints of the blocks of its data slices, as far as its frames still have them. */
  async fingerprints(egroup: EgroupId): Promise<FingerprintEntry[]> {
    return listFingerprints(this.#context, egroup)
  }

  /** Removes the copy, of any kind; durable. Nothing happens when there is none. */
  dropCopy(egroup: EgroupId): Promise<void> {
    return this.#change(egroup, () => this.#drop(egroup))
  }

  /** Removes the copy if it is partial still; durable. Nothing happens to any other. */
  dropPartial(egroup: EgroupId): Promise<void> {
    return this.#change(egroup, async () => {
      if (this.#context.copies.get(egroup)?.isPartial) await this.#drop(egroup)
    })
  }

  /**
   * Rewrites a sealed copy without the slots that are not in `live`, under the same names, without map records. Frees
   * nothing, and changes nothing, when no unit would be saved. `CONFLICT` while it is open; `CHECKSUM_MISMATCH` when
   * something live is damaged; `NO_SPACE` only when the reserve is in use.
   */
  compact(egroup: EgroupId, live: Bitset): Promise<{ readonly freedBytes: number }> {
    return this.#change(egroup, () => compact(this.#context, this.#context.sealedCopyOf(egroup), live))
  }

  /**
   * Takes the log of a sealed copy from elsewhere; every frame and slice is verified before anything changes; then it
   * is a full, sealed, durable copy here. Replaces a partial copy, or a sealed one. `CHECKSUM_MISMATCH` when what came
   * is damaged, `BAD_ARGUMENT` when it is not `length` bytes, `NO_SPACE`, and whatever `chunks` throws.
   */
  async importCopy(
    copy: NewCopy & { readonly length: number },
    chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    await withReceivedLog(this.#context, copy, chunks, (log) =>
      this.#change(copy.egroup, () => importLog(this.#context, copy, log)),
    )
  }

  /**
   * Keeps slices in this node's partial copy, on SSD; those already held are skipped. Not synced. `false` when there
   * is no room (some may have been added). The slices are only read, and free when it settles.
   */
  keepPartial(egroup: EgroupId, stream: VDiskId, slices: readonly StoredSlice[]): Promise<boolean> {
    return this.#change(egroup, () => keepPartial(this.#context, egroup, stream, slices))
  }

  /** Slots that the partial copy holds, a copy of the set; `undefined` when there is no partial copy. */
  partialSlots(egroup: EgroupId): Bitset | undefined {
    const held = this.#context.copies.get(egroup)?.held
    if (held === undefined) return undefined
    const copy = new BitsetOf()
    copy.or(held)
    return copy
  }

  /**
   * The partial copy becomes a full, sealed, durable one, after all of it was verified. That it holds every slot that
   * lives is the caller's to know. `CHECKSUM_MISMATCH` when it is damaged: drop it.
   */
  completePartial(egroup: EgroupId, generation: Generation): Promise<void> {
    return this.#change(egroup, () =>
      completePartial(this.#context, this.#context.copyOf(egroup), generation),
    )
  }

  /** Makes the copy hold this slice, whose checksum must be right (`CHECKSUM_MISMATCH`); synced. */
  repairSlot(egroup: EgroupId, slice: StoredSlice): Promise<void> {
    return this.#change(egroup, () => repairSlot(this.#context, this.#context.copyOf(egroup), slice))
  }

  /** Reads and verifies all of the copy. Never rejects because of damage. */
  scrub(egroup: EgroupId): Promise<ScrubReport> {
    return this.#change(egroup, () => scrub(this.#context, this.#context.copyOf(egroup)))
  }

  /** Moves a sealed copy to the other tier; 0 bytes when it is there. `NO_SPACE`, `CHECKSUM_MISMATCH`, `CONFLICT`. */
  moveTier(egroup: EgroupId, tier: Tier): Promise<{ readonly movedBytes: number }> {
    return this.#change(egroup, () => moveTier(this.#context, this.#context.sealedCopyOf(egroup), tier))
  }

  usage(): DeviceUsage[] {
    return this.#context.devices.map((device) => device.usage())
  }

  /** Takes a device out of service: its copies are gone for this node. `NOT_FOUND` for another node's device. */
  failDevice(id: string): void {
    this.#deviceOf(id).fail(new HitherError('DEVICE_FAILED', `device ${id} was declared failed`))
  }

  /** Formats a device that is out of service, and takes it back empty. `UNSAFE` while it is in service. */
  async reformatDevice(id: string): Promise<void> {
    const old = this.#deviceOf(id)
    if (old.failure === undefined) {
      throw new HitherError('UNSAFE', `device ${id} is in service and may hold data; fail it first`)
    }
    await old.unmount()
    const fresh = this.#storeDevice(this.#options.devices.find((device) => device.id === id)!)
    await fresh.format()
    this.#context.devices[this.#context.devices.indexOf(old)] = fresh
  }

  /**
   * Waits for what is under way, refuses what comes later with `DEVICE_FAILED`. Does not sync, and leaves the devices
   * open.
   */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.all(
      Array.from(this.#context.copies.keys(), (egroup) => this.#context.locks.run(egroup, () => {})),
    )
    await this.#context.idle()
    await Promise.all(this.#context.devices.map((device) => device.unmount()))
  }

  async #drop(egroup: EgroupId): Promise<void> {
    const copy = this.#context.copies.get(egroup)
    if (copy === undefined) return
    await copy.device.removeEntry(egroup)
    this.#context.copies.delete(egroup)
    this.#context.indexes.forget(copy)
    copy.device.retire(copy.placement)
  }

  #change<T>(egroup: EgroupId, change: () => T | Promise<T>): Promise<T> {
    if (this.#closed) return Promise.reject(closedError())
    return this.#context.locks.run(egroup, change)
  }

  #deviceOf(id: string): StoreDevice {
    const device = this.#context.devices.find((each) => each.id === id)
    if (device === undefined) throw new HitherError('NOT_FOUND', `this node has no device ${id}`)
    return device
  }

  #storeDevice(device: BlockDevice): StoreDevice {
    return new StoreDevice(this.#options.node, device, (failed, error) => {
      this.#context.dropCopiesOf(failed)
      this.#options.onDeviceFailed?.(failed.id, error)
    })
  }
}

function closedError(): HitherError {
  return new HitherError('DEVICE_FAILED', 'the extent store is closed')
}
