/**
 * Finding the live area of a KvLog, or making one in a blank region. What each combination of headers means, and why,
 * is in the head comment of kv-log.ts.
 */
import { isZero } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { MiB, SECTOR_BYTES } from '../base/units.ts'
import { decodeHeader, encodeHeader, HEADER_SLOT_BYTES, type Header, isBatchSector } from './kv-log-format.ts'
import { replayArea } from './kv-log-replay.ts'
import type { BlockDevice } from './types.ts'

const WINDOW_BYTES = 1 * MiB
const FIRST_GENERATION = 2

/** Where a table lies on its device. */
export interface Region {
  readonly offset: number
  readonly areaSectors: number
}

/** An area as it is written to. Positions are bytes from its start. */
export interface Area {
  readonly header: Header
  /** Batches in it; also the sequence of the next. */
  batches: number
  /** Where the next batch goes. */
  tailBytes: number
  /** From the tail to here there are durable zeros. */
  zeroedBytes: number
}

/** Where on the device the area of this generation starts. */
export function areaOffset(region: Region, generation: number): number {
  return region.offset + 2 * HEADER_SLOT_BYTES + (generation % 2) * region.areaSectors * SECTOR_BYTES
}

/**
 * The header of the live area; formats a blank region, which `blank` says was never written to. Rejects with
 * `DEVICE_CORRUPT` or `FORMAT_UNKNOWN`.
 */
export async function findLiveArea(device: BlockDevice, region: Region, blank = false): Promise<Header> {
  const page = new Uint8Array(2 * HEADER_SLOT_BYTES)
  await device.read(region.offset, page)
  const first = decodeHeader(page.subarray(0, SECTOR_BYTES))
  const second = decodeHeader(page.subarray(HEADER_SLOT_BYTES, HEADER_SLOT_BYTES + SECTOR_BYTES))

  if (first === 'blank' && second === 'blank') return format(device, region, blank)
  if (typeof first === 'string' && typeof second === 'string' && first !== 'bad' && second !== 'bad') {
    throw new HitherError(
      'FORMAT_UNKNOWN',
      `device ${device.id} holds something else at byte ${region.offset}; give an empty device, or clear this one`,
    )
  }
  if (typeof first === 'string') throw corrupt(device, region, 'its first header is damaged')
  if (second === 'blank') return completeFormat(device, region, first)
  if (typeof second === 'string') throw corrupt(device, region, 'its second header is damaged')
  if (first.generation % 2 !== 0 || Math.abs(first.generation - second.generation) !== 1) {
    throw corrupt(device, region, 'its headers do not belong together')
  }
  const live = first.generation > second.generation ? first : second
  checkSize(device, region, live)
  return live
}

async function format(device: BlockDevice, region: Region, blank: boolean): Promise<Header> {
  const start = areaOffset(region, FIRST_GENERATION)
  const end = blank ? start : start + 2 * region.areaSectors * SECTOR_BYTES
  const window = new Uint8Array(WINDOW_BYTES)
  for (let offset = start; offset < end; offset += window.length) {
    const bytes = window.subarray(0, Math.min(window.length, end - offset))
    await device.read(offset, bytes)
    if (isZero(bytes, 0, bytes.length)) continue
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      if (isBatchSector(bytes, at))
        throw corrupt(device, region, 'its headers are gone, but entries are there')
    }
  }
  // The area must end with zeros at its start; what else an old file system left in it does no harm.
  await device.write(start, new Uint8Array(SECTOR_BYTES))
  await device.sync()
  const header = blankHeader(region, FIRST_GENERATION)
  await device.write(region.offset, encodeHeader(header))
  await device.sync()
  await writeSecondHeader(device, region)
  return header
}

/** Header 0 is there and header 1 is not: a format that a crash cut short, before the first commit. */
async function completeFormat(device: BlockDevice, region: Region, first: Header): Promise<Header> {
  checkSize(device, region, first)
  const replayed = await replayArea(device, areaOffset(region, first.generation), first, () => undefined)
  if (first.generation !== FIRST_GENERATION || replayed.batches > 0) {
    throw corrupt(device, region, 'its second header is gone')
  }
  await writeSecondHeader(device, region)
  return first
}

async function writeSecondHeader(device: BlockDevice, region: Region): Promise<void> {
  const header = blankHeader(region, FIRST_GENERATION - 1)
  await device.write(region.offset + HEADER_SLOT_BYTES, encodeHeader(header))
  await device.sync()
}

function blankHeader(region: Region, generation: number): Header {
  return { generation, basis: 0, snapshotBatches: 0, areaSectors: region.areaSectors }
}

function checkSize(device: BlockDevice, region: Region, header: Header): void {
  if (header.areaSectors === region.areaSectors) return
  throw new HitherError(
    'BAD_ARGUMENT',
    `the table at byte ${region.offset} of device ${device.id} was made with areas of ${header.areaSectors} sectors, not ${region.areaSectors}`,
  )
}

function corrupt(device: BlockDevice, region: Region, what: string): HitherError {
  return new HitherError(
    'DEVICE_CORRUPT',
    `the table at byte ${region.offset} of device ${device.id} is damaged: ${what}`,
  )
}
