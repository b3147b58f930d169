/**
 * The data of regular files: where it is, and every operation that changes sizes.
 *
 * A file has no data (size 0, or only holes: place `none`), or up to 1 MiB in a slot of the files disk, or a vDisk. A
 * file that grows past 1 MiB gets a vDisk for good (until it is cut to nothing): it is made, the bytes so far are copied,
 * then the new place is committed; until then the file is what it was. What a crash leaves behind of that has no file,
 * and goes when the table is loaded next (disk-adoption.ts).
 *
 * Whatever depends on a size or a place runs under the file's lock. Hosts read and write a file's vDisk themselves, so
 * not all of their IO is seen here. What keeps bytes from showing up that are not the file's:
 *   - Growing past a gap zeroes it first, up to `LOOSE_BYTES`: past its size a file may have bytes of a write whose end
 *     was never told. Hosts write no farther past the size than that before the size is committed.
 *   - Cutting commits the size, then erases, `LOOSE_BYTES` past the old size included. Until that is done the inode says
 *     how far there may be bytes (`loose`), and growing zeroes that far.
 *   - A host that wrote while bytes were cut or zeroed sees it by the file's epoch, and writes again.
 * A slot is erased when it is given up, and used again only after that.
 */
import type { FileChanges, FileId, FileTime, RequestKey } from '../api.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import { alignUp } from '../base/units.ts'
import type { Disks } from './disks.ts'
import { fileError } from './file-error.ts'
import type { FileTable } from './file-table.ts'
import { FileTurns } from './file-turns.ts'
import { attributesOf, type Inode, NO_PLACE } from './inode.ts'
import { CAPACITY_BYTES_MIN, FILE_BYTES_MAX, LOOSE_BYTES, SLOT_BYTES, SLOTS_START } from './limits.ts'
import type { Asked, DiskPlace, FileAnswer } from './messages.ts'
import { applyChanges, checkSize, type ReadyDisk } from './operations.ts'

/** Records the answer with the effect, commits both, and resolves when they are durable. */
export type Finish = (answer: FileAnswer) => Promise<void>

/** The part of the files disk that holds slots. */
export interface SlotDevice {
  readInto(offset: number, target: Uint8Array): Promise<void>
  write(offset: number, data: Uint8Array): Promise<void>
  erase(offset: number, length: number): Promise<void>
}

export interface FileDataDeps {
  readonly table: FileTable
  readonly slots: SlotDevice
  readonly disks: Disks
  readonly container: string
  /** Begins the names of vDisks made for files: differs from those of every other owner. */
  readonly diskNames: string
  /** Larger than that of every service before. */
  readonly age: number
  readonly onError: (what: string, error: unknown) => void
}

export class FileData {
  readonly #deps: FileDataDeps
  readonly #turns = new FileTurns()
  #disksMade = 0

  constructor(deps: FileDataDeps) {
    this.#deps = deps
  }

  async read({ file, offset, length }: Asked<'read'>): Promise<FileAnswer> {
    const { table, slots } = this.#deps
    for (;;) {
      const inode = this.#regular(file)
      const { place } = inode
      const attributes = [attributesOf(inode)]
      if (place.kind === 'disk') return { attributes, place: this.placeOf(inode)! }
      const count = Math.max(0, Math.min(length, inode.size - offset, SLOT_BYTES))
      const bytes = new Uint8Array(count)
      if (place.kind === 'none' || count === 0) return { attributes, bytes }
      await slots.readInto(slotOffset(place.slot) + offset, bytes)
      // It may have been cut, moved or removed meanwhile, and the slot be another file's.
      if (table.find(file)?.place === place) return { attributes, bytes }
    }
  }

  /** Writes to a small file. One that has a vDisk, or would need one, is left alone. */
  write(request: Asked<'write'>, finish: Finish, key: RequestKey | undefined): Promise<FileAnswer> {
    return this.#turns.write(request.file, () => this.#startWrite(request, finish, key))
  }

