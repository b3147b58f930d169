/** Commands, replies and errors of the transmission phase, as bytes. */
import { randomBytes } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { type ErrorCode, HitherError } from '../../../src/base/errors.ts'
import * as wire from '../../../src/frontend/nbd/wire.ts'
import { DISK_BYTES, openDoor } from './door.ts'
import { MemoryDisk } from './memory-path.ts'
import { encodeRequest, type Reply } from './raw-client.ts'

const END = DISK_BYTES

function extents(reply: Reply): Array<[number, number]> {
  expect(reply.chunks.map((chunk) => chunk.type)).toEqual([wire.CHUNK_BLOCK_STATUS])
  const payload = reply.chunks[0]!.payload
  expect(payload.readUInt32BE(0)).toBe(wire.BASE_ALLOCATION_ID)
  const found: Array<[number, number]> = []
  for (let at = 4; at < payload.length; at += 8) {
    found.push([payload.readUInt32BE(at), payload.readUInt32BE(at + 4)])
  }
  return found
}

describe.each([
  ['simple', false],
  ['structured', true],
])('%s replies', (_, structured) => {
  const dataOf = (reply: Reply): Buffer => {
    if (!structured) return reply.data!
    expect(reply.chunks.map((chunk) => chunk.type)).toEqual([wire.CHUNK_OFFSET_DATA])
    return reply.chunks[0]!.payload.subarray(8)
  }

  it('reads back what was written, at any offset and length', async () => {
    const door = await openDoor()
    const client = await door.client({ structured })
    const cases: Array<[number, number]> = [
      [0, 1],
      [4095, 2],
      [12_345, 1024],
      [1, 1025],
      [8192, 4096],
      [100_001, 70_000],
      [END - 300_000, 300_000],
    ]
    for (const [offset, length] of cases) {
      const payload = randomBytes(length)
      expect((await client.request(wire.CMD_WRITE, offset, length, { payload })).error).toBe(0)
      expect(door.disk.bytes.subarray(offset, offset + length).equals(payload)).toBe(true)
      const reply = await client.request(wire.CMD_READ, offset, length)
      expect(dataOf(reply).equals(payload)).toBe(true)
      if (structured) expect(reply.chunks[0]!.payload.readBigUInt64BE(0)).toBe(BigInt(offset))
    }
  })

  it('carries the largest payload, 32 MiB, both ways, and a read of more is refused', async () => {
    const most = wire.PAYLOAD_BYTES_MAX
    const door = await openDoor({}, new MemoryDisk('disk', most + 4096))
    const client = await door.client({ structured })
    const payload = Buffer.alloc(most, 'hither')
    expect((await client.request(wire.CMD_WRITE, 5, most, { payload })).error).toBe(0)
    expect(dataOf(await client.request(wire.CMD_READ, 5, most)).equals(payload)).toBe(true)
    const reply = await client.request(wire.CMD_READ, 0, most + 1)
    expect(reply.error).toBe(structured ? wire.EOVERFLOW : wire.EINVAL)
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })

  it('answers each breach with the prescribed error, and goes on', async () => {
    const door = await openDoor()
    const client = await door.client({ structured })
    door.disk.trail = []
    const payload = Buffer.alloc(8192)
    const breaches: Array<[number, number, number | bigint, number, number]> = [
      // command, flags, offset, length, error
      [wire.CMD_READ, 0, END, 1, wire.EINVAL],
      [wire.CMD_READ, 0, END - 1, 2, wire.EINVAL],
      [wire.CMD_READ, 0, 0xffff_ffff_ffff_ffffn, 0xffff_ffff, wire.EINVAL],
      [wire.CMD_WRITE, 0, END - 4096, 8192, wire.ENOSPC],
      [wire.CMD_WRITE, 0, 1n << 63n, 8192, wire.ENOSPC],
      [wire.CMD_WRITE_ZEROES, 0, END - 4096, 8192, wire.ENOSPC],
      [wire.CMD_TRIM, 0, END - 4096, 8192, wire.EINVAL],
      [wire.CMD_CACHE, 0, END - 4096, 8192, wire.EINVAL],
      [wire.CMD_FLUSH, 0, 1, 0, wire.EINVAL],
      [wire.CMD_FLUSH, 0, 0, 1, wire.EINVAL],
      [wire.CMD_BLOCK_STATUS, 0, 0, 4096, wire.EINVAL],
      [8, 0, 0, 4096, wire.EINVAL],
      [0xffff, 0, 0, 4096, wire.EINVAL],
      [wire.CMD_READ, 1 << 15, 0, 4096, wire.EINVAL],
      [wire.CMD_READ, wire.CMD_FLAG_NO_HOLE, 0, 4096, wire.EINVAL],
      [wire.CMD_WRITE, wire.CMD_FLAG_DF, 0, 4096, wire.EINVAL],
      [wire.CMD_TRIM, wire.CMD_FLAG_FAST_ZERO, 0, 4096, wire.EINVAL],
      [wire.CMD_CACHE, wire.CMD_FLAG_REQ_ONE, 0, 4096, wire.EINVAL],
      [wire.CMD_WRITE_ZEROES, wire.CMD_FLAG_FAST_ZERO, 100, 4096, wire.ENOTSUP],
    ]
    if (!structured) breaches.push([wire.CMD_READ, wire.CMD_FLAG_DF, 0, 4096, wire.EINVAL])
    for (const [command, flags, offset, length, error] of breaches) {
      const how = command === wire.CMD_WRITE ? { flags, payload: payload.subarray(0, length) } : { flags }
      const reply = await client.request(command, offset, length, how)
      expect([command, flags, offset, length, reply.error]).toEqual([command, flags, offset, length, error])
      expect(reply.chunks.length).toBe(structured ? 1 : 0)
    }
    expect(door.disk.trail).toEqual([])
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })

  it('answers requests of nothing without asking the vDisk', async () => {
    const door = await openDoor()
    const client = await door.client({ structured })
    door.disk.trail = []
    for (const command of [
      wire.CMD_READ,
      wire.CMD_WRITE,
      wire.CMD_TRIM,
      wire.CMD_WRITE_ZEROES,
      wire.CMD_CACHE,
    ]) {
      expect((await client.request(command, END, 0)).error).toBe(0)
    }
    expect(door.disk.trail).toEqual([])
  })

  it.each<[ErrorCode, number, number]>([
    ['NO_SPACE', wire.CMD_WRITE, wire.ENOSPC],
    ['DEVICE_FULL', wire.CMD_WRITE, wire.ENOSPC],
    ['OUT_OF_RANGE', wire.CMD_WRITE, wire.ENOSPC],
    ['OUT_OF_RANGE', wire.CMD_READ, wire.EINVAL],
    ['BAD_ARGUMENT', wire.CMD_TRIM, wire.EINVAL],
    ['CHECKSUM_MISMATCH', wire.CMD_READ, wire.EIO],
    ['DATA_UNAVAILABLE', wire.CMD_READ, wire.EIO],
    ['NO_REPLICAS', wire.CMD_WRITE, wire.EIO],
    ['INTERNAL', wire.CMD_FLUSH, wire.EIO],
    ['UNSAFE', wire.CMD_WRITE_ZEROES, wire.EPERM],
    ['NOT_FOUND', wire.CMD_READ, wire.ESHUTDOWN],
    ['VDISK_CLOSED', wire.CMD_READ, wire.ESHUTDOWN],
    ['CLUSTER_CLOSED', wire.CMD_FLUSH, wire.ESHUTDOWN],
  ])('maps %s of command %i to %i', async (code, command, errno) => {
    const door = await openDoor()
    const client = await door.client({ structured })
    door.disk.before = () => Promise.reject(new HitherError(code, 'the engine says no'))
    const length = command === wire.CMD_FLUSH ? 0 : 4096
    const how = command === wire.CMD_WRITE ? { payload: Buffer.alloc(length) } : {}
    const reply = await client.request(command, 0, length, how)
    expect(reply.error).toBe(errno)
    if (structured) expect(reply.chunks[0]!.payload.toString('utf8', 6)).toBe('the engine says no')
    door.disk.before = undefined
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })

  it('survives a vDisk that throws, synchronously or what is no error of ours', async () => {
    const door = await openDoor()
    const client = await door.client({ structured })
    door.disk.before = () => {
      throw new TypeError('a bug')
    }
    expect((await client.request(wire.CMD_FLUSH, 0, 0)).error).toBe(wire.EIO)
  })
})

