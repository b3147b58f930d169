/** The calls of NFSv3 as a test writes them, and the structures of their answers as it reads them. */
import type { XdrReader, XdrWriter } from '../../../src/frontend/nfs/rpc/xdr.ts'
import { type Answer, type CallOptions, type RawClient, xdr } from './raw-client.ts'

export const PROC = {
  null: 0,
  getattr: 1,
  setattr: 2,
  lookup: 3,
  access: 4,
  readlink: 5,
  read: 6,
  write: 7,
  create: 8,
  mkdir: 9,
  symlink: 10,
  mknod: 11,
  remove: 12,
  rmdir: 13,
  rename: 14,
  link: 15,
  readdir: 16,
  readdirplus: 17,
  fsstat: 18,
  fsinfo: 19,
  pathconf: 20,
  commit: 21,
} as const

export interface Attributes {
  type: number
  mode: number
  links: number
  uid: number
  gid: number
  size: number
  used: number
  fsid: number
  id: number
  times: number[][]
}

export interface Wcc {
  before: { size: number; modified: number[]; changed: number[] } | undefined
  after: Attributes | undefined
}

export function readAttributes(from: XdrReader): Attributes {
  const [type, mode, links, uid, gid] = [from.u32(), from.u32(), from.u32(), from.u32(), from.u32()]
  const [size, used] = [from.u64(), from.u64()]
  from.u64()
  const [fsid, id] = [from.u64(), from.u64()]
  const times = [0, 1, 2].map(() => [from.u32(), from.u32()])
  return { type, mode, links, uid, gid, size, used, fsid, id, times }
}

export function readPostOp(from: XdrReader): Attributes | undefined {
  return from.bool() ? readAttributes(from) : undefined
}

export function readWcc(from: XdrReader): Wcc {
  const before = from.bool()
    ? { size: from.u64(), modified: [from.u32(), from.u32()], changed: [from.u32(), from.u32()] }
    : undefined
  return { before, after: readPostOp(from) }
}

export interface Sattr {
  mode?: number
  uid?: number
  gid?: number
  size?: number
  accessed?: 'now' | [number, number]
  modified?: 'now' | [number, number]
}

export function writeSattr(out: XdrWriter, sattr: Sattr): void {
  for (const value of [sattr.mode, sattr.uid, sattr.gid]) {
    out.bool(value !== undefined)
    if (value !== undefined) out.u32(value)
  }
  out.bool(sattr.size !== undefined)
  if (sattr.size !== undefined) out.u64(sattr.size)
  for (const time of [sattr.accessed, sattr.modified]) {
    out.u32(time === undefined ? 0 : time === 'now' ? 1 : 2)
    if (Array.isArray(time)) for (const part of time) out.u32(part)
  }
}

/** Names are strings of bytes (latin1). */
export type Name = string | Buffer

export function writeName(out: XdrWriter, name: Name): void {
  out.opaque(typeof name === 'string' ? Buffer.from(name, 'latin1') : name)
}

/** Handle and name: what many calls begin with. */
export function place(directory: Buffer, name: Name, more?: (out: XdrWriter) => void): Buffer {
  return xdr((out) => {
    out.opaque(directory)
    writeName(out, name)
    more?.(out)
  })
}

export interface Made {
  status: number
  handle: Buffer
  attributes: Attributes | undefined
  directory: Wcc
}

/** A client with the calls that most tests need, as one user. */
export class Calls {
  readonly client: RawClient
  readonly options: CallOptions

  constructor(client: RawClient, options: CallOptions = {}) {
    this.client = client
    this.options = options
  }

  as(options: CallOptions): Calls {
    return new Calls(this.client, options)
  }

  async raw(procedure: number, args: Buffer): Promise<XdrReader> {
    const answer = await this.client.nfs(procedure, args, this.options)
    if (answer.denied || answer.status !== 0) {
      throw new Error(`call of procedure ${procedure} was not accepted: ${answer.status}`)
    }
    return answer.results
  }

  /** The handle of `path`; throws unless it is mounted. */
  async mount(path = '/default'): Promise<Buffer> {
    const { status, handle } = await this.tryMount(path)
    if (status !== 0) throw new Error(`mount of ${path}: ${status}`)
    return handle
  }

