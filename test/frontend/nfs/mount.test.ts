/** MOUNT, and the portmapper that tells where it is. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { describe, expect, it } from 'vitest'
import { servePortmap } from '../../../src/frontend/nfs/index.ts'
import { XdrReader } from '../../../src/frontend/nfs/rpc/xdr.ts'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { openDoor } from './door.ts'
import { MemoryFileSystem } from './memory-files.ts'
import { encodeCall, RawClient, xdr } from './raw-client.ts'

const NOTHING = Buffer.alloc(0)

describe('MOUNT', () => {
  it('from a path to a handle, also of a directory within', async () => {
    const door = await openDoor({}, new MemoryFileSystem('default', 5), new MemoryFileSystem('vms', 6))
    const calls = await door.calls()
    const root = await calls.tryMount('/default')
    expect(root).toMatchObject({ status: 0, flavors: [1, 0] })
    const sub = await calls.mkdir(root.handle, 'a b')
    const deep = await calls.mkdir(sub.handle, 'c')
    await calls.create(root.handle, 'file')
    expect((await calls.mount('//default/a b//c/')).equals(deep.handle)).toBe(true)
    expect((await calls.mount('/vms')).equals(root.handle)).toBe(false)
    const statusOf = async (path: string): Promise<number> => (await calls.tryMount(path)).status
    expect(await statusOf('/none')).toBe(wire.NFS3ERR_NOENT)
    expect(await statusOf('/default/none')).toBe(wire.NFS3ERR_NOENT)
    expect(await statusOf('/default/file')).toBe(wire.NFS3ERR_NOTDIR)
    expect(await statusOf('/default/file/x')).toBe(wire.NFS3ERR_NOTDIR)
    expect(await statusOf('default')).toBe(wire.NFS3ERR_INVAL)
    expect(await statusOf('/')).toBe(wire.NFS3ERR_NOENT)
    expect(await statusOf(`/default/${'x'.repeat(256)}`)).toBe(wire.NFS3ERR_NAMETOOLONG)
  })

  it('a new export is there at once', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    await calls.mount()
    door.path.systems.push(new MemoryFileSystem('later', 9))
    expect((await calls.getattr(await calls.mount('/later'))).status).toBe(0)
  })

  it('DUMP, UMNT and UMNTALL keep the book of mounts', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const dumped = async (): Promise<string[]> => {
      const { results } = await calls.client.mount(2, NOTHING)
      const found: string[] = []
      while (results.bool()) found.push(`${results.opaque(255)} ${results.opaque(1_024)}`)
      results.end()
      return found
    }
    await calls.mount()
    await calls.mount('/default/')
    expect(await dumped()).toEqual(['127.0.0.1 /default', '127.0.0.1 /default/'])
    await calls.client.mount(
      3,
      xdr((out) => out.opaque(Buffer.from('/default'))),
    )
    expect(await dumped()).toEqual(['127.0.0.1 /default/'])
    await calls.client.mount(4, NOTHING)
    expect(await dumped()).toEqual([])
  })

  it('EXPORT lists the containers, and for whom they are', async () => {
    const door = await openDoor(
      {},
      new MemoryFileSystem('default', 5),
      new MemoryFileSystem('vms', 6, { allow: ['10.0.0.0/8'] }),
    )
    const { results } = await (await door.connect()).mount(5, NOTHING)
    const found: string[] = []
    while (results.bool()) {
      let line = `${results.opaque(1_024)}`
      while (results.bool()) line += ` ${results.opaque(255)}`
      found.push(line)
    }
    results.end()
    expect(found).toEqual(['/default 127.0.0.0/8 ::1', '/vms 10.0.0.0/8'])
  })
})

describe('portmapper', () => {
  const getPort = (program: number, protocol: number): Buffer =>
    xdr((out) => {
      for (const word of [program, 3, protocol, 0]) out.u32(word)
    })

  it('tells the port over TCP and UDP, and lists what there is', async () => {
    await using portmap = await servePortmap({ port: 0, nfsPort: 20_049 })
    const client = await RawClient.connect(portmap.port)
    const ask = async (procedure: number, args: Buffer): Promise<XdrReader> => {
      return (await client.call(wire.PORTMAP_PROGRAM, procedure, args)).results
    }
    expect((await ask(3, getPort(wire.NFS_PROGRAM, 6))).u32()).toBe(20_049)
    expect((await ask(3, getPort(wire.MOUNT_PROGRAM, 6))).u32()).toBe(20_049)
    expect((await ask(3, getPort(wire.MOUNT_PROGRAM, 17))).u32()).toBe(0)
    expect((await ask(3, getPort(100_021, 6))).u32()).toBe(0)
    expect((await ask(1, getPort(wire.NFS_PROGRAM, 6))).u32()).toBe(0)
    const list = await ask(4, NOTHING)
    const programs: number[] = []
    while (list.bool()) {
      programs.push(list.u32())
      for (let i = 0; i < 3; i += 1) list.u32()
    }
    expect(programs).toEqual([100_000, 100_000, 100_005, 100_003])
    client.close()

    const socket = createSocket('udp4')
    socket.send('nonsense', portmap.port, '127.0.0.1')
    socket.send(
      encodeCall(7, wire.PORTMAP_PROGRAM, 3, getPort(wire.NFS_PROGRAM, 6)),
      portmap.port,
      '127.0.0.1',
    )
    const [message] = (await once(socket, 'message')) as [Buffer]
    const answer = new XdrReader(message)
    expect(Array.from({ length: 7 }, () => answer.u32())).toEqual([7, 1, 0, 0, 0, 0, 20_049])
    socket.close()
  })

  it('says so when the port is taken', async () => {
    await using portmap = await servePortmap({ port: 0, nfsPort: 1 })
    await expect(servePortmap({ port: portmap.port, nfsPort: 1 })).rejects.toMatchObject({ code: 'IN_USE' })
  })
})
