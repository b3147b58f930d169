/**
 * Reading and writing of files on one host.
 *
 * Small files are read and written by the owner of the files disk. A file with a vDisk is read and written by the host
 * itself, which knows its place and size from the owner, for `KNOWN_MS` at most without asking again. So a host may see
 * that late that another has cut a file. What it has once answered of a file it also goes by, and it asks before it says
 * that a file has ended: a client that looks at the attributes before it reads, as NFS clients do, finds what they say.
 *
 *   Write inside the size: to the vDisk alone. The new time of change is told later, with others, and before anything
 *   else is asked of the owner.
 *   Write past the end: the owner commits the size, and the data is written at the same time; answered after both. When
 *   the owner cut or zeroed bytes of the file meanwhile (another epoch), the data is written again. Farther past the end
 *   than `LOOSE_BYTES`, or past the vDisk, the size comes first.
 */
import type {
  FileAttributes,
  FileCall,
  FileChange,
  FileId,
  FileTime,
  RequestKey,
  VDisk,
  WriteOptions,
} from '../api.ts'
import { codeOf, type HitherError } from '../base/errors.ts'
import { forgetOldest } from '../base/oldest.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import type { HostPath } from '../cvm/host-path.ts'
import { decodeAnswer, encodeRequest } from '../files/files-wire.ts'
import { LOOSE_BYTES, SLOT_BYTES } from '../files/limits.ts'
import type { DiskPlace, FileAnswer, FileRequest } from '../files/messages.ts'
import { TimeStamps } from '../files/time-stamps.ts'
import type { Clock } from '../platform/types.ts'
import { notAwaited } from './not-awaited.ts'

/** How long a host goes by what it knows of a file, and keeps times of change to itself. Milliseconds. */
const KNOWN_MS = 500
/** So many IOs to a vDisk within this time are much use: its home should be here. Milliseconds. */
const USED_IOS = 64
const USED_WITHIN_MS = 5_000
/** Files a host knows the place of; more are asked for again. */
const KNOWN_MAX = 1024

export interface HostFileIoDeps {
  readonly node: NodeId
  /** Number of the files disk. */
  readonly id: VDiskId
  readonly path: HostPath
  readonly clock: Clock
  /** Opens a vDisk on this host's path; `size` tells its bytes. */
  readonly openDisk: (vdisk: VDiskId, size: () => number) => VDisk
  /** This host uses the vDisk much. */
  readonly onUsed: (vdisk: VDiskId) => void
  /** Eight bytes that change when un-synced writes to the vDisk may have been lost; of a small file without one. */
  readonly verifier: (vdisk: VDiskId | undefined) => Uint8Array
  /** The same, as the catalog has it now. */
  readonly verifierNow: (vdisk: VDiskId | undefined) => Promise<Uint8Array>
}

/** A file with a vDisk, as last told. */
interface Known {
  place: DiskPlace
  readonly disk: VDisk
  attributes: FileAttributes
  /** When it was told, ms. */
  at: number
  /** How far writes under way go. */
  reach: number
  /** IOs since a moment, ms. */
  ios: number
  iosSince: number
}

export class HostFileIo {
  private readonly deps: HostFileIoDeps
  private readonly known = new Map<FileId, Known>()
  /** Sizes of files that are open as disks. */
  private readonly sizes = new Map<FileId, number>()
  /** Files written to since the owner heard. */
  private written = new Map<FileId, FileTime>()
  private telling: Promise<void> | undefined
  private cancelTell: (() => void) | undefined
  private readonly times: TimeStamps
  /** Why nothing is asked any more. */
  private closed: HitherError | undefined

  constructor(deps: HostFileIoDeps) {
    this.deps = deps
    this.times = new TimeStamps(deps.clock)
  }

  /** Asks the owner of the files disk, across failures. Throws what it refused with. */
  async ask(
    request: FileRequest,
    { key, forbidden = false, isAwaited }: FileCall & { isAwaited?: (() => boolean) | undefined } = {},
  ): Promise<FileAnswer> {
    if (this.closed !== undefined) throw this.closed
    const { id, path } = this.deps
    const bytes = encodeRequest({ request, key, forbidden })
    const told = await path.run((port) =>
      isAwaited?.() === false ? Promise.reject(notAwaited()) : port.files(id, bytes),
    )
    const answer = decodeAnswer(told)
    this.compare(answer)
    return answer
  }

  async getAttributes(file: FileId, birth: number): Promise<FileAttributes> {
    const { attributes, place } = await this.ask({ op: 'getAttributes', file, birth })
    if (place !== undefined && this.known.has(file)) this.learn(attributes[0]!, place)
    return attributes[0]!
  }

