/**
 * The start of a files disk as a `BlockDevice`, for the table of its file system. A write is one frame of the vDisk's
 * log: atomic (up to 1 MiB), and durable when it resolves, so there is nothing to sync. It is rounded up to whole blocks
 * with a copy of the last block written, since a table appends: the vDisk would have to read that block again each time.
 * Writes come one after the other, as those of a `KvLog` do. They find room in a full cluster, so that files can be
 * removed there; what makes files is refused earlier (`FileTable.assertRoom`).
 */
import { alignUp, BLOCK_BYTES } from '../base/units.ts'
import type { BlockDevice } from '../platform/types.ts'
import type { OwnedVDisk } from '../vdisk/owned-vdisk.ts'

export class VDiskDevice implements BlockDevice {
  readonly id: string
  readonly tier = 'ssd'
  readonly size: number
  readonly sectorSize = BLOCK_BYTES
  readonly #vdisk: OwnedVDisk
  /** The block at `#lastAt` as it is, whole. */
  #last: Uint8Array | undefined
  #lastAt = -1

  /** @param size bytes from the start of the vDisk that belong to the device */
  constructor(vdisk: OwnedVDisk, size: number) {
    this.#vdisk = vdisk
    this.id = vdisk.name
    this.size = size
  }

  read(offset: number, target: Uint8Array): Promise<void> {
    return this.#vdisk.readInto(offset, target) ?? Promise.resolve()
  }

  async write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const bytes = parts instanceof Uint8Array ? parts : Buffer.concat(parts)
    const lead = offset % BLOCK_BYTES
    const start = offset - lead
    const whole = new Uint8Array(alignUp(lead + bytes.length, BLOCK_BYTES))
    const tail = whole.subarray(whole.length - BLOCK_BYTES)
    const tailAt = start + whole.length - BLOCK_BYTES
    if (lead > 0) await this.#fill(start, whole.subarray(0, BLOCK_BYTES))
    if (lead + bytes.length < whole.length && (lead === 0 || tailAt > start)) await this.#fill(tailAt, tail)
    whole.set(bytes, lead)
    this.#forget()
    await this.#vdisk.writeRecords(start, whole)
    this.#last = tail.slice()
    this.#lastAt = tailAt
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    return this.write(offset, parts)
  }

  sync(): Promise<void> {
    return Promise.resolve()
  }

  trim(offset: number, length: number): Promise<void> {
    this.#forget()
    return this.#vdisk.erase(offset, length, true)
  }

  close(): Promise<void> {
    return Promise.resolve()
  }

  async #fill(blockAt: number, target: Uint8Array): Promise<void> {
    if (blockAt === this.#lastAt) target.set(this.#last!)
    else await this.#vdisk.readInto(blockAt, target)
  }

  #forget(): void {
    this.#last = undefined
    this.#lastAt = -1
  }
}
