/**
 * A `FilePath` over plain maps: a test double for the door's protocol tests, nothing else. Several doors may share its
 * files, as the doors of a cluster do. It remembers the answers of keyed calls, and lets a test hold calls back or
 * make them fail.
 */
import type {
  ContainerInfo,
  DirectoryEntry,
  ExportOptions,
  FileAttributes,
  FileCall,
  FileChange,
  FileChanges,
  FileId,
  FilePath,
  FileSystem,
  FileTime,
  FileType,
  MadeFile,
  RequestKey,
  WriteOptions,
} from '../../../src/api.ts'
import { type ErrorCode, HitherError } from '../../../src/base/errors.ts'
import { forgetOldest } from '../../../src/base/oldest.ts'

interface Inode {
  readonly id: FileId
  readonly birth: number
  readonly type: FileType
  mode: number
  links: number
  uid: number
  gid: number
  accessed: FileTime
  modified: FileTime
  changed: FileTime
  data: Buffer
  size: number
  /** Name (latin1) to id and cookie. */
  readonly entries: Map<string, { id: FileId; cookie: number }>
  nextCookie: number
  parent: FileId
  exclusive: string | undefined
}

const ROOT = 1
/** What the double keeps at most, so that a test may ask for anything: files, bytes of one, remembered answers. */
const FILES_MAX = 30_000
const FILE_BYTES_MAX = 16 * 1024 * 1024
const ANSWERS_MAX = 4_096
const LOOPBACK: ExportOptions = { allow: ['127.0.0.0/8', '::1'], readOnly: false, squash: 'none' }

export class MemoryPath implements FilePath {
  readonly node = 'node-1'
  readonly systems: MemoryFileSystem[]

  constructor(...systems: MemoryFileSystem[]) {
    this.systems = systems
  }

  version = 0

  exportsVersion(): number {
    return this.version
  }

  async listExports(): Promise<ContainerInfo[]> {
    return this.systems.map((system) => system.info)
  }

  async fileSystem(container: string): Promise<FileSystem> {
    const found = this.systems.find((system) => system.container === container)
    if (found === undefined) throw fail('NOT_FOUND')
    return found
  }
}

export class MemoryFileSystem implements FileSystem {
  readonly container: string
  readonly id: number
  export: ExportOptions
  durability: 'sync' | 'flush' = 'sync'
  verifier = Buffer.from('verifier')
  /** Set by a test: called before each operation; what it returns is awaited, what it throws fails the operation. */
  before: ((operation: string, file: FileId) => Promise<void> | undefined) | undefined
  /** Set by a test: called after each operation with a key; what it throws is all that is heard of it. */
  after: ((operation: string) => void) | undefined
  /** Operations, oldest first, while it is set. */
  trail: string[] | undefined
  readonly #inodes = new Map<FileId, Inode>()
  readonly #answers = new Map<string, Promise<unknown>>()
  #nextId = ROOT
  #clock = 1_700_000_000_000_000

  constructor(container: string, id: number, options: Partial<ExportOptions> = {}) {
    this.container = container
    this.id = id
    this.export = { ...LOOPBACK, ...options }
    this.#newInode('directory', ROOT, { mode: 0o777 })
  }

  get info(): ContainerInfo {
    return {
      name: this.container,
      rf: 2,
      compression: true,
      dedupe: true,
      minCopies: 2,
      durability: this.durability,
      export: this.export,
    }
  }

