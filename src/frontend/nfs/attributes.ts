/** The structures of RFC 1813 that many calls share: attributes out, changes of attributes in. */
import type { FileAttributes, FileChange, FileChanges, FileTime, FileType } from '../../api.ts'
import type { XdrReader, XdrWriter } from './rpc/xdr.ts'
import { DONT_CHANGE, NF3DIR, NF3LNK, NF3REG, SET_TO_SERVER_TIME, TIME_HOW_COUNT } from './wire.ts'

const TYPE_NUMBER: Readonly<Record<FileType, number>> = { file: NF3REG, directory: NF3DIR, symlink: NF3LNK }
const MODE_BITS = 0o7777
const NANOSECONDS = 1_000_000_000
/** Bytes of a fattr3. */
export const ATTRIBUTES_BYTES = 84

/** fattr3. `container` is the file system's number. */
export function writeAttributes(out: XdrWriter, container: number, file: FileAttributes): void {
  out.u32(TYPE_NUMBER[file.type])
  out.u32(file.mode)
  out.u32(file.links)
  out.u32(file.uid)
  out.u32(file.gid)
  out.u64(file.size)
  out.u64(file.used)
  out.u64(0) // rdev: there are no devices
  out.u64(container)
  out.u64(file.id)
  writeTime(out, file.accessed)
  writeTime(out, file.modified)
  writeTime(out, file.changed)
}

/** post_op_attr. */
export function writePostOp(out: XdrWriter, container: number, file: FileAttributes | undefined): void {
  out.bool(file !== undefined)
  if (file !== undefined) writeAttributes(out, container, file)
}

/** wcc_data. */
export function writeWcc(out: XdrWriter, container: number, change: FileChange): void {
  const { before, after } = change
  out.bool(true)
  out.u64(before.size)
  writeTime(out, before.modified)
  writeTime(out, before.changed)
  writePostOp(out, container, after)
}

/** wcc_data after a failure: what was before is not known to be what is now. */
export function writeWccAfter(out: XdrWriter, container: number, after: FileAttributes | undefined): void {
  out.bool(false)
  writePostOp(out, container, after)
}

/** nfstime3 has unsigned seconds: what is before 1970 is 1970, what is after 2106 is 2106. */
function writeTime(out: XdrWriter, time: FileTime): void {
  out.u32(Math.min(Math.max(time.seconds, 0), 0xffff_ffff))
  out.u32(time.nanoseconds)
}

/** nfstime3. Nanoseconds that make more than a second are cut to what makes none. */
export function readTime(args: XdrReader): FileTime {
  const seconds = args.u32()
  const nanoseconds = args.u32()
  return { seconds, nanoseconds: nanoseconds % NANOSECONDS }
}

/** sattr3. */
export function readChanges(args: XdrReader): FileChanges {
  const changes: FileChanges = {}
  if (args.bool()) changes.mode = args.u32() & MODE_BITS
  if (args.bool()) changes.uid = args.u32()
  if (args.bool()) changes.gid = args.u32()
  if (args.bool()) changes.size = args.u64()
  const accessed = readTimeHow(args)
  if (accessed !== undefined) changes.accessed = accessed
  const modified = readTimeHow(args)
  if (modified !== undefined) changes.modified = modified
  return changes
}

function readTimeHow(args: XdrReader): FileTime | 'now' | undefined {
  const how = args.enumeration(TIME_HOW_COUNT)
  if (how === DONT_CHANGE) return undefined
  return how === SET_TO_SERVER_TIME ? 'now' : readTime(args)
}
