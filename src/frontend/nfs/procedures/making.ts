/** CREATE, MKDIR, SYMLINK, MKNOD, LINK: new names. */
import type { FileChanges, MadeFile } from '../../../api.ts'
import { readChanges, writePostOp, writeWcc } from '../attributes.ts'
import { encodeHandle } from '../handle.ts'
import {
  initialAttributes,
  MAY_EXECUTE,
  mayWriteData,
  modeAllows,
  mustChangeEntries,
} from '../permissions.ts'
import type { Call, Procedure, WriteResults } from '../rpc/program.ts'
import type { XdrReader } from '../rpc/xdr.ts'
import type { NfsService, Target } from '../service.ts'
import { NfsError } from '../status.ts'
import {
  CREATE_MODE_COUNT,
  FILE_BYTES_MAX,
  GUARDED,
  NF3BLK,
  NF3CHR,
  NF3FIFO,
  NF3SOCK,
  NFS3_OK,
  NFS3ERR_ACCES,
  NFS3ERR_BADTYPE,
  NFS3ERR_EXIST,
  NFS3ERR_FBIG,
  NFS3ERR_INVAL,
  NFS3ERR_NAMETOOLONG,
  NFS3ERR_NOTSUPP,
  NFS3ERR_XDEV,
  PATH_BYTES_MAX,
  UNCHECKED,
  VERIFIER_BYTES,
} from '../wire.ts'
import { checkedChange } from './checked-change.ts'
import { checkOwnName, findEntry, readHandle, readName } from './names.ts'

type How = 'unchecked' | 'guarded' | { readonly exclusive: Uint8Array }

export function create(service: NfsService): Procedure {
  return (args) => {
    const directory = readHandle(args)
    const name = readName(args)
    const { how, changes } = readHow(args)
    return {
      once: true,
      run: (call) =>
        makes(service, call, directory, name, async (target) => {
          if ((changes.size ?? 0) > FILE_BYTES_MAX) throw new NfsError(NFS3ERR_FBIG)
          const check = (): Promise<FileChanges> => mayCreate(service, target, name, how, changes)
          return checkedChange(service, call, check, (once, initial = changes) =>
            target.fs.createFile(target.file, name, initial, { how, ...once }),
          )
        }),
    }
  }
}

function readHow(args: XdrReader): { how: How; changes: FileChanges } {
  const mode = args.enumeration(CREATE_MODE_COUNT)
  if (mode === UNCHECKED) return { how: 'unchecked', changes: readChanges(args) }
  if (mode === GUARDED) return { how: 'guarded', changes: readChanges(args) }
  return { how: { exclusive: args.fixed(VERIFIER_BYTES) }, changes: {} }
}

/** What the file starts with. Throws unless the user may create it, or take the one that is there. */
async function mayCreate(
  service: NfsService,
  target: Target,
  name: Buffer,
  how: How,
  changes: FileChanges,
): Promise<FileChanges> {
  const directory = await service.knownDirectory(target)
  const { user } = target
  const existing = how === 'unchecked' ? await findEntry(target, name) : undefined
  if (existing === undefined) mustChangeEntries(directory, user)
  else if (!modeAllows(directory, user, MAY_EXECUTE)) throw new NfsError(NFS3ERR_ACCES)
  else if (existing.type === 'file' && changes.size !== undefined && !mayWriteData(existing, user)) {
    throw new NfsError(NFS3ERR_ACCES)
  }
  return initialAttributes(directory, user, changes, { directory: false })
}

export function makeDirectory(service: NfsService): Procedure {
  return (args) => {
    const directory = readHandle(args)
    const name = readName(args)
    const changes = readChanges(args)
    return {
      once: true,
      run: (call) =>
        makes(service, call, directory, name, async (target) => {
          const check = (): Promise<FileChanges> => mayMake(service, target, changes, { directory: true })
          return checkedChange(service, call, check, (how, initial = changes) =>
            target.fs.createDirectory(target.file, name, withoutSize(initial), how),
          )
        }),
    }
  }
}