describe('commands', () => {
  it('passes FUA on with what changes data, and accepts it with everything', async () => {
    const door = await openDoor()
    const client = await door.client()
    door.disk.trail = []
    const flags = wire.CMD_FLAG_FUA
    await client.request(wire.CMD_WRITE, 0, 4096, { flags, payload: Buffer.alloc(4096) })
    await client.request(wire.CMD_TRIM, 0, 4096, { flags })
    await client.request(wire.CMD_WRITE_ZEROES, 0, 4096, { flags })
    await client.request(wire.CMD_READ, 0, 4096, { flags })
    await client.request(wire.CMD_FLUSH, 0, 0, { flags })
    await client.request(wire.CMD_WRITE, 0, 1, { payload: Buffer.alloc(1) })
    expect(door.disk.trail).toEqual([
      'write 0+4096 fua',
      'trim 0+4096 fua',
      'writeZeroes 0+4096 fua',
      'read 0+4096',
      'flush 0+0',
      'write 0+1',
    ])
  })

  it('TRIM and WRITE_ZEROES take any length that fits, beyond the payload limit too', async () => {
    const most = wire.PAYLOAD_BYTES_MAX
    const door = await openDoor({}, new MemoryDisk('disk', most + 10_000))
    const client = await door.client()
    door.disk.bytes.fill(7)
    const flags = wire.CMD_FLAG_FAST_ZERO | wire.CMD_FLAG_NO_HOLE
    expect((await client.request(wire.CMD_WRITE_ZEROES, 3, most + 9000, { flags })).error).toBe(0)
    expect(door.disk.bytes.subarray(3, most + 9003).every((byte) => byte === 0)).toBe(true)
    expect(door.disk.bytes[2]).toBe(7)
    expect(door.disk.bytes[most + 9003]).toBe(7)
    expect((await client.request(wire.CMD_TRIM, 0, most + 10_000)).error).toBe(0)
  })

  it('CACHE reads the range step by step, up to 32 MiB', async () => {
    const most = wire.PAYLOAD_BYTES_MAX
    const door = await openDoor({}, new MemoryDisk('disk', 2 * most))
    const client = await door.client()
    door.disk.trail = []
    expect((await client.request(wire.CMD_CACHE, 10, 2_500_000)).error).toBe(0)
    expect(door.disk.trail).toEqual(['read 10+1048576', 'read 1048586+1048576', 'read 2097162+402848'])
    door.disk.trail = []
    expect((await client.request(wire.CMD_CACHE, 0, 2 * most)).error).toBe(0)
    expect(door.disk.trail.length).toBe(32)
  })

  it('a read-only export refuses every change with EPERM, and its payload is skipped', async () => {
    const door = await openDoor({}, new MemoryDisk('snap', 8192, { readOnly: true }))
    const client = await door.client({ structured: true })
    door.disk.trail = []
    for (const command of [wire.CMD_WRITE, wire.CMD_TRIM, wire.CMD_WRITE_ZEROES]) {
      const how = command === wire.CMD_WRITE ? { payload: Buffer.alloc(4096) } : {}
      const reply = await client.request(command, 0, 4096, how)
      expect(reply.error).toBe(wire.EPERM)
      expect(reply.chunks[0]!.payload.toString('utf8', 6)).toBe('this export is read-only')
    }
    expect(door.disk.trail).toEqual([])
    expect((await client.request(wire.CMD_READ, 0, 4096)).error).toBe(0)
    expect((await client.request(wire.CMD_FLUSH, 0, 0)).error).toBe(0)
  })

  it('a read with DF comes in one chunk', async () => {
    const door = await openDoor()
    const client = await door.client({ structured: true })
    const reply = await client.request(wire.CMD_READ, 0, 300_000, { flags: wire.CMD_FLAG_DF })
    expect(reply.chunks.map((chunk) => [chunk.type, chunk.payload.length])).toEqual([
      [wire.CHUNK_OFFSET_DATA, 300_008],
    ])
  })
})

