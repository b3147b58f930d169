/**
 * The MOUNT program, version 3 (RFC 1813, appendix I): from a path to a handle. Paths are `/<container>`, and
 * `/<container>/<directory>/…`: clients like qemu mount the folder of the file that they want.
 *
 * Who may mount is decided by address; the modes on the way are not asked for, as a handle does not know its way.
 */
import type { FileSystem } from '../../api.ts'
import { asHitherError } from '../../base/errors.ts'
import { followPath } from '../../base/file-tree.ts'
import { encodeHandle } from './handle.ts'
import { MOUNTS_MAX, MountTable } from './mount-table.ts'
import { AUTH_NONE, AUTH_SYS } from './rpc/message.ts'
import { type Call, nullProcedure, type Procedure, type Program, type WriteResults } from './rpc/program.ts'
import type { NfsService } from './service.ts'
import { NfsError, statusOf } from './status.ts'
import {
  MOUNT_PROGRAM,
  MOUNT_VERSION,
  NAME_BYTES_MAX,
  NFS3_OK,
  NFS3ERR_INVAL,
  NFS3ERR_IO,
  NFS3ERR_JUKEBOX,
  NFS3ERR_NAMETOOLONG,
  NFS3ERR_NOENT,
  NFS3ERR_NOTDIR,
  NFS3ERR_STALE,
  type Status,
} from './wire.ts'

/** Longest path of the protocol (MNTPATHLEN). */
const MOUNT_PATH_BYTES_MAX = 1_024

export function mountProgram(service: NfsService): Program {
  const mounts = new MountTable()
  return {
    number: MOUNT_PROGRAM,
    version: MOUNT_VERSION,
    procedures: [
      nullProcedure,
      mount(service, mounts),
      dump(mounts),
      unmount(mounts),
      unmountAll(mounts),
      listExports(service),
    ],
  }
}

function mount(service: NfsService, mounts: MountTable): Procedure {
  return (args) => {
    const path = args.opaque(MOUNT_PATH_BYTES_MAX)
    return {
      run: async (call) => {
        try {
          const handle = await handleOf(service, path, call)
          mounts.add(call.client, path)
          return (out) => {
            out.u32(NFS3_OK)
            out.opaque(handle)
            out.u32(2)
            out.u32(AUTH_SYS)
            out.u32(AUTH_NONE)
            return undefined
          }
        } catch (error) {
          return failure(mountStatus(statusOf(error, service.onDefect)))
        }
      },
    }
  }
}

function failure(status: Status): WriteResults {
  return (out) => {
    out.u32(status)
    return undefined
  }
}

/** MOUNT has no word for "later", nor for a file that is gone. */
function mountStatus(status: Status): Status {
  if (status === NFS3ERR_JUKEBOX) return NFS3ERR_IO
  return status === NFS3ERR_STALE ? NFS3ERR_NOENT : status
}

async function handleOf(service: NfsService, path: Buffer, call: Call): Promise<Buffer> {
  const [name, ...folders] = partsOf(path)
  if (name === undefined) throw new NfsError(NFS3ERR_NOENT)
  const exported = await service.exports.byName(name.toString('utf8'), call.client)
  if (exported === undefined) throw new NfsError(NFS3ERR_NOENT)
  return walk(exported.fs, folders)
}

async function walk(fs: FileSystem, folders: readonly Buffer[]): Promise<Buffer> {
  const at = await followPath(fs, folders)
  if (at.type !== 'directory') throw new NfsError(NFS3ERR_NOTDIR)
  return encodeHandle(fs.id, at.id, at.birth)
}

/** The names of a path; slashes at its ends and double ones count for nothing. */
function partsOf(path: Buffer): Buffer[] {
  if (path[0] !== SLASH || path.includes(0)) throw new NfsError(NFS3ERR_INVAL)
  const parts: Buffer[] = []
  for (let start = 0; start < path.length; ) {
    const next = path.indexOf(SLASH, start)
    const end = next < 0 ? path.length : next
    if (end - start > NAME_BYTES_MAX) throw new NfsError(NFS3ERR_NAMETOOLONG)
    if (end > start) parts.push(path.subarray(start, end))
    start = end + 1
  }
  return parts
}

const SLASH = 0x2f

/** Path, address, lengths. */
const MOUNT_BYTES_MAX = MOUNT_PATH_BYTES_MAX + 64

function dump(mounts: MountTable): Procedure {
  return () => ({
    resultBytes: MOUNTS_MAX * MOUNT_BYTES_MAX,
    run: () => (out) => {
      for (const { client, path } of mounts.list()) {
        out.bool(true)
        out.opaque(Buffer.from(client))
        out.opaque(path)
      }
      out.bool(false)
      return undefined
    },
  })
}

function unmount(mounts: MountTable): Procedure {
  return (args) => {
    const path = args.opaque(MOUNT_PATH_BYTES_MAX)
    return {
      run: ({ client }) => {
        mounts.remove(client, path)
        return () => undefined
      },
    }
  }
}

function unmountAll(mounts: MountTable): Procedure {
  return () => ({
    run: ({ client }) => {
      mounts.removeAll(client)
      return () => undefined
    },
  })
}

function listExports(service: NfsService): Procedure {
  return () => ({
    run: async () => {
      const exports = await service.exports.list().catch((error) => {
        service.onDefect(asHitherError(error))
        return []
      })
      return (out) => {
        for (const { name, export: options } of exports) {
          out.bool(true)
          out.opaque(Buffer.from(`/${name}`))
          for (const network of options?.allow ?? []) {
            out.bool(true)
            out.opaque(Buffer.from(network))
          }
          out.bool(false)
        }
        out.bool(false)
        return undefined
      }
    },
  })
}
