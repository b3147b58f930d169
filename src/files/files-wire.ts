/**
 * Bytes of what hosts and the owner of a files disk say to each other (messages.ts). Little endian; every reader checks
 * its bounds and throws `PROTOCOL_ERROR`.
 *
 * Request: u8 version (1), u8 operation, u8 flags (bit 0 with a key, 1 forbidden), the key (u32 high, u32 low), then what
 *          it asks for.
 * Answer:  u8 version (1), u8 0, u8 parts (bit 0 place, 1 bytes, 2 entries, 3 disks, 4 end), u8 number of attributes,
 *          those, then the parts; or: u8 version, u8 1 + number of the code, and the sentence.
 */
import type { FileAttributes, FileChanges, FileTime } from '../api.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { HitherError } from '../base/errors.ts'
import { FILE_CODES, type FileError, fileError } from './file-error.ts'
import { readTime, readType, writeTime, writeType } from './inode.ts'
import type {
  DiskPlace,
  FileAnswer,
  FileRequest,
  HowToCreate,
  KeyedRequest,
  ListedDisk,
  ListedEntry,
} from './messages.ts'
import { bytesOf, nameOf } from './names.ts'

const VERSION = 1
/** Flags of a request: it has a key; it is forbidden to whoever asks. */
const KEYED = 1
const FORBIDDEN = 2
/** Operations by their number on the wire: append only. */
const OPERATIONS = [
  'getAttributes',
  'setAttributes',
  'lookup',
  'list',
  'parent',
  'createFile',
  'createDirectory',
  'createSymlink',
  'link',
  'readLink',
  'remove',
  'removeDirectory',
  'rename',
  'read',
  'write',
  'extend',
  'written',
  'disks',
] as const satisfies ReadonlyArray<FileRequest['op']>
const HOWS: readonly HowToCreate[] = ['unchecked', 'guarded', 'exclusive']
/** Bytes of attributes, and least of an entry and of a disk, in an answer. */
const ATTRIBUTES_BYTES = 67
const ENTRY_BYTES_MIN = 10 + ATTRIBUTES_BYTES
const DISK_BYTES_MIN = 26
const WRITTEN_BYTES = 16

export function encodeRequest({ request, key, forbidden }: KeyedRequest): Uint8Array {
  const writer = new ByteWriter(request.op === 'write' ? request.data.length + 64 : 256)
  writer.u8(VERSION).u8(OPERATIONS.indexOf(request.op))
  writer.u8((key === undefined ? 0 : KEYED) | (forbidden ? FORBIDDEN : 0))
  if (key !== undefined) writer.u32(key.high).u32(key.low)
  writeRequest(writer, request)
  return writer.view()
}

function writeRequest(writer: ByteWriter, request: FileRequest): void {
  switch (request.op) {
    case 'getAttributes':
      writer.u53(request.file).u32(request.birth)
      return
    case 'setAttributes':
      writer.u53(request.file).string(request.node)
      writeChanges(writer, request.changes)
      writer.u8(request.guard === undefined ? 0 : 1)
      if (request.guard !== undefined) writeTime(writer, request.guard)
      return
    case 'list':
      writer.u53(request.directory).u53(request.cookie).u32(request.limit)
      return
    case 'parent':
      writer.u53(request.directory)
      return
    case 'readLink':
      writer.u53(request.file)
      return
    case 'lookup':
    case 'remove':
    case 'removeDirectory':
      writer.u53(request.directory)
      writeName(writer, request.name)
      return
    case 'createFile':
      writer.u53(request.directory).u8(HOWS.indexOf(request.how)).blob(request.verifier).string(request.node)
      writeName(writer, request.name)
      writeChanges(writer, request.changes)
      return
    case 'createDirectory':
      writer.u53(request.directory)
      writeName(writer, request.name)
      writeChanges(writer, request.changes)
      return
    case 'createSymlink':
      writer.u53(request.directory).blob(request.target)
      writeName(writer, request.name)
      writeChanges(writer, request.changes)
      return
    case 'link':
      writer.u53(request.file).u53(request.directory)
      writeName(writer, request.name)
      return
    case 'rename':
      writer.u53(request.from).u53(request.to)
      writeName(writer, request.name)
      writeName(writer, request.newName)
      return
    case 'read':
      writer.u53(request.file).u53(request.offset).u32(request.length)
      return
    case 'write':
      writer.u53(request.file).u53(request.offset).blob(request.data)
      return
    case 'extend':
      writer.u53(request.file).u53(request.offset).u53(request.end).string(request.node)
      return
    case 'written':
      writer.u32(request.files.length)
      for (const { file, time } of request.files) {
        writer.u53(file)
        writeTime(writer, time)
      }
      return
    case 'disks':
      return
  }
}

