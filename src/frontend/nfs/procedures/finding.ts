/** LOOKUP, REMOVE, RMDIR, RENAME: names that are there. */
import type { FileCall, FileChange } from '../../../api.ts'
import { writePostOp, writeWcc } from '../attributes.ts'
import { encodeHandle } from '../handle.ts'
import { MAY_EXECUTE, modeAllows, mustChangeEntries } from '../permissions.ts'
import type { Procedure } from '../rpc/program.ts'
import { changed, type NfsService, type Target } from '../service.ts'
import { NfsError } from '../status.ts'
import { NFS3_OK, NFS3ERR_ACCES, NFS3ERR_INVAL, NFS3ERR_XDEV } from '../wire.ts'
import { checkedChange } from './checked-change.ts'
import { checkName, checkOwnName, checkVictim, readHandle, readName } from './names.ts'

export function lookup(service: NfsService): Procedure {
  return (args) => {
    const directory = readHandle(args)
    const name = readName(args)
    return {
      run: (call) =>
        service.answer(call, [[directory, 'attributes']], async () => {
          const target = await service.open(directory, call)
          const known = await service.knownDirectory(target)
          checkName(name)
          if (!modeAllows(known, target.user, MAY_EXECUTE)) throw new NfsError(NFS3ERR_ACCES)
          const { exported, fs } = target
          const found = await fs.lookup(target.file, name)
          exported.seen.put(found.directory)
          exported.seen.put(found.file)
          return (out) => {
            out.u32(NFS3_OK)
            out.opaque(encodeHandle(fs.id, found.file.id, found.file.birth))
            writePostOp(out, fs.id, found.file)
            writePostOp(out, fs.id, found.directory)
            return undefined
          }
        }),
    }
  }
}

export function remove(service: NfsService): Procedure {
  return removal(service, ({ fs, file }, name, how) => fs.remove(file, name, how))
}

export function removeDirectory(service: NfsService): Procedure {
  return removal(service, ({ fs, file }, name, how) => fs.removeDirectory(file, name, how))
}

function removal(
  service: NfsService,
  take: (target: Target, name: Buffer, how: FileCall) => Promise<FileChange>,
): Procedure {
  return (args) => {
    const directory = readHandle(args)
    const name = readName(args)
    return {
      once: true,
      run: (call) =>
        service.answer(call, [[directory, 'wcc']], async () => {
          const target = await service.openToChange(directory, call)
          checkOwnName(name, NFS3ERR_INVAL)
          const check = (): Promise<void> => mayTake(service, target, name, { newParent: false })
          return changed(target, await checkedChange(service, call, check, (how) => take(target, name, how)))
        }),
    }
  }
}

async function mayTake(
  service: NfsService,
  target: Target,
  name: Buffer,
  how: { readonly newParent: boolean },
): Promise<void> {
  const directory = await service.knownDirectory(target)
  mustChangeEntries(directory, target.user)
  await checkVictim(target, directory, name, how)
}

export function rename(service: NfsService): Procedure {
  return (args) => {
    const fromHandle = readHandle(args)
    const name = readName(args)
    const toHandle = readHandle(args)
    const newName = readName(args)
    return {
      once: true,
      run: (call) =>
        service.answer(
          call,
          [
            [fromHandle, 'wcc'],
            [toHandle, 'wcc'],
          ],
          async () => {
            const from = await service.openToChange(fromHandle, call)
            const to = await service.openToChange(toHandle, call)
            if (from.exported !== to.exported) throw new NfsError(NFS3ERR_XDEV)
            checkOwnName(name, NFS3ERR_INVAL)
            checkOwnName(newName, NFS3ERR_INVAL)
            const { fs, exported } = from
            const check = (): Promise<void> => mayRename(service, { from, name, to, newName })
            const change = await checkedChange(service, call, check, (how) =>
              fs.rename(from.file, name, to.file, newName, how),
            )
            exported.seen.put(change.from.after)
            exported.seen.put(change.to.after)
            return (out) => {
              out.u32(NFS3_OK)
              writeWcc(out, fs.id, change.from)
              writeWcc(out, fs.id, change.to)
              return undefined
            }
          },
        ),
    }
  }
}

interface Renaming {
  readonly from: Target
  readonly name: Buffer
  readonly to: Target
  readonly newName: Buffer
}

async function mayRename(service: NfsService, { from, name, to, newName }: Renaming): Promise<void> {
  await mayTake(service, from, name, { newParent: from.file !== to.file })
  const directory = await service.knownDirectory(to)
  mustChangeEntries(directory, to.user)
  await checkVictim(to, directory, newName, { newParent: false })
}
