/**
 * A small durable table from strings to bytes, in a region of a device: the catalog's storage, and that of a node's
 * list of copies. All of it is also in memory. Byte layout: kv-log-format.ts; reading back: kv-log-replay.ts.
 *
 * Commit. All that waits while a write is under way becomes one batch of records: one durable write, appended to the
 * live one of two areas. It is visible to `get` and `entries` when durable, in commit order. A sector that holds
 * acknowledged bytes is never written again. Space is filled with zeros, and synced, a stretch ahead of use: writing it
 * again is then several times faster than growing into it, and a torn batch can be told from a damaged one.
 *
 * Full area:
 *   1. Write all entries, as batches, to the start of the other area, then zeros behind them; sync.
 *   2. Write the header of that area, with the next generation; sync. From here on it is the live one.
 *   3. Append there.
 * A crash before the header of step 2 is durable leaves the old area live, whole; the next try begins the other anew.
 *
 * Open. Both headers must be whole, and their generations neighbours: were the newer one lost, the older would take the
 * table back in time, so that is `DEVICE_CORRUPT` and not a start. The region counts as blank, and is formatted, only
 * when it holds no headers and no batch anywhere. Format writes header 0 (generation 2, live) before header 1
 * (generation 1); a crash between leaves slot 1 blank beside an empty area 0, which open completes.
 *
 * Room. Entries may take 70 % of an area and one commit 20 %, so that a snapshot and one more batch always fit: a
 * commit that would go over is refused whole with `DEVICE_FULL` as soon as it is made, and removals always work.
 *
 * On a thin device an area counts as full much sooner (`KvLogOptions.thin`), and the other one is trimmed after step 2.
 *
 * A failed write, or sync, ends the table: later commits reject, reads still answer with what was durable. Open it again
 * to go on.
 */
import { asHitherError, HitherError, invariant } from '../base/errors.ts'
import { alignDown, KiB, MiB, SECTOR_BYTES } from '../base/units.ts'
import {
  BATCH_SECTORS_MAX,
  batchSectors,
  type Change,
  encodeBatch,
  encodeHeader,
  encodeRecords,
  HEADER_SLOT_BYTES,
  type Header,
  KEY_BYTES_MAX,
  keyBytes,
  recordBytes,
  SECTOR_PAYLOAD_BYTES,
} from './kv-log-format.ts'
import { type Area, areaOffset, findLiveArea, type Region } from './kv-log-open.ts'
import { replayArea } from './kv-log-replay.ts'
import { SortedMap } from './sorted-map.ts'
import type { BlockDevice } from './types.ts'

export type { Change } from './kv-log-format.ts'

/** Smallest region, bytes. */
export const KV_LOG_BYTES_MIN = 64 * KiB

const LIVE_SHARE = 0.7
const COMMIT_SHARE = 0.2
const COMMIT_BYTES_MAX = 16 * MiB
/** Payload of one snapshot batch. */
const SNAPSHOT_BATCH_BYTES = 256 * KiB
/** Space zeroed at a time ahead of use. */
const ZERO_BYTES = 256 * KiB
const ZEROS = new Uint8Array(ZERO_BYTES)
/** On a thin device an area is left when it holds so many times what the entries take, and this at least. */
const THIN_GARBAGE = 2
const THIN_AREA_BYTES_MIN = 4 * MiB
/** Largest commit on a thin device: bounds how far behind its end an area has to be read. */
const THIN_COMMIT_BYTES_MAX = 1 * MiB

export interface KvLogOptions {
  /**
   * The device takes space only where it was written: areas are left long before they are full, and given back, so that
   * little has to be read to open the table however large its region is.
   */
  readonly thin?: boolean
  /** Nothing was ever written to the region: a new table is made without looking for an old one. */
  readonly blank?: boolean
}

/** A commit that was admitted. */
interface Commit {
  readonly changes: readonly Change[]
  /** Payload bytes. */
  readonly bytes: number
  resolve(): void
  reject(error: HitherError): void
}