/** Bytes in the request are views of `bytes`. @throws `PROTOCOL_ERROR` */
export function decodeRequest(bytes: Uint8Array): KeyedRequest {
  const reader = new ByteReader(bytes)
  checkVersion(reader)
  const op = OPERATIONS[reader.u8()]
  if (op === undefined) throw new HitherError('PROTOCOL_ERROR', 'no such file operation')
  const flags = reader.u8()
  const key = (flags & KEYED) === 0 ? undefined : { high: reader.u32(), low: reader.u32() }
  const request = readRequest(reader, op)
  reader.end()
  return { request, key, forbidden: (flags & FORBIDDEN) !== 0 }
}

function readRequest(reader: ByteReader, op: FileRequest['op']): FileRequest {
  switch (op) {
    case 'getAttributes':
      return { op, file: reader.u53(), birth: reader.u32() }
    case 'setAttributes': {
      const file = reader.u53()
      const node = reader.string()
      const changes = readChanges(reader)
      const guard = reader.u8() === 0 ? undefined : readTime(reader)
      return { op, file, node, changes, guard }
    }
    case 'list':
      return { op, directory: reader.u53(), cookie: reader.u53(), limit: reader.u32() }
    case 'parent':
      return { op, directory: reader.u53() }
    case 'readLink':
      return { op, file: reader.u53() }
    case 'lookup':
    case 'remove':
    case 'removeDirectory':
      return { op, directory: reader.u53(), name: readName(reader) }
    case 'createFile': {
      const directory = reader.u53()
      const how = HOWS[reader.u8()]
      if (how === undefined) throw new HitherError('PROTOCOL_ERROR', 'no such way to create a file')
      const verifier = reader.blob().slice()
      const node = reader.string()
      const name = readName(reader)
      return { op, directory, how, verifier, node, name, changes: readChanges(reader) }
    }
    case 'createDirectory':
      return { op, directory: reader.u53(), name: readName(reader), changes: readChanges(reader) }
    case 'createSymlink': {
      const directory = reader.u53()
      const target = reader.blob().slice()
      return { op, directory, target, name: readName(reader), changes: readChanges(reader) }
    }
    case 'link':
      return { op, file: reader.u53(), directory: reader.u53(), name: readName(reader) }
    case 'rename': {
      const from = reader.u53()
      const to = reader.u53()
      return { op, from, to, name: readName(reader), newName: readName(reader) }
    }
    case 'read':
      return { op, file: reader.u53(), offset: reader.u53(), length: reader.u32() }
    case 'write':
      return { op, file: reader.u53(), offset: reader.u53(), data: reader.blob() }
    case 'extend':
      return { op, file: reader.u53(), offset: reader.u53(), end: reader.u53(), node: reader.string() }
    case 'written': {
      const files = Array.from({ length: reader.count(WRITTEN_BYTES) }, () => ({
        file: reader.u53(),
        time: readTime(reader),
      }))
      return { op, files }
    }
    case 'disks':
      return { op }
  }
}

export function encodeAnswer(answer: FileAnswer): Uint8Array {
  const { attributes, place, bytes, entries, disks, end } = answer
  const writer = new ByteWriter(64 + attributes.length * ATTRIBUTES_BYTES + (bytes?.length ?? 0))
  const parts = [place, bytes, entries, disks, end === true || undefined]
  writer.u8(VERSION).u8(0)
  writer.u8(parts.reduce<number>((bits, part, bit) => bits | (part === undefined ? 0 : 1 << bit), 0))
  writer.u8(attributes.length)
  for (const one of attributes) writeAttributes(writer, one)
  if (place !== undefined) {
    const { vdisk, capacity, age, version, epoch } = place
    writer.u32(vdisk).u53(capacity).u53(age).u53(version).u53(epoch)
  }
  if (bytes !== undefined) writer.blob(bytes)
  if (entries !== undefined) {
    writer.u32(entries.length)
    for (const entry of entries) {
      writer.u53(entry.cookie)
      writeName(writer, entry.name)
      writeAttributes(writer, entry.attributes)
    }
  }
  if (disks !== undefined) {
    writer.u32(disks.length)
    for (const disk of disks) writer.u53(disk.file).u53(disk.vdisk).u53(disk.size).blob(bytesOf(disk.path))
  }
  return writer.view()
}

export function encodeRefusal(error: FileError): Uint8Array {
  const number = (FILE_CODES as readonly string[]).indexOf(error.code)
  return new ByteWriter()
    .u8(VERSION)
    .u8(1 + number)
    .string(error.message)
    .view()
}

