/** Each procedure of NFSv3, as RFC 1813 has it: what it does, what it answers, and what it answers when it cannot. */
import { describe, expect, it } from 'vitest'
import type { ErrorCode } from '../../../src/base/errors.ts'
import { HitherError } from '../../../src/base/errors.ts'
import { encodeHandle } from '../../../src/frontend/nfs/handle.ts'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { type Calls, PROC, place, readPostOp, readWcc, writeSattr } from './calls.ts'
import { openDoor } from './door.ts'
import { xdr } from './raw-client.ts'

/** A door, a client, and the root's handle. */
async function mounted(): Promise<{
  door: Awaited<ReturnType<typeof openDoor>>
  calls: Calls
  root: Buffer
}> {
  const door = await openDoor()
  const calls = await door.calls()
  return { door, calls, root: await calls.mount() }
}

describe('attributes', () => {
  it('GETATTR tells type, mode, owner, size and times, and what tells files apart', async () => {
    const { calls, root } = await mounted()
    const made = await calls.create(root, 'a', { mode: 0o640, uid: 7, gid: 8 })
    await calls.write(made.handle, 0, Buffer.alloc(5_000, 1))
    const { status, attributes } = await calls.getattr(made.handle)
    expect(status).toBe(wire.NFS3_OK)
    expect(attributes).toMatchObject({ type: wire.NF3REG, mode: 0o640, uid: 7, gid: 8, size: 5_000, fsid: 5 })
    expect(attributes!.links).toBe(1)
    expect((await calls.getattr(root)).attributes).toMatchObject({ type: wire.NF3DIR, id: 1, fsid: 5 })
  })

  it('SETATTR changes what is asked for, cuts and grows with zeros, and tells before and after', async () => {
    const { calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a', { mode: 0o600 })
    await calls.write(handle, 0, Buffer.from('abcdef'))
    const cut = await calls.setattr(handle, { size: 3, mode: 0o611, modified: [1_234, 567], accessed: 'now' })
    expect(cut.status).toBe(wire.NFS3_OK)
    expect(cut.wcc.before!.size).toBe(6)
    expect(cut.wcc.after).toMatchObject({ size: 3, mode: 0o611 })
    expect(cut.wcc.after!.times[1]).toEqual([1_234, 567])
    await calls.setattr(handle, { size: 6 })
    expect((await calls.read(handle, 0, 100)).data).toEqual(Buffer.from('abc\0\0\0'))
    expect((await calls.setattr(root, { size: 0 })).status).toBe(wire.NFS3ERR_ISDIR)
    const large = await calls.setattr(handle, { size: 2 ** 60 })
    expect(large.status).toBe(wire.NFS3ERR_FBIG)
    expect(large.wcc).toMatchObject({ before: undefined, after: { size: 6 } })
  })

  it('SETATTR with a guard changes nothing when the file has changed meanwhile', async () => {
    const { calls, root } = await mounted()
    const { handle, attributes } = await calls.create(root, 'a')
    await calls.write(handle, 0, Buffer.from('x'))
    const late = await calls.setattr(handle, { size: 0 }, attributes!.times[2])
    expect(late.status).toBe(wire.NFS3ERR_NOT_SYNC)
    expect(late.wcc.after!.size).toBe(1)
    const now = (await calls.getattr(handle)).attributes!
    expect((await calls.setattr(handle, { size: 0 }, now.times[2])).status).toBe(wire.NFS3_OK)
  })

  it('ACCESS answers with the bits that are asked for and granted', async () => {
    const { calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a', { mode: 0o755, uid: 9, gid: 9 })
    expect((await calls.access(handle)).granted).toBe(0x01 | 0x04 | 0x08 | 0x20)
    expect((await calls.access(handle, 0x21)).granted).toBe(0x21)
    const other = calls.as({ as: { uid: 1, gid: 1 } })
    expect((await other.access(handle)).granted).toBe(0x21)
    expect((await other.access(root)).granted).toBe(0x1f)
  })

  it('FSSTAT, FSINFO and PATHCONF tell sizes and limits, also of a file', async () => {
    const { calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    const arg = xdr((out) => out.opaque(handle))
    const stat = await calls.raw(PROC.fsstat, arg)
    expect([stat.u32(), readPostOp(stat)?.type]).toEqual([0, wire.NF3REG])
    expect([stat.u64(), stat.u64(), stat.u64()]).toEqual([1e12, 5e11, 5e11])
    expect([stat.u64(), stat.u64(), stat.u64(), stat.u32(), stat.remaining]).toEqual([
      1e6,
      1e6 - 2,
      1e6 - 2,
      0,
      0,
    ])
    const info = await calls.raw(PROC.fsinfo, arg)
    expect([info.u32(), readPostOp(info)?.type]).toEqual([0, wire.NF3REG])
    expect(Array.from({ length: 7 }, () => info.u32())).toEqual([
      ...[1 << 20, 1 << 20, 4_096],
      ...[1 << 20, 1 << 20, 4_096],
      1 << 16,
    ])
    expect([info.u64(), info.u32(), info.u32(), info.u32(), info.remaining]).toEqual([2 ** 46, 0, 1, 0x1b, 0])
    const conf = await calls.raw(PROC.pathconf, arg)
    expect([conf.u32(), readPostOp(conf)?.type]).toEqual([0, wire.NF3REG])
    expect(Array.from({ length: 6 }, () => conf.u32())).toEqual([65_000, 255, 1, 1, 0, 1])
    conf.end()
  })
})

describe('data', () => {
  it('WRITE and READ at any offset, with zeros between, and the end told', async () => {
    const { calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    const written = await calls.write(handle, 10, Buffer.from('hello'))
    expect(written).toMatchObject({ status: 0, count: 5, committed: wire.FILE_SYNC, verifier: 'verifier' })
    expect(written.wcc.before!.size).toBe(0)
    expect(written.wcc.after!.size).toBe(15)
    const whole = await calls.read(handle, 0, 1_000)
    expect(whole).toMatchObject({ status: 0, end: true })
    expect(whole.data).toEqual(Buffer.concat([Buffer.alloc(10), Buffer.from('hello')]))
    expect(await calls.read(handle, 10, 3)).toMatchObject({ data: Buffer.from('hel'), end: false })
    expect(await calls.read(handle, 15, 3)).toMatchObject({ status: 0, data: Buffer.alloc(0), end: true })
    expect(await calls.read(handle, 2 ** 60, 3)).toMatchObject({
      status: 0,
      data: Buffer.alloc(0),
      end: true,
    })
    expect((await calls.write(handle, 2 ** 60, Buffer.from('x'))).status).toBe(wire.NFS3ERR_FBIG)
  })

  it('carries 1 MiB both ways, reads no more than that, and takes no more than was announced', async () => {
    const { calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    const data = Buffer.from(Uint8Array.from({ length: 1 << 20 }, (_, i) => (i * 7) ^ (i >> 8)))
    expect(await calls.write(handle, 0, data)).toMatchObject({ status: 0, count: 1 << 20 })
    expect((await calls.read(handle, 0, 0xffff_ffff)).data.equals(data)).toBe(true)
    expect((await calls.read(handle, 3, 1 << 20)).data.equals(data.subarray(3))).toBe(true)
    expect(await calls.write(handle, 0, Buffer.from('abcd'), { count: 2 })).toMatchObject({
      status: 0,
      count: 2,
    })
    expect((await calls.read(handle, 0, 4)).data).toEqual(
      Buffer.concat([Buffer.from('ab'), data.subarray(2, 4)]),
    )
    expect((await calls.write(handle, 0, Buffer.from('ab'), { count: 4 })).status).toBe(wire.NFS3ERR_INVAL)
  })

  it('WRITE is as stable as it was asked to be, or more, by the durability of the container', async () => {
    const { door, calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    expect((await calls.write(handle, 0, Buffer.from('x'), { stable: 0 })).committed).toBe(wire.FILE_SYNC)
    door.fs.durability = 'flush'
    // The door looks at the exports again when it mounts.
    await calls.mount()
    door.fs.trail = []
    expect((await calls.write(handle, 0, Buffer.from('x'), { stable: 0 })).committed).toBe(0)
    expect((await calls.write(handle, 0, Buffer.from('x'), { stable: 1 })).committed).toBe(1)
    expect((await calls.write(handle, 0, Buffer.from('x'), { stable: 2 })).committed).toBe(2)
    const writes = door.fs.trail.filter((one) => one.startsWith('write'))
    expect(writes).toEqual(['write 2', 'write fua 2', 'write fua 2'])
    const from = await calls.raw(
      PROC.commit,
      xdr((out) => {
        out.opaque(handle)
        out.u64(0)
        out.u32(0)
      }),
    )
    expect([from.u32(), readWcc(from).after!.size, from.fixed(8).toString()]).toEqual([0, 1, 'verifier'])
    from.end()
  })

  it('READ and WRITE of what is no file', async () => {
    const { calls, root } = await mounted()
    const link = await calls.symlink(root, 'l', 'target')
    expect(await calls.read(root, 0, 1)).toMatchObject({ status: wire.NFS3ERR_ISDIR, attributes: { id: 1 } })
    expect((await calls.read(link.handle, 0, 1)).status).toBe(wire.NFS3ERR_INVAL)
    expect((await calls.write(root, 0, Buffer.from('x'))).status).toBe(wire.NFS3ERR_ISDIR)
  })

  it('READLINK, of what is a symbolic link', async () => {
    const { calls, root } = await mounted()
    const target = Buffer.from('up/\xff\x01 path', 'latin1')
    const link = await calls.symlink(root, 'l', target)
    expect(link.attributes).toMatchObject({ type: wire.NF3LNK, mode: 0o777, size: target.length })
    const from = await calls.raw(
      PROC.readlink,
      xdr((out) => out.opaque(link.handle)),
    )
    expect([from.u32(), readPostOp(from)?.type]).toEqual([0, wire.NF3LNK])
    expect(from.opaque(1_000)).toEqual(target)
    from.end()
    const bad = await calls.raw(
      PROC.readlink,
      xdr((out) => out.opaque(root)),
    )
    expect([bad.u32(), readPostOp(bad)?.type, bad.remaining]).toEqual([wire.NFS3ERR_INVAL, wire.NF3DIR, 0])
  })
})

describe('names', () => {
  it('LOOKUP finds, and says what it did not find where', async () => {
    const { calls, root } = await mounted()
    const made = await calls.mkdir(root, 'd')
    const found = await calls.lookup(root, 'd')
    expect(found).toMatchObject({ status: 0, handle: made.handle, directory: { id: 1 } })
    expect(await calls.lookup(made.handle, '..')).toMatchObject({ status: 0, handle: root })
    expect(await calls.lookup(root, '..')).toMatchObject({ status: 0, handle: root })
    expect(await calls.lookup(root, 'no')).toMatchObject({ status: wire.NFS3ERR_NOENT, directory: { id: 1 } })
    expect((await calls.lookup(root, 'x'.repeat(256))).status).toBe(wire.NFS3ERR_NAMETOOLONG)
    expect((await calls.lookup(root, '')).status).toBe(wire.NFS3ERR_INVAL)
    expect((await calls.lookup(root, 'a/b')).status).toBe(wire.NFS3ERR_INVAL)
    const file = await calls.create(root, 'f')
    expect((await calls.lookup(file.handle, 'x')).status).toBe(wire.NFS3ERR_NOTDIR)
  })

  it('CREATE in its three ways', async () => {
    const { calls, root } = await mounted()
    const first = await calls.create(root, 'a', { mode: 0o644 })
    expect(first).toMatchObject({ status: 0, attributes: { mode: 0o644, type: wire.NF3REG } })
    expect(first.directory.before!.modified).not.toEqual(first.directory.after!.times[1])
    await calls.write(first.handle, 0, Buffer.from('data'))
    expect(await calls.create(root, 'a')).toMatchObject({ handle: first.handle, attributes: { size: 4 } })
    expect(await calls.create(root, 'a', { size: 0 })).toMatchObject({ status: 0, attributes: { size: 0 } })
    const guarded = await calls.create(root, 'a', { guarded: {} })
    expect(guarded).toMatchObject({
      status: wire.NFS3ERR_EXIST,
      directory: { before: undefined, after: { id: 1 } },
    })
    const once = await calls.create(root, 'b', { exclusive: '12345678' })
    expect(once.status).toBe(0)
    expect(await calls.create(root, 'b', { exclusive: '12345678' })).toMatchObject({
      status: 0,
      handle: once.handle,
    })
    expect((await calls.create(root, 'b', { exclusive: '87654321' })).status).toBe(wire.NFS3ERR_EXIST)
    expect((await calls.create(root, '..')).status).toBe(wire.NFS3ERR_EXIST)
    expect((await calls.create(root, 'a\0b')).status).toBe(wire.NFS3ERR_INVAL)
  })

  it('MKDIR, RMDIR, REMOVE', async () => {
    const { calls, root } = await mounted()
    const made = await calls.mkdir(root, 'd', { mode: 0o750 })
    expect(made).toMatchObject({ status: 0, attributes: { type: wire.NF3DIR, mode: 0o750, links: 2 } })
    expect(made.directory.after!.links).toBe(3)
    await calls.create(made.handle, 'f')
    expect((await calls.remove(root, 'd', PROC.rmdir)).status).toBe(wire.NFS3ERR_NOTEMPTY)
    expect((await calls.remove(root, 'd')).status).toBe(wire.NFS3ERR_ISDIR)
    expect((await calls.remove(made.handle, 'f', PROC.rmdir)).status).toBe(wire.NFS3ERR_NOTDIR)
    expect(await calls.remove(made.handle, 'f')).toMatchObject({
      status: 0,
      directory: { after: { mode: 0o750 } },
    })
    expect((await calls.remove(root, 'd', PROC.rmdir)).status).toBe(0)
    expect(await calls.remove(root, 'd', PROC.rmdir)).toMatchObject({
      status: wire.NFS3ERR_NOENT,
      directory: { after: { id: 1 } },
    })
    expect((await calls.getattr(made.handle)).status).toBe(wire.NFS3ERR_STALE)
    expect((await calls.remove(root, '.')).status).toBe(wire.NFS3ERR_INVAL)
  })

  it('RENAME within and between directories, over what is there, and never under itself', async () => {
    const { calls, root } = await mounted()
    const [a, b] = [await calls.mkdir(root, 'a'), await calls.mkdir(root, 'b')]
    const file = await calls.create(a.handle, 'f')
    await calls.create(b.handle, 'g')
    const moved = await calls.rename(a.handle, 'f', b.handle, 'g')
    expect(moved).toMatchObject({
      status: 0,
      from: { after: { id: a.attributes!.id } },
      to: { after: { id: b.attributes!.id } },
    })
    expect(moved.from.before).toBeDefined()
    expect(await calls.lookup(b.handle, 'g')).toMatchObject({ handle: file.handle })
    expect((await calls.lookup(a.handle, 'f')).status).toBe(wire.NFS3ERR_NOENT)
    const under = await calls.rename(root, 'b', b.handle, 'c')
    expect(under).toMatchObject({ status: wire.NFS3ERR_INVAL, from: { after: { id: 1 } } })
    expect((await calls.rename(root, 'a', root, 'b')).status).toBe(wire.NFS3ERR_NOTEMPTY)
    expect((await calls.rename(root, 'no', root, 'x')).status).toBe(wire.NFS3ERR_NOENT)
    expect((await calls.rename(root, 'b', root, 'a')).status).toBe(0)
  })

  it('LINK makes another name of the same file', async () => {
    const { calls, root } = await mounted()
    const file = await calls.create(root, 'f')
    const linked = await calls.link(file.handle, root, 'g')
    expect(linked).toMatchObject({ status: 0, attributes: { links: 2 }, directory: { after: { id: 1 } } })
    await calls.remove(root, 'f')
    expect(await calls.lookup(root, 'g')).toMatchObject({ handle: file.handle, attributes: { links: 1 } })
    expect(await calls.link(file.handle, root, 'g')).toMatchObject({
      status: wire.NFS3ERR_EXIST,
      attributes: { links: 1 },
      directory: { after: { id: 1 } },
    })
  })

  it('MKNOD is understood and refused', async () => {
    const { calls, root } = await mounted()
    for (const [type, status] of [
      [wire.NF3FIFO, wire.NFS3ERR_NOTSUPP],
      [wire.NF3CHR, wire.NFS3ERR_NOTSUPP],
      [wire.NF3REG, wire.NFS3ERR_BADTYPE],
    ] as const) {
      const from = await calls.raw(
        PROC.mknod,
        place(root, 'n', (out) => {
          out.u32(type)
          if (type === wire.NF3REG) return
          writeSattr(out, { mode: 0o600 })
          if (type === wire.NF3CHR) out.fixed(Buffer.alloc(8))
        }),
      )
      expect([from.u32(), readWcc(from).after?.id, from.remaining]).toEqual([status, 1, 0])
    }
  })

  it('names of any byte but / and NUL', async () => {
    const { calls, root } = await mounted()
    const names = Array.from({ length: 256 }, (_, i) => `${String.fromCharCode(i)}x`).filter(
      (name) => !name.startsWith('/') && !name.startsWith('\0'),
    )
    names.push('\xff'.repeat(255))
    for (const name of names) expect((await calls.create(root, name)).status).toBe(0)
    const listed = (await calls.listAll(root)).map(({ name }) => name)
    expect(listed.sort()).toEqual(['.', '..', ...names].sort())
    for (const name of names) expect((await calls.lookup(root, name)).status).toBe(0)
  })
})

describe('handles', () => {
  it('are 24 bytes, and the same on every door', async () => {
    const { door, calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    expect(handle.length).toBe(24)
    const peer = await openDoor({}, door.fs)
    expect((await (await peer.calls()).getattr(handle)).status).toBe(0)
  })

  it('that are none are BADHANDLE, that lead nowhere are STALE', async () => {
    const { calls, root } = await mounted()
    const bad = [
      Buffer.alloc(0),
      Buffer.alloc(24),
      root.subarray(0, 23),
      Buffer.concat([root, root.subarray(0, 4)]),
    ]
    bad.push(Buffer.from(root), Buffer.from(root))
    bad.at(-1)![0] = 2
    bad.at(-2)![8] = 0xff
    for (const handle of bad) expect((await calls.getattr(handle)).status).toBe(wire.NFS3ERR_BADHANDLE)
    expect((await calls.getattr(encodeHandle(6, 1, 1))).status).toBe(wire.NFS3ERR_STALE)
    expect((await calls.getattr(encodeHandle(5, 999, 1))).status).toBe(wire.NFS3ERR_STALE)
    expect((await calls.getattr(encodeHandle(5, 1, 999))).status).toBe(wire.NFS3ERR_STALE)
  })
})

describe('errors of the engine', () => {
  const expected: ReadonlyArray<readonly [ErrorCode, number]> = [
    ['NO_SPACE', wire.NFS3ERR_NOSPC],
    ['CHECKSUM_MISMATCH', wire.NFS3ERR_IO],
    ['CVM_DOWN', wire.NFS3ERR_JUKEBOX],
    ['NO_REPLICAS', wire.NFS3ERR_JUKEBOX],
    ['CLUSTER_CLOSED', wire.NFS3ERR_JUKEBOX],
    ['IN_USE', wire.NFS3ERR_ACCES],
    ['INTERNAL', wire.NFS3ERR_SERVERFAULT],
  ]
  it.each(expected)('%s is told as %i', async (code, status) => {
    const { door, calls, root } = await mounted()
    const { handle } = await calls.create(root, 'a')
    door.fs.before = (operation) => {
      if (operation === 'write') throw new HitherError(code, 'as the test wants')
      return undefined
    }
    expect(await calls.write(handle, 0, Buffer.from('x'))).toMatchObject({
      status,
      wcc: { before: undefined, after: status === wire.NFS3ERR_JUKEBOX ? undefined : { size: 0 } },
    })
    expect(door.errors.length).toBe(code === 'INTERNAL' ? 1 : 0)
  })
})