  async tryMount(path: string): Promise<{ status: number; handle: Buffer; flavors: number[] }> {
    const answer: Answer = await this.client.mount(
      1,
      xdr((out) => writeName(out, path)),
      this.options,
    )
    const from = answer.results
    const status = from.u32()
    if (status !== 0) {
      from.end()
      return { status, handle: Buffer.alloc(0), flavors: [] }
    }
    const handle = Buffer.from(from.opaque(64))
    const flavors = Array.from({ length: from.u32() }, () => from.u32())
    from.end()
    return { status, handle, flavors }
  }

  async getattr(handle: Buffer): Promise<{ status: number; attributes: Attributes | undefined }> {
    const from = await this.raw(
      PROC.getattr,
      xdr((out) => out.opaque(handle)),
    )
    const status = from.u32()
    const attributes = status === 0 ? readAttributes(from) : undefined
    from.end()
    return { status, attributes }
  }

  async setattr(
    handle: Buffer,
    sattr: Sattr,
    guard?: readonly number[],
  ): Promise<{ status: number; wcc: Wcc }> {
    const from = await this.raw(
      PROC.setattr,
      xdr((out) => {
        out.opaque(handle)
        writeSattr(out, sattr)
        out.bool(guard !== undefined)
        for (const part of guard ?? []) out.u32(part)
      }),
    )
    const result = { status: from.u32(), wcc: readWcc(from) }
    from.end()
    return result
  }

  async lookup(
    directory: Buffer,
    name: Name,
  ): Promise<{
    status: number
    handle: Buffer
    attributes: Attributes | undefined
    directory: Attributes | undefined
  }> {
    const from = await this.raw(PROC.lookup, place(directory, name))
    const status = from.u32()
    const handle = status === 0 ? Buffer.from(from.opaque(64)) : Buffer.alloc(0)
    const attributes = status === 0 ? readPostOp(from) : undefined
    const result = { status, handle, attributes, directory: readPostOp(from) }
    from.end()
    return result
  }

  async access(
    handle: Buffer,
    asked = 0x3f,
  ): Promise<{ status: number; attributes: Attributes | undefined; granted: number }> {
    const from = await this.raw(
      PROC.access,
      xdr((out) => {
        out.opaque(handle)
        out.u32(asked)
      }),
    )
    const status = from.u32()
    const attributes = readPostOp(from)
    const granted = status === 0 ? from.u32() : 0
    from.end()
    return { status, attributes, granted }
  }

  async read(
    handle: Buffer,
    offset: number,
    count: number,
  ): Promise<{ status: number; attributes: Attributes | undefined; data: Buffer; end: boolean }> {
    const from = await this.raw(
      PROC.read,
      xdr((out) => {
        out.opaque(handle)
        out.u64(offset)
        out.u32(count)
      }),
    )
    const status = from.u32()
    const attributes = readPostOp(from)
    if (status !== 0) {
      from.end()
      return { status, attributes, data: Buffer.alloc(0), end: false }
    }
    const length = from.u32()
    const end = from.bool()
    const data = Buffer.from(from.opaque(length))
    from.end()
    if (data.length !== length) throw new Error('count and data differ')
    return { status, attributes, data, end }
  }

  async write(
    handle: Buffer,
    offset: number,
    data: Buffer,
    options: { stable?: number; count?: number } = {},
  ): Promise<{ status: number; wcc: Wcc; count: number; committed: number; verifier: string }> {
    const from = await this.raw(PROC.write, writeArgs(handle, offset, data, options))
    const result = { status: from.u32(), wcc: readWcc(from), count: 0, committed: -1, verifier: '' }
    if (result.status === 0) {
      result.count = from.u32()
      result.committed = from.u32()
      result.verifier = from.fixed(8).toString('latin1')
    }
    from.end()
    return result
  }