describe('BLOCK_STATUS', () => {
  const DATA = 0
  const HOLE = wire.STATE_HOLE | wire.STATE_ZERO

  it('tells data from holes, exactly over the range asked for', async () => {
    const door = await openDoor()
    const client = await door.client({ blockStatus: true })
    await client.request(wire.CMD_WRITE, 8192, 4096, { payload: randomBytes(4096) })
    expect(extents(await client.request(wire.CMD_BLOCK_STATUS, 0, END))).toEqual([
      [8192, HOLE],
      [4096, DATA],
      [END - 12_288, HOLE],
    ])
    expect(extents(await client.request(wire.CMD_BLOCK_STATUS, 8190, 5))).toEqual([
      [2, HOLE],
      [3, DATA],
    ])
  })

  it('REQ_ONE gets one extent, not longer than asked', async () => {
    const door = await openDoor()
    const client = await door.client({ blockStatus: true })
    await client.request(wire.CMD_WRITE, 4096, 4096, { payload: randomBytes(4096) })
    const flags = wire.CMD_FLAG_REQ_ONE
    expect(extents(await client.request(wire.CMD_BLOCK_STATUS, 0, END, { flags }))).toEqual([[4096, HOLE]])
    expect(extents(await client.request(wire.CMD_BLOCK_STATUS, 1, 7, { flags }))).toEqual([[7, HOLE]])
  })

  it('refuses what is empty or out of range', async () => {
    const door = await openDoor()
    const client = await door.client({ blockStatus: true })
    expect((await client.request(wire.CMD_BLOCK_STATUS, 0, 0)).error).toBe(wire.EINVAL)
    expect((await client.request(wire.CMD_BLOCK_STATUS, END - 1, 2)).error).toBe(wire.EINVAL)
  })

  it('answers a checkerboard with no more extents than it may', async () => {
    const blocks = 70_000
    const disk = new MemoryDisk('disk', blocks * 4096)
    for (let block = 0; block < blocks; block += 2) disk.allocated[block] = 1
    const door = await openDoor({}, disk)
    const client = await door.client({ blockStatus: true })
    const found = extents(await client.request(wire.CMD_BLOCK_STATUS, 0, blocks * 4096))
    expect(found.length).toBe(65_536)
    expect(found[65_535]).toEqual([4096, HOLE])
  })
})