  /** Under the file's lock, which writes hold only until they are on their way. */
  async #startWrite(
    request: Asked<'write'>,
    finish: Finish,
    key: RequestKey | undefined,
  ): Promise<{ done: Promise<FileAnswer> }> {
    const { table, slots } = this.#deps
    const { file, offset, data } = request
    const inode = this.#regular(file)
    const place = this.placeOf(inode)
    if (place !== undefined) return { done: Promise.resolve({ attributes: [attributesOf(inode)], place }) }
    const end = offset + data.length
    if (end > SLOT_BYTES) throw fileError('OUT_OF_RANGE', 'the file must be extended first')
    table.assertRoom()
    if (inode.place.kind === 'none' || offset > inode.size) await this.#turns.writesEnded(file)
    this.#assertThere(inode)
    const taken = inode.place.kind === 'slot' ? undefined : table.newSlot()
    const slot = inode.place.kind === 'slot' ? inode.place.slot : taken!.slot
    const at = slotOffset(slot)
    const write = async () => {
      try {
        const written = slots.write(at + offset, data)
        // An answer that is on record stands for data that is there.
        if (key !== undefined) await written
        const answer = this.#change(inode, (now) => {
          if (taken !== undefined) table.setPlace(inode, { kind: 'slot', slot })
          inode.size = Math.max(inode.size, end)
          inode.modified = now
        })
        await Promise.all([written, finish(answer)])
        return answer
      } catch (error) {
        if (taken !== undefined && table.find(file)?.place.kind !== 'slot') this.#giveUpSlot(slot)
        throw error
      }
    }
    if (taken !== undefined && !taken.clean) await slots.erase(at, SLOT_BYTES)
    if (taken === undefined && offset > inode.size) await slots.erase(at + inode.size, offset - inode.size)
    if (taken !== undefined && table.find(file) !== inode) table.slots.freed(slot)
    this.#assertThere(inode)
    return { done: write() }
  }

  /** A vDisk of `bytes` at least, for a file that is not there yet. What a crash leaves of it has no file. */
  async newDisk(bytes: number, node: NodeId): Promise<ReadyDisk> {
    const { table, disks, container } = this.#deps
    checkSize(bytes)
    table.assertRoom()
    const file = table.newId()
    const capacity = capacityFor(bytes)
    const vdisk = await disks.create(this.#newDiskName(file), container, capacity, node)
    return { file, place: { kind: 'disk', vdisk, capacity, native: false } }
  }

  /** The file did not come. */
  dropDisk({ place }: ReadyDisk): void {
    const { disks, onError } = this.#deps
    disks.remove(place.vdisk).catch((error: unknown) => onError('deleting the vDisk of a file', error))
  }

  /** Sees to a vDisk, and to a size of `end` at least. */
  extend(request: Asked<'extend'>, finish: Finish): Promise<FileAnswer> {
    return this.#turns.alone(request.file, async () => {
      const inode = this.#regular(request.file)
      checkSize(request.end)
      await this.#prepareDisk(inode, Math.max(request.end, inode.size), request.node)
      if (request.offset > inode.size) await this.#zero(inode, inode.size, request.offset)
      const answer = this.#change(inode, (now) => {
        if (request.end <= request.offset) return
        inode.size = Math.max(inode.size, request.end)
        inode.modified = now
      })
      await finish(answer)
      return { ...answer, place: this.placeOf(inode)! }
    })
  }

  /** Attributes, and the size with all that follows. */
  setAttributes(request: Asked<'setAttributes'>, finish: Finish): Promise<FileAnswer> {
    const { table } = this.#deps
    const { changes, guard } = request
    const apply = async () => {
      const inode = table.get(request.file)
      if (guard !== undefined && !sameTime(guard, inode.changed)) {
        throw fileError('CONFLICT', `file ${inode.id} was changed meanwhile`)
      }
      return this.#setAll(inode, changes, request.node, finish)
    }
    return changes.size === undefined ? apply() : this.#turns.alone(request.file, apply)
  }

  /** For `createFile` on a file that is there: `tell` says what the answer is, once the file has its size. */
  setSize(
    { id, size, node }: { readonly id: FileId; readonly size: number; readonly node: NodeId },
    tell: () => FileAnswer,
    finish: Finish,
  ): Promise<FileAnswer> {
    return this.#turns.alone(id, async () => {
      let answer: FileAnswer | undefined
      await this.#setAll(this.#regular(id), { size }, node, () => {
        answer = tell()
        return finish(answer)
      })
      return answer!
    })
  }

  /** Files were written to by their hosts. */
  written(request: Asked<'written'>): FileAnswer {
    const { table } = this.#deps
    for (const { file, time } of request.files) {
      const inode = table.find(file)
      if (inode === undefined || !isLater(time, inode.modified)) continue
      inode.modified = time
      if (isLater(time, inode.changed)) inode.changed = time
      table.touch(inode)
    }
    return { attributes: [] }
  }

  /** The slot of a file that is gone, which is durable. */
  freeSlot(slot: number): void {
    this.#giveUpSlot(slot)
  }

  /** Deletes vDisks that nothing refers to any more. */
  async deleteDoomed(vdisks: Iterable<VDiskId>): Promise<void> {
    const { table, disks, onError } = this.#deps
    for (const vdisk of vdisks) {
      try {
        await disks.remove(vdisk)
        table.undoom(vdisk)
        await table.commit()
      } catch (error) {
        onError('deleting the vDisk of a file', error)
      }
    }
  }

  /** A name for a vDisk that no other owner uses, nor this one again. */
  #newDiskName(file: FileId): string {
    return `${this.#deps.diskNames}${file}.${++this.#disksMade}`
  }

  placeOf(inode: Inode): DiskPlace | undefined {
    const { place, epoch, commit } = inode
    if (place.kind !== 'disk') return undefined
    return { vdisk: place.vdisk, capacity: place.capacity, age: this.#deps.age, version: commit, epoch }
  }

  /** A disk that is changed through its file is a file from here on: its name in the cluster goes. */
  async becomeFile(inode: Inode): Promise<void> {
    const { place } = inode
    if (place.kind !== 'disk' || !place.native) return
    await this.#deps.disks.rename(place.vdisk, this.#newDiskName(inode.id))
    if (this.#deps.table.find(inode.id) === inode)
      this.#deps.table.setPlace(inode, { ...place, native: false })
  }

  async #setAll(inode: Inode, changes: FileChanges, node: NodeId, finish: Finish): Promise<FileAnswer> {
    const { size } = changes
    let tidy: () => Promise<void> = async () => {}
    if (size !== undefined) {
      if (inode.type !== 'file') {
        throw fileError(
          inode.type === 'directory' ? 'IS_DIRECTORY' : 'BAD_ARGUMENT',
          'only a file has a size',
        )
      }
      checkSize(size)
      if (size > inode.size) await this.#grow(inode, size, node)
      else if (size < inode.size) {
        await this.becomeFile(inode)
        tidy = this.#cutter(inode, size)
      }
    }
    const answer = this.#change(inode, (now) => {
      if (size !== undefined) {
        if (size === 0) this.#deps.table.setPlace(inode, NO_PLACE)
        inode.size = size
        inode.modified = now
      }
      applyChanges(inode, changes, now)
    })
    const done = finish(answer)
    await Promise.all([done, done.then(tidy)])
    return answer
  }

  /** Zeroes what comes between, before the size is committed. */
  async #grow(inode: Inode, size: number, node: NodeId): Promise<void> {
    const { slots } = this.#deps
    if (size > SLOT_BYTES || inode.place.kind === 'disk') {
      await this.#prepareDisk(inode, size, node)
      await this.#zero(inode, inode.size, size)
    } else if (inode.place.kind === 'slot') {
      await slots.erase(slotOffset(inode.place.slot) + inode.size, size - inode.size)
    }
  }

  /** What is to be done once the smaller size is durable. */
  #cutter(inode: Inode, size: number): () => Promise<void> {
    const { slots, disks, table } = this.#deps
    const { place, size: old } = inode
    inode.epoch += 1
    if (place.kind === 'slot') {
      if (size === 0) return async () => this.#giveUpSlot(place.slot)
      return async () => {
        if (table.find(inode.id)?.place === place)
          await slots.erase(slotOffset(place.slot) + size, old - size)
      }
    }
    if (place.kind !== 'disk') return async () => {}
    if (size === 0) {
      table.doom(place.vdisk)
      return async () => void this.deleteDoomed([place.vdisk])
    }
    const end = Math.min(Math.max(old + LOOSE_BYTES, inode.loose), place.capacity)
    inode.loose = end
    return async () => {
      if (table.find(inode.id) !== inode) return
      await disks.erase(place.vdisk, size, end - size)
      // Committed with whatever comes next: erasing once more does no harm.
      inode.loose = 0
      table.touch(inode)
    }
  }

  /** The file has a vDisk of `bytes` at least when it resolves. Under the file's lock. */
  async #prepareDisk(inode: Inode, bytes: number, node: NodeId): Promise<void> {
    const { table, disks, slots, container } = this.#deps
    const { place } = inode
    if (place.kind === 'disk') {
      if (bytes > inode.size) await this.becomeFile(inode)
      if (bytes <= place.capacity) return
      const capacity = capacityFor(bytes)
      await disks.resize(place.vdisk, capacity)
      this.#assertThere(inode)
      if (inode.place.kind === 'disk') table.setPlace(inode, { ...inode.place, capacity })
      return
    }
    table.assertRoom()
    const capacity = capacityFor(bytes)
    const vdisk = await disks.create(this.#newDiskName(inode.id), container, capacity, node)
    if (place.kind === 'slot' && inode.size > 0) {
      const data = new Uint8Array(inode.size)
      await slots.readInto(slotOffset(place.slot), data)
      await disks.write(vdisk, 0, data)
    }
    if (table.find(inode.id) !== inode) await disks.remove(vdisk)
    this.#assertThere(inode)
    table.setPlace(inode, { kind: 'disk', vdisk, capacity, native: false })
    await table.commit()
    if (place.kind === 'slot') this.#giveUpSlot(place.slot)
  }

  /** Zeroes what may be there of a gap that a file with a vDisk is to get. */
  async #zero(inode: Inode, from: number, to: number): Promise<void> {
    const { place } = inode
    if (place.kind !== 'disk') return
    inode.epoch += 1
    const end = Math.min(to, Math.max(from + LOOSE_BYTES, inode.loose), place.capacity)
    if (end > from) await this.#deps.disks.erase(place.vdisk, from, end - from)
  }

  /** Runs a change in one turn. `FILE_STALE` when the file was removed while something was awaited. */
  #change(inode: Inode, change: (now: FileTime) => void): FileAnswer {
    const { table } = this.#deps
    this.#assertThere(inode)
    const before = attributesOf(inode)
    const now = table.now()
    change(now)
    if (inode.modified === now) inode.changed = now
    table.touch(inode)
    return { attributes: [before, attributesOf(inode)] }
  }

  #assertThere(inode: Inode): void {
    if (this.#deps.table.find(inode.id) === inode) return
    throw fileError('FILE_STALE', `there is no file ${inode.id} any more`)
  }

  #giveUpSlot(slot: number): void {
    const { slots, table, onError } = this.#deps
    slots.erase(slotOffset(slot), SLOT_BYTES).then(
      () => table.slots.freed(slot),
      (error: unknown) => onError('erasing a slot', error),
    )
  }

  #regular(file: FileId): Inode {
    const inode = this.#deps.table.get(file)
    if (inode.type === 'file') return inode
    const code = inode.type === 'directory' ? 'IS_DIRECTORY' : 'BAD_ARGUMENT'
    throw fileError(code, `file ${file} is a ${inode.type}`)
  }
}

function slotOffset(slot: number): number {
  return SLOTS_START + slot * SLOT_BYTES
}

function capacityFor(bytes: number): number {
  return Math.min(alignUp(Math.max(bytes * 2, CAPACITY_BYTES_MIN), CAPACITY_BYTES_MIN), FILE_BYTES_MAX)
}

function sameTime(a: FileTime, b: FileTime): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds
}

function isLater(a: FileTime, b: FileTime): boolean {
  return a.seconds > b.seconds || (a.seconds === b.seconds && a.nanoseconds > b.nanoseconds)
}
