/**
 * The exports of a door, by name for MOUNT and by number for handles, with who may use them. The list is asked for anew
 * when an export was changed through this door's cluster object, when something is not in it, and when it is `FRESH_MS`
 * old, since another may have changed it: so what is changed here counts at once, and elsewhere within a second.
 */
import type { ContainerInfo, ExportOptions, FilePath, FileSystem } from '../../api.ts'
import { codeOf } from '../../base/errors.ts'
import { AllowList } from './allow-list.ts'
import { SeenAttributes } from './seen-attributes.ts'
import { NfsError } from './status.ts'
import { NFS3ERR_ACCES, NFS3ERR_JUKEBOX, NFS3ERR_STALE } from './wire.ts'

const FRESH_MS = 1_000

/** An exported container. */
export interface Export {
  readonly info: ContainerInfo
  readonly options: ExportOptions
  readonly fs: FileSystem
  readonly seen: SeenAttributes
  allows(client: string): boolean
}

export class Exports {
  readonly #path: FilePath
  readonly #now: () => number
  #byId = new Map<number, Export>()
  /** An export's file system could not be asked for its number: a handle that is in no list may be one of its. */
  #incomplete = false
  #readAt = Number.NEGATIVE_INFINITY
  /** Of the exports that were read. */
  #version = -1
  #reading: Promise<void> | undefined

  /** `now`: milliseconds, monotonic. */
  constructor(path: FilePath, now: () => number) {
    this.#path = path
    this.#now = now
  }

  list(): Promise<ContainerInfo[]> {
    return this.#path.listExports()
  }

  /** The export of this name for this client. Rejects with NFS3ERR_ACCES, or `undefined` when there is none. */
  async byName(name: string, client: string): Promise<Export | undefined> {
    await this.#readNow()
    for (const one of this.#byId.values()) {
      if (one.info.name === name) return permitted(one, client)
    }
    if (this.#incomplete) throw new NfsError(NFS3ERR_JUKEBOX)
    return undefined
  }

  /** The export that a handle names. Rejects with NFS3ERR_STALE, NFS3ERR_ACCES, or NFS3ERR_JUKEBOX when it is not known now. */
  async byId(id: number, client: string): Promise<Export> {
    const known = this.#byId.has(id)
    if (!known || this.#now() - this.#readAt > FRESH_MS || this.#isOutdated) {
      await this.#readNow().catch((error) => {
        // What was known stays so: clients with files open go on.
        if (!known) throw error
      })
    }
    const found = this.#byId.get(id)
    if (found !== undefined) return permitted(found, client)
    throw new NfsError(this.#incomplete ? NFS3ERR_JUKEBOX : NFS3ERR_STALE)
  }

  get #isOutdated(): boolean {
    return this.#version !== this.#path.exportsVersion()
  }

  /** A reading under way may have begun before the last change. */
  async #readNow(): Promise<void> {
    await this.#read()
    if (this.#isOutdated) await this.#read()
  }

  /** Reads the list; calls meanwhile share it. */
  #read(): Promise<void> {
    this.#reading ??= this.#readOnce().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #readOnce(): Promise<void> {
    const version = this.#path.exportsVersion()
    const infos = await this.#path.listExports()
    const opened = await Promise.allSettled(infos.map((info) => this.#path.fileSystem(info.name)))
    const old = this.#byId
    this.#byId = new Map()
    this.#incomplete = false
    for (const [i, result] of opened.entries()) {
      if (result.status === 'fulfilled') this.#add(infos[i]!, result.value, old)
      else if (codeOf(result.reason) !== 'NOT_FOUND') {
        this.#incomplete = true
        // What was known of it stays so.
        for (const one of old.values()) {
          if (one.info.name === infos[i]!.name) this.#byId.set(one.fs.id, one)
        }
      }
    }
    this.#readAt = this.#now()
    this.#version = version
  }

  #add(info: ContainerInfo, fs: FileSystem, old: ReadonlyMap<number, Export>): void {
    const options = info.export
    if (options === undefined) return
    const list = new AllowList(options.allow)
    const seen = old.get(fs.id)?.seen ?? new SeenAttributes(this.#now)
    this.#byId.set(fs.id, { info, options, fs, seen, allows: (client) => list.allows(client) })
  }
}

function permitted(one: Export, client: string): Export {
  if (!one.allows(client)) throw new NfsError(NFS3ERR_ACCES)
  return one
}
