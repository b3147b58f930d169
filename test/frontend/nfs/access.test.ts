/** Who may do what: addresses, squashing, read-only exports, and mode bits. */
import { describe, expect, it } from 'vitest'
import type { FileAttributes } from '../../../src/api.ts'
import { AllowList } from '../../../src/frontend/nfs/allow-list.ts'
import { allowedChanges, modeAllows, userOf } from '../../../src/frontend/nfs/permissions.ts'
import { clientAddress } from '../../../src/frontend/nfs/rpc/client-address.ts'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { PROC } from './calls.ts'
import { openDoor } from './door.ts'
import { MemoryFileSystem } from './memory-files.ts'
import type { Identity } from './raw-client.ts'
import { xdr } from './raw-client.ts'

const ALICE: Identity = { uid: 1_000, gid: 100, groups: [50, 51] }
const BOB: Identity = { uid: 1_001, gid: 101, groups: [51] }

describe('allow-list', () => {
  it.each([
    ['10.0.0.0/8', '10.255.1.2', true],
    ['10.0.0.0/8', '11.0.0.1', false],
    ['10.1.2.3', '10.1.2.3', true],
    ['10.1.2.3', '10.1.2.4', false],
    ['0.0.0.0/0', '8.8.8.8', true],
    ['0.0.0.0/0', 'fe80::1', false],
    ['::1/128', '::1', true],
    ['fd00::/8', 'fd12:3456::1', true],
    ['fd00::/8', 'fe00::1', false],
    ['::ffff:10.0.0.0/104', '10.9.9.9', true],
    ['::ffff:10.0.0.0/104', '11.9.9.9', false],
    ['10.0.0.0/8', '::ffff:10.1.1.1', true],
    ['fe80::/10', 'fe80::1%eth0', true],
    ['10.0.0.0/33', '10.0.0.1', false],
    ['10.0.0.0/-1', '10.0.0.1', false],
    ['nonsense', '10.0.0.1', false],
  ])('%s for %s: %s', (network, remote, allowed) => {
    expect(new AllowList([network]).allows(clientAddress(remote))).toBe(allowed)
  })

  it('holds for MOUNT and for every call, also of one that has a handle', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    door.fs.export = { ...door.fs.export, allow: ['192.0.2.0/24'] }
    expect(await calls.tryMount('/default')).toMatchObject({ status: wire.NFS3ERR_ACCES })
    expect((await calls.getattr(root)).status).toBe(wire.NFS3ERR_ACCES)
    expect(await calls.create(root, 'a')).toMatchObject({
      status: wire.NFS3ERR_ACCES,
      directory: { after: undefined },
    })
    door.fs.export = { ...door.fs.export, allow: ['127.0.0.1'] }
    expect((await calls.tryMount('/default')).status).toBe(0)
    expect((await calls.getattr(root)).status).toBe(0)
  })
})

describe('squashing', () => {
  const root = { machine: Buffer.alloc(0), user: { uid: 0, gid: 0, groups: [0, 5] } }
  const user = { machine: Buffer.alloc(0), user: { uid: 7, gid: 0, groups: [0, 5] } }
  const none = { machine: Buffer.alloc(0), user: undefined }

  it('makes nobody of root, of all, or of whoever has no name', () => {
    expect(userOf(root, 'none')).toEqual(root.user)
    expect(userOf(root, 'root')).toEqual({ uid: 65_534, gid: 65_534, groups: [] })
    expect(userOf(user, 'root')).toEqual({ uid: 7, gid: 65_534, groups: [65_534, 5] })
    expect(userOf(user, 'all').uid).toBe(65_534)
    expect(userOf(none, 'none').uid).toBe(65_534)
  })

  it('decides whose a new file is', async () => {
    const door = await openDoor({}, new MemoryFileSystem('default', 5, { squash: 'root' }))
    const calls = await door.calls()
    const root = await calls.mount()
    expect((await calls.create(root, 'a')).attributes).toMatchObject({ uid: 65_534, gid: 65_534 })
    const alice = calls.as({ as: ALICE })
    expect((await alice.create(root, 'b', { uid: 0, gid: 51 })).attributes).toMatchObject({
      uid: 1_000,
      gid: 51,
    })
    expect((await alice.create(root, 'c', { gid: 99 })).attributes).toMatchObject({ uid: 1_000, gid: 100 })
  })
})

