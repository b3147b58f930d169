/**
 * The operations that change names and attributes only. Each checks first and changes then, in one turn, and leaves the
 * commit to the caller. Nothing here looks at who may do what.
 */
import type { FileChanges, FileId, FileTime } from '../api.ts'
import { ROOT_ID } from '../base/file-tree.ts'
import type { Entry } from './directory.ts'
import { fileError } from './file-error.ts'
import type { FileTable } from './file-table.ts'
import { attributesOf, type Inode, newInode, type Place } from './inode.ts'
import { FILE_BYTES_MAX, LIST_ENTRIES_MAX, TARGET_BYTES_MAX } from './limits.ts'
import type { Asked, FileAnswer, ListedDisk } from './messages.ts'
import { checkFileName, isDots, readable } from './names.ts'

/** What has to happen to the data of a file whose last name is gone. */
export type OnGone = (inode: Inode) => void

export function lookup(table: FileTable, { directory, name }: Asked<'lookup'>): FileAnswer {
  const entries = table.directory(directory)
  const holder = table.get(directory)
  if (name === '.') return { attributes: [attributesOf(holder), attributesOf(holder)] }
  if (name === '..') return { attributes: [attributesOf(table.get(holder.parent)), attributesOf(holder)] }
  checkFileName(name)
  const entry = entries.get(name)
  if (entry === undefined) throw missing(name)
  return { attributes: [attributesOf(table.get(entry.id)), attributesOf(holder)] }
}

export function list(table: FileTable, { directory, cookie, limit }: Asked<'list'>): FileAnswer {
  const { entries, end } = table.directory(directory).after(cookie, Math.min(limit, LIST_ENTRIES_MAX))
  return {
    attributes: [attributesOf(table.get(directory))],
    entries: entries.map((entry) => ({
      name: entry.name,
      cookie: entry.cookie,
      attributes: attributesOf(table.get(entry.id)),
    })),
    end,
  }
}

export function parent(table: FileTable, { directory }: Asked<'parent'>): FileAnswer {
  table.directory(directory)
  return { attributes: [attributesOf(table.get(table.get(directory).parent))] }
}

export function readLink(table: FileTable, { file }: Asked<'readLink'>): FileAnswer {
  const inode = table.get(file)
  if (inode.type !== 'symlink') throw fileError('BAD_ARGUMENT', `file ${file} is no symbolic link`)
  return { attributes: [attributesOf(inode)], bytes: inode.target }
}

/** A vDisk that was made for a file that is to come, and the file's number. */
export interface ReadyDisk {
  readonly file: FileId
  readonly place: Extract<Place, { kind: 'disk' }>
}

/** Makes a file, directory or link under a name that is free. A file of more bytes than a slot has comes with its vDisk. */
export function make(
  table: FileTable,
  request: Asked<'createFile'> | Asked<'createDirectory'> | Asked<'createSymlink'>,
  disk?: ReadyDisk,
): FileAnswer {
  const { name, changes } = request
  const holder = freeName(table, request.directory, name)
  if (request.op === 'createSymlink') checkTarget(request.target)
  if (request.op === 'createFile') checkSize(changes.size ?? 0)
  table.assertRoom()
  const now = table.now()
  const before = attributesOf(holder)
  const type =
    request.op === 'createFile' ? 'file' : request.op === 'createDirectory' ? 'directory' : 'symlink'
  const inode = newInode(
    {
      id: disk?.file ?? table.newId(),
      birth: table.newBirth(),
      type,
      parent: type === 'directory' ? holder.id : 0,
      ...(request.op === 'createFile' ? { verifier: request.verifier } : {}),
      ...(request.op === 'createSymlink' ? { target: request.target } : {}),
    },
    now,
  )
  applyChanges(inode, changes, now)
  if (request.op === 'createFile') inode.size = changes.size ?? 0
  table.add(inode)
  if (disk !== undefined) table.setPlace(inode, disk.place)
  if (type === 'directory') holder.links += 1
  table.link(holder, name, inode.id, now)
  return { attributes: [attributesOf(inode), before, attributesOf(holder)] }
}

export function link(table: FileTable, request: Asked<'link'>): FileAnswer {
  const inode = table.get(request.file)
  if (inode.type === 'directory') throw fileError('IS_DIRECTORY', 'a directory has one name only')
  const holder = freeName(table, request.directory, request.name)
  table.assertRoom()
  const now = table.now()
  const before = attributesOf(holder)
  inode.links += 1
  inode.changed = now
  table.touch(inode)
  table.link(holder, request.name, inode.id, now)
  return { attributes: [attributesOf(inode), before, attributesOf(holder)] }
}

export function remove(table: FileTable, request: Asked<'remove'>, gone: OnGone): FileAnswer {
  const { holder, entry } = namedEntry(table, request.directory, request.name)
  const inode = table.get(entry.id)
  if (inode.type === 'directory') throw fileError('IS_DIRECTORY', `${shown(entry.name)} is a directory`)
  const now = table.now()
  const before = attributesOf(holder)
  table.unlink(holder, entry, now)
  dropName(table, inode, now, gone)
  return { attributes: [before, attributesOf(holder)] }
}

export function removeDirectory(table: FileTable, request: Asked<'removeDirectory'>): FileAnswer {
  if (request.name === '..') throw fileError('NOT_EMPTY', 'a directory that holds others cannot be removed')
  const { holder, entry } = namedEntry(table, request.directory, request.name)
  if (table.directory(entry.id).size > 0) throw notEmpty(entry.name)
  const before = attributesOf(holder)
  table.unlink(holder, entry, table.now())
  holder.links -= 1
  table.drop(table.get(entry.id))
  return { attributes: [before, attributesOf(holder)] }
}

