/**
 * Disks are files: every vDisk of the container that has a name of its own is a regular file of that name in the root
 * directory. The catalog says which there are; this brings the table in line with it, before an operation looks at the
 * root directory or at such a file.
 *
 *   vDisk without a file            → an entry in the root, unless a file has that name already
 *   file whose vDisk is gone        → its names go
 *   file whose vDisk was resized    → its size follows
 *   vDisk that lost its name to its file (FileData.becomeFile), before that was committed here → it is the file's own
 *
 * `orphans`, when the table was loaded: what an owner before left when it ended between making a vDisk for a file and
 * committing that the file has it; the service deletes them.
 */
import type { FileId } from '../api.ts'
import { ROOT_ID } from '../base/file-tree.ts'
import { fileDiskPrefix, isHiddenDisk } from '../base/hidden-disks.ts'
import type { VDiskId } from '../base/units.ts'
import type { VDiskRecord } from '../cluster/records.ts'
import type { Disks } from './disks.ts'
import type { FileTable } from './file-table.ts'
import { type Inode, newInode } from './inode.ts'
import { nameOf } from './names.ts'

/** Disks that become files with one commit, which has a bound. */
const ADOPTED_MAX = 1000

export class DiskAdoption {
  readonly #table: FileTable
  readonly #disks: Disks
  readonly #container: string
  readonly #stop: () => void
  #due = true

  constructor(table: FileTable, disks: Disks, container: string) {
    this.#table = table
    this.#disks = disks
    this.#container = container
    this.#stop = disks.onChange((record) => {
      if (record === undefined || record.container === container) this.#due = true
    })
  }

  close(): void {
    this.#stop()
  }

  /** When the table was loaded: a vDisk that the catalog has not told of yet must not be taken for one that is gone. */
  async catchUp(): Promise<void> {
    const unheard: VDiskId[] = []
    for (const { place } of this.#table.filesWithDisk()) {
      if (place.kind === 'disk' && this.#disks.record(place.vdisk) === undefined) unheard.push(place.vdisk)
    }
    await Promise.all(unheard.map((vdisk) => this.#disks.refresh(vdisk)))
  }

  /** Brings the table in line with the catalog, in this turn; the caller commits. */
  look(): void {
    if (!this.#due) return
    this.#due = false
    for (const inode of this.#table.filesWithDisk()) this.#follow(inode)
    const fresh = [...this.#disks.all()]
      .filter((record) => this.#isUnknown(record))
      .sort((a, b) => a.id - b.id)
    for (const record of fresh.slice(0, ADOPTED_MAX)) this.#adopt(record)
    this.#due = fresh.length > ADOPTED_MAX
  }

  /** vDisks of files that no file has: made by `generation` or an owner before it. */
  orphans(generation: number): VDiskId[] {
    const prefix = fileDiskPrefix(this.#container)
    return [...this.#disks.all()]
      .filter(({ id, name }) => {
        const made = name.startsWith(prefix) ? Number.parseInt(name.slice(prefix.length), 10) : Number.NaN
        return made <= generation && this.#table.fileOfDisk(id) === undefined && !this.#table.doomed.has(id)
      })
      .map(({ id }) => id)
      .sort((a, b) => a - b)
  }

  #isUnknown({ id, name, container }: VDiskRecord): boolean {
    return (
      container === this.#container &&
      !isHiddenDisk(name) &&
      this.#table.fileOfDisk(id) === undefined &&
      !this.#table.doomed.has(id)
    )
  }

  #adopt(record: VDiskRecord): void {
    const name = nameOf(Buffer.from(record.name))
    if (this.#table.directory(ROOT_ID).get(name) !== undefined) return
    const table = this.#table
    const now = table.now()
    const inode = newInode({ id: table.newId(), birth: table.newBirth(), type: 'file', parent: 0 }, now)
    inode.mode = record.readOnly === true ? 0o444 : 0o644
    inode.size = record.size
    table.add(inode)
    table.setPlace(inode, { kind: 'disk', vdisk: record.id, capacity: record.size, native: true })
    table.link(table.get(ROOT_ID), name, inode.id, now)
  }

  #follow(inode: Inode): void {
    const { place } = inode
    if (place.kind !== 'disk') return
    const record = this.#disks.record(place.vdisk)
    const table = this.#table
    if (record === undefined) {
      // One that was made just now the catalog may not have told of yet.
      if (place.native) this.#removeNames(inode.id)
    } else if (place.native && isHiddenDisk(record.name)) {
      table.setPlace(inode, { ...place, native: false })
    } else if (place.native && record.size !== inode.size) {
      inode.size = record.size
      inode.modified = inode.changed = table.now()
      table.setPlace(inode, { ...place, capacity: record.size })
    }
  }

  /** A disk has one name, in the root: linked or moved it would not be one any more. */
  #removeNames(id: FileId): void {
    const table = this.#table
    const now = table.now()
    const root = table.directory(ROOT_ID)
    for (const entry of root.after(0, Number.POSITIVE_INFINITY).entries) {
      if (entry.id === id) table.unlink(table.get(ROOT_ID), entry, now)
    }
    table.drop(table.get(id))
  }
}
