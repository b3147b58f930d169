/** What the door does when there is too much of something: requests, bytes, silence, or time. */
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { MiB } from '../../../src/base/units.ts'
import { serveNbd } from '../../../src/frontend/nbd/index.ts'
import * as wire from '../../../src/frontend/nbd/wire.ts'
import { openDoor, until } from './door.ts'
import { MemoryDisk, MemoryPath } from './memory-path.ts'
import { encodeRequest } from './raw-client.ts'

/** Makes the disk hold every operation back until `release`. */
function hold(disk: MemoryDisk): { waiting: () => number; release: () => void } {
  let held: Array<() => void> = []
  disk.before = () =>
    new Promise((resolve) => {
      held.push(resolve)
    })
  return {
    waiting: () => held.length,
    release: () => {
      disk.before = undefined
      for (const resolve of held) resolve()
      held = []
    },
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 50))

describe('bounds', () => {
  it('takes up at most requestsMax requests of a connection, and the rest when there is room', async () => {
    const door = await openDoor({ requestsMax: 8 })
    const client = await door.client()
    const held = hold(door.disk)
    for (let i = 0; i < 50; i += 1) client.send(wire.CMD_READ, i * 16, 16)
    await until(() => held.waiting() === 8)
    await settle()
    expect(held.waiting()).toBe(8)
    held.release()
    const cookies = new Set<bigint>()
    for (let i = 0; i < 50; i += 1) cookies.add((await client.reply(16)).cookie)
    expect(cookies.size).toBe(50)
  })

  it('takes up at most bytesMax of a connection', async () => {
    const door = await openDoor({ bytesMax: 32 * MiB }, new MemoryDisk('disk', 32 * MiB))
    const client = await door.client()
    const held = hold(door.disk)
    for (let i = 0; i < 5; i += 1) client.send(wire.CMD_READ, 0, 12 * MiB)
    await until(() => held.waiting() === 2)
    await settle()
    expect(held.waiting()).toBe(2)
    held.release()
    for (let i = 0; i < 5; i += 1) expect((await client.reply(12 * MiB)).error).toBe(0)
  })

  it('shares the byte budget of the door between connections, first come, first served', async () => {
    const door = await openDoor({ bytesTotalMax: 32 * MiB }, new MemoryDisk('disk', 32 * MiB))
    const [first, second, third, fourth] = await Promise.all([1, 2, 3, 4].map(() => door.client()))
    const held = hold(door.disk)
    first!.send(wire.CMD_READ, 0, 30 * MiB)
    await until(() => held.waiting() === 1)
    second!.send(wire.CMD_READ, 0, 20 * MiB)
    await settle()
    // There is room for this one, but it must not overtake; what needs no bytes may.
    third!.send(wire.CMD_READ, 0, 1 * MiB)
    await settle()
    expect(held.waiting()).toBe(1)
    fourth!.send(wire.CMD_TRIM, 0, 4096)
    await until(() => held.waiting() === 2)
    held.release()
    expect((await first!.reply(30 * MiB)).error).toBe(0)
    expect((await second!.reply(20 * MiB)).error).toBe(0)
    expect((await third!.reply(1 * MiB)).error).toBe(0)
    expect((await fourth!.reply()).error).toBe(0)
  })

  it('gives back the bytes of connections that break off, half-sent writes and unread replies included', async () => {
    const door = await openDoor({ bytesTotalMax: 32 * MiB }, new MemoryDisk('disk', 32 * MiB))
    for (let i = 0; i < 3; i += 1) {
      const [writer, reader, waiter] = await Promise.all([door.client(), door.client(), door.client()])
      writer!.send(wire.CMD_WRITE, 0, 16 * MiB, { payload: Buffer.alloc(100_000) })
      reader!.socket.pause()
      reader!.send(wire.CMD_READ, 0, 16 * MiB)
      await settle()
      waiter!.send(wire.CMD_READ, 0, 16 * MiB)
      await settle()
      for (const client of [waiter, writer, reader]) client!.close()
      await until(() => door.server.connections() === 0)
    }
    const client = await door.client()
    expect((await client.request(wire.CMD_READ, 0, 32 * MiB)).error).toBe(0)
    expect(door.errors).toEqual([])
  })

  it('does not read ahead of a client that takes no replies', async () => {
    const door = await openDoor({ bytesMax: 32 * MiB }, new MemoryDisk('disk', 8 * MiB))
    const client = await door.client()
    door.disk.trail = []
    client.socket.pause()
    for (let i = 0; i < 20; i += 1) client.send(wire.CMD_READ, 0, 4 * MiB)
    await settle()
    await settle()
    // 8 in the window, and what the kernel's socket buffers swallowed.
    expect(door.disk.trail.length).toBeLessThan(14)
    client.socket.resume()
    for (let i = 0; i < 20; i += 1) expect((await client.reply(4 * MiB)).error).toBe(0)
  })

  it('refuses connections above connectionsMax', async () => {
    const door = await openDoor({ connectionsMax: 2 })
    const first = await door.client()
    await door.client()
    const third = await door.connect()
    expect((await third.readToEnd()).length).toBe(0)
    expect((await first.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })
})

describe('stalls', () => {
  it('cuts off a client that owes the rest of a request, and keeps an idle one', async () => {
    const door = await openDoor({ stallTimeoutMs: 80 })
    const idle = await door.client()
    const halfHeader = await door.client()
    const halfPayload = await door.client()
    halfHeader.socket.write(Buffer.from([0x25, 0x60]))
    halfPayload.send(wire.CMD_WRITE, 0, 4096, { payload: Buffer.alloc(100) })
    await Promise.all([halfHeader.readToEnd(), halfPayload.readToEnd()])
    await until(() => door.server.connections() === 1)
    expect((await idle.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })

  it('cuts off a client that takes no replies', async () => {
    const door = await openDoor({ stallTimeoutMs: 80 }, new MemoryDisk('disk', 32 * MiB))
    const client = await door.client()
    client.socket.pause()
    client.send(wire.CMD_READ, 0, 32 * MiB)
    await until(() => door.server.connections() === 0)
  })

  it('does not hold a slow vDisk against the client', async () => {
    const door = await openDoor({ stallTimeoutMs: 50, requestsMax: 1 })
    const client = await door.client()
    const held = hold(door.disk)
    client.send(wire.CMD_READ, 0, 1)
    client.send(wire.CMD_WRITE, 0, 5, { payload: Buffer.from('hello') })
    await new Promise((resolve) => setTimeout(resolve, 150))
    held.release()
    expect((await client.reply(1)).error).toBe(0)
    expect((await client.reply()).error).toBe(0)
  })
})

describe('the end of a connection', () => {
  it('DISC: answers what is under way, then closes, and closes the handle', async () => {
    const door = await openDoor()
    const client = await door.client()
    const held = hold(door.disk)
    const cookie = client.send(wire.CMD_WRITE, 0, 5, { payload: Buffer.from('hello') })
    client.send(wire.CMD_DISC, 0, 0)
    client.socket.write('garbage after DISC is nobody’s business')
    await settle()
    held.release()
    expect((await client.reply()).cookie).toBe(cookie)
    expect((await client.readToEnd()).length).toBe(0)
    await until(() => door.disk.openHandles === 0 && door.server.connections() === 0)
    expect(door.errors).toEqual([])
  })

  it('FIN: the same, and half a request is dropped', async () => {
    const door = await openDoor()
    const client = await door.client()
    const cookie = client.send(wire.CMD_READ, 0, 16)
    client.send(wire.CMD_WRITE, 0, 4096, { payload: Buffer.alloc(10, 1) })
    client.socket.end()
    expect((await client.reply(16)).cookie).toBe(cookie)
    expect((await client.readToEnd()).length).toBe(0)
    await until(() => door.disk.openHandles === 0)
    expect(door.disk.bytes[0]).toBe(0)
  })

  it('FIN right behind GO: requests sent along are answered', async () => {
    const door = await openDoor()
    const client = await door.connect()
    await client.greet()
    const name = Buffer.from('disk')
    client.socket.write(
      Buffer.concat([
        Buffer.from('IHAVEOPT'),
        Buffer.from([0, 0, 0, wire.OPT_EXPORT_NAME, 0, 0, 0, name.length]),
        name,
        encodeRequest(1n, wire.CMD_READ, 0, 16),
        encodeRequest(2n, wire.CMD_READ, 16, 16),
      ]),
    )
    client.socket.end()
    await client.read(10)
    expect((await client.reply(16)).cookie).toBe(1n)
    expect((await client.reply(16)).cookie).toBe(2n)
    expect((await client.readToEnd()).length).toBe(0)
  })

  it('reset: requests under way run to their end unheard, then the handle is closed', async () => {
    const door = await openDoor()
    const client = await door.client()
    const held = hold(door.disk)
    for (let i = 0; i < 10; i += 1) client.send(wire.CMD_WRITE, i, 1, { payload: Buffer.from('x') })
    await until(() => held.waiting() === 10)
    client.socket.resetAndDestroy()
    await until(() => door.server.connections() === 0)
    held.release()
    await until(() => door.disk.bytes.toString('latin1', 0, 10) === 'xxxxxxxxxx')
    expect((await (await door.client()).request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })
})

describe('the end of the door', () => {
  it('lets requests under way finish, refuses new ones with ESHUTDOWN, and frees the port', async () => {
    const door = await openDoor({ closeGraceMs: 5_000 })
    const busy = await door.client({ structured: true })
    const idle = await door.client()
    const choosing = await door.connect()
    await choosing.greet()
    const held = hold(door.disk)
    const cookie = busy.send(wire.CMD_WRITE, 0, 5, { payload: Buffer.from('hello') })
    await until(() => held.waiting() === 1)
    const closed = door.server.close()
    expect((await idle.readToEnd()).length).toBe(0)
    expect((await choosing.readToEnd()).length).toBe(0)
    expect((await busy.request(wire.CMD_WRITE, 0, 5, { payload: Buffer.from('later') })).error).toBe(
      wire.ESHUTDOWN,
    )
    await expect(door.connect()).rejects.toThrow('ECONNREFUSED')
    held.release()
    const reply = await busy.reply()
    expect([reply.cookie, reply.error]).toEqual([cookie, 0])
    await closed
    expect(door.disk.bytes.toString('latin1', 0, 5)).toBe('hello')
    expect(door.disk.openHandles).toBe(0)
    expect(door.server.connections()).toBe(0)
  })

  it('answers what is still under way after the grace with ESHUTDOWN', async () => {
    const door = await openDoor({ closeGraceMs: 50 })
    const client = await door.client()
    const held = hold(door.disk)
    client.send(wire.CMD_READ, 0, 4096)
    await until(() => held.waiting() === 1)
    const started = Date.now()
    const closed = door.server.close()
    expect((await client.reply(4096)).error).toBe(wire.ESHUTDOWN)
    expect((await client.readToEnd()).length).toBe(0)
    await closed
    expect(Date.now() - started).toBeLessThan(1_500)
    held.release()
    await settle()
  })

  it('does not wait for a client that takes nothing', async () => {
    const door = await openDoor({ closeGraceMs: 50 }, new MemoryDisk('disk', 32 * MiB))
    const client = await door.client()
    client.socket.pause()
    client.send(wire.CMD_READ, 0, 32 * MiB)
    await settle()
    await door.server.close()
    expect(door.server.connections()).toBe(0)
  })

  it('answers an option that was under way with SHUTDOWN', async () => {
    const door = await openDoor({ closeGraceMs: 5_000 })
    const client = await door.connect()
    await client.greet()
    const list = door.path.listVDisks.bind(door.path)
    let letGo = (): void => {}
    const asked = new Promise<void>((resolve) => {
      door.path.listVDisks = async () => {
        resolve()
        await new Promise<void>((go) => {
          letGo = go
        })
        return list()
      }
    })
    client.sendOption(
      wire.OPT_GO,
      Buffer.concat([Buffer.from([0, 0, 0, 4]), Buffer.from('disk'), Buffer.alloc(2)]),
    )
    await asked
    const closed = door.server.close()
    letGo()
    expect((await client.readOptionReply()).type).toBe(wire.REP_ERR_SHUTDOWN)
    await closed
    expect(door.disk.openHandles).toBe(0)
  })
})

describe('where it listens', () => {
  it('on a unix socket, replacing what a killed process left, and nothing else', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'hither-nbd-'))
    const socket = join(folder, 'a b.sock')
    const door = await openDoor({ socket })
    expect(door.server.url).toBe(`nbd+unix:///?socket=${folder}/a%20b.sock`)
    expect(door.server.port).toBeUndefined()
    const client = await door.client()
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
    const path = new MemoryPath()
    await expect(serveNbd(path, { socket })).rejects.toMatchObject({ code: 'IN_USE' })
    await door.server.close()
    expect(existsSync(socket)).toBe(false)

    const file = join(folder, 'precious')
    await writeFile(file, 'data')
    await expect(serveNbd(path, { socket: file })).rejects.toMatchObject({ code: 'IN_USE' })
    expect(existsSync(file)).toBe(true)
    await rm(folder, { recursive: true })
  })

  it('tells a port in use and a bad setting apart', async () => {
    const path = new MemoryPath()
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const port = (other.address() as { port: number }).port
    await expect(serveNbd(path, { port })).rejects.toMatchObject({ code: 'IN_USE' })
    other.close()
    for (const bad of [
      { host: '203.0.113.1' },
      { socket: '/nowhere/at/all.sock' },
      { socket: 'x', port: 1 },
      { port: 65_536 },
      { bytesMax: 1000 },
      { requestsMax: 0 },
      { closeGraceMs: -1 },
    ]) {
      await expect(serveNbd(path, bad)).rejects.toMatchObject({ code: 'BAD_SETTING' })
    }
  })

  it('on IPv6, with brackets in the URL', async () => {
    await using server = await serveNbd(new MemoryPath(), { host: '::1' })
    expect(server.url).toBe(`nbd://[::1]:${server.port}`)
  })
})
