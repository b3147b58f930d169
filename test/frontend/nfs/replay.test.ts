/** Calls that are sent again, over any connection and to any door, leave what one leaves, and are answered as one. */
import { describe, expect, it } from 'vitest'
import { HitherError } from '../../../src/base/errors.ts'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { Calls, PROC, place, writeArgs } from './calls.ts'
import { inOrder, openDoor, until } from './door.ts'
import { RawClient, ROOT_USER } from './raw-client.ts'

describe('calls that are sent again', () => {
  it('join the one under way, on another connection and door, and are answered as it was', async () => {
    const door = await openDoor()
    const peer = await openDoor({}, door.fs)
    const calls = await door.calls()
    const root = await calls.mount()
    let release: () => void = () => {}
    door.fs.trail = []
    door.fs.before = (operation) =>
      operation === 'createDirectory' ? new Promise<void>((resolve) => (release = resolve)) : undefined
    const args = place(root, 'd', (out) => [0, 0, 0, 0, 0, 0].forEach((word) => void out.u32(word)))
    const again = [await door.connect(), await RawClient.connect(peer.server.port)]
    const sent = [calls.client, ...again].map((client) => client.nfs(PROC.mkdir, args, { xid: 77 }))
    await until(() => door.fs.trail!.includes('createDirectory 1'))
    await new Promise((resolve) => setTimeout(resolve, 30))
    door.fs.before = undefined
    release()
    const answers = await inOrder(sent)
    for (const answer of answers) expect(answer.bytes.equals(answers[0]!.bytes)).toBe(true)
    expect(answers[0]!.results.u32()).toBe(wire.NFS3_OK)
    expect(door.fs.trail.filter((one) => one === 'createDirectory 1')).toHaveLength(1)
    // Later, too; but another xid, machine or client user name is another call.
    const late = await again[1]!.nfs(PROC.mkdir, args, { xid: 77 })
    expect(late.bytes.equals(answers[0]!.bytes)).toBe(true)
    for (const how of [{ xid: 78 }, { xid: 77, as: { uid: 0, gid: 0, machine: 'another' } }]) {
      expect((await again[0]!.nfs(PROC.mkdir, args, how)).results.u32()).toBe(wire.NFS3ERR_EXIST)
    }
    again[1]!.close()
  })

  it('a WRITE that is sent again while it is under way is applied once', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f')
    let release: () => void = () => {}
    door.fs.trail = []
    door.fs.before = (operation) =>
      operation === 'write' ? new Promise<void>((resolve) => (release = resolve)) : undefined
    const args = writeArgs(handle, 0, Buffer.from('data'))
    const other = new Calls(await door.connect(), { as: ROOT_USER })
    const sent = [calls.client, other.client].map((client) => client.nfs(PROC.write, args, { xid: 5 }))
    await until(() => door.fs.trail!.includes('write 2'))
    await new Promise((resolve) => setTimeout(resolve, 20))
    release()
    for (const answer of await inOrder(sent)) expect(answer.results.u32()).toBe(0)
    expect(door.fs.trail.filter((one) => one === 'write 2')).toHaveLength(1)
  })

  it('a WRITE that a left connection brings late is not applied over a later one', async () => {
    // One call at a time, and the first is held: what the client sends behind it is read when it has gone on elsewhere.
    const door = await openDoor({ requestsMax: 1 })
    const [left, calls] = [await door.calls(), await door.calls()]
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f')
    let release: () => void = () => {}
    door.fs.before = (operation) =>
      operation === 'read' ? new Promise<void>((resolve) => (release = resolve)) : undefined
    door.fs.trail = []
    const held = left.read(handle, 0, 1)
    await until(() => door.fs.trail!.includes('read 2'))
    const args = writeArgs(handle, 0, Buffer.from('old'))
    const late = left.client.nfs(PROC.write, args, { xid: 900 })
    const first = await calls.client.nfs(PROC.write, args, { xid: 900 })
    expect(first.results.u32()).toBe(wire.NFS3_OK)
    await calls.write(handle, 0, Buffer.from('new'))
    left.client.socket.end()
    release()
    await held
    expect((await late).bytes.equals(first.bytes)).toBe(true)
    expect(door.fs.peek('f').toString()).toBe('new')
    expect(door.fs.trail.filter((one) => one === 'write 2')).toHaveLength(2)
  })

  it('a WRITE that was refused stays so', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f', { mode: 0o600 })
    const how = { xid: 901, as: { uid: 5, gid: 5 } }
    const send = async (): Promise<number> =>
      (await calls.client.nfs(PROC.write, writeArgs(handle, 0, Buffer.from('x')), how)).results.u32()
    expect(await send()).toBe(wire.NFS3ERR_ACCES)
    await calls.setattr(handle, { mode: 0o666 })
    expect(await send()).toBe(wire.NFS3ERR_ACCES)
    expect(door.fs.peek('f')).toHaveLength(0)
  })

  it.each([
    false,
    true,
  ])('a WRITE waits for storage, and its sender leaves (sent again: %s)', async (again) => {
    const door = await openDoor()
    // It has not seen the file yet: it must ask for the mode.
    const other = await openDoor({}, door.fs)
    const calls = await door.calls()
    const { handle } = await calls.create(await calls.mount(), 'f')
    let release: () => void = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    door.fs.before = (operation) => (operation === 'getAttributes' ? held : undefined)
    door.fs.trail = []
    const args = writeArgs(handle, 0, Buffer.from('data'))
    const leaver = await other.connect()
    const lost = leaver.nfs(PROC.write, args, { xid: 902 }).catch(() => 'lost')
    await until(() => door.fs.trail!.includes('getAttributes 2'))
    const stayer = again ? (await other.connect()).nfs(PROC.write, args, { xid: 902 }) : undefined
    await until(() => other.server.connections() === (again ? 2 : 1))
    await new Promise((resolve) => setTimeout(resolve, 20))
    leaver.close()
    await new Promise((resolve) => setTimeout(resolve, 20))
    door.fs.before = undefined
    release()
    expect(await lost).toBe('lost')
    expect((await stayer)?.results.u32()).toBe(again ? wire.NFS3_OK : undefined)
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(door.fs.peek('f').toString()).toBe(again ? 'data' : '')
  })

  it('a RENAME into a sticky directory is not refused for what it did itself', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const own = await calls.mkdir(root, 'own', { mode: 0o777 })
    await calls.setattr(own.handle, { uid: 5, gid: 5 })
    const sticky = await calls.mkdir(root, 'sticky', { mode: 0o1777 })
    await calls.create(own.handle, 'of-root')
    const args = place(own.handle, 'of-root', (out) => {
      out.opaque(sticky.handle)
      out.opaque(Buffer.from('moved'))
    })
    const how = { xid: 903, as: { uid: 5, gid: 5 } }
    const first = await calls.client.nfs(PROC.rename, args, how)
    expect(first.results.u32()).toBe(wire.NFS3_OK)
    const again = await calls.client.nfs(PROC.rename, args, how)
    expect(again.bytes.equals(first.bytes)).toBe(true)
    // As another call it is refused: the file there is not his.
    const other = await calls.client.nfs(PROC.rename, args, { ...how, xid: 904 })
    expect(other.results.u32()).toBe(wire.NFS3ERR_PERM)
  })

  it('what was answered with "later" and was done is known when the client asks again, with another xid', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const args = place(root, 'd', (out) => [0, 0, 0, 0, 0, 0].forEach((word) => void out.u32(word)))
    const send = async (xid: number, procedure: number = PROC.mkdir, what = args): Promise<number> =>
      (await calls.client.nfs(procedure, what, { xid })).results.u32()
    door.fs.after = () => {
      throw new HitherError('NO_REPLICAS', 'it is not known whether that was stored')
    }
    expect(await send(910)).toBe(wire.NFS3ERR_JUKEBOX)
    expect(await send(911)).toBe(wire.NFS3_OK)
    door.fs.after = undefined
    // Its copies have it, too. Whoever else comes now means another directory of that name.
    expect(await send(911)).toBe(wire.NFS3_OK)
    expect(await send(912)).toBe(wire.NFS3ERR_EXIST)
    door.fs.after = () => {
      throw new HitherError('TIMEOUT', 'nobody answered')
    }
    expect(await send(913, PROC.rmdir, place(root, 'd'))).toBe(wire.NFS3ERR_JUKEBOX)
    door.fs.after = undefined
    // A copy of the first, and something else, change nothing of that.
    expect(await send(913, PROC.rmdir, place(root, 'd'))).toBe(wire.NFS3_OK)
    expect(await send(914, PROC.rmdir, place(root, 'e'))).toBe(wire.NFS3ERR_NOENT)
    expect(await send(915, PROC.rmdir, place(root, 'd'))).toBe(wire.NFS3_OK)
    expect(await send(916, PROC.rmdir, place(root, 'd'))).toBe(wire.NFS3ERR_NOENT)
  })

  it('what was refused is not done by a late copy, at no door', async () => {
    const door = await openDoor()
    const other = await openDoor({}, door.fs)
    const calls = await door.calls()
    const root = await calls.mount()
    await calls.setattr(root, { mode: 0o755 })
    const args = place(root, 'd', (out) => [0, 0, 0, 0, 0, 0].forEach((word) => void out.u32(word)))
    const how = { xid: 905, as: { uid: 5, gid: 5 } }
    expect((await calls.client.nfs(PROC.mkdir, args, how)).results.u32()).toBe(wire.NFS3ERR_ACCES)
    await calls.setattr(root, { mode: 0o777 })
    const late = await (await other.connect()).nfs(PROC.mkdir, args, how)
    expect(late.results.u32()).toBe(wire.NFS3ERR_ACCES)
    expect((await calls.lookup(root, 'd')).status).toBe(wire.NFS3ERR_NOENT)
    expect((await calls.client.nfs(PROC.mkdir, args, { ...how, xid: 906 })).results.u32()).toBe(wire.NFS3_OK)
  })
})
