/** Names in the arguments of calls (filename3), and who may take one away. */
import type { FileAttributes } from '../../../api.ts'
import { codeOf } from '../../../base/errors.ts'
import { isSticky, MAY_WRITE, modeAllows } from '../permissions.ts'
import type { XdrReader } from '../rpc/xdr.ts'
import type { Target } from '../service.ts'
import { NfsError } from '../status.ts'
import {
  HANDLE_BYTES_MAX,
  NAME_BYTES_MAX,
  NFS3ERR_ACCES,
  NFS3ERR_INVAL,
  NFS3ERR_NAMETOOLONG,
  NFS3ERR_PERM,
  type Status,
} from '../wire.ts'

const DOT = 0x2e
const SLASH = 0x2f
const NUL = 0

export function readHandle(args: XdrReader): Buffer {
  return args.opaque(HANDLE_BYTES_MAX)
}

/** A name of any length that there is; whether it may be one is `checkName`'s to say. */
export function readName(args: XdrReader): Buffer {
  return args.opaque(args.remaining)
}

/** Throws `NfsError` for what can name nothing. */
export function checkName(name: Buffer): void {
  if (name.length > NAME_BYTES_MAX) throw new NfsError(NFS3ERR_NAMETOOLONG)
  if (name.length === 0 || name.includes(SLASH) || name.includes(NUL)) throw new NfsError(NFS3ERR_INVAL)
}

/** As `checkName`, and throws `dots` for the names that every directory has, `.` and `..`. */
export function checkOwnName(name: Buffer, dots: Status): void {
  checkName(name)
  if (name[0] === DOT && (name.length === 1 || (name.length === 2 && name[1] === DOT)))
    throw new NfsError(dots)
}

/**
 * Throws unless the user may take `name` out of `directory`, as far as that depends on what it names: in a sticky
 * directory it must be his own, and a directory that gets another parent must be writable, as its `..` changes.
 */
export async function checkVictim(
  target: Target,
  directory: FileAttributes,
  name: Buffer,
  how: { readonly newParent: boolean },
): Promise<void> {
  const { user } = target
  const sticky = isSticky(directory, user)
  if (user.uid === 0 || !(sticky || how.newParent)) return
  const file = await findEntry(target, name)
  // Nothing to take: the file system says so.
  if (file === undefined) return
  if (sticky && file.uid !== user.uid) throw new NfsError(NFS3ERR_PERM)
  if (how.newParent && file.type === 'directory' && !modeAllows(file, user, MAY_WRITE)) {
    throw new NfsError(NFS3ERR_ACCES)
  }
}

/** What `name` is in a directory, or `undefined`. */
export async function findEntry({ fs, file }: Target, name: Buffer): Promise<FileAttributes | undefined> {
  try {
    return (await fs.lookup(file, name)).file
  } catch (error) {
    if (codeOf(error) === 'NOT_FOUND') return undefined
    throw error
  }
}
