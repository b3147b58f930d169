/** ONC RPC as RFC 5531 has it: records, refusals, credentials, answers out of order, and what a connection may hold. */
import { describe, expect, it } from 'vitest'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { PROC, writeArgs } from './calls.ts'
import { inOrder, openDoor, until } from './door.ts'
import { encodeCall, fragments, frame, xdr } from './raw-client.ts'

const NULL_ARGS = Buffer.alloc(0)
const SUCCESS = 0
const PROG_UNAVAIL = 1
const PROG_MISMATCH = 2
const PROC_UNAVAIL = 3
const GARBAGE_ARGS = 4

describe('records', () => {
  it('arrive whole, byte by byte, in fragments, and many in one piece', async () => {
    const door = await openDoor()
    const client = await door.connect()
    const message = (xid: number): Buffer => encodeCall(xid, wire.NFS_PROGRAM, PROC.null, NULL_ARGS)
    for (const byte of frame(message(100))) {
      client.socket.write(Buffer.of(byte))
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await client.answer(100)).status).toBe(SUCCESS)
    for (const size of [1, 3, 4, 50]) {
      client.socket.write(fragments(message(200 + size), size))
      expect((await client.answer(200 + size)).status).toBe(SUCCESS)
    }
    const empty = Buffer.from([0, 0, 0, 0])
    client.socket.write(Buffer.concat([empty, empty, frame(message(300)), frame(message(301))]))
    expect((await client.answer(300)).status).toBe(SUCCESS)
    expect((await client.answer(301)).status).toBe(SUCCESS)
  })

  it('a large WRITE comes through whatever pieces it is in', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f')
    const data = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, i) => (i * 31) ^ (i >> 7)))
    const { client } = calls
    for (const [xid, size] of [
      [1_001, 400_000],
      [1_002, 100_000],
      [1_003, 7_001],
      [1_004, 400],
    ] as const) {
      await calls.setattr(handle, { size: 0 })
      client.socket.write(
        fragments(encodeCall(xid, wire.NFS_PROGRAM, PROC.write, writeArgs(handle, 0, data)), size),
      )
      expect((await client.answer(xid)).results.u32()).toBe(wire.NFS3_OK)
      expect(door.fs.peek('f').equals(data)).toBe(true)
    }
  })

  it.each([
    ['one fragment that is too long', Buffer.from([0xff, 0xff, 0xff, 0xff])],
    [
      'fragments that are too long together',
      Buffer.concat([
        Buffer.from([0, 0x0f, 0xff, 0xff]),
        Buffer.alloc(0x0fffff),
        Buffer.from([0, 0x0f, 0xff, 0xff]),
      ]),
    ],
    ['too many fragments', Buffer.alloc(4 * 1_100)],
    ['an empty record', Buffer.from([0x80, 0, 0, 0])],
    [
      'an answer instead of a call',
      frame(xdr((out) => [1, 1, 0, 0, 0, 0].forEach((word) => void out.u32(word)))),
    ],
    [
      'a header that ends too early',
      frame(xdr((out) => [1, 0, 2, 100_003].forEach((word) => void out.u32(word)))),
    ],
  ])('%s ends the connection, and is reported', async (_, bytes) => {
    const door = await openDoor()
    const client = await door.connect()
    client.socket.write(bytes)
    await client.end()
    expect(door.errors.map((error) => error.code)).toEqual(['PROTOCOL_ERROR'])
  })
})

describe('refusals', () => {
  it('of another RPC version, program, version, procedure; of garbage', async () => {
    const door = await openDoor()
    const client = await door.connect()
    const message = encodeCall(1, wire.NFS_PROGRAM, PROC.null, NULL_ARGS)
    message.writeUInt32BE(3, 8)
    client.socket.write(frame(message))
    const mismatch = await client.answer(1)
    expect([mismatch.denied, mismatch.status, mismatch.results.u32(), mismatch.results.u32()]).toEqual([
      true,
      0,
      2,
      2,
    ])
    expect((await client.call(100_004, 0, NULL_ARGS)).status).toBe(PROG_UNAVAIL)
    const version = await client.nfs(0, NULL_ARGS, { version: 4 })
    expect([version.status, version.results.u32(), version.results.u32()]).toEqual([PROG_MISMATCH, 3, 3])
    expect((await client.nfs(22, NULL_ARGS)).status).toBe(PROC_UNAVAIL)
    expect((await client.mount(6, NULL_ARGS)).status).toBe(PROC_UNAVAIL)
    const garbage = [
      NULL_ARGS,
      xdr((out) => out.u32(0xffff_ffff)),
      xdr((out) => out.opaque(Buffer.alloc(65))),
    ]
    for (const args of garbage) expect((await client.nfs(PROC.getattr, args)).status).toBe(GARBAGE_ARGS)
    // What follows the arguments is garbage, too.
    expect((await client.nfs(PROC.null, Buffer.alloc(4))).status).toBe(GARBAGE_ARGS)
    expect((await client.nfs(PROC.null, NULL_ARGS)).status).toBe(SUCCESS)
    expect(door.errors).toEqual([])
  })

  it('of credentials that are none', async () => {
    const door = await openDoor()
    const client = await door.connect()
    const withCredential = async (flavor: number, body: Buffer, verifier = 0): Promise<unknown[]> => {
      const xid = 1_000 + flavor + body.length + verifier
      const message = xdr((out) => {
        for (const word of [xid, 0, 2, wire.NFS_PROGRAM, 3, 0, flavor]) out.u32(word)
        out.opaque(body)
        out.u32(0)
        out.opaque(Buffer.alloc(verifier))
      })
      client.socket.write(frame(message))
      const answer = await client.answer(xid)
      return answer.denied ? [answer.status, answer.results.u32()] : ['accepted']
    }
    const sys = (machine: number, groups: number): Buffer =>
      xdr((out) => {
        out.u32(0)
        out.opaque(Buffer.alloc(machine, 0x61))
        out.u32(0)
        out.u32(0)
        out.u32(groups)
        for (let i = 0; i < groups; i += 1) out.u32(i)
      })
    expect(await withCredential(0, NULL_ARGS)).toEqual(['accepted'])
    expect(await withCredential(1, sys(255, 16))).toEqual(['accepted'])
    expect(await withCredential(1, sys(256, 0))).toEqual([1, 1])
    expect(await withCredential(1, sys(4, 17))).toEqual([1, 1])
    expect(await withCredential(1, NULL_ARGS)).toEqual([1, 1])
    expect(await withCredential(1, Buffer.concat([sys(4, 0), Buffer.alloc(4)]))).toEqual([1, 1])
    expect(await withCredential(0, Buffer.alloc(404))).toEqual([1, 1])
    expect(await withCredential(2, NULL_ARGS)).toEqual([1, 2])
    expect(await withCredential(6, NULL_ARGS)).toEqual([1, 1])
    expect(await withCredential(0, NULL_ARGS, 404)).toEqual([1, 3])
  })
})