  getAttributes(file: FileId, birth = 0): Promise<FileAttributes> {
    return this.#run('getAttributes', file, undefined, () => {
      const inode = this.#get(file)
      if (birth !== 0 && inode.birth !== birth) throw fail('FILE_STALE')
      return attributesOf(inode)
    })
  }

  setAttributes(
    file: FileId,
    changes: FileChanges,
    options: FileCall & { guard?: FileTime } = {},
  ): Promise<FileChange> {
    return this.#run('setAttributes', file, options, () => {
      const inode = this.#get(file)
      const { guard } = options
      if (guard && !sameTime(guard, inode.changed)) throw fail('CONFLICT')
      return this.#change(inode, () => this.#apply(inode, changes))
    })
  }

  lookup(directory: FileId, name: Uint8Array): Promise<{ file: FileAttributes; directory: FileAttributes }> {
    return this.#run('lookup', directory, undefined, () => {
      const inode = this.#directory(directory)
      return { file: attributesOf(this.#named(inode, name)), directory: attributesOf(inode) }
    })
  }

  list(
    directory: FileId,
    cookie: number,
    limit: number,
  ): Promise<{ directory: FileAttributes; entries: DirectoryEntry[]; end: boolean }> {
    return this.#run('list', directory, undefined, () => {
      const inode = this.#directory(directory)
      const behind = [...inode.entries].filter(([, entry]) => entry.cookie > cookie)
      const entries = behind.slice(0, limit).map(([name, entry]) => ({
        name: Buffer.from(name, 'latin1'),
        id: entry.id,
        cookie: entry.cookie,
        attributes: attributesOf(this.#get(entry.id)),
      }))
      return { directory: attributesOf(inode), entries, end: entries.length === behind.length }
    })
  }

  parent(directory: FileId): Promise<FileAttributes> {
    return this.#run('parent', directory, undefined, () =>
      attributesOf(this.#get(this.#directory(directory).parent)),
    )
  }

  createFile(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    options: FileCall & { how: 'unchecked' | 'guarded' | { exclusive: Uint8Array } },
  ): Promise<MadeFile> {
    return this.#run('createFile', directory, options, () => {
      const { how } = options
      const parent = this.#directory(directory)
      const exclusive = typeof how === 'object' ? Buffer.from(how.exclusive).toString('hex') : undefined
      const existing = parent.entries.get(text(name))
      if (existing === undefined) {
        return this.#make(parent, name, 'file', changes, (inode) => {
          inode.exclusive = exclusive
        })
      }
      const inode = this.#get(existing.id)
      const again = exclusive !== undefined && inode.exclusive === exclusive
      if (!again && (how !== 'unchecked' || inode.type !== 'file')) throw fail('ALREADY_EXISTS')
      if (changes.size !== undefined) this.#change(inode, () => this.#apply(inode, { size: changes.size! }))
      return { file: attributesOf(inode), directory: unchanged(parent) }
    })
  }

  createDirectory(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile> {
    return this.#run('createDirectory', directory, call, () =>
      this.#make(this.#directory(directory), name, 'directory', changes),
    )
  }

  createSymlink(
    directory: FileId,
    name: Uint8Array,
    target: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile> {
    return this.#run('createSymlink', directory, call, () =>
      this.#make(this.#directory(directory), name, 'symlink', changes, (inode) => {
        inode.data = Buffer.from(target)
        inode.size = target.length
      }),
    )
  }

  readLink(file: FileId): Promise<{ target: Uint8Array; attributes: FileAttributes }> {
    return this.#run('readLink', file, undefined, () => {
      const inode = this.#get(file)
      if (inode.type !== 'symlink') throw fail('BAD_ARGUMENT')
      return { target: inode.data, attributes: attributesOf(inode) }
    })
  }

  link(file: FileId, directory: FileId, name: Uint8Array, call?: FileCall): Promise<MadeFile> {
    return this.#run('link', file, call, () => {
      const inode = this.#get(file)
      const parent = this.#directory(directory)
      if (inode.type === 'directory') throw fail('IS_DIRECTORY')
      if (parent.entries.has(text(name))) throw fail('ALREADY_EXISTS')
      const change = this.#change(parent, () => this.#enter(parent, name, inode.id))
      inode.links += 1
      inode.changed = this.#now()
      return { file: attributesOf(inode), directory: change }
    })
  }

  remove(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange> {
    return this.#run('remove', directory, call, () => {
      const parent = this.#directory(directory)
      const inode = this.#named(parent, name)
      if (inode.type === 'directory') throw fail('IS_DIRECTORY')
      return this.#change(parent, () => this.#drop(parent, name, inode))
    })
  }

  removeDirectory(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange> {
    return this.#run('removeDirectory', directory, call, () => {
      const parent = this.#directory(directory)
      const inode = this.#named(parent, name)
      if (inode.type !== 'directory') throw fail('NOT_DIRECTORY')
      if (inode.entries.size > 0) throw fail('NOT_EMPTY')
      return this.#change(parent, () => this.#drop(parent, name, inode))
    })
  }

  rename(
    from: FileId,
    name: Uint8Array,
    to: FileId,
    newName: Uint8Array,
    call?: FileCall,
  ): Promise<{ from: FileChange; to: FileChange }> {
    return this.#run('rename', from, call, () => {
      const source = this.#directory(from)
      const target = this.#directory(to)
      const inode = this.#named(source, name)
      for (let up = target; up.id !== ROOT; up = this.#get(up.parent)) {
        if (up.id === inode.id) throw fail('BAD_ARGUMENT')
      }
      const replaced = target.entries.get(text(newName))
      const old = replaced && this.#get(replaced.id)
      if (old?.id === inode.id) return { from: unchanged(source), to: unchanged(target) }
      if (old?.type === 'directory' && inode.type !== 'directory') throw fail('IS_DIRECTORY')
      if (old && old.type !== 'directory' && inode.type === 'directory') throw fail('NOT_DIRECTORY')
      if (old && old.entries.size > 0) throw fail('NOT_EMPTY')
      const before = [attributesOf(source), attributesOf(target)] as const
      if (old) this.#drop(target, newName, old)
      source.entries.delete(text(name))
      this.#enter(target, newName, inode.id)
      if (inode.type === 'directory') {
        inode.parent = to
        source.links -= 1
        target.links += 1
      }
      source.modified = source.changed = target.modified = target.changed = this.#now()
      return {
        from: { before: before[0], after: attributesOf(source) },
        to: { before: before[1], after: attributesOf(target) },
      }
    })
  }

  read(
    file: FileId,
    offset: number,
    target: Uint8Array,
  ): Promise<{ length: number; end: boolean; attributes: FileAttributes }> {
    return this.#run('read', file, undefined, () => {
      const inode = this.#get(file)
      const length = Math.max(Math.min(target.length, inode.size - offset), 0)
      const copied = length === 0 ? 0 : inode.data.copy(target, 0, offset, offset + length)
      target.fill(0, copied, length)
      return { length, end: offset + length >= inode.size, attributes: attributesOf(inode) }
    })
  }

  write(
    file: FileId,
    offset: number,
    source: Uint8Array,
    options: WriteOptions & { readonly key?: RequestKey } = {},
  ): Promise<FileChange & { verifier: Uint8Array }> {
    return this.#run(options.fua ? 'write fua' : 'write', file, options, () => {
      if (options.isAwaited?.() === false) throw fail('CANCELLED')
      const inode = this.#get(file)
      const change = this.#change(inode, () => {
        const end = offset + source.length
        if (end > FILE_BYTES_MAX) throw fail('NO_SPACE')
        if (end > inode.data.length) {
          const grown = Buffer.alloc(Math.max(end, 2 * inode.data.length))
          inode.data.copy(grown)
          inode.data = grown
        }
        inode.data.set(source, offset)
        inode.size = Math.max(inode.size, end)
        inode.modified = this.#now()
      })
      return { ...change, verifier: this.verifier }
    })
  }

  commit(file: FileId): Promise<FileChange & { verifier: Uint8Array }> {
    return this.#run('commit', file, undefined, () => ({
      ...unchanged(this.#get(file)),
      verifier: this.verifier,
    }))
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number; totalFiles: number; freeFiles: number }> {
    return { totalBytes: 1e12, freeBytes: 5e11, totalFiles: 1e6, freeFiles: 1e6 - this.#inodes.size }
  }

  /** Bytes of the file at `path`, for a test to look at. */
  peek(...path: string[]): Buffer {
    let inode = this.#get(ROOT)
    for (const name of path) inode = this.#get(inode.entries.get(name)!.id)
    return Buffer.concat([inode.data], inode.size)
  }

  async #run<T>(operation: string, file: FileId, call: FileCall | undefined, work: () => T): Promise<T> {
    const key = call?.key
    const run =
      call?.forbidden !== true
        ? work
        : (): T => {
            throw fail('FORBIDDEN')
          }
    if (key === undefined) return this.#once(operation, file, run)
    const name = `${key.high} ${key.low}`
    const known = this.#answers.get(name) as Promise<T> | undefined
    if (known !== undefined) return known
    const answer = this.#once(operation, file, run)
    this.#answers.set(name, answer)
    forgetOldest(this.#answers, ANSWERS_MAX)
    const told = await answer
    this.after?.(operation)
    return told
  }

  async #once<T>(operation: string, file: FileId, run: () => T): Promise<T> {
    this.trail?.push(`${operation} ${file}`)
    await this.before?.(operation, file)
    return run()
  }

  #get(id: FileId): Inode {
    const inode = this.#inodes.get(id)
    if (inode === undefined) throw fail('FILE_STALE')
    return inode
  }

  #directory(id: FileId): Inode {
    const inode = this.#get(id)
    if (inode.type !== 'directory') throw fail('NOT_DIRECTORY')
    return inode
  }

  #named(directory: Inode, name: Uint8Array): Inode {
    const wanted = text(name)
    if (wanted === '.') return directory
    if (wanted === '..') return this.#get(directory.parent)
    const entry = directory.entries.get(wanted)
    if (entry === undefined) throw fail('NOT_FOUND')
    return this.#get(entry.id)
  }

  #make(
    parent: Inode,
    name: Uint8Array,
    type: FileType,
    changes: FileChanges,
    more?: (inode: Inode) => void,
  ): MadeFile {
    if (parent.entries.has(text(name))) throw fail('ALREADY_EXISTS')
    if (this.#inodes.size >= FILES_MAX) throw fail('NO_SPACE')
    const inode = this.#newInode(type, parent.id, changes)
    more?.(inode)
    const directory = this.#change(parent, () => {
      this.#enter(parent, name, inode.id)
      if (type === 'directory') parent.links += 1
    })
    return { file: attributesOf(inode), directory }
  }

  #newInode(type: FileType, parent: FileId, changes: FileChanges): Inode {
    const now = this.#now()
    const inode: Inode = {
      id: this.#nextId++,
      birth: 7_000 + this.#nextId,
      type,
      mode: 0o600,
      links: type === 'directory' ? 2 : 1,
      uid: 0,
      gid: 0,
      accessed: now,
      modified: now,
      changed: now,
      data: Buffer.alloc(0),
      size: 0,
      entries: new Map(),
      nextCookie: 1,
      parent,
      exclusive: undefined,
    }
    this.#apply(inode, changes)
    this.#inodes.set(inode.id, inode)
    return inode
  }

  #enter(directory: Inode, name: Uint8Array, id: FileId): void {
    directory.entries.set(text(name), { id, cookie: directory.nextCookie++ })
    directory.modified = this.#now()
  }

  #drop(directory: Inode, name: Uint8Array, inode: Inode): void {
    directory.entries.delete(text(name))
    directory.modified = this.#now()
    inode.links -= 1
    if (inode.type === 'directory') directory.links -= 1
    if (inode.type === 'directory' || inode.links === 0) this.#inodes.delete(inode.id)
  }

  #change(inode: Inode, change: () => void): FileChange {
    const before = attributesOf(inode)
    change()
    inode.changed = this.#now()
    return { before, after: attributesOf(inode) }
  }

  #apply(inode: Inode, changes: FileChanges): void {
    const { size, accessed, modified } = changes
    inode.mode = changes.mode ?? inode.mode
    inode.uid = changes.uid ?? inode.uid
    inode.gid = changes.gid ?? inode.gid
    if (size !== undefined) {
      // What lies behind the end is zeros, always.
      inode.data = Buffer.from(inode.data.subarray(0, Math.min(size, inode.data.length)))
      inode.size = size
      inode.modified = this.#now()
    }
    if (accessed) inode.accessed = accessed === 'now' ? this.#now() : accessed
    if (modified) inode.modified = modified === 'now' ? this.#now() : modified
  }

  /** Each call is a microsecond later than the one before. */
  #now(): FileTime {
    this.#clock += 1
    return {
      seconds: Math.floor(this.#clock / 1e6),
      nanoseconds: (this.#clock % 1e6) * 1_000,
    }
  }
}

function attributesOf(inode: Inode): FileAttributes {
  const { id, birth, type, mode, links, uid, gid, accessed, modified, changed, size } = inode
  return {
    id,
    birth,
    type,
    mode,
    links,
    uid,
    gid,
    accessed,
    modified,
    changed,
    size,
    used: inode.data.length,
  }
}

function unchanged(inode: Inode): FileChange {
  return { before: attributesOf(inode), after: attributesOf(inode) }
}

function sameTime(a: FileTime, b: FileTime): boolean {
  return a.seconds === b.seconds && a.nanoseconds === b.nanoseconds
}

function text(name: Uint8Array): string {
  return Buffer.from(name).toString('latin1')
}

function fail(code: ErrorCode): HitherError {
  return new HitherError(code, `test double: ${code}`)
}