  create(
    directory: Buffer,
    name: Name,
    how: Sattr | { guarded: Sattr } | { exclusive: string } = {},
  ): Promise<Made> {
    return this.#make(PROC.create, directory, name, (out) => {
      if ('exclusive' in how) {
        out.u32(2)
        out.fixed(Buffer.from(how.exclusive, 'latin1'))
      } else if ('guarded' in how) {
        out.u32(1)
        writeSattr(out, how.guarded)
      } else {
        out.u32(0)
        writeSattr(out, how)
      }
    })
  }

  mkdir(directory: Buffer, name: Name, sattr: Sattr = { mode: 0o755 }): Promise<Made> {
    return this.#make(PROC.mkdir, directory, name, (out) => writeSattr(out, sattr))
  }

  symlink(directory: Buffer, name: Name, target: Name): Promise<Made> {
    return this.#make(PROC.symlink, directory, name, (out) => {
      writeSattr(out, {})
      writeName(out, target)
    })
  }

  async #make(
    procedure: number,
    directory: Buffer,
    name: Name,
    more: (out: XdrWriter) => void,
  ): Promise<Made> {
    const from = await this.raw(procedure, place(directory, name, more))
    const status = from.u32()
    let handle: Buffer = Buffer.alloc(0)
    let attributes: Attributes | undefined
    if (status === 0) {
      if (from.bool()) handle = Buffer.from(from.opaque(64))
      attributes = readPostOp(from)
    }
    const result = { status, handle, attributes, directory: readWcc(from) }
    from.end()
    return result
  }

  /** REMOVE, or RMDIR. */
  async remove(
    directory: Buffer,
    name: Name,
    procedure: number = PROC.remove,
  ): Promise<{ status: number; directory: Wcc }> {
    const from = await this.raw(procedure, place(directory, name))
    const result = { status: from.u32(), directory: readWcc(from) }
    from.end()
    return result
  }

  async rename(
    from: Buffer,
    name: Name,
    to: Buffer,
    newName: Name,
  ): Promise<{ status: number; from: Wcc; to: Wcc }> {
    const results = await this.raw(
      PROC.rename,
      place(from, name, (out) => {
        out.opaque(to)
        writeName(out, newName)
      }),
    )
    const result = { status: results.u32(), from: readWcc(results), to: readWcc(results) }
    results.end()
    return result
  }

  async link(
    file: Buffer,
    directory: Buffer,
    name: Name,
  ): Promise<{ status: number; attributes: Attributes | undefined; directory: Wcc }> {
    const from = await this.raw(
      PROC.link,
      xdr((out) => {
        out.opaque(file)
        out.opaque(directory)
        writeName(out, name)
      }),
    )
    const result = { status: from.u32(), attributes: readPostOp(from), directory: readWcc(from) }
    from.end()
    return result
  }

  /** One READDIR or READDIRPLUS. */
  async list(
    directory: Buffer,
    cookie: number,
    options: { plus?: boolean; bytes?: number; namesBytes?: number } = {},
  ): Promise<Listing> {
    const bytes = options.bytes ?? 8_192
    const plus = options.plus ?? false
    const from = await this.raw(
      plus ? PROC.readdirplus : PROC.readdir,
      xdr((out) => {
        out.opaque(directory)
        out.u64(cookie)
        out.fixed(Buffer.alloc(8))
        if (plus) out.u32(options.namesBytes ?? bytes)
        out.u32(bytes)
      }),
    )
    const size = from.remaining
    const status = from.u32()
    const attributes = readPostOp(from)
    const entries: ListedEntry[] = []
    if (status !== 0) return { status, attributes, entries, end: false, size }
    from.fixed(8)
    while (from.bool()) {
      const entry: ListedEntry = {
        id: from.u64(),
        name: from.opaque(255).toString('latin1'),
        cookie: from.u64(),
      }
      if (plus) {
        entry.attributes = readPostOp(from)
        entry.handle = from.bool() ? Buffer.from(from.opaque(64)) : undefined
      }
      entries.push(entry)
    }
    const end = from.bool()
    from.end()
    return { status, attributes, entries, end, size }
  }

  /** All entries, in as many calls as it takes. */
  async listAll(directory: Buffer, options: { plus?: boolean; bytes?: number } = {}): Promise<ListedEntry[]> {
    const all: ListedEntry[] = []
    for (;;) {
      const part = await this.list(directory, all.at(-1)?.cookie ?? 0, options)
      if (part.status !== 0) throw new Error(`listing failed: ${part.status}`)
      all.push(...part.entries)
      if (part.end) return all
    }
  }
}

export interface ListedEntry {
  id: number
  name: string
  cookie: number
  attributes?: Attributes | undefined
  handle?: Buffer | undefined
}

export interface Listing {
  status: number
  attributes: Attributes | undefined
  entries: ListedEntry[]
  end: boolean
  /** Bytes of the results. */
  size: number
}

export function writeArgs(
  handle: Buffer,
  offset: number,
  data: Buffer,
  options: { stable?: number; count?: number } = {},
): Buffer {
  return xdr((out) => {
    out.opaque(handle)
    out.u64(offset)
    out.u32(options.count ?? data.length)
    out.u32(options.stable ?? 0)
    out.opaque(data)
  })
}