describe('a read-only export', () => {
  it('refuses every change with ROFS and the attributes, and reads', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f')
    door.fs.export = { ...door.fs.export, readOnly: true }
    await calls.mount()
    const rofs = { status: wire.NFS3ERR_ROFS }
    expect(await calls.write(handle, 0, Buffer.from('x'))).toMatchObject({
      ...rofs,
      wcc: { after: { size: 0 } },
    })
    expect(await calls.setattr(handle, { mode: 0 })).toMatchObject(rofs)
    expect(await calls.create(root, 'g')).toMatchObject({ ...rofs, directory: { after: { id: 1 } } })
    expect(await calls.mkdir(root, 'g')).toMatchObject(rofs)
    expect(await calls.symlink(root, 'g', 'x')).toMatchObject(rofs)
    expect(await calls.remove(root, 'f')).toMatchObject(rofs)
    expect(await calls.remove(root, 'f', PROC.rmdir)).toMatchObject(rofs)
    expect(await calls.rename(root, 'f', root, 'g')).toMatchObject(rofs)
    expect(await calls.link(handle, root, 'g')).toMatchObject(rofs)
    expect((await calls.access(root)).granted).toBe(0x03)
    expect((await calls.read(handle, 0, 1)).status).toBe(0)
  })
})

describe('modes', () => {
  it('that another door changed count at once for ACCESS, and within a second for all', async () => {
    const door = await openDoor()
    const other = await openDoor({}, door.fs)
    const calls = await door.calls()
    const alice = (await other.calls()).as({ as: ALICE })
    const { handle } = await calls.create(await calls.mount(), 'f', { mode: 0o644 })
    await calls.write(handle, 0, Buffer.from('x'))
    expect((await alice.read(handle, 0, 1)).status).toBe(0)
    const changedAt = performance.now()
    await calls.setattr(handle, { mode: 0o600 })
    expect((await alice.access(handle)).granted).toBe(0)
    expect((await alice.read(handle, 0, 1)).status).toBe(wire.NFS3ERR_ACCES)
    await calls.setattr(handle, { mode: 0o644 })
    while ((await alice.read(handle, 0, 1)).status !== 0) await new Promise((done) => setTimeout(done, 20))
    expect(performance.now() - changedAt).toBeLessThan(2_000)
  })

  it('owner, group and others have their own bits, root has all but running what nobody runs', () => {
    const file = { type: 'file', mode: 0o421, uid: 5, gid: 6 } as FileAttributes
    const user = (uid: number, gid: number, groups: number[] = []) => ({ uid, gid, groups })
    const bits = (who: ReturnType<typeof user>): number =>
      [4, 2, 1].filter((bit) => modeAllows(file, who, bit)).reduce((sum, bit) => sum + bit, 0)
    expect(bits(user(5, 6))).toBe(4)
    expect(bits(user(1, 6))).toBe(2)
    expect(bits(user(1, 1, [6]))).toBe(2)
    expect(bits(user(1, 1))).toBe(1)
    expect(bits(user(0, 0))).toBe(7)
    expect(modeAllows({ ...file, mode: 0o600 }, user(0, 0), 1)).toBe(false)
  })

  it('decide over reading, writing, listing, and changing entries', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const [alice, bob] = [calls.as({ as: ALICE }), calls.as({ as: BOB })]
    const home = await calls.mkdir(root, 'home', { mode: 0o750, uid: 1_000, gid: 51 })
    const file = await alice.create(home.handle, 'f', { mode: 0o400 })
    const denied = { status: wire.NFS3ERR_ACCES }
    // The owner writes what he has open, whatever the mode is now.
    expect((await alice.write(file.handle, 0, Buffer.from('hi'))).status).toBe(0)
    expect(await bob.read(file.handle, 0, 2)).toMatchObject(denied)
    expect(await bob.write(file.handle, 0, Buffer.from('x'))).toMatchObject({
      ...denied,
      wcc: { after: { size: 2 } },
    })
    await alice.setattr(file.handle, { mode: 0o604 })
    expect((await bob.read(file.handle, 0, 2)).data).toEqual(Buffer.from('hi'))
    expect(await bob.create(home.handle, 'g')).toMatchObject(denied)
    expect(await bob.remove(home.handle, 'f')).toMatchObject(denied)
    expect((await bob.list(home.handle, 0)).entries.length).toBe(3)
    await alice.setattr(home.handle, { mode: 0o700 })
    expect(await bob.list(home.handle, 0)).toMatchObject({ ...denied, attributes: { mode: 0o700 } })
    expect(await bob.lookup(home.handle, 'f')).toMatchObject(denied)
  })

  it('in a sticky directory everybody takes away his own only', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const [alice, bob] = [calls.as({ as: ALICE }), calls.as({ as: BOB })]
    const tmp = await calls.mkdir(root, 'tmp', { mode: 0o1777 })
    await alice.create(tmp.handle, 'a')
    await bob.create(tmp.handle, 'b')
    expect((await bob.remove(tmp.handle, 'a')).status).toBe(wire.NFS3ERR_PERM)
    expect((await bob.rename(tmp.handle, 'b', tmp.handle, 'a')).status).toBe(wire.NFS3ERR_PERM)
    expect((await bob.remove(tmp.handle, 'none')).status).toBe(wire.NFS3ERR_NOENT)
    expect((await bob.rename(tmp.handle, 'b', tmp.handle, 'c')).status).toBe(0)
    expect((await alice.remove(tmp.handle, 'a')).status).toBe(0)
  })

  it('only the owner changes modes and times, only root gives files away', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const [alice, bob] = [calls.as({ as: ALICE }), calls.as({ as: BOB })]
    const { handle } = await alice.create(root, 'f', { mode: 0o666 })
    expect((await bob.setattr(handle, { mode: 0o777 })).status).toBe(wire.NFS3ERR_PERM)
    expect((await bob.setattr(handle, { modified: [1, 1] })).status).toBe(wire.NFS3ERR_PERM)
    expect((await bob.setattr(handle, { modified: 'now' })).status).toBe(0)
    expect((await bob.setattr(handle, { size: 3 })).status).toBe(0)
    expect((await alice.setattr(handle, { uid: 1_001 })).status).toBe(wire.NFS3ERR_PERM)
    expect((await alice.setattr(handle, { gid: 77 })).status).toBe(wire.NFS3ERR_PERM)
    expect((await alice.setattr(handle, { gid: 50 })).status).toBe(0)
    expect((await calls.setattr(handle, { uid: 1_001 })).status).toBe(0)
    expect((await calls.access(handle)).attributes).toMatchObject({ uid: 1_001, gid: 50 })
  })

  it('set-user-id does not survive a new owner, nor a write by somebody else', async () => {
    const file = { type: 'file', mode: 0o6755, uid: 5, gid: 6 } as FileAttributes
    const owner = { uid: 5, gid: 1, groups: [6, 7] }
    expect(allowedChanges(file, owner, { gid: 7 })).toEqual({ gid: 7, mode: 0o755 })
    expect(allowedChanges(file, { ...owner, groups: [] }, { mode: 0o2711 })).toEqual({ mode: 0o711 })
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const made = await calls.create(root, 'f', { mode: 0o4777 })
    const written = await calls.as({ as: BOB }).write(made.handle, 0, Buffer.from('x'))
    expect(written.wcc.after!.mode).toBe(0o777)
  })

  it('a directory with set-group-id hands its group on', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const shared = await calls.mkdir(root, 'shared', { mode: 0o2777, gid: 51 })
    const alice = calls.as({ as: ALICE })
    expect((await alice.create(shared.handle, 'f')).attributes).toMatchObject({ gid: 51 })
    expect((await alice.mkdir(shared.handle, 'd', { mode: 0o755 })).attributes).toMatchObject({
      gid: 51,
      mode: 0o2755,
    })
  })

  it('AUTH_NONE is nobody', async () => {
    const door = await openDoor()
    const calls = await door.calls({ as: 'none' })
    const root = await calls.mount()
    expect((await calls.create(root, 'f')).attributes).toMatchObject({ uid: 65_534 })
    const answer = await calls.client.nfs(
      PROC.getattr,
      xdr((out) => out.opaque(root)),
      { as: 'none' },
    )
    expect(answer.results.u32()).toBe(0)
  })
})