export function rename(table: FileTable, request: Asked<'rename'>, gone: OnGone): FileAnswer {
  const { holder: from, entry } = namedEntry(table, request.from, request.name)
  const entries = table.directory(request.to)
  const to = table.get(request.to)
  const { newName } = request
  checkFileName(newName)
  if (isDots(newName)) throw fileError('ALREADY_EXISTS', `${newName} is a name of its directory`)
  const inode = table.get(entry.id)
  if (inode.type === 'directory') refuseUnderItself(table, inode.id, to)
  const target = entries.get(newName)
  const replaced = target === undefined ? undefined : table.get(target.id)
  const before = [attributesOf(from), attributesOf(to)] as const
  const answer = (): FileAnswer => ({
    attributes: [before[0], attributesOf(from), before[1], attributesOf(to)],
  })
  // Two names of one file: nothing happens (POSIX).
  if (replaced === inode) return answer()
  if (replaced !== undefined) checkReplaced(table, inode, replaced, newName)
  else table.assertRoom()

  const now = table.now()
  if (target !== undefined && replaced !== undefined) {
    table.unlink(to, target, now)
    if (replaced.type === 'directory') {
      to.links -= 1
      table.drop(replaced)
    } else dropName(table, replaced, now, gone)
  }
  table.unlink(from, entry, now)
  table.link(to, newName, inode.id, now)
  if (inode.type === 'directory' && from !== to) {
    from.links -= 1
    to.links += 1
    inode.parent = to.id
  }
  inode.changed = now
  table.touch(inode)
  return answer()
}

/** Everything but the size. */
export function applyChanges(inode: Inode, changes: FileChanges, now: FileTime): void {
  if (changes.mode !== undefined) inode.mode = changes.mode & 0o7777
  if (changes.uid !== undefined) inode.uid = changes.uid
  if (changes.gid !== undefined) inode.gid = changes.gid
  if (changes.accessed !== undefined) inode.accessed = changes.accessed === 'now' ? now : changes.accessed
  if (changes.modified !== undefined) inode.modified = changes.modified === 'now' ? now : changes.modified
  inode.changed = now
}

/** The files that have a vDisk made for them, by one of their paths, in the order of the tree. */
export function listDisks(table: FileTable): ListedDisk[] {
  const disks: ListedDisk[] = []
  const seen = new Set<FileId>()
  const walk = (directory: FileId, prefix: string) => {
    for (const entry of table.directory(directory).after(0, Number.POSITIVE_INFINITY).entries) {
      const inode = table.get(entry.id)
      const path = `${prefix}${entry.name}`
      if (inode.type === 'directory') walk(inode.id, `${path}/`)
      else if (inode.place.kind === 'disk' && !inode.place.native && !seen.has(inode.id)) {
        seen.add(inode.id)
        disks.push({ path, file: inode.id, vdisk: inode.place.vdisk, size: inode.size })
      }
    }
  }
  walk(ROOT_ID, '')
  return disks
}

function dropName(table: FileTable, inode: Inode, now: FileTime, gone: OnGone): void {
  inode.links -= 1
  inode.changed = now
  table.touch(inode)
  if (inode.links > 0) return
  table.drop(inode)
  gone(inode)
}

function namedEntry(table: FileTable, directory: FileId, name: string): { holder: Inode; entry: Entry } {
  const entries = table.directory(directory)
  checkFileName(name)
  if (isDots(name)) throw fileError('BAD_ARGUMENT', `${name} is not a name that can be taken away`)
  const entry = entries.get(name)
  if (entry === undefined) throw missing(name)
  return { holder: table.get(directory), entry }
}

/** The directory, in which the name must be free. */
export function freeName(table: FileTable, directory: FileId, name: string): Inode {
  const entries = table.directory(directory)
  checkFileName(name)
  if (isDots(name) || entries.get(name) !== undefined) {
    throw fileError('ALREADY_EXISTS', `the directory has ${shown(name)} already`)
  }
  return table.get(directory)
}

function refuseUnderItself(table: FileTable, id: FileId, into: Inode): void {
  for (let at = into; ; at = table.get(at.parent)) {
    if (at.id === id) throw fileError('BAD_ARGUMENT', 'a directory cannot be moved under itself')
    if (at.id === ROOT_ID) return
  }
}

function checkReplaced(table: FileTable, inode: Inode, replaced: Inode, name: string): void {
  if (inode.type === 'directory') {
    if (replaced.type !== 'directory')
      throw fileError('NOT_DIRECTORY', `${shown(name)} is there, and is no directory`)
    if (table.directory(replaced.id).size > 0) throw notEmpty(name)
  } else if (replaced.type === 'directory') {
    throw fileError('IS_DIRECTORY', `${shown(name)} is there, and is a directory`)
  }
}

export function checkSize(size: number): void {
  if (Number.isSafeInteger(size) && size >= 0 && size <= FILE_BYTES_MAX) return
  throw fileError('OUT_OF_RANGE', `a file has ${FILE_BYTES_MAX} bytes at most, not ${size}`)
}

function checkTarget(target: Uint8Array): void {
  if (target.length >= 1 && target.length <= TARGET_BYTES_MAX) return
  const code = target.length === 0 ? 'BAD_ARGUMENT' : 'NAME_TOO_LONG'
  throw fileError(code, `a symbolic link leads to 1 to ${TARGET_BYTES_MAX} bytes, not ${target.length}`)
}

function missing(name: string) {
  return fileError('NOT_FOUND', `the directory has no ${shown(name)}`)
}

function notEmpty(name: string) {
  return fileError('NOT_EMPTY', `the directory ${shown(name)} has entries`)
}

/** A name in a sentence. */
function shown(name: string): string {
  return JSON.stringify(readable(name))
}