describe('many calls at a time', () => {
  it('are answered in the order in which they are done', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    const slow = await calls.create(root, 'slow')
    let release: () => void = () => {}
    door.fs.trail = []
    door.fs.before = (operation) =>
      operation === 'write' ? new Promise<void>((resolve) => (release = resolve)) : undefined
    const first = calls.client.nfs(PROC.write, writeArgs(slow.handle, 0, Buffer.from('x')), { xid: 501 })
    await until(() => door.fs.trail!.includes('write 2'))
    expect((await calls.client.nfs(PROC.null, NULL_ARGS, { xid: 502 })).status).toBe(SUCCESS)
    expect((await calls.getattr(slow.handle)).attributes!.size).toBe(0)
    release()
    await first
    expect(calls.client.order.indexOf(502)).toBeLessThan(calls.client.order.indexOf(501))
  })

  it('more than there may be wait in the socket, and all are answered', async () => {
    const door = await openDoor({ requestsMax: 4 })
    const calls = await door.calls()
    const root = await calls.mount()
    let running = 0
    let most = 0
    door.fs.before = async () => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setTimeout(resolve, 2))
      running -= 1
    }
    const args = xdr((out) => out.opaque(root))
    const sent = Array.from({ length: 100 }, (_, i) =>
      calls.client.nfs(PROC.getattr, args, { xid: 5_000 + i }),
    )
    for (const answer of await inOrder(sent)) expect(answer.results.u32()).toBe(0)
    expect(most).toBe(4)
  })

  it('a client that does not read its answers holds no more than it may', async () => {
    const door = await openDoor({ bytesMax: 4 << 20, stallTimeoutMs: 300 })
    const calls = await door.calls()
    const root = await calls.mount()
    const { handle } = await calls.create(root, 'f')
    await calls.write(handle, 0, Buffer.alloc(1 << 20, 7))
    door.fs.trail = []
    const lazy = await door.connect()
    lazy.socket.pause()
    const args = xdr((out) => {
      out.opaque(handle)
      out.u64(0)
      out.u32(1 << 20)
    })
    for (let i = 0; i < 200; i += 1)
      lazy.socket.write(frame(encodeCall(i, wire.NFS_PROGRAM, PROC.read, args)))
    // Cut off, as it takes nothing.
    await until(() => door.server.connections() === 1)
    const reads = door.fs.trail.filter((one) => one.startsWith('read ')).length
    expect(reads).toBeGreaterThan(3)
    // What fits the kernel's buffers of both ends left, and 4 MiB more.
    expect(reads).toBeLessThan(60)
    expect((await calls.read(handle, 0, 10)).status).toBe(0)
  })

  it('an idle client stays; one that owes the rest of a record does not', async () => {
    const door = await openDoor({ stallTimeoutMs: 80 })
    const [idle, owing] = [await door.connect(), await door.connect()]
    owing.socket.write(Buffer.from([0x80, 0]))
    await owing.end()
    expect((await idle.nfs(PROC.null, NULL_ARGS)).status).toBe(SUCCESS)
  })

  it('FIN is answered with all that was asked for', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    door.fs.before = () => new Promise((resolve) => setTimeout(resolve, 20))
    const answer = calls.client.nfs(
      PROC.getattr,
      xdr((out) => out.opaque(root)),
      { xid: 9 },
    )
    calls.client.socket.end()
    expect((await answer).results.u32()).toBe(0)
    await calls.client.end()
    await until(() => door.server.connections() === 0)
  })

  it('closing the door answers what is under way, and cuts off what takes too long', async () => {
    const door = await openDoor({ closeGraceMs: 150 })
    const calls = await door.calls()
    const root = await calls.mount()
    const args = xdr((out) => out.opaque(root))
    let never = false
    door.fs.before = () => new Promise((resolve) => (never ? undefined : setTimeout(resolve, 40)))
    const soon = calls.client.nfs(PROC.getattr, args, { xid: 9 })
    const stuck = await door.connect()
    await new Promise((resolve) => setTimeout(resolve, 10))
    never = true
    const lost = stuck.nfs(PROC.getattr, args).catch((error: Error) => error.message)
    await new Promise((resolve) => setTimeout(resolve, 10))
    await door.server.close()
    expect((await soon).results.u32()).toBe(0)
    expect(await lost).toContain('ended before')
    expect(door.server.connections()).toBe(0)
  })
})
