/**
 * What is on the devices, at open.
 *
 * 1. Each device: superblock, table (store-device.ts). One that is damaged is out of service; the others go on.
 * 2. Entries become copies, the newest first. One whose units are taken by a newer one, or outside the device, is left
 *    over from damage: it is removed, and the copy counts as missing.
 * 3. An egroup that is on two devices was being moved: a full copy beats a partial one, then the newer entry wins; the
 *    other is removed.
 * 4. An open copy is as long as its longest prefix of frames that are valid, slices and all. What follows was never
 *    acknowledged as durable (or the medium has lost it, and then the copy must not pretend to have what is behind).
 * 5. A partial copy is what its frame heads say; its slices are verified when they are read.
 * 6. Sealed copies need nothing: their length is in the table, their index is read when asked for.
 */
import { Bitset } from '../base/bitset.ts'
import { Copy } from './copy.ts'
import type { CopyEntry } from './copy-table.ts'
import { verifySlices } from './frame-reader.ts'
import { type FrameVisitor, type LogReader, scanFrames, scanHeads } from './log-scan.ts'
import { UNIT_BYTES } from './placement.ts'
import { SlotIndex } from './slot-index.ts'
import type { StoreContext } from './store-context.ts'
import type { StoreDevice } from './store-device.ts'

/** Mounts the devices of the context and finds their copies. Never rejects because of what is on a device. */
export async function recover(context: StoreContext): Promise<void> {
  await Promise.all(context.devices.map((device) => device.mount()))
  const inService = context.devices.filter((device) => device.failure === undefined)
  await Promise.all(inService.map((device) => findCopies(context, device)))
  await Promise.all(inService.map((device) => findLengths(context, device)))
}

async function findCopies(context: StoreContext, device: StoreDevice): Promise<void> {
  const unwanted: CopyEntry[] = []
  for (const entry of device.entries().sort((a, b) => b.serial - a.serial)) {
    context.seenSerial(entry.serial)
    if (!isSane(entry) || !device.claim(entry.extents)) {
      unwanted.push(entry)
      continue
    }
    const copy = new Copy(device, entry)
    const other = context.copies.get(copy.egroup)
    const loser = other === undefined ? undefined : beats(copy, other) ? other : copy
    if (loser !== copy) context.copies.set(copy.egroup, copy)
    if (loser !== undefined) {
      loser.device.free(loser.entry.extents)
      await removeQuietly(loser.device, loser.entry)
    }
  }
  for (const entry of unwanted) await removeQuietly(device, entry)
}

/** A failure has taken the device out of service, which tells. */
async function removeQuietly(device: StoreDevice, entry: CopyEntry): Promise<void> {
  try {
    await device.removeEntry(entry.egroup)
  } catch {
    return
  }
}

function beats(a: Copy, b: Copy): boolean {
  if (a.isPartial !== b.isPartial) return b.isPartial
  return a.entry.serial > b.entry.serial
}

function isSane(entry: CopyEntry): boolean {
  const bytes = entry.extents.reduce((sum, extent) => sum + extent.count * UNIT_BYTES, 0)
  return entry.length <= bytes && (entry.indexBytes === 0 || entry.indexOffset + entry.indexBytes <= bytes)
}

async function findLengths(context: StoreContext, device: StoreDevice): Promise<void> {
  for (const copy of context.copies.values()) {
    if (copy.device === device && !copy.isSealed) await findLength(context, copy)
  }
}

async function findLength(context: StoreContext, copy: Copy): Promise<void> {
  const { device, placement, egroup } = copy
  const index = new SlotIndex()
  copy.length = 0
  copy.frameEnds = []
  const visit: FrameVisitor = (frame) => {
    if (copy.isOpen && !verifySlices(frame)) return false
    if (!index.addFrame(frame)) return false
    copy.length = frame.offset + frame.frameBytes
    copy.frameEnds.push(copy.length)
    return true
  }
  const end = placement.bytes
  const read: LogReader = (offset, target) => device.read(placement, offset, target)
  try {
    if (copy.isOpen) {
      await context.withLogBuffer(end, (memory) => scanFrames(read, egroup, end, visit, memory))
    } else {
      await scanHeads(read, egroup, end, visit)
    }
  } catch {
    // The log ends where the device can no longer be read.
  }
  index.truncate(copy.length)
  copy.slotCount = index.count
  copy.index = index
  if (!copy.isPartial) return
  copy.frameEnds = []
  copy.held = new Bitset()
  for (let row = 0; row < index.count; row++) copy.held.set(index.slot(row))
  context.indexes.touch(copy)
}
