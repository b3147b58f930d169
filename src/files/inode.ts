/**
 * One file, directory or symbolic link: what the table holds of it in memory, its bytes, and its attributes.
 *
 * Bytes of an inode, little endian:
 *
 *     u8   version, 1
 *     u8   type: 0 file, 1 directory, 2 symbolic link
 *     u32  birth       u16 mode       u32 uid       u32 gid       u32 links
 *     u53  size
 *     3 × (u32 seconds, u32 nanoseconds): accessed, modified, changed
 *     u8   place: 0 none, 1 slot, 2 vDisk of this file, 3 vDisk that is a disk of its own
 *     u53  number of the slot or vDisk         u53 capacity (of a vDisk)
 *     u53  loose (of a file with a vDisk)
 *     u53  parent      u53 next cookie         (0 for all but directories)
 *     u8   bytes of the verifier of an exclusive creation (0 or 8), then those
 *     u32  bytes of the target of a symbolic link, then those
 */
import type { FileAttributes, FileId, FileTime, FileType } from '../api.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { alignUp, BLOCK_BYTES, type VDiskId } from '../base/units.ts'

const VERSION = 1
const TYPES: readonly FileType[] = ['file', 'directory', 'symlink']
/** What an entry counts for in the size of its directory, bytes. */
const ENTRY_BYTES = 64
const NO_BYTES = new Uint8Array(0)

/** Where the data of a regular file is. */
export type Place =
  | { readonly kind: 'none' }
  | { readonly kind: 'slot'; readonly slot: number }
  /** `native`: the vDisk was made as a disk and has a name of its own; else it was made for the file. */
  | {
      readonly kind: 'disk'
      readonly vdisk: VDiskId
      readonly capacity: number
      readonly native: boolean
    }

export const NO_PLACE: Place = { kind: 'none' }

export interface Inode {
  readonly id: FileId
  readonly birth: number
  readonly type: FileType
  mode: number
  links: number
  uid: number
  gid: number
  /** Bytes; of a directory, the number of its entries. */
  size: number
  accessed: FileTime
  modified: FileTime
  changed: FileTime
  place: Place
  /** Of a file with a vDisk: up to here it may have bytes past its size that a cut has left behind. Bytes. */
  loose: number
  /** Of a directory: the one that holds it. */
  parent: FileId
  /** Of a directory: cookie of the next entry. */
  nextCookie: number
  /** Of an exclusive creation. */
  readonly verifier: Uint8Array
  /** Of a symbolic link. */
  readonly target: Uint8Array
  /** Number of the last commit that changed it; not durable. */
  commit: number
  /** Counts the times that bytes were cut or zeroed; not durable. */
  epoch: number
}

export function newInode(
  what: Pick<Inode, 'id' | 'birth' | 'type' | 'parent'> & { verifier?: Uint8Array; target?: Uint8Array },
  now: FileTime,
): Inode {
  return {
    id: what.id,
    birth: what.birth,
    type: what.type,
    mode: what.type === 'directory' ? 0o755 : what.type === 'symlink' ? 0o777 : 0o644,
    links: what.type === 'directory' ? 2 : 1,
    uid: 0,
    gid: 0,
    size: what.target?.length ?? 0,
    accessed: now,
    modified: now,
    changed: now,
    place: NO_PLACE,
    loose: 0,
    parent: what.parent,
    nextCookie: what.type === 'directory' ? 1 : 0,
    verifier: what.verifier ?? NO_BYTES,
    target: what.target ?? NO_BYTES,
    commit: 0,
    epoch: 0,
  }
}

export function attributesOf(inode: Inode): FileAttributes {
  const { type, id, birth, mode, links, uid, gid, accessed, modified, changed } = inode
  const size = type === 'directory' ? inode.size * ENTRY_BYTES : inode.size
  const used = inode.place.kind === 'none' ? 0 : alignUp(size, BLOCK_BYTES)
  return { type, id, birth, mode, links, uid, gid, size, used, accessed, modified, changed }
}

export function encodeInode(inode: Inode): Uint8Array {
  const writer = new ByteWriter(128)
    .u8(VERSION)
    .u8(TYPES.indexOf(inode.type))
    .u32(inode.birth)
    .u16(inode.mode)
    .u32(inode.uid)
    .u32(inode.gid)
    .u32(inode.links)
    .u53(inode.size)
  for (const time of [inode.accessed, inode.modified, inode.changed]) writeTime(writer, time)
  const { place } = inode
  if (place.kind === 'none') writer.u8(0).u53(0).u53(0)
  else if (place.kind === 'slot') writer.u8(1).u53(place.slot).u53(0)
  else
    writer
      .u8(place.native ? 3 : 2)
      .u53(place.vdisk)
      .u53(place.capacity)
  return writer
    .u53(inode.loose)
    .u53(inode.parent)
    .u53(inode.nextCookie)
    .u8(inode.verifier.length)
    .bytes(inode.verifier)
    .blob(inode.target)
    .toBytes()
}

/** @throws `FORMAT_UNKNOWN`, `PROTOCOL_ERROR` */
export function decodeInode(id: FileId, bytes: Uint8Array): Inode {
  const reader = new ByteReader(bytes)
  const version = reader.u8()
  if (version !== VERSION) {
    throw new HitherError('FORMAT_UNKNOWN', `file format ${version} is newer than this version of hither`)
  }
  const type = readType(reader)
  const birth = reader.u32()
  const mode = reader.u16()
  const uid = reader.u32()
  const gid = reader.u32()
  const links = reader.u32()
  const size = reader.u53()
  const accessed = readTime(reader)
  const modified = readTime(reader)
  const changed = readTime(reader)
  const place = placeOf(reader.u8(), reader.u53(), reader.u53())
  const loose = reader.u53()
  const parent = reader.u53()
  const nextCookie = reader.u53()
  const verifier = reader.bytes(reader.u8()).slice()
  const target = reader.blob().slice()
  reader.end()
  return {
    id,
    birth,
    type,
    mode,
    links,
    uid,
    gid,
    size,
    accessed,
    modified,
    changed,
    place,
    loose,
    parent,
    nextCookie,
    verifier,
    target,
    commit: 0,
    epoch: 0,
  }
}

export function writeTime(writer: ByteWriter, time: FileTime): void {
  writer.u32(time.seconds).u32(time.nanoseconds)
}

export function readTime(reader: ByteReader): FileTime {
  return { seconds: reader.u32(), nanoseconds: reader.u32() }
}

export function writeType(writer: ByteWriter, type: FileType): void {
  writer.u8(TYPES.indexOf(type))
}

export function readType(reader: ByteReader): FileType {
  const type = TYPES[reader.u8()]
  if (type === undefined) throw new HitherError('PROTOCOL_ERROR', 'a file is of no known type')
  return type
}

function placeOf(kind: number, number: number, capacity: number): Place {
  switch (kind) {
    case 0:
      return NO_PLACE
    case 1:
      return { kind: 'slot', slot: number }
    case 2:
    case 3:
      return { kind: 'disk', vdisk: number, capacity, native: kind === 3 }
    default:
      throw new HitherError('PROTOCOL_ERROR', `${kind} is no kind of place`)
  }
}
