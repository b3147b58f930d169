/**
 * Who may do what, by mode bits, owner and group, as a Unix server decides it (POSIX, and the liberties that RFC 1813,
 * section 4.4, gives a server that knows no open files: the owner of a file reads and writes it whatever its mode, and
 * who may execute a file may read it).
 */
import type { ExportOptions, FileAttributes, FileChanges } from '../../api.ts'
import type { Credentials, User } from './rpc/credentials.ts'
import { NfsError } from './status.ts'
import { NFS3ERR_ACCES, NFS3ERR_PERM } from './wire.ts'

/** User and group of whoever has no name here. */
const NOBODY_ID = 65_534
const NOBODY: User = { uid: NOBODY_ID, gid: NOBODY_ID, groups: [] }

export const MAY_READ = 4
export const MAY_WRITE = 2
export const MAY_EXECUTE = 1

const ANY_EXECUTE = 0o111
const STICKY = 0o1000
const SET_GROUP_ID = 0o2000
const SET_USER_ID = 0o4000
const GROUP_EXECUTE = 0o010

/** As whom a caller counts in an export. */
export function userOf(credentials: Credentials, squash: ExportOptions['squash']): User {
  const { user } = credentials
  if (user === undefined || squash === 'all') return NOBODY
  if (squash === 'none') return user
  const squashed = (id: number): number => (id === 0 ? NOBODY_ID : id)
  if (user.uid === 0) return NOBODY
  return { uid: user.uid, gid: squashed(user.gid), groups: user.groups.map(squashed) }
}

export function isMember(user: User, gid: number): boolean {
  return user.gid === gid || user.groups.includes(gid)
}

/** Whether the mode of `file` gives `user` all of `wanted` (MAY_…). */
export function modeAllows(file: FileAttributes, user: User, wanted: number): boolean {
  if (user.uid === 0) {
    const runs = file.type === 'directory' || (file.mode & ANY_EXECUTE) !== 0
    return (wanted & MAY_EXECUTE) === 0 || runs
  }
  const shift = user.uid === file.uid ? 6 : isMember(user, file.gid) ? 3 : 0
  return ((file.mode >> shift) & wanted) === wanted
}

/** Whether `user` may read the data of `file`. */
export function mayReadData(file: FileAttributes, user: User): boolean {
  return user.uid === file.uid || modeAllows(file, user, MAY_READ) || modeAllows(file, user, MAY_EXECUTE)
}

/** Whether `user` may change the data of `file`. */
export function mayWriteData(file: FileAttributes, user: User): boolean {
  return user.uid === file.uid || modeAllows(file, user, MAY_WRITE)
}

/** Throws NFS3ERR_ACCES unless entries of `directory` may be added and taken away. */
export function mustChangeEntries(directory: FileAttributes, user: User): void {
  if (!modeAllows(directory, user, MAY_WRITE | MAY_EXECUTE)) throw new NfsError(NFS3ERR_ACCES)
}

/** Whether who may take an entry away depends on whose it is. */
export function isSticky(directory: FileAttributes, user: User): boolean {
  return (directory.mode & STICKY) !== 0 && user.uid !== 0 && user.uid !== directory.uid
}

/** What of `changes` takes effect on `file`. Throws NFS3ERR_PERM or NFS3ERR_ACCES when `user` may not ask for it. */
export function allowedChanges(file: FileAttributes, user: User, changes: FileChanges): FileChanges {
  if (user.uid === 0) return changes
  const owner = user.uid === file.uid
  if (changes.size !== undefined && !mayWriteData(file, user)) throw new NfsError(NFS3ERR_ACCES)
  if (changes.mode !== undefined && !owner) throw new NfsError(NFS3ERR_PERM)
  if (changes.uid !== undefined && !(owner && changes.uid === file.uid)) throw new NfsError(NFS3ERR_PERM)
  if (changes.gid !== undefined && !(owner && (changes.gid === file.gid || isMember(user, changes.gid)))) {
    throw new NfsError(NFS3ERR_PERM)
  }
  for (const time of [changes.accessed, changes.modified]) {
    if (time === undefined || owner) continue
    if (time !== 'now') throw new NfsError(NFS3ERR_PERM)
    if (!modeAllows(file, user, MAY_WRITE)) throw new NfsError(NFS3ERR_ACCES)
  }
  return withoutForeignGroupId(file, user, changes)
}

/** Who is not in the group of a file cannot make it run as that group; a new owner or group ends both. */
function withoutForeignGroupId(file: FileAttributes, user: User, changes: FileChanges): FileChanges {
  if (changes.mode !== undefined) {
    const foreign = !isMember(user, changes.gid ?? file.gid)
    return foreign ? { ...changes, mode: changes.mode & ~SET_GROUP_ID } : changes
  }
  const given = changes.uid !== undefined || changes.gid !== undefined
  if (!given || file.type !== 'file') return changes
  const mode = afterForeignWrite(file)
  return mode === undefined ? changes : { ...changes, mode }
}

/** The mode of a file that somebody else than root has written: it runs as nobody else any more. `undefined`: as it was. */
export function afterForeignWrite(file: FileAttributes): number | undefined {
  const group = (file.mode & GROUP_EXECUTE) !== 0 ? SET_GROUP_ID : 0
  const lost = file.mode & (SET_USER_ID | group)
  return lost === 0 ? undefined : file.mode & ~lost
}

/** What a new entry of `directory` that `user` makes starts with. */
export function initialAttributes(
  directory: FileAttributes,
  user: User,
  changes: FileChanges,
  kind: { readonly directory: boolean },
): FileChanges {
  const inherits = (directory.mode & SET_GROUP_ID) !== 0
  const root = user.uid === 0
  const asked = changes.gid !== undefined && (root || isMember(user, changes.gid)) ? changes.gid : undefined
  const gid = asked ?? (inherits ? directory.gid : user.gid)
  let mode = changes.mode ?? (kind.directory ? 0o700 : 0o600)
  if (!root && !isMember(user, gid)) mode &= ~SET_GROUP_ID
  if (kind.directory && inherits) mode |= SET_GROUP_ID
  return { ...changes, mode, uid: root && changes.uid !== undefined ? changes.uid : user.uid, gid }
}
