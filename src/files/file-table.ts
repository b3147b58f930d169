/**
 * The state of one file system, in memory and in a `KvLog`:
 *
 *     m                     u53, u53: numbers of files and of slots below these may be in use
 *     i/<file>              inode (inode.ts)
 *     e/<directory>/<cookie>  u53 file, then the bytes of the name; the cookie in twelve hexadecimal digits
 *     x/<vDisk>             that vDisk is to be deleted: nothing refers to it any more
 *     r/<place>             an answer (replies.ts)
 *
 * An operation looks first and changes then, in one turn: it changes what is in memory, tells here what it changed, and
 * calls `commit`, which makes one commit of all of it, with the answer. So operations run one after the other, and their
 * commits are grouped. What is in memory is ahead of what is durable: nobody may be told of it before `settled`.
 * When a commit fails the table is of no use any more; it is loaded again from what is durable.
 */
import type { FileId, FileTime, RequestKey } from '../api.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { ROOT_ID } from '../base/file-tree.ts'
import type { VDiskId } from '../base/units.ts'
import type { Change, KvLog } from '../platform/kv-log.ts'
import type { Clock, Random } from '../platform/types.ts'
import { Directory, type Entry } from './directory.ts'
import { fileError } from './file-error.ts'
import { decodeInode, encodeInode, type Inode, newInode } from './inode.ts'
import { NUMBERS_RESERVED, TABLE_RESERVE_BYTES } from './limits.ts'
import { bytesOf, nameOf } from './names.ts'
import { REPLY_PREFIX, Replies } from './replies.ts'
import { SlotSpace } from './slot-space.ts'
import { TimeStamps } from './time-stamps.ts'

const META = 'm'
const COOKIE_DIGITS = 12
const SETTLED = Promise.resolve()

export class FileTable {
  readonly replies = new Replies()
  readonly slots: SlotSpace
  readonly #log: KvLog
  readonly #random: Random
  readonly #times: TimeStamps
  readonly #inodes = new Map<FileId, Inode>()
  readonly #directories = new Map<FileId, Directory>()
  readonly #disks = new Map<VDiskId, FileId>()
  readonly #doomed = new Set<VDiskId>()
  /** Changed by the operation that runs now. */
  readonly #changedInodes = new Set<Inode>()
  #changes: Change[] = []
  #nextId = ROOT_ID + 1
  #idBound = ROOT_ID + 1
  #commits = 0
  #durable = 0

  readonly #assertSpace: () => void

  private constructor(log: KvLog, clock: Clock, random: Random, assertSpace: () => void, slots: SlotSpace) {
    this.#log = log
    this.#assertSpace = assertSpace
    this.#random = random
    this.#times = new TimeStamps(clock)
    this.slots = slots
  }

  /**
   * Takes in what the log holds; a new one gets its root directory. The log is the table's from now on. `assertSpace`
   * throws when the cluster takes no more user data.
   */
  static async load(log: KvLog, clock: Clock, random: Random, assertSpace: () => void): Promise<FileTable> {
    const meta = log.get(META)
    const reader = meta === undefined ? undefined : new ByteReader(meta)
    const idBound = reader?.u53() ?? ROOT_ID + 1
    const slotBound = reader?.u53() ?? 0
    const table = new FileTable(log, clock, random, assertSpace, new SlotSpace(slotBound))
    table.#nextId = table.#idBound = idBound
    for (const [key, value] of log.entries('i/')) table.#adopt(decodeInode(Number(key.slice(2)), value))
    for (const [key, value] of log.entries('e/')) table.#loadEntry(key, value)
    for (const [key] of log.entries('x/')) table.#doomed.add(Number(key.slice(2)))
    for (const [, value] of log.entries(REPLY_PREFIX)) table.replies.load(value)
    if (meta === undefined) {
      table.add(
        newInode({ id: ROOT_ID, birth: table.newBirth(), type: 'directory', parent: ROOT_ID }, table.now()),
      )
      table.#reserve()
      await table.commit()
    }
    return table
  }

  /** A time stamp: of now, and later than every one before. */
  now(): FileTime {
    return this.#times.now()
  }

  newId(): FileId {
    if (this.#nextId === this.#idBound) {
      this.#idBound += NUMBERS_RESERVED
      this.#reserve()
    }
    return this.#nextId++
  }

  newBirth(): number {
    return this.#random.u32() || 1
  }

  newSlot(): { slot: number; clean: boolean } {
    const taken = this.slots.take()
    if (taken.reserved) this.#reserve()
    return taken
  }

  find(id: FileId): Inode | undefined {
    return this.#inodes.get(id)
  }

  /** @throws `FILE_STALE` */
  get(id: FileId): Inode {
    const inode = this.#inodes.get(id)
    if (inode === undefined) throw fileError('FILE_STALE', `there is no file ${id} any more`)
    return inode
  }

  /** Entries of a directory. @throws `FILE_STALE`, `NOT_DIRECTORY` */
  directory(id: FileId): Directory {
    const directory = this.#directories.get(id)
    if (directory !== undefined) return directory
    const { type } = this.get(id)
    throw fileError('NOT_DIRECTORY', `file ${id} is a ${type}`)
  }

