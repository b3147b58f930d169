/** GETATTR, SETATTR, ACCESS, FSSTAT, FSINFO, PATHCONF: what a file or the file system is like. */
import type { FileAttributes, FileChanges, FileTime } from '../../../api.ts'
import { codeOf } from '../../../base/errors.ts'
import { KiB } from '../../../base/units.ts'
import { readChanges, readTime, writeAttributes, writePostOp } from '../attributes.ts'
import {
  allowedChanges,
  MAY_EXECUTE,
  MAY_READ,
  MAY_WRITE,
  mayReadData,
  mayWriteData,
  modeAllows,
} from '../permissions.ts'
import type { User } from '../rpc/credentials.ts'
import type { Call, Procedure, WriteResults } from '../rpc/program.ts'
import { changed, type NfsService, type Target } from '../service.ts'
import { NfsError } from '../status.ts'
import {
  ACCESS_DELETE,
  ACCESS_EXECUTE,
  ACCESS_EXTEND,
  ACCESS_LOOKUP,
  ACCESS_MODIFY,
  ACCESS_READ,
  FILE_BYTES_MAX,
  FSF3_CANSETTIME,
  FSF3_HOMOGENEOUS,
  FSF3_LINK,
  FSF3_SYMLINK,
  LISTING_BYTES_MAX,
  NAME_BYTES_MAX,
  NFS3_OK,
  NFS3ERR_FBIG,
  NFS3ERR_NOT_SYNC,
  TRANSFER_BYTES_MAX,
} from '../wire.ts'
import { checkedChange } from './checked-change.ts'
import { checkRegular } from './data.ts'
import { readHandle } from './names.ts'

/** Transfers of this size and its multiples are best: the unit of the block map. */
const TRANSFER_MULTIPLE_BYTES = 4 * KiB
/** Most names of one file: as Linux file systems tell, nothing here ends there. */
const LINKS_MAX = 65_000

export function getAttributes(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    return {
      run: (call) =>
        service.answer(call, [], async () => {
          const target = await service.open(handle, call)
          const attributes = await service.now(target)
          return (out) => {
            out.u32(NFS3_OK)
            writeAttributes(out, target.fs.id, attributes)
            return undefined
          }
        }),
    }
  }
}

export function setAttributes(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const changes = readChanges(args)
    const guard = args.bool() ? readTime(args) : undefined
    return {
      once: true,
      run: (call) =>
        service.answer(call, [[handle, 'wcc']], async () => {
          const target = await service.openToChange(handle, call)
          return changed(target, await applyChanges(service, target, changes, guard, call))
        }),
    }
  }
}

async function applyChanges(
  service: NfsService,
  target: Target,
  changes: FileChanges,
  guard: FileTime | undefined,
  call: Call,
) {
  const check = async (): Promise<FileChanges> => {
    const file = await service.known(target)
    if (changes.size !== undefined) checkSize(file, changes.size)
    return allowedChanges(file, target.user, changes)
  }
  return checkedChange(service, call, check, async (how, allowed) => {
    try {
      return await target.fs.setAttributes(target.file, allowed ?? changes, {
        ...(guard && { guard }),
        ...how,
      })
    } catch (error) {
      if (guard !== undefined && codeOf(error) === 'CONFLICT') throw new NfsError(NFS3ERR_NOT_SYNC)
      throw error
    }
  })
}

function checkSize(file: FileAttributes, size: number): void {
  checkRegular(file)
  if (size > FILE_BYTES_MAX) throw new NfsError(NFS3ERR_FBIG)
}

export function access(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const asked = args.u32()
    return {
      run: (call) =>
        service.answer(call, [[handle, 'attributes']], async () => {
          const target = await service.open(handle, call)
          const attributes = await service.now(target)
          const rights = rightsOf(attributes, target.user, target.exported.options.readOnly)
          return (out) => {
            out.u32(NFS3_OK)
            writePostOp(out, target.fs.id, attributes)
            out.u32(rights & asked)
            return undefined
          }
        }),
    }
  }
}

/** All ACCESS bits that `user` has on a file. */
export function rightsOf(file: FileAttributes, user: User, readOnly: boolean): number {
  let rights = 0
  if (file.type === 'directory') {
    if (modeAllows(file, user, MAY_READ)) rights |= ACCESS_READ
    if (modeAllows(file, user, MAY_EXECUTE)) rights |= ACCESS_LOOKUP
    if (modeAllows(file, user, MAY_WRITE | MAY_EXECUTE))
      rights |= ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE
  } else {
    if (mayReadData(file, user)) rights |= ACCESS_READ
    if (modeAllows(file, user, MAY_EXECUTE)) rights |= ACCESS_EXECUTE
    if (mayWriteData(file, user)) rights |= ACCESS_MODIFY | ACCESS_EXTEND
  }
  return readOnly ? rights & ~(ACCESS_MODIFY | ACCESS_EXTEND | ACCESS_DELETE) : rights
}

/** A procedure about the file system: any handle in it, answered with the attributes and what `tell` writes. */
function aboutFileSystem(
  service: NfsService,
  tell: (target: Target) => Promise<WriteResults> | WriteResults,
): Procedure {
  return (args) => {
    const handle = readHandle(args)
    return {
      run: (call) =>
        service.answer(call, [[handle, 'attributes']], async () => {
          const target = await service.open(handle, call)
          const [attributes, told] = await Promise.all([service.now(target), tell(target)])
          return (out) => {
            out.u32(NFS3_OK)
            writePostOp(out, target.fs.id, attributes)
            return told(out)
          }
        }),
    }
  }
}

export function fileSystemStatus(service: NfsService): Procedure {
  return aboutFileSystem(service, async ({ fs }) => {
    const { totalBytes, freeBytes, totalFiles, freeFiles } = await fs.space()
    return (out) => {
      out.u64(totalBytes)
      out.u64(freeBytes)
      out.u64(freeBytes)
      out.u64(totalFiles)
      out.u64(freeFiles)
      out.u64(freeFiles)
      out.u32(0) // seconds for which this is sure to hold
      return undefined
    }
  })
}

export function fileSystemInfo(service: NfsService): Procedure {
  return aboutFileSystem(service, () => (out) => {
    for (const _ of ['read', 'write']) {
      out.u32(TRANSFER_BYTES_MAX)
      out.u32(TRANSFER_BYTES_MAX)
      out.u32(TRANSFER_MULTIPLE_BYTES)
    }
    out.u32(LISTING_BYTES_MAX)
    out.u64(FILE_BYTES_MAX)
    out.u32(0) // times are exact to
    out.u32(1) // one nanosecond
    out.u32(FSF3_LINK | FSF3_SYMLINK | FSF3_HOMOGENEOUS | FSF3_CANSETTIME)
    return undefined
  })
}

export function pathConfiguration(service: NfsService): Procedure {
  return aboutFileSystem(service, () => (out) => {
    out.u32(LINKS_MAX)
    out.u32(NAME_BYTES_MAX)
    out.bool(true) // a longer name is refused, not cut
    out.bool(true) // only root gives files away
    out.bool(false) // case matters
    out.bool(true) // and is kept
    return undefined
  })
}