export function makeSymlink(service: NfsService): Procedure {
  return (args) => {
    const directory = readHandle(args)
    const name = readName(args)
    const changes = readChanges(args)
    const text = args.opaque(args.remaining)
    return {
      once: true,
      run: (call) =>
        makes(service, call, directory, name, async (target) => {
          if (text.length === 0 || text.includes(0)) throw new NfsError(NFS3ERR_INVAL)
          if (text.length > PATH_BYTES_MAX) throw new NfsError(NFS3ERR_NAMETOOLONG)
          const check = (): Promise<FileChanges> => mayMake(service, target, changes, { directory: false })
          return checkedChange(service, call, check, (how, initial = changes) => {
            // A link has no mode of its own: whoever reaches it may read it.
            const link = { ...withoutSize(initial), mode: 0o777 }
            return target.fs.createSymlink(target.file, name, text, link, how)
          })
        }),
    }
  }
}

/** Devices, sockets and pipes are nothing that a store of VM disks keeps: understood, and refused. */
export function makeNode(service: NfsService): Procedure {
  return (args) => {
    const directory = readHandle(args)
    readName(args)
    const type = args.u32()
    const device = type === NF3CHR || type === NF3BLK
    const special = device || type === NF3SOCK || type === NF3FIFO
    if (special) readChanges(args)
    if (device) args.fixed(8)
    return {
      run: (call) =>
        service.answer(call, [[directory, 'wcc']], async () => {
          await service.openToChange(directory, call)
          throw new NfsError(special ? NFS3ERR_NOTSUPP : NFS3ERR_BADTYPE)
        }),
    }
  }
}

export function link(service: NfsService): Procedure {
  return (args) => {
    const handle = readHandle(args)
    const directoryHandle = readHandle(args)
    const name = readName(args)
    return {
      once: true,
      run: (call) =>
        service.answer(
          call,
          [
            [handle, 'attributes'],
            [directoryHandle, 'wcc'],
          ],
          async () => {
            const source = await service.openToChange(handle, call)
            const target = await service.openToChange(directoryHandle, call)
            if (source.exported !== target.exported) throw new NfsError(NFS3ERR_XDEV)
            checkOwnName(name, NFS3ERR_EXIST)
            const check = async (): Promise<void> =>
              mustChangeEntries(await service.knownDirectory(target), target.user)
            const made = await checkedChange(service, call, check, (how) =>
              target.fs.link(source.file, target.file, name, how),
            )
            remember(target, made)
            return (out) => {
              out.u32(NFS3_OK)
              writePostOp(out, target.fs.id, made.file)
              writeWcc(out, target.fs.id, made.directory)
              return undefined
            }
          },
        ),
    }
  }
}

/** What CREATE, MKDIR and SYMLINK have in common: a name in a directory, a new file, and both told. */
function makes(
  service: NfsService,
  call: Call,
  directory: Buffer,
  name: Buffer,
  make: (target: Target) => Promise<MadeFile>,
): Promise<WriteResults> {
  return service.answer(call, [[directory, 'wcc']], async () => {
    const target = await service.openToChange(directory, call)
    checkOwnName(name, NFS3ERR_EXIST)
    const made = await make(target)
    remember(target, made)
    const { fs } = target
    return (out) => {
      out.u32(NFS3_OK)
      out.bool(true)
      out.opaque(encodeHandle(fs.id, made.file.id, made.file.birth))
      writePostOp(out, fs.id, made.file)
      writeWcc(out, fs.id, made.directory)
      return undefined
    }
  })
}

async function mayMake(
  service: NfsService,
  target: Target,
  changes: FileChanges,
  kind: { readonly directory: boolean },
): Promise<FileChanges> {
  const directory = await service.knownDirectory(target)
  mustChangeEntries(directory, target.user)
  return initialAttributes(directory, target.user, changes, kind)
}

function withoutSize({ size: _, ...changes }: FileChanges): FileChanges {
  return changes
}

function remember({ exported }: Target, made: MadeFile): void {
  exported.seen.put(made.file)
  exported.seen.put(made.directory.after)
}