  /** The files that have a vDisk, as they are now. */
  filesWithDisk(): Inode[] {
    return [...this.#disks.values()].map((id) => this.get(id))
  }

  fileOfDisk(vdisk: VDiskId): FileId | undefined {
    return this.#disks.get(vdisk)
  }

  /** vDisks to be deleted. */
  get doomed(): ReadonlySet<VDiskId> {
    return this.#doomed
  }

  // What an operation tells of its changes, all in one turn with `commit`.

  add(inode: Inode): void {
    this.#adopt(inode)
    this.touch(inode)
  }

  /** The inode was or will be changed, in this turn. */
  touch(inode: Inode): void {
    this.#changedInodes.add(inode)
    inode.commit = this.#commits + 1
  }

  /** Takes it out, with what is left of its data: a slot is free when `freed` was called for it. */
  drop(inode: Inode): void {
    this.#inodes.delete(inode.id)
    this.#directories.delete(inode.id)
    this.#changedInodes.delete(inode)
    if (inode.place.kind === 'disk') this.#disks.delete(inode.place.vdisk)
    this.#changes.push({ key: inodeKey(inode.id), value: undefined })
  }

  setPlace(inode: Inode, place: Inode['place']): void {
    if (inode.place.kind === 'disk') this.#disks.delete(inode.place.vdisk)
    inode.place = place
    if (place.kind === 'disk') this.#disks.set(place.vdisk, inode.id)
    this.touch(inode)
  }

  /** Adds an entry, and changes the directory's attributes. */
  link(directory: Inode, name: string, id: FileId, now: FileTime): void {
    const entry: Entry = { name, id, cookie: directory.nextCookie }
    directory.nextCookie += 1
    this.directory(directory.id).add(entry)
    const value = new ByteWriter(8 + name.length).u53(id).bytes(bytesOf(name))
    this.#changes.push({ key: entryKey(directory.id, entry.cookie), value: value.toBytes() })
    this.#directoryChanged(directory, now)
  }

  /** Removes an entry that is there, and changes the directory's attributes. */
  unlink(directory: Inode, entry: Entry, now: FileTime): void {
    this.directory(directory.id).remove(entry.name)
    this.#changes.push({ key: entryKey(directory.id, entry.cookie), value: undefined })
    this.#directoryChanged(directory, now)
  }

  doom(vdisk: VDiskId): void {
    this.#doomed.add(vdisk)
    this.#changes.push({ key: doomedKey(vdisk), value: new Uint8Array(0) })
  }

  undoom(vdisk: VDiskId): void {
    this.#doomed.delete(vdisk)
    this.#changes.push({ key: doomedKey(vdisk), value: undefined })
  }

  reply(key: RequestKey, answer: Uint8Array): void {
    this.#changes.push(this.replies.add(key, answer))
  }

  /** Before an operation that needs room. @throws `NO_SPACE` */
  assertRoom(): void {
    this.#assertSpace()
    const { usedBytes, sizeBytes } = this.#log.room
    if (usedBytes + TABLE_RESERVE_BYTES <= sizeBytes) return
    throw fileError('NO_SPACE', `the file system has ${this.#inodes.size} files and no room for more`)
  }

  /** Something was told that is not committed. */
  get isChanged(): boolean {
    return this.#changes.length > 0 || this.#changedInodes.size > 0
  }

  /** Commits what was told in this turn. Resolves when it is durable. */
  commit(): Promise<void> {
    const changes = this.#changes
    this.#changes = []
    for (const inode of this.#changedInodes)
      changes.push({ key: inodeKey(inode.id), value: encodeInode(inode) })
    this.#changedInodes.clear()
    if (changes.length === 0) return this.settled()
    const number = ++this.#commits
    return this.#log.commit(changes).then(() => {
      this.#durable = number
    })
  }

  /** Resolves when everything that was committed before this call is durable, or only up to `commit`. */
  settled(commit = this.#commits): Promise<void> {
    return commit <= this.#durable ? SETTLED : this.#log.commit([])
  }

  #directoryChanged(directory: Inode, now: FileTime): void {
    directory.size = this.directory(directory.id).size
    directory.modified = now
    directory.changed = now
    this.touch(directory)
  }

  #reserve(): void {
    const value = new ByteWriter(16).u53(this.#idBound).u53(this.slots.bound).toBytes()
    this.#changes.push({ key: META, value })
  }

  #adopt(inode: Inode): void {
    this.#inodes.set(inode.id, inode)
    if (inode.type === 'directory') this.#directories.set(inode.id, new Directory())
    if (inode.place.kind === 'slot') this.slots.use(inode.place.slot)
    else if (inode.place.kind === 'disk') this.#disks.set(inode.place.vdisk, inode.id)
    this.#times.passed(inode.changed)
  }

  #loadEntry(key: string, value: Uint8Array): void {
    const [, directory, cookie] = key.split('/')
    const reader = new ByteReader(value)
    const id = reader.u53()
    const name = nameOf(reader.bytes(reader.remaining))
    const entries = this.#directories.get(Number(directory))
    if (entries === undefined) throw new HitherError('DEVICE_CORRUPT', `entry ${key} is in no directory`)
    entries.add({ name, id, cookie: Number.parseInt(cookie!, 16) })
  }
}

function inodeKey(id: FileId): string {
  return `i/${id}`
}

function entryKey(directory: FileId, cookie: number): string {
  return `e/${directory}/${cookie.toString(16).padStart(COOKIE_DIGITS, '0')}`
}

function doomedKey(vdisk: VDiskId): string {
  return `x/${vdisk}`
}
