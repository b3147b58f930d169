/** A session that has every procedure of NFSv3 in it: for codecs to agree on, and for mutations to start from. */
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { type Calls, PROC, place, writeSattr } from './calls.ts'
import { xdr } from './raw-client.ts'

/** Each procedure, answered well and, where there is a way to, badly. */
export async function everything(calls: Calls, root: Buffer): Promise<void> {
  const dir = await calls.mkdir(root, 'dir', { mode: 0o755, uid: 1, gid: 2 })
  const file = await calls.create(root, 'file', { mode: 0o644, accessed: 'now', modified: [5, 6] })
  await calls.create(root, 'file', { guarded: {} })
  await calls.create(root, 'once', { exclusive: '12345678' })
  await calls.mkdir(root, 'dir')
  await calls.symlink(root, 'link', 'some/where')
  await calls.symlink(root, 'link', 'some/where')
  for (const data of ['x', 'four', 'twelve bytes', 'a longer text of 31 characters.']) {
    await calls.write(file.handle, 3, Buffer.from(data), { stable: 2 })
    await calls.read(file.handle, 1, data.length)
  }
  await calls.read(root, 0, 1)
  await calls.write(root, 0, Buffer.from('x'))
  await calls.getattr(file.handle)
  await calls.getattr(Buffer.alloc(32))
  await calls.setattr(file.handle, { size: 2, mode: 0o600, uid: 3, gid: 4 })
  await calls.setattr(file.handle, {}, [1, 2])
  await calls.lookup(root, 'file')
  await calls.lookup(root, 'none')
  await calls.access(file.handle)
  await calls.access(Buffer.alloc(24))
  const link = await calls.lookup(root, 'link')
  for (const handle of [link.handle, root, Buffer.alloc(24)]) {
    const arg = xdr((out) => out.opaque(handle))
    for (const procedure of [PROC.readlink, PROC.fsstat, PROC.fsinfo, PROC.pathconf]) {
      await calls.raw(procedure, arg)
    }
  }
  for (const type of [wire.NF3FIFO, wire.NF3CHR]) {
    await calls.raw(
      PROC.mknod,
      place(root, 'node', (out) => {
        out.u32(type)
        writeSattr(out, {})
        if (type === wire.NF3CHR) out.fixed(Buffer.alloc(8))
      }),
    )
  }
  await calls.link(file.handle, dir.handle, 'hard')
  await calls.link(file.handle, dir.handle, 'hard')
  for (const plus of [false, true]) {
    await calls.list(root, 0, { plus })
    await calls.list(root, 0, { plus, bytes: 100 })
    await calls.list(root, 3, { plus, bytes: 400 })
  }
  await calls.rename(root, 'file', dir.handle, 'moved')
  await calls.rename(root, 'file', dir.handle, 'moved')
  await calls.remove(root, 'dir', PROC.rmdir)
  await calls.remove(dir.handle, 'hard')
  await calls.remove(dir.handle, 'hard')
  await calls.remove(dir.handle, 'moved')
  await calls.remove(root, 'dir', PROC.rmdir)
  const commit = (handle: Buffer): Buffer =>
    xdr((out) => {
      out.opaque(handle)
      out.u64(0)
      out.u32(0)
    })
  await calls.raw(PROC.commit, commit((await calls.lookup(root, 'once')).handle))
  await calls.raw(PROC.commit, commit(root))
}
