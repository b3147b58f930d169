/**
 * The file system of one container, on the CVM that owns its files disk: takes requests of hosts, one turn each for what
 * only changes names, and answers when what it says is durable.
 *
 * A request with a key runs once: its answer is committed with its effect, and the same request again, here or at a
 * later owner, is answered from the record. While it runs, the same request waits for it.
 *
 * An owner whose lease may be over neither answers nor commits: the vDisk refuses. After a commit that failed the service
 * has ended; its owner loads another.
 */
import type { RequestKey } from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { fileDiskPrefix } from '../base/hidden-disks.ts'
import type { VDiskId } from '../base/units.ts'
import { KvLog } from '../platform/kv-log.ts'
import type { Clock, Random } from '../platform/types.ts'
import type { OwnedVDisk } from '../vdisk/owned-vdisk.ts'
import { DiskAdoption } from './disk-adoption.ts'
import type { Disks } from './disks.ts'
import { FileData, type Finish } from './file-data.ts'
import { FileError, fileError } from './file-error.ts'
import { FileTable } from './file-table.ts'
import { decodeRequest, encodeAnswer, encodeRefusal } from './files-wire.ts'
import { attributesOf, type Inode } from './inode.ts'
import { SLOT_BYTES, TABLE_BYTES } from './limits.ts'
import type { Asked, FileAnswer, FileRequest, KeyedRequest } from './messages.ts'
import {
  freeName,
  link,
  list,
  listDisks,
  lookup,
  make,
  parent,
  readLink,
  remove,
  removeDirectory,
  rename,
} from './operations.ts'
import { keyText } from './replies.ts'
import { VDiskDevice } from './vdisk-device.ts'

/** Services that one CVM may load under one generation before their ages repeat. */
const LIVES = 2 ** 20

export interface FileServiceDeps {
  readonly vdisk: OwnedVDisk
  readonly container: string
  /** How many this CVM has loaded, ever. */
  readonly life: number
  readonly clock: Clock
  readonly random: Random
  readonly disks: Disks
  /** Throws `NO_SPACE` when the cluster takes no more user data. */
  readonly assertSpace: () => void
  /** Throws when this CVM may not answer now. */
  readonly assertServing: () => void
  readonly onError: (where: string, error: unknown) => void
}

export class FileService {
  readonly #deps: FileServiceDeps
  readonly #table: FileTable
  readonly #data: FileData
  readonly #adoption: DiskAdoption
  /** Requests with a key that run. */
  readonly #running = new Map<string, Promise<Uint8Array>>()
  readonly #underWay = new Set<Promise<unknown>>()
  #ended = false

