/**
 * READ, WRITE, COMMIT, READLINK: the bytes of files.
 *
 * What a WRITE is answered as (`committed`): in a container of durability `sync` every acknowledged write is durable, so
 * FILE_SYNC whatever was asked, and clients need not COMMIT. In one of durability `flush` what was asked for.
 */
import type { FileAttributes, FileChange } from '../../../api.ts'
import { HEADROOM_BYTES } from '../../socket/buffer-pool.ts'
import { writePostOp, writeWcc } from '../attributes.ts'
import { afterForeignWrite, mayReadData, mayWriteData } from '../permissions.ts'
import type { Payload, Procedure, WriteResults } from '../rpc/program.ts'
import { paddedLength } from '../rpc/xdr.ts'
import type { NfsService, Target } from '../service.ts'
import { isRefusal, NfsError } from '../status.ts'
import {
  FILE_BYTES_MAX,
  FILE_SYNC,
  NFS3_OK,
  NFS3ERR_ACCES,
  NFS3ERR_FBIG,
  NFS3ERR_INVAL,
  NFS3ERR_ISDIR,
  STABLE_HOW_COUNT,
  TRANSFER_BYTES_MAX,
  UNSTABLE,
} from '../wire.ts'
import { readHandle } from './names.ts'

export function read(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const offset = args.u64()
    const count = Math.min(args.u32(), TRANSFER_BYTES_MAX)
    return {
      resultBytes: count,
      run: (call) =>
        service.answer(call, [[handle, 'attributes']], async () => {
          const target = await service.open(handle, call)
          const known = await service.known(target)
          checkRegular(known)
          if (!mayReadData(known, target.user)) throw new NfsError(NFS3ERR_ACCES)
          const { length, end, attributes, payload } = await readData(service, target, offset, count)
          target.exported.seen.put(attributes)
          return (out) => {
            out.u32(NFS3_OK)
            writePostOp(out, target.fs.id, attributes)
            out.u32(length)
            out.bool(end)
            out.u32(length)
            return payload
          }
        }),
    }
  }
}

async function readData(service: NfsService, target: Target, offset: number, count: number) {
  const { pool } = service
  // No file reaches there: what is read is nothing, and the end.
  if (offset > FILE_BYTES_MAX) return readData(service, target, FILE_BYTES_MAX, 0)
  const pooled = pool.take(paddedLength(count))
  try {
    const room = pooled.subarray(HEADROOM_BYTES, HEADROOM_BYTES + count)
    const result = await target.fs.read(target.file, offset, room)
    return { ...result, payload: padded(pooled, result.length) }
  } catch (error) {
    pool.give(pooled)
    throw error
  }
}

/** The first `length` bytes behind the headroom, and the zeros that XDR wants behind them. */
function padded(pooled: Buffer, length: number): Payload {
  const end = HEADROOM_BYTES + length
  const paddedEnd = HEADROOM_BYTES + paddedLength(length)
  pooled.fill(0, end, paddedEnd)
  return { bytes: pooled.subarray(HEADROOM_BYTES, paddedEnd), pooled }
}

export function write(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const offset = args.u64()
    const count = args.u32()
    const stable = args.enumeration(STABLE_HOW_COUNT)
    const data = args.opaque(args.remaining)
    return {
      once: true,
      run: async (call) => {
        const known = call.key && service.answeredWrites.get(call.key)
        if (known !== undefined) return known
        let lasting = true
        const work = async (): Promise<WriteResults> => {
          const target = await service.openToChange(handle, call)
          if (count > data.length) throw new NfsError(NFS3ERR_INVAL)
          if (offset + count > FILE_BYTES_MAX) throw new NfsError(NFS3ERR_FBIG)
          await checkWritable(service, target)
          const { exported, fs, file } = target
          const synchronous = exported.info.durability === 'sync'
          // Whoever leaves may send it elsewhere, and go on there: it must not come later then.
          const { isAwaited } = call
          const options = { fua: !synchronous && stable !== UNSTABLE, isAwaited }
          const written = await fs.write(file, offset, data.subarray(0, count), options)
          exported.seen.put(written.after)
          return writeResults(fs.id, written, count, synchronous ? FILE_SYNC : stable)
        }
        const results = await service.answer(call, [[handle, 'wcc']], () =>
          work().catch((error: unknown) => {
            lasting = isRefusal(error)
            throw error
          }),
        )
        if (lasting && call.key !== undefined) service.answeredWrites.put(call.key, results)
        return results
      },
    }
  }
}

/** Apart, so that an answer that is kept holds nothing of the call. */
function writeResults(
  container: number,
  written: FileChange & { verifier: Uint8Array },
  count: number,
  committed: number,
): WriteResults {
  return (out) => {
    out.u32(NFS3_OK)
    writeWcc(out, container, written)
    out.u32(count)
    out.u32(committed)
    out.fixed(written.verifier)
    return undefined
  }
}

/** Throws unless the user may write the file. One that ran as somebody else does so no more. */
async function checkWritable(service: NfsService, target: Target): Promise<void> {
  const known = await service.known(target)
  checkRegular(known)
  if (!mayWriteData(known, target.user)) throw new NfsError(NFS3ERR_ACCES)
  const mode = target.user.uid === 0 ? undefined : afterForeignWrite(known)
  if (mode === undefined) return
  const { after } = await target.fs.setAttributes(target.file, { mode })
  target.exported.seen.put(after)
}

export function commit(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    args.u64() // offset and
    args.u32() // count: all is committed
    return {
      run: (call) =>
        service.answer(call, [[handle, 'wcc']], async () => {
          const target = await service.openToChange(handle, call)
          await checkWritable(service, target)
          const { fs, file } = target
          const committed = await fs.commit(file)
          return (out) => {
            out.u32(NFS3_OK)
            writeWcc(out, fs.id, committed)
            out.fixed(committed.verifier)
            return undefined
          }
        }),
    }
  }
}

export function readLink(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    return {
      run: (call) =>
        service.answer(call, [[handle, 'attributes']], async () => {
          const target = await service.open(handle, call)
          const known = await service.known(target)
          if (known.type !== 'symlink') throw new NfsError(NFS3ERR_INVAL)
          const link = await target.fs.readLink(target.file)
          return (out) => {
            out.u32(NFS3_OK)
            writePostOp(out, target.fs.id, link.attributes)
            out.opaque(link.target)
            return undefined
          }
        }),
    }
  }
}

/** Throws NFS3ERR_ISDIR or NFS3ERR_INVAL for what is no regular file. */
export function checkRegular(file: FileAttributes): void {
  if (file.type === 'directory') throw new NfsError(NFS3ERR_ISDIR)
  if (file.type !== 'file') throw new NfsError(NFS3ERR_INVAL)
}