/** Bytes in the answer are views of `bytes`. Throws what the owner refused with, or `PROTOCOL_ERROR`. */
export function decodeAnswer(bytes: Uint8Array): FileAnswer {
  const reader = new ByteReader(bytes)
  checkVersion(reader)
  const refusal = reader.u8()
  if (refusal > 0) {
    const code = FILE_CODES[refusal - 1]
    if (code === undefined) throw new HitherError('PROTOCOL_ERROR', 'an answer has no known code')
    throw fileError(code, reader.string())
  }
  const parts = reader.u8()
  const attributes = Array.from({ length: reader.u8() }, () => readAttributes(reader))
  const answer: FileAnswer = {
    attributes,
    ...(parts & 1 ? { place: readPlace(reader) } : {}),
    ...(parts & 2 ? { bytes: reader.blob() } : {}),
    ...(parts & 4 ? { entries: readEntries(reader) } : {}),
    ...(parts & 8 ? { disks: readDisks(reader) } : {}),
    ...(parts & 16 ? { end: true } : {}),
  }
  reader.end()
  return answer
}

function readPlace(reader: ByteReader): DiskPlace {
  return {
    vdisk: reader.u32(),
    capacity: reader.u53(),
    age: reader.u53(),
    version: reader.u53(),
    epoch: reader.u53(),
  }
}

function readEntries(reader: ByteReader): ListedEntry[] {
  return Array.from({ length: reader.count(ENTRY_BYTES_MIN) }, () => ({
    cookie: reader.u53(),
    name: readName(reader),
    attributes: readAttributes(reader),
  }))
}

function readDisks(reader: ByteReader): ListedDisk[] {
  return Array.from({ length: reader.count(DISK_BYTES_MIN) }, () => {
    const file = reader.u53()
    const vdisk = reader.u53()
    const size = reader.u53()
    return { file, vdisk, size, path: nameOf(reader.blob()) }
  })
}

function writeAttributes(writer: ByteWriter, it: FileAttributes): void {
  writeType(writer, it.type)
  writer.u53(it.id).u32(it.birth).u16(it.mode).u32(it.links).u32(it.uid).u32(it.gid).u53(it.size).u53(it.used)
  for (const time of [it.accessed, it.modified, it.changed]) writeTime(writer, time)
}

function readAttributes(reader: ByteReader): FileAttributes {
  return {
    type: readType(reader),
    id: reader.u53(),
    birth: reader.u32(),
    mode: reader.u16(),
    links: reader.u32(),
    uid: reader.u32(),
    gid: reader.u32(),
    size: reader.u53(),
    used: reader.u53(),
    accessed: readTime(reader),
    modified: readTime(reader),
    changed: readTime(reader),
  }
}

/** A byte of what is there, then each; a time of the caller's is told from the owner's by a byte of its own. */
function writeChanges(writer: ByteWriter, changes: FileChanges): void {
  const { mode, uid, gid, size, accessed, modified } = changes
  const all = [mode, uid, gid, size, accessed, modified]
  writer.u8(all.reduce<number>((bits, part, bit) => bits | (part === undefined ? 0 : 1 << bit), 0))
  if (mode !== undefined) writer.u16(mode)
  if (uid !== undefined) writer.u32(uid)
  if (gid !== undefined) writer.u32(gid)
  if (size !== undefined) writer.u53(size)
  for (const time of [accessed, modified]) {
    if (time === 'now') writer.u8(0)
    else if (time !== undefined) writeTime(writer.u8(1), time)
  }
}

function readChanges(reader: ByteReader): FileChanges {
  const bits = reader.u8()
  const time = (): FileTime | 'now' => (reader.u8() === 0 ? 'now' : readTime(reader))
  return {
    ...(bits & 1 ? { mode: reader.u16() } : {}),
    ...(bits & 2 ? { uid: reader.u32() } : {}),
    ...(bits & 4 ? { gid: reader.u32() } : {}),
    ...(bits & 8 ? { size: reader.u53() } : {}),
    ...(bits & 16 ? { accessed: time() } : {}),
    ...(bits & 32 ? { modified: time() } : {}),
  }
}

function writeName(writer: ByteWriter, name: string): void {
  const bytes = bytesOf(name)
  writer.u16(bytes.length).bytes(bytes)
}

function readName(reader: ByteReader): string {
  return nameOf(reader.bytes(reader.u16()))
}

function checkVersion(reader: ByteReader): void {
  const version = reader.u8()
  if (version !== VERSION) throw new HitherError('PROTOCOL_ERROR', `file messages of version ${version}`)
}