  async read(
    file: FileId,
    offset: number,
    target: Uint8Array,
  ): Promise<{ length: number; end: boolean; attributes: FileAttributes }> {
    const startedAt = this.deps.clock.now()
    for (let attempt = 1; ; attempt++) {
      const known = this.fresh(file)
      const mayBeLonger =
        known !== undefined && offset + target.length > known.attributes.size && known.at < startedAt
      if (known === undefined || mayBeLonger) {
        const answer = await this.ask({ op: 'read', file, offset, length: target.length })
        const attributes = answer.attributes[0]!
        if (answer.place === undefined) {
          const bytes = answer.bytes!
          target.set(bytes)
          return { length: bytes.length, end: offset + bytes.length >= attributes.size, attributes }
        }
        this.learn(attributes, answer.place)
        continue
      }
      const { attributes, disk } = known
      const length = Math.max(0, Math.min(target.length, attributes.size - offset))
      try {
        this.noteUse(known)
        if (length > 0) await disk.readInto(offset, target.subarray(0, length))
        return { length, end: offset + length >= attributes.size, attributes }
      } catch (error) {
        this.forgetMoved(file, error, attempt)
      }
    }
  }

  async write(
    file: FileId,
    offset: number,
    source: Uint8Array,
    options: WriteOptions & { readonly key?: RequestKey },
  ): Promise<FileChange & { verifier: Uint8Array }> {
    const end = offset + source.length
    const request = { op: 'write', file, offset, data: source } as const
    for (let attempt = 1; ; attempt++) {
      const known = this.fresh(file) ?? (await this.askAgain(file))
      if (known === undefined && end <= SLOT_BYTES) {
        const answer = await this.ask(request, options)
        if (answer.place === undefined) {
          const [before, after] = answer.attributes
          return { before: before!, after: after!, verifier: this.deps.verifier(undefined) }
        }
        this.learn(answer.attributes[0]!, answer.place)
        continue
      }
      try {
        return await this.writeDisk(file, known, offset, source, options)
      } catch (error) {
        this.forgetMoved(file, error, attempt)
      }
    }
  }

  async commit(file: FileId): Promise<FileChange & { verifier: Uint8Array }> {
    for (let attempt = 1; ; attempt++) {
      await this.tellWritten()
      const answer = await this.ask({ op: 'getAttributes', file, birth: 0 })
      const attributes = answer.attributes[0]!
      const known = answer.place === undefined ? undefined : this.learn(attributes, answer.place)
      try {
        await known?.disk.flush()
        const verifier = await this.deps.verifierNow(known?.place.vdisk)
        return { before: attributes, after: attributes, verifier }
      } catch (error) {
        this.forgetMoved(file, error, attempt)
      }
    }
  }

  async asDisk(file: FileId): Promise<{ vdisk: VDiskId; size: number }> {
    await this.tellWritten()
    const { node } = this.deps
    // Nothing is added: it only gets its vDisk.
    const answer = await this.ask({ op: 'extend', file, offset: 0, end: 0, node })
    const { place, attributes } = this.learn(answer.attributes[1]!, answer.place!)
    this.sizes.set(file, attributes.size)
    return { vdisk: place.vdisk, size: attributes.size }
  }

  sizeOf(file: FileId): number {
    return this.known.get(file)?.attributes.size ?? this.sizes.get(file) ?? 0
  }

  /** Its vDisk was written to inside its size. */
  noteWritten(file: FileId): void {
    this.written.set(file, this.times.now())
    this.cancelTell ??= this.deps.clock.after(KNOWN_MS, () => {
      this.cancelTell = undefined
      this.tellWritten().catch(() => {})
    })
  }

  /** Its size or place is about to be, or was, changed. */
  forget(file: FileId): void {
    const known = this.known.get(file)
    if (known === undefined) return
    this.known.delete(file)
    void known.disk.close()
  }

  /** Tells the owner of writes that it has not heard of; resolves when it has. */
  async tellWritten(): Promise<void> {
    while (this.telling !== undefined) await this.telling
    if (this.written.size === 0) return
    this.cancelTell?.()
    this.cancelTell = undefined
    const files = [...this.written].map(([file, time]) => ({ file, time }))
    this.written = new Map()
    this.telling = this.ask({ op: 'written', files })
      .then(() => {})
      .finally(() => {
        this.telling = undefined
      })
    await this.telling
  }

  async close(reason: HitherError): Promise<void> {
    await this.tellWritten().catch(() => {})
    this.closed = reason
    this.cancelTell?.()
    for (const file of [...this.known.keys()]) this.forget(file)
  }