export class KvLog {
  readonly #device: BlockDevice
  readonly #region: Region
  /** What is durable. */
  readonly #state = new SortedMap<Uint8Array>()
  /** The newest admitted change of each key that is not durable yet. */
  readonly #ahead = new Map<string, Change>()
  /** Record bytes of all entries, once everything admitted is durable. */
  #liveBytes = 0
  readonly #liveBytesMax: number
  readonly #commitBytesMax: number
  readonly #thin: boolean
  #area: Area
  #waiting: Commit[] = []
  #running = false
  /** Why commits reject. */
  #ended: HitherError | undefined
  #drained: Promise<void> | undefined

  private constructor(device: BlockDevice, region: Region, area: Area, thin: boolean) {
    this.#device = device
    this.#region = region
    this.#area = area
    this.#thin = thin
    this.#liveBytesMax = Math.floor(region.areaSectors * LIVE_SHARE) * SECTOR_PAYLOAD_BYTES
    this.#commitBytesMax = Math.min(
      Math.floor(region.areaSectors * COMMIT_SHARE) * SECTOR_PAYLOAD_BYTES,
      thin ? THIN_COMMIT_BYTES_MAX : COMMIT_BYTES_MAX,
    )
    invariant(batchSectors(COMMIT_BYTES_MAX) <= BATCH_SECTORS_MAX, 'a commit fits a batch')
  }

  /**
   * Opens the table in `length` bytes at `offset`, both whole sectors; makes it when the region is blank. The region is
   * the table's alone until `close`. Rejects with `BAD_ARGUMENT`, `FORMAT_UNKNOWN` (something else is there),
   * `DEVICE_CORRUPT` (damage that would lose or change acknowledged entries), or the device's own error.
   */
  static async open(
    device: BlockDevice,
    range: { offset: number; length: number },
    options: KvLogOptions = {},
  ): Promise<KvLog> {
    const region = regionOf(device, range)
    const header = await findLiveArea(device, region, options.blank === true)
    const area = { header, batches: 0, tailBytes: 0, zeroedBytes: 0 }
    const log = new KvLog(device, region, area, options.thin === true)
    const replayed = await replayArea(
      device,
      areaOffset(region, header.generation),
      header,
      (changes) => {
        for (const change of changes) log.#apply(change)
      },
      options.thin === true ? batchSectors(THIN_COMMIT_BYTES_MAX) : undefined,
    )
    for (const [key, value] of log.#state.entries('')) log.#liveBytes += recordBytes(key, value)
    log.#area = { header, ...replayed, zeroedBytes: replayed.tailBytes }
    // What a killed process wrote may be in a cache only. It must be durable before anybody can see it.
    await device.sync()
    return log
  }

  /** Number of entries. */
  get size(): number {
    return this.#state.size
  }

  /** Bytes that all entries take, admitted ones included, and the most they may. */
  get room(): { readonly usedBytes: number; readonly sizeBytes: number } {
    return { usedBytes: this.#liveBytes, sizeBytes: this.#liveBytesMax }
  }

  /** The table's own bytes: not to be changed. */
  get(key: string): Uint8Array | undefined {
    return this.#state.get(key)
  }

  /** Entries whose key starts with `prefix`, in key order. To be walked at once: no `await` between. */
  entries(prefix: string): Iterable<[string, Uint8Array]> {
    return this.#state.entries(prefix)
  }

  /**
   * Why `commit` would refuse these changes now: `BAD_ARGUMENT` (key empty, over 1,024 bytes, or with characters beyond
   * U+FFFF), `DEVICE_FULL`, or that the table has ended. Once admitted, a commit fails only together with all later
   * ones.
   */
  refusal(changes: readonly Change[]): HitherError | undefined {
    if (this.#ended) return this.#ended
    let bytes = 0
    for (const { key, value } of changes) {
      if (!isKey(key)) {
        return new HitherError(
          'BAD_ARGUMENT',
          `not a key of 1 to ${KEY_BYTES_MAX} bytes: ${JSON.stringify(key)}`,
        )
      }
      bytes += recordBytes(key, value)
    }
    const grows = this.#growth(changes)
    if (bytes <= this.#commitBytesMax && (grows <= 0 || this.#liveBytes + grows <= this.#liveBytesMax)) {
      return undefined
    }
    return new HitherError(
      'DEVICE_FULL',
      `the table on device ${this.#device.id} has no room for ${bytes} more bytes: ${this.#liveBytes} of ${this.#liveBytesMax} are used, and one commit may have ${this.#commitBytesMax}`,
    )
  }

  /**
   * All changes or none; durable, and visible, when it resolves. Commits take effect in the order of the calls. Without
   * changes it resolves when all earlier ones have. Keys and values are handed over. Rejects with what `refusal` tells,
   * or with the device's error.
   */
  commit(changes: readonly Change[]): Promise<void> {
    const refusal = this.refusal(changes)
    if (refusal) return Promise.reject(refusal)
    this.#liveBytes += this.#growth(changes)
    let bytes = 0
    for (const change of changes) {
      bytes += recordBytes(change.key, change.value)
      this.#ahead.set(change.key, change)
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ changes, bytes, resolve, reject })
      if (this.#running) return
      this.#running = true
      // Not at once: commits of the same turn share the batch.
      queueMicrotask(() => void this.#run())
    })
  }

  /** Waits for the commits under way; later ones reject with `DEVICE_FAILED`. The device stays open. */
  close(): Promise<void> {
    this.#drained ??= this.commit([]).catch(() => undefined)
    this.#ended ??= new HitherError('DEVICE_FAILED', `the table on device ${this.#device.id} is closed`)
    return this.#drained
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#takeGroup()
      try {
        await this.#append(group)
      } catch (error) {
        this.#fail(group, asHitherError(error, 'DEVICE_FAILED'))
        return
      }
      for (const commit of group) {
        for (const change of commit.changes) {
          this.#apply(change)
          if (this.#ahead.get(change.key) === change) this.#ahead.delete(change.key)
        }
        commit.resolve()
      }
    }
    this.#running = false
  }

  /** As many waiting commits as one batch may hold. */
  #takeGroup(): Commit[] {
    let bytes = 0
    let count = 0
    for (const commit of this.#waiting) {
      if (count > 0 && bytes + commit.bytes > this.#commitBytesMax) break
      bytes += commit.bytes
      count += 1
    }
    return this.#waiting.splice(0, count)
  }

  async #append(group: readonly Commit[]): Promise<void> {
    let bytes = 0
    for (const commit of group) bytes += commit.bytes
    if (bytes === 0) return
    const payload = encodeRecords(
      group.flatMap((commit) => commit.changes),
      bytes,
    )
    const batchBytes = batchSectors(bytes) * SECTOR_BYTES
    if (this.#area.tailBytes + batchBytes > this.#areaBytesMax()) await this.#switchArea()
    const end = this.#area.tailBytes + batchBytes
    if (await this.#zeroAhead(this.#area, end)) await this.#device.sync()
    const { header, batches, tailBytes } = this.#area
    await this.#device.writeDurably(
      areaOffset(this.#region, header.generation) + tailBytes,
      encodeBatch(header, batches, payload),
    )
    this.#area.batches += 1
    this.#area.tailBytes = end
  }

  /** Where an area counts as full. */
  #areaBytesMax(): number {
    const areaBytes = this.#region.areaSectors * SECTOR_BYTES
    if (!this.#thin) return areaBytes
    return Math.min(areaBytes, Math.max(THIN_AREA_BYTES_MIN, this.#liveBytes * THIN_GARBAGE))
  }

  /** Sees to zeros from the tail to one sector past `end`. Says whether a sync must follow. */
  async #zeroAhead(area: Area, end: number): Promise<boolean> {
    const areaBytes = this.#region.areaSectors * SECTOR_BYTES
    const needed = Math.min(end + SECTOR_BYTES, areaBytes)
    if (area.zeroedBytes >= needed) return false
    const target = Math.min(Math.max(needed, area.zeroedBytes + ZERO_BYTES), areaBytes)
    const start = areaOffset(this.#region, area.header.generation)
    while (area.zeroedBytes < target) {
      const length = Math.min(ZERO_BYTES, target - area.zeroedBytes)
      await this.#device.write(start + area.zeroedBytes, ZEROS.subarray(0, length))
      area.zeroedBytes += length
    }
    return true
  }

  async #switchArea(): Promise<void> {
    const life = { generation: this.#area.header.generation + 1, basis: this.#area.batches }
    const start = areaOffset(this.#region, life.generation)
    let tailBytes = 0
    let batches = 0
    for (const payload of this.#snapshot()) {
      const bytes = encodeBatch(life, batches, payload)
      invariant(
        tailBytes + bytes.length <= this.#region.areaSectors * SECTOR_BYTES,
        'a snapshot fits its area',
      )
      await this.#device.write(start + tailBytes, bytes)
      tailBytes += bytes.length
      batches += 1
    }
    const header: Header = { ...life, snapshotBatches: batches, areaSectors: this.#region.areaSectors }
    const area: Area = { header, batches, tailBytes, zeroedBytes: tailBytes }
    await this.#zeroAhead(area, tailBytes)
    await this.#device.sync()
    await this.#device.write(
      this.#region.offset + (life.generation % 2) * HEADER_SLOT_BYTES,
      encodeHeader(header),
    )
    await this.#device.sync()
    const left = this.#area
    this.#area = area
    if (this.#thin) {
      await this.#device.trim(areaOffset(this.#region, left.header.generation), left.tailBytes)
    }
  }

  /** Payloads that hold all durable entries. Nothing is applied while a batch is being written, so the walk is safe. */
  *#snapshot(): Generator<Uint8Array> {
    let piece: Change[] = []
    let bytes = 0
    for (const [key, value] of this.#state.entries('')) {
      const added = recordBytes(key, value)
      if (bytes > 0 && bytes + added > SNAPSHOT_BATCH_BYTES) {
        yield encodeRecords(piece, bytes)
        piece = []
        bytes = 0
      }
      piece.push({ key, value })
      bytes += added
    }
    if (bytes > 0) yield encodeRecords(piece, bytes)
  }

  #fail(group: readonly Commit[], error: HitherError): void {
    this.#ended = error
    const lost = [...group, ...this.#waiting]
    this.#waiting = []
    this.#running = false
    for (const commit of lost) commit.reject(error)
  }

  #apply({ key, value }: Change): void {
    if (value) this.#state.set(key, value)
    else this.#state.delete(key)
  }

  /** By how much the entries grow once these changes, after all admitted ones, are durable. */
  #growth(changes: readonly Change[]): number {
    let growth = 0
    const seen = new Map<string, Uint8Array | undefined>()
    for (const { key, value } of changes) {
      const before = seen.has(key) ? seen.get(key) : this.#latest(key)
      if (before) growth -= recordBytes(key, before)
      if (value) growth += recordBytes(key, value)
      seen.set(key, value)
    }
    return growth
  }

  #latest(key: string): Uint8Array | undefined {
    const ahead = this.#ahead.get(key)
    return ahead ? ahead.value : this.#state.get(key)
  }
}

function isKey(key: string): boolean {
  // Without surrogates the order of UTF-16 code units is the byte order of UTF-8, and every key survives encoding.
  return key.length > 0 && keyBytes(key) <= KEY_BYTES_MAX && !/[\ud800-\udfff]/.test(key)
}

function regionOf(device: BlockDevice, { offset, length }: { offset: number; length: number }): Region {
  const fits = offset >= 0 && offset + length <= device.size
  if (!fits || offset % SECTOR_BYTES !== 0 || length % SECTOR_BYTES !== 0 || length < KV_LOG_BYTES_MIN) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `${length} bytes at ${offset} of device ${device.id} cannot hold a table: it takes whole sectors, and ${KV_LOG_BYTES_MIN} bytes at least`,
    )
  }
  return { offset, areaSectors: alignDown((length - 2 * HEADER_SLOT_BYTES) / 2, SECTOR_BYTES) / SECTOR_BYTES }
}