describe('many at once', () => {
  it('answers out of order, each with its own cookie', async () => {
    const door = await openDoor()
    const client = await door.client()
    let letFirstGo = (): void => {}
    door.disk.before = (_, offset) =>
      offset === 0
        ? new Promise((resolve) => {
            letFirstGo = resolve
          })
        : undefined
    const first = client.send(wire.CMD_READ, 0, 16)
    const second = client.send(wire.CMD_READ, 4096, 16)
    expect((await client.reply(16)).cookie).toBe(second)
    letFirstGo()
    expect((await client.reply(16)).cookie).toBe(first)
  })

  it('finds every request in a stream cut at any place', async () => {
    const door = await openDoor()
    const client = await door.client()
    const payload = randomBytes(5000)
    const parts: Buffer[] = []
    for (let i = 0; i < 40; i += 1) {
      parts.push(encodeRequest(BigInt(i), wire.CMD_WRITE, i * 5000, 5000, { payload }))
    }
    const stream = Buffer.concat(parts)
    for (let at = 0, step = 1; at < stream.length; at += step, step = (step * 7 + 3) % 3001) {
      client.socket.write(stream.subarray(at, at + step))
      if (step % 3 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    for (let i = 0; i < 40; i += 1) expect((await client.reply()).error).toBe(0)
    for (let i = 0; i < 40; i += 1) {
      expect(door.disk.bytes.subarray(i * 5000, (i + 1) * 5000).equals(payload)).toBe(true)
    }
  })

  it('keeps the payloads of overlapping requests apart', async () => {
    const door = await openDoor()
    const client = await door.client({ structured: true })
    door.disk.before = (_, offset) => new Promise((resolve) => setTimeout(resolve, (offset / 4096) % 7))
    const payloads = Array.from({ length: 60 }, () => randomBytes(4096))
    for (const [i, payload] of payloads.entries()) client.send(wire.CMD_WRITE, i * 4096, 4096, { payload })
    for (let i = 0; i < payloads.length; i += 1) expect((await client.reply()).error).toBe(0)
    for (let i = 0; i < payloads.length; i += 1) client.send(wire.CMD_READ, i * 4096, 4096)
    for (let i = 0; i < payloads.length; i += 1) {
      const reply = await client.reply()
      const offset = Number(reply.chunks[0]!.payload.readBigUInt64BE(0))
      expect(reply.chunks[0]!.payload.subarray(8).equals(payloads[offset / 4096]!)).toBe(true)
    }
  })

  it('serves several connections to one vDisk, each with a handle of its own', async () => {
    const door = await openDoor()
    const clients = await Promise.all([door.client(), door.client({ structured: true }), door.client()])
    expect(door.server.connections()).toBe(3)
    expect(door.disk.openHandles).toBe(3)
    await clients[0]!.request(wire.CMD_WRITE, 0, 5, { payload: Buffer.from('hello') })
    await clients[0]!.request(wire.CMD_FLUSH, 0, 0)
    expect((await clients[2]!.request(wire.CMD_READ, 0, 5)).data!.toString()).toBe('hello')
  })
})