  private async writeDisk(
    file: FileId,
    known: Known | undefined,
    offset: number,
    source: Uint8Array,
    options: WriteOptions,
  ): Promise<FileChange & { verifier: Uint8Array }> {
    if (known !== undefined) this.noteUse(known)
    const { isAwaited } = options
    const how = { fua: options.fua === true, ...(isAwaited && { isAwaited }) }
    const end = offset + source.length
    if (known !== undefined && end <= known.attributes.size) {
      const verifier = this.deps.verifier(known.place.vdisk)
      await known.disk.write(offset, source, how)
      return { ...this.changeTime(file, known), verifier }
    }
    const request = { op: 'extend', file, offset, end, node: this.deps.node } as const
    const early =
      known !== undefined &&
      end <= known.place.capacity &&
      end <= known.attributes.size + LOOSE_BYTES &&
      offset <= Math.max(known.attributes.size, known.reach)
    if (known !== undefined) known.reach = Math.max(known.reach, end)
    const verifierBefore = known && this.deps.verifier(known.place.vdisk)
    const placeBefore = known?.place
    const [answer] = await Promise.all([
      this.ask(request, { isAwaited }),
      early ? known.disk.write(offset, source, how) : undefined,
    ])
    const [before, after] = answer.attributes
    const now = this.learn(after!, answer.place!)
    const isThere = early && isSame(answer.place!, placeBefore!)
    const verifier = isThere ? verifierBefore! : this.deps.verifier(now.place.vdisk)
    if (!isThere) await now.disk.write(offset, source, how)
    return { before: before!, after: after!, verifier }
  }

  /** What is known of a file and is not what the owner said now, is asked for again. */
  private compare({ attributes, entries, place }: FileAnswer): void {
    if (this.known.size === 0 || place !== undefined) return
    const all = entries === undefined ? attributes : entries.map((entry) => entry.attributes)
    for (const { id, size } of all) {
      const known = this.known.get(id)
      if (known !== undefined && known.attributes.size !== size) known.at = Number.NEGATIVE_INFINITY
    }
  }

  private noteUse(known: Known): void {
    const now = this.deps.clock.now()
    if (now - known.iosSince > USED_WITHIN_MS) {
      known.ios = 0
      known.iosSince = now
    }
    known.ios += 1
    if (known.ios < USED_IOS) return
    known.ios = 0
    known.iosSince = now
    this.deps.onUsed(known.place.vdisk)
  }

  private changeTime(file: FileId, known: Known): FileChange {
    this.noteWritten(file)
    const before = known.attributes
    const time = this.written.get(file)!
    known.attributes = { ...before, modified: time, changed: time }
    return { before, after: known.attributes }
  }

  private fresh(file: FileId): Known | undefined {
    const known = this.known.get(file)
    return known !== undefined && this.deps.clock.now() - known.at <= KNOWN_MS ? known : undefined
  }

  /** A file that had a vDisk when last heard of. */
  private async askAgain(file: FileId): Promise<Known | undefined> {
    if (!this.known.has(file)) return undefined
    await this.tellWritten()
    const { attributes, place } = await this.ask({ op: 'getAttributes', file, birth: 0 })
    if (place === undefined) {
      this.forget(file)
      return undefined
    }
    return this.learn(attributes[0]!, place)
  }

  private learn(attributes: FileAttributes, place: DiskPlace): Known {
    const file = attributes.id
    const at = this.deps.clock.now()
    const old = this.known.get(file)
    if (old !== undefined && old.place.vdisk === place.vdisk) {
      // Answers may come out of order.
      if (isOlder(place, old.place)) return old
      old.attributes = attributes
      old.place = place
      old.at = at
      return old
    }
    this.forget(file)
    const known: Known = {
      place,
      attributes,
      at,
      reach: 0,
      ios: 0,
      iosSince: at,
      disk: this.deps.openDisk(place.vdisk, () => known.place.capacity),
    }
    this.known.set(file, known)
    void forgetOldest(this.known, KNOWN_MAX)?.disk.close()
    return known
  }

  /** The vDisk is not what it was: the owner knows. Throws when it is something else, or goes on. */
  private forgetMoved(file: FileId, error: unknown, attempt: number): void {
    const code = codeOf(error)
    const moved = code === 'NOT_FOUND' || code === 'VDISK_CLOSED' || code === 'OUT_OF_RANGE'
    if (!moved || !this.known.has(file) || attempt >= 3) throw error
    this.forget(file)
  }
}

function isOlder(place: DiskPlace, than: DiskPlace): boolean {
  return place.age < than.age || (place.age === than.age && place.version < than.version)
}

/** No byte of the file was cut or zeroed between. */
function isSame(a: DiskPlace, b: DiskPlace): boolean {
  return a.vdisk === b.vdisk && a.age === b.age && a.epoch === b.epoch
}
