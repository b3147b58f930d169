/**
 * Reading a KvLog area back: which batches are there, where the next one goes, and whether something is wrong.
 *
 * Only one batch is ever on its way, and its space held zeros before. So after a crash the area is: whole batches; then
 * at most one torn batch, each of whose sectors is either right or zeros; then at least one sector of zeros; then
 * whatever was there before. Everything else is damage, never a crash:
 *
 *     a sector that is neither right nor zeros, before that end  → damage
 *     a snapshot batch that is not whole                         → damage (its header was written after it)
 *     a later batch behind that end                              → damage (the batch there had been acknowledged)
 *
 * A batch that has been lost is as long as a batch can be, at most: a later one would start within that distance of the
 * end, so the rest of the area, which may be large and blank, is not read.
 *
 * What cannot be told from a torn write is a sector of the very last batch that has turned to zeros.
 */
import { isZero } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { MiB, SECTOR_BYTES } from '../base/units.ts'
import {
  BATCH_SECTORS_MAX,
  type BatchSector,
  type Change,
  decodeRecords,
  decodeSector,
  type Header,
  SECTOR_PAYLOAD_BYTES,
} from './kv-log-format.ts'
import type { BlockDevice } from './types.ts'

const WINDOW_BYTES = 1 * MiB

export interface Replayed {
  /** Whole batches: also the sequence of the next. */
  readonly batches: number
  /** Bytes of the area that they take: where the next goes. */
  readonly tailBytes: number
}

/**
 * Reads the area at `offset` of the device and hands each whole batch to `apply`, in order. No batch of it has more
 * than `batchSectorsMax` sectors. Rejects with `DEVICE_CORRUPT`; `apply` may then have been called already.
 */
export async function replayArea(
  device: BlockDevice,
  offset: number,
  header: Header,
  apply: (changes: readonly Change[]) => void,
  batchSectorsMax = BATCH_SECTORS_MAX,
): Promise<Replayed> {
  const replay = new Replay(device.id, offset, header, apply, batchSectorsMax)
  const areaBytes = header.areaSectors * SECTOR_BYTES
  const window = new Uint8Array(Math.min(WINDOW_BYTES, areaBytes))
  for (let start = 0; start < areaBytes && !replay.isOver; start += window.length) {
    const bytes = window.subarray(0, Math.min(window.length, areaBytes - start))
    await device.read(offset + start, bytes)
    if (replay.hasEnded && isZero(bytes, 0, bytes.length)) replay.skip(bytes.length / SECTOR_BYTES)
    else for (let at = 0; at < bytes.length; at += SECTOR_BYTES) replay.take(bytes, at)
  }
  return replay.end()
}

class Replay {
  readonly #device: string
  readonly #offset: number
  readonly #header: Header
  readonly #apply: (changes: readonly Change[]) => void
  readonly #batchSectorsMax: number
  /** Sectors taken, and those of them that belong to whole batches. */
  #taken = 0
  #whole = 0
  #batches = 0
  /** Payload of the batch being taken, and whether a sector of it is missing. */
  #payload: Uint8Array | undefined
  #torn = false
  /** The end was reached after so many sectors. */
  #endedAt: number | undefined

  constructor(
    device: string,
    offset: number,
    header: Header,
    apply: (changes: readonly Change[]) => void,
    batchSectorsMax: number,
  ) {
    this.#batchSectorsMax = batchSectorsMax
    this.#device = device
    this.#offset = offset
    this.#header = header
    this.#apply = apply
  }

  /** From here on only a later batch matters. */
  get hasEnded(): boolean {
    return this.#endedAt !== undefined
  }

  /** Nothing that is still to come can matter. */
  get isOver(): boolean {
    return this.#endedAt !== undefined && this.#taken > this.#endedAt + this.#batchSectorsMax
  }

  /** Instead of taking so many sectors of zeros. It has ended. */
  skip(sectors: number): void {
    this.#taken += sectors
  }

  take(bytes: Uint8Array, at: number): void {
    const sector = decodeSector(bytes, at, this.#header)
    if (this.#endedAt !== undefined) {
      if (typeof sector === 'object' && sector.sequence > this.#batches) throw this.#damage('a batch is gone')
    } else if (sector === 'other') {
      throw this.#damage('a sector is damaged')
    } else if (this.#payload === undefined) {
      this.#takeFirst(sector)
    } else {
      this.#takeNext(sector, this.#payload)
    }
    this.#taken += 1
  }

  end(): Replayed {
    if (this.#payload) throw this.#damage('the last batch goes past the end')
    this.#checkSnapshot()
    return { batches: this.#batches, tailBytes: this.#whole * SECTOR_BYTES }
  }

  #takeFirst(sector: BatchSector | 'blank'): void {
    if (sector === 'blank') {
      this.#endHere()
      return
    }
    if (sector.sequence !== this.#batches || sector.index !== 0) throw this.#damage('a batch is out of order')
    this.#payload = new Uint8Array((sector.last + 1) * SECTOR_PAYLOAD_BYTES)
    this.#torn = false
    this.#takeNext(sector, this.#payload)
  }

  #takeNext(sector: BatchSector | 'blank', payload: Uint8Array): void {
    const index = this.#taken - this.#whole
    if (sector === 'blank') {
      this.#torn = true
    } else {
      if (sector.sequence !== this.#batches || sector.index !== index)
        throw this.#damage('a batch is cut short')
      payload.set(sector.payload, index * SECTOR_PAYLOAD_BYTES)
    }
    if ((index + 1) * SECTOR_PAYLOAD_BYTES === payload.length) this.#endBatch(payload)
  }

  #endBatch(payload: Uint8Array): void {
    this.#payload = undefined
    if (this.#torn) {
      this.#endHere()
      return
    }
    const changes = decodeRecords(payload)
    if (!changes) throw this.#damage('a batch has no whole records')
    this.#apply(changes)
    this.#batches += 1
    this.#whole = this.#taken + 1
  }

  #endHere(): void {
    this.#endedAt = this.#taken
    this.#checkSnapshot()
  }

  #checkSnapshot(): void {
    if (this.#batches < this.#header.snapshotBatches) throw this.#damage('the snapshot is not whole')
  }

  #damage(what: string): HitherError {
    const at = this.#offset + this.#taken * SECTOR_BYTES
    return new HitherError('DEVICE_CORRUPT', `table on device ${this.#device}: ${what}, at byte ${at}`)
  }
}