  private constructor(deps: FileServiceDeps, table: FileTable) {
    const { vdisk, container, disks } = deps
    this.#deps = deps
    this.#table = table
    this.#data = new FileData({
      table,
      disks,
      container,
      slots: {
        readInto: async (offset, target) => vdisk.readInto(offset, target),
        write: (offset, data) => vdisk.write(offset, data, true),
        erase: (offset, length) => vdisk.erase(offset, length, true),
      },
      diskNames: `${fileDiskPrefix(container)}${vdisk.generation}.`,
      age: vdisk.generation * LIVES + (deps.life % LIVES),
      onError: (what, error) => {
        if (!this.#ended && !(error instanceof HitherError && error.retryable)) deps.onError(what, error)
      },
    })
    this.#adoption = new DiskAdoption(table, disks, container)
  }

  static async load(deps: FileServiceDeps): Promise<FileService> {
    const device = new VDiskDevice(deps.vdisk, TABLE_BYTES)
    const range = { offset: 0, length: TABLE_BYTES }
    const log = await KvLog.open(device, range, { thin: true, blank: deps.vdisk.mappedBytes === 0 })
    const service = new FileService(
      deps,
      await FileTable.load(log, deps.clock, deps.random, deps.assertSpace),
    )
    await service.#adoption.catchUp()
    service.#sweep()
    return service
  }

  /** A commit has failed, or `end` was called: another has to be loaded. */
  get ended(): boolean {
    return this.#ended
  }

  /** Stops; resolves when nothing of it is under way any more. */
  async end(): Promise<void> {
    this.#ended = true
    this.#adoption.close()
    await Promise.allSettled([...this.#underWay])
  }

  /** @throws what is worth another try, at this owner or the next; a refusal is an answer. */
  handle(bytes: Uint8Array): Promise<Uint8Array> {
    const work = this.#handle(bytes).finally(() => this.#underWay.delete(work))
    this.#underWay.add(work)
    return work
  }

  async #handle(bytes: Uint8Array): Promise<Uint8Array> {
    const keyed = decodeRequest(bytes)
    this.#deps.assertServing()
    const answer = await (keyed.key === undefined ? this.#run(keyed) : this.#runOnce(keyed, keyed.key))
    this.#deps.assertServing()
    return answer
  }

  #runOnce(keyed: KeyedRequest, key: RequestKey): Promise<Uint8Array> {
    const text = keyText(key)
    const running = this.#running.get(text)
    if (running !== undefined) return running
    const known = this.#table.replies.get(text)
    if (known !== undefined) return this.#table.settled().then(() => known)
    const work = this.#run(keyed).finally(() => this.#running.delete(text))
    this.#running.set(text, work)
    return work
  }

  async #run({ request, key, forbidden }: KeyedRequest): Promise<Uint8Array> {
    const table = this.#table
    let done: Uint8Array | undefined
    const record = (answer: Uint8Array): Promise<void> => {
      done = answer
      if (key !== undefined) table.reply(key, answer)
      return this.#commit()
    }
    try {
      if (forbidden) throw fileError('FORBIDDEN', 'whoever asks may not do this')
      this.#adoption.look()
      const answer = await this.#answer(request, (what) => record(encodeAnswer(what)), key)
      if (done !== undefined && answer.place === undefined) return done
      const bytes = encodeAnswer(answer)
      if (table.isChanged) await this.#commit()
      else await table.settled(this.#commitOf(answer))
      return bytes
    } catch (error) {
      if (!(error instanceof FileError)) throw error
      const refusal = encodeRefusal(error)
      // What has failed once fails always, also if it would do by now. Not for want of room: that is told again.
      if (error.code === 'NO_SPACE') await table.settled()
      else await record(refusal)
      return refusal
    }
  }

  /** The last commit that the answer tells of. */
  #commitOf({ attributes, entries }: FileAnswer): number | undefined {
    const ids = [...attributes, ...(entries ?? []).map((entry) => entry.attributes)].map(({ id }) => id)
    let last = 0
    for (const id of ids) {
      const inode = this.#table.find(id)
      // It was removed meanwhile: when it was changed last is not known any more.
      if (inode === undefined) return undefined
      last = Math.max(last, inode.commit)
    }
    return ids.length === 0 ? undefined : last
  }

  #commit(): Promise<void> {
    return this.#table.commit().catch((error: unknown) => {
      this.#ended = true
      throw error
    })
  }

  async #answer(request: FileRequest, finish: Finish, key: RequestKey | undefined): Promise<FileAnswer> {
    const table = this.#table
    const data = this.#data
    switch (request.op) {
      case 'getAttributes':
        return this.#getAttributes(request.file, request.birth)
      case 'lookup':
        return lookup(table, request)
      case 'list':
        return list(table, request)
      case 'parent':
        return parent(table, request)
      case 'readLink':
        return readLink(table, request)
      case 'disks':
        return { attributes: [], disks: listDisks(table) }
      case 'read':
        return data.read(request)
      case 'write':
        return data.write(request, finish, key)
      case 'extend':
        return data.extend(request, finish)
      case 'setAttributes':
        return data.setAttributes(request, finish)
      case 'written':
        return data.written(request)
      case 'createFile':
        return this.#createFile(request, finish)
      case 'createDirectory':
      case 'createSymlink':
        return settle(make(table, request), finish)
      case 'link':
        await this.#becomeFile(table.find(request.file))
        return settle(link(table, request), finish)
      case 'removeDirectory':
        return settle(removeDirectory(table, request), finish)
      case 'remove':
        return this.#remove((gone) => remove(table, request, gone), finish)
      case 'rename':
        await this.#becomeFile(this.#named(request.from, request.name))
        await this.#becomeFile(this.#named(request.to, request.newName))
        return this.#remove((gone) => rename(table, request, gone), finish)
    }
  }

  #getAttributes(file: number, birth: number): FileAnswer {
    const inode = this.#table.get(file)
    if (birth !== 0 && birth !== inode.birth) {
      throw fileError('FILE_STALE', `file ${file} is not the one it was`)
    }
    const place = this.#data.placeOf(inode)
    return { attributes: [attributesOf(inode)], ...(place === undefined ? {} : { place }) }
  }

  async #createFile(request: Asked<'createFile'>, finish: Finish): Promise<FileAnswer> {
    const table = this.#table
    const data = this.#data
    const taken = this.#takeExisting(request, finish)
    if (taken !== undefined) return taken
    const size = request.changes.size ?? 0
    if (size <= SLOT_BYTES) return settle(make(table, request), finish)
    freeName(table, request.directory, request.name)
    // The vDisk comes first, so that the file is there whole with one commit, and with its answer.
    const disk = await data.newDisk(size, request.node)
    try {
      const takenSince = this.#takeExisting(request, finish)
      if (takenSince === undefined) return settle(make(table, request, disk), finish)
      data.dropDisk(disk)
      return takenSince
    } catch (error) {
      data.dropDisk(disk)
      throw error
    }
  }

  /** A name that is taken is no failure for all ways to create a file. `undefined`: it has to be made. */
  #takeExisting(request: Asked<'createFile'>, finish: Finish): Promise<FileAnswer> | undefined {
    const table = this.#table
    const found = this.#named(request.directory, request.name)
    if (found?.type !== 'file') return undefined
    const { how, changes } = request
    const same = (): FileAnswer => {
      const holder = attributesOf(table.get(request.directory))
      return { attributes: [attributesOf(table.get(found.id)), holder, holder] }
    }
    if (how === 'exclusive') {
      const isHis = found.verifier.length > 0 && sameBytes(found.verifier, request.verifier)
      return isHis ? settle(same(), finish) : undefined
    }
    if (how !== 'unchecked') return undefined
    if (changes.size === undefined) return settle(same(), finish)
    const { id } = found
    return this.#data.setSize({ id, size: changes.size, node: request.node }, same, finish)
  }

  /** Runs what may take the last name of a file; its vDisk goes after the commit. */
  async #remove(run: (gone: (inode: Inode) => void) => FileAnswer, finish: Finish): Promise<FileAnswer> {
    let gone: Inode | undefined
    const answer = run((inode) => {
      gone = inode
      if (inode.place.kind === 'disk') this.#table.doom(inode.place.vdisk)
    })
    await finish(answer)
    if (gone?.place.kind === 'slot') this.#data.freeSlot(gone.place.slot)
    if (gone?.place.kind === 'disk') {
      const deleted = this.#data.deleteDoomed([gone.place.vdisk])
      // A disk with a name of its own is gone for all to see.
      if (gone.place.native) await deleted
    }
    return answer
  }

  /** Of another container, or not there: `undefined`. */
  #named(directory: number, name: string): Inode | undefined {
    if (this.#table.find(directory)?.type !== 'directory') return undefined
    const entry = this.#table.directory(directory).get(name)
    return entry === undefined ? undefined : this.#table.find(entry.id)
  }

  async #becomeFile(inode: Inode | undefined): Promise<void> {
    if (inode !== undefined) await this.#data.becomeFile(inode)
  }

  /** What owners before have left. */
  #sweep(): void {
    const orphans: readonly VDiskId[] = this.#adoption.orphans(this.#deps.vdisk.generation)
    void this.#data.deleteDoomed([...this.#table.doomed, ...orphans])
  }
}

async function settle(answer: FileAnswer, finish: Finish): Promise<FileAnswer> {
  await finish(answer)
  return answer
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, at) => byte === b[at])
}
