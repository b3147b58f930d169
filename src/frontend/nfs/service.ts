/** What the procedures of NFS and MOUNT work with: the exports of one host's path, and what a handle leads to. */
import type { FileAttributes, FileChange, FileId, FilePath, FileSystem } from '../../api.ts'
import type { HitherError } from '../../base/errors.ts'
import type { BufferPool } from '../socket/buffer-pool.ts'
import { AnsweredWrites } from './answered-writes.ts'
import { writePostOp, writeWcc, writeWccAfter } from './attributes.ts'
import { DeferredCalls } from './deferred-calls.ts'
import { type Export, Exports } from './exports.ts'
import { decodeHandle } from './handle.ts'
import { userOf } from './permissions.ts'
import type { User } from './rpc/credentials.ts'
import type { Call, WriteResults } from './rpc/program.ts'
import { NfsError, statusOf } from './status.ts'
import { NFS3_OK, NFS3ERR_JUKEBOX, NFS3ERR_NOTDIR, NFS3ERR_ROFS, type Status } from './wire.ts'

/** A file that a call is about, and who calls. That it still exists is not said. */
export interface Target {
  readonly exported: Export
  readonly fs: FileSystem
  readonly file: FileId
  readonly birth: number
  readonly user: User
}

/** What a failed call still tells of a file: post_op_attr or wcc_data. */
export type Aftermath = readonly [handle: Buffer, shape: 'attributes' | 'wcc']

interface Told {
  readonly shape: Aftermath[1]
  readonly container: number
  readonly attributes: FileAttributes | undefined
}

export class NfsService {
  readonly exports: Exports
  readonly answeredWrites: AnsweredWrites
  readonly deferred: DeferredCalls
  readonly pool: BufferPool
  readonly onDefect: (error: HitherError) => void

  constructor(path: FilePath, pool: BufferPool, onDefect: (error: HitherError) => void) {
    const now = (): number => performance.now()
    this.exports = new Exports(path, now)
    this.answeredWrites = new AnsweredWrites(now)
    this.deferred = new DeferredCalls(now)
    this.pool = pool
    this.onDefect = onDefect
  }

  /** Rejects with an `NfsError` when the handle is none, leads nowhere, or is not for this client. */
  async open(handle: Buffer, call: Call): Promise<Target> {
    const { container, file, birth } = decodeHandle(handle)
    const exported = await this.exports.byId(container, call.client)
    const user = userOf(call.credentials, exported.options.squash)
    return { exported, fs: exported.fs, file, birth, user }
  }

  /** As `open`, for a call that changes something: NFS3ERR_ROFS in a read-only export. */
  async openToChange(handle: Buffer, call: Call): Promise<Target> {
    const target = await this.open(handle, call)
    if (target.exported.options.readOnly) throw new NfsError(NFS3ERR_ROFS)
    return target
  }

  /** Attributes to decide by, at most about a second old; rejects as `getAttributes` does. */
  async known(target: Target): Promise<FileAttributes> {
    const seen = target.exported.seen.get(target.file)
    if (seen !== undefined && (target.birth === 0 || seen.birth === target.birth)) return seen
    return this.now(target)
  }

  /** Attributes as they are now. */
  async now({ exported, fs, file, birth }: Target): Promise<FileAttributes> {
    const attributes = await fs.getAttributes(file, birth)
    exported.seen.put(attributes)
    return attributes
  }

  /** As `known`, of what must be a directory: NFS3ERR_NOTDIR. */
  async knownDirectory(target: Target): Promise<FileAttributes> {
    const directory = await this.known(target)
    if (directory.type !== 'directory') throw new NfsError(NFS3ERR_NOTDIR)
    return directory
  }

  /** Runs a call. When it fails, the answer is the status, and what can still be said of `objects`, in order. */
  async answer(
    call: Call,
    objects: readonly Aftermath[],
    run: () => Promise<WriteResults>,
  ): Promise<WriteResults> {
    try {
      return await run()
    } catch (error) {
      return this.#failure(call, objects, statusOf(error, this.onDefect))
    }
  }

  async #failure(call: Call, objects: readonly Aftermath[], status: Status): Promise<WriteResults> {
    const after = await Promise.all(
      objects.map(async ([handle, shape]) => ({ shape, ...(await this.#afterwards(handle, call, status)) })),
    )
    return failureResults(status, after)
  }

  async #afterwards(
    handle: Buffer,
    call: Call,
    status: Status,
  ): Promise<{ container: number; attributes: FileAttributes | undefined }> {
    // Storage that does not answer would be waited for once more.
    if (status === NFS3ERR_JUKEBOX) return UNKNOWN
    try {
      const target = await this.open(handle, call)
      return { container: target.fs.id, attributes: await this.now(target) }
    } catch {
      return UNKNOWN
    }
  }
}

/** Apart, so that an answer that is kept holds nothing of the call. */
function failureResults(status: Status, after: readonly Told[]): WriteResults {
  return (out) => {
    out.u32(status)
    for (const { shape, container, attributes } of after) {
      if (shape === 'wcc') writeWccAfter(out, container, attributes)
      else writePostOp(out, container, attributes)
    }
    return undefined
  }
}

/** The answer of a call that changed `target`, and tells nothing but that. */
export function changed({ exported, fs }: Target, change: FileChange): WriteResults {
  exported.seen.put(change.after)
  return (out) => {
    out.u32(NFS3_OK)
    writeWcc(out, fs.id, change)
    return undefined
  }
}

const UNKNOWN = { container: 0, attributes: undefined }
