/**
 * READDIR and READDIRPLUS: a directory in pieces.
 *
 * Cookies: 1 is `.`, 2 is `..`, and an entry's is the file system's own + 2. They stay what they are for as long as the
 * entry does, on every door, so that a listing goes on anywhere, whatever came and went meanwhile; the cookie verifier
 * never changes.
 */
import type { DirectoryEntry, FileAttributes } from '../../../api.ts'
import { ATTRIBUTES_BYTES, writePostOp } from '../attributes.ts'
import { encodeHandle, HANDLE_BYTES } from '../handle.ts'
import { MAY_READ, modeAllows } from '../permissions.ts'
import type { Procedure } from '../rpc/program.ts'
import { paddedLength, type XdrWriter } from '../rpc/xdr.ts'
import type { NfsService, Target } from '../service.ts'
import { NfsError } from '../status.ts'
import { LISTING_BYTES_MAX, NFS3_OK, NFS3ERR_ACCES, NFS3ERR_TOOSMALL, VERIFIER_BYTES } from '../wire.ts'
import { readHandle } from './names.ts'

const DOT_COOKIE = 1
const DOT_DOT_COOKIE = 2
const DOT = Buffer.of(0x2e)
const DOT_DOT = Buffer.of(0x2e, 0x2e)
const VERIFIER = Buffer.alloc(VERIFIER_BYTES)

/** Follows flag, file id, length of the name, cookie; the name's own bytes come on top. */
const ENTRY_BYTES = 24
/** post_op_attr and post_op_fh3. */
const PLUS_BYTES = 4 + ATTRIBUTES_BYTES + 4 + 4 + HANDLE_BYTES
/** Status, post_op_attr, verifier, end of the list, end of the directory. */
const FRAME_BYTES = 4 + 4 + ATTRIBUTES_BYTES + VERIFIER_BYTES + 4 + 4
/** Most entries to ask the file system for at a time. */
const ENTRIES_MAX = 1_024

interface Request {
  readonly cookie: number
  readonly plus: boolean
  /** Most bytes of ids, names and cookies, and of the whole answer. */
  readonly namesBytesMax: number
  readonly bytesMax: number
}

export function readDirectory(service: NfsService): Procedure {
  return listing(service, false)
}

export function readDirectoryPlus(service: NfsService): Procedure {
  return listing(service, true)
}

function listing(service: NfsService, plus: boolean): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const cookie = args.u64()
    args.fixed(VERIFIER_BYTES) // any: cookies never go bad
    const count = args.u32()
    const bytesMax = Math.min(plus ? args.u32() : count, LISTING_BYTES_MAX)
    const request: Request = { cookie, plus, namesBytesMax: count, bytesMax }
    return {
      resultBytes: bytesMax,
      run: (call) =>
        service.answer(call, [[handle, 'attributes']], async () => {
          const target = await service.open(handle, call)
          const known = await service.knownDirectory(target)
          if (!modeAllows(known, target.user, MAY_READ)) throw new NfsError(NFS3ERR_ACCES)
          const part = await readPart(target, request)
          target.exported.seen.put(part.directory)
          return (out) => {
            writePart(out, target.fs.id, request, part)
            return undefined
          }
        }),
    }
  }
}

interface Part {
  readonly directory: FileAttributes
  /** With cookies of the protocol; those that fit. */
  readonly entries: readonly DirectoryEntry[]
  readonly end: boolean
}

async function readPart(target: Target, request: Request): Promise<Part> {
  const { fs, file } = target
  const { cookie, bytesMax, plus } = request
  const smallest = ENTRY_BYTES + 4 + (plus ? PLUS_BYTES : 0)
  const limit = Math.min(Math.max(Math.ceil((bytesMax - FRAME_BYTES) / smallest), 1), ENTRIES_MAX)
  const { directory, entries, end } = await fs.list(file, Math.max(cookie - DOT_DOT_COOKIE, 0), limit)
  const all = await dots(target, directory, cookie)
  for (const entry of entries) all.push({ ...entry, cookie: entry.cookie + DOT_DOT_COOKIE })
  const count = countThatFit(all, request)
  if (count === 0 && all.length > 0) throw new NfsError(NFS3ERR_TOOSMALL)
  if (bytesMax < FRAME_BYTES) throw new NfsError(NFS3ERR_TOOSMALL)
  return { directory, entries: all.slice(0, count), end: end && count === all.length }
}

/** `.` and `..`, as far as they come behind `cookie`. */
async function dots(
  { fs, file }: Target,
  directory: FileAttributes,
  cookie: number,
): Promise<DirectoryEntry[]> {
  const found: DirectoryEntry[] = []
  if (cookie < DOT_COOKIE) {
    found.push({ name: DOT, id: directory.id, cookie: DOT_COOKIE, attributes: directory })
  }
  if (cookie < DOT_DOT_COOKIE) {
    const parent = await fs.parent(file)
    found.push({ name: DOT_DOT, id: parent.id, cookie: DOT_DOT_COOKIE, attributes: parent })
  }
  return found
}

function countThatFit(entries: readonly DirectoryEntry[], request: Request): number {
  let bytes = FRAME_BYTES
  let namesBytes = 0
  for (const [i, { name }] of entries.entries()) {
    const nameBytes = ENTRY_BYTES + paddedLength(name.length)
    bytes += nameBytes + (request.plus ? PLUS_BYTES : 0)
    namesBytes += nameBytes
    if (bytes > request.bytesMax) return i
    // How much of the answer may be names is a hint; one entry comes in any case, so that the listing goes on.
    if (namesBytes > request.namesBytesMax && i > 0) return i
  }
  return entries.length
}

function writePart(out: XdrWriter, container: number, request: Request, part: Part): void {
  out.u32(NFS3_OK)
  writePostOp(out, container, part.directory)
  out.fixed(VERIFIER)
  for (const { name, id, cookie, attributes } of part.entries) {
    out.bool(true)
    out.u64(id)
    out.opaque(name)
    out.u64(cookie)
    if (!request.plus) continue
    writePostOp(out, container, attributes)
    out.bool(true)
    out.opaque(encodeHandle(container, id, attributes.birth))
  }
  out.bool(false)
  out.bool(part.end)
}
