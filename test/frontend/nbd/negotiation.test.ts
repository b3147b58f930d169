/** The handshake, option by option, as bytes. */
import { describe, expect, it } from 'vitest'
import { HitherError } from '../../../src/base/errors.ts'
import * as wire from '../../../src/frontend/nbd/wire.ts'
import { DISK_BYTES, openDoor, until } from './door.ts'
import { MemoryDisk } from './memory-path.ts'
import { infoData, metaContextData, u16, u32 } from './raw-client.ts'

const WRITABLE_FLAGS =
  wire.FLAG_HAS_FLAGS |
  wire.FLAG_SEND_FLUSH |
  wire.FLAG_SEND_FUA |
  wire.FLAG_SEND_TRIM |
  wire.FLAG_SEND_WRITE_ZEROES |
  wire.FLAG_SEND_FAST_ZERO |
  wire.FLAG_SEND_CACHE |
  wire.FLAG_CAN_MULTI_CONN

/** Names, sizes and so on out of the INFO replies. */
function infos(replies: { type: number; data: Buffer }[]): Map<number, Buffer> {
  return new Map(
    replies
      .filter((reply) => reply.type === wire.REP_INFO)
      .map((reply) => [reply.data.readUInt16BE(0), reply.data.subarray(2)]),
  )
}

async function greeted(...disks: MemoryDisk[]) {
  const door = await openDoor({}, ...disks)
  const client = await door.connect()
  await client.greet()
  return {
    door,
    client,
    types: async (option: number, data?: Buffer) => typesOf(await client.option(option, data)),
  }
}

function typesOf(replies: { type: number }[]): number[] {
  return replies.map((reply) => reply.type)
}

describe('greeting', () => {
  it('offers fixed newstyle and the waiver of the padding', async () => {
    const door = await openDoor()
    const client = await door.connect()
    expect(await client.greet()).toBe(wire.HANDSHAKE_FIXED_NEWSTYLE | wire.HANDSHAKE_NO_ZEROES)
  })

  it('drops a client that sets flags it was not offered', async () => {
    const door = await openDoor()
    const client = await door.connect()
    await client.greet(0x80)
    expect((await client.readToEnd()).length).toBe(0)
    expect(door.errors.map((error) => error.code)).toEqual(['PROTOCOL_ERROR'])
  })

  it('drops a client whose option does not start with the magic', async () => {
    const { door, client } = await greeted()
    client.socket.write(Buffer.alloc(16, 7))
    expect((await client.readToEnd()).length).toBe(0)
    expect(door.errors[0]?.code).toBe('PROTOCOL_ERROR')
  })
})

describe('EXPORT_NAME', () => {
  it('answers size and flags, without padding when that was waived', async () => {
    const { client } = await greeted()
    client.sendOption(wire.OPT_EXPORT_NAME, Buffer.from('disk'))
    const reply = await client.read(10)
    expect(reply.readBigUInt64BE(0)).toBe(BigInt(DISK_BYTES))
    expect(reply.readUInt16BE(8)).toBe(WRITABLE_FLAGS)
    expect((await client.request(wire.CMD_READ, 0, 512)).error).toBe(0)
  })

  it('pads with 124 zeroes when it was not waived', async () => {
    const door = await openDoor()
    const client = await door.connect()
    await client.greet(wire.HANDSHAKE_FIXED_NEWSTYLE)
    client.sendOption(wire.OPT_EXPORT_NAME, Buffer.from('disk'))
    const reply = await client.read(134)
    expect(reply.subarray(10)).toEqual(Buffer.alloc(124))
    expect((await client.request(wire.CMD_READ, 0, 512)).error).toBe(0)
  })

  it('ends the session for a name that does not exist', async () => {
    const { client } = await greeted()
    client.sendOption(wire.OPT_EXPORT_NAME, Buffer.from('nope'))
    expect((await client.readToEnd()).length).toBe(0)
  })
})

describe('LIST', () => {
  it('names every vDisk, then acknowledges', async () => {
    const { client } = await greeted(
      new MemoryDisk('one', 4096),
      new MemoryDisk('zwei ü', 8192, { vm: 'vm1' }),
    )
    const replies = await client.option(wire.OPT_LIST)
    expect(typesOf(replies)).toEqual([wire.REP_SERVER, wire.REP_SERVER, wire.REP_ACK])
    const length = replies[1]!.data.readUInt32BE(0)
    expect(replies[1]!.data.toString('utf8', 4, 4 + length)).toBe('zwei ü')
    expect(replies[1]!.data.toString('utf8', 4 + length)).toBe('vDisk of VM vm1, 8 KiB, container default')
  })

  it('refuses data', async () => {
    const { types } = await greeted()
    expect(await types(wire.OPT_LIST, Buffer.from('x'))).toEqual([wire.REP_ERR_INVALID])
  })
})

describe('INFO and GO', () => {
  it('INFO tells all that is asked for, and stays in the handshake', async () => {
    const { client } = await greeted(new MemoryDisk('disk', 5000))
    const asked = [wire.INFO_NAME, wire.INFO_DESCRIPTION, wire.INFO_BLOCK_SIZE, 77]
    const told = infos(await client.option(wire.OPT_INFO, infoData('disk', asked)))
    expect([...told.keys()].sort()).toEqual([0, 1, 2, 3])
    expect(told.get(wire.INFO_EXPORT)!.readBigUInt64BE(0)).toBe(5000n)
    expect(told.get(wire.INFO_EXPORT)!.readUInt16BE(8)).toBe(WRITABLE_FLAGS)
    expect(told.get(wire.INFO_NAME)!.toString()).toBe('disk')
    expect(told.get(wire.INFO_DESCRIPTION)!.toString()).toBe('vDisk, 4.9 KiB, container default')
    const sizes = told.get(wire.INFO_BLOCK_SIZE)!
    expect([sizes.readUInt32BE(0), sizes.readUInt32BE(4), sizes.readUInt32BE(8)]).toEqual([1, 4096, 33554432])
    expect(typesOf(await client.option(wire.OPT_INFO, infoData('disk')))).toEqual([
      wire.REP_INFO,
      wire.REP_ACK,
    ])
  })

  it('GO enters transmission without padding', async () => {
    const door = await openDoor()
    const client = await door.connect()
    expect(await client.go('disk')).toEqual({ size: BigInt(DISK_BYTES), flags: WRITABLE_FLAGS })
    expect((await client.request(wire.CMD_READ, 0, 512)).data).toEqual(Buffer.alloc(512))
  })

  it('offers DF only with structured replies', async () => {
    const door = await openDoor()
    const client = await door.connect()
    expect((await client.go('disk', { structured: true })).flags).toBe(WRITABLE_FLAGS | wire.FLAG_SEND_DF)
  })

  it('flags a read-only export, and offers nothing that would change it', async () => {
    const door = await openDoor({}, new MemoryDisk('snap', 4096, { readOnly: true }))
    const client = await door.connect()
    expect((await client.go('snap')).flags).toBe(
      wire.FLAG_HAS_FLAGS |
        wire.FLAG_READ_ONLY |
        wire.FLAG_SEND_FLUSH |
        wire.FLAG_SEND_FUA |
        wire.FLAG_SEND_CACHE |
        wire.FLAG_CAN_MULTI_CONN,
    )
  })

  it('takes the empty name for the only vDisk, and for none when there are two', async () => {
    const { door, client, types } = await greeted()
    const told = infos(await client.option(wire.OPT_INFO, infoData('', [wire.INFO_NAME])))
    expect(told.get(wire.INFO_NAME)!.toString()).toBe('disk')
    door.path.disks.push(new MemoryDisk('second', 4096))
    expect(await types(wire.OPT_INFO, infoData(''))).toEqual([wire.REP_ERR_UNKNOWN])
    expect(await types(wire.OPT_GO, infoData(''))).toEqual([wire.REP_ERR_UNKNOWN])
  })

  it('refuses an unknown name with a sentence, and the client may go on', async () => {
    const { client } = await greeted()
    const [reply] = await client.option(wire.OPT_GO, infoData('nope'))
    expect(reply!.type).toBe(wire.REP_ERR_UNKNOWN)
    expect(reply!.data.toString()).toBe('there is no vDisk "nope" here')
    await client.option(wire.OPT_GO, infoData('disk'))
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })

  it('tells a failing engine apart from a closing one', async () => {
    const { door, types } = await greeted()
    door.path.openVDisk = () => Promise.reject(new HitherError('CVM_DOWN', 'no path'))
    expect(await types(wire.OPT_GO, infoData('disk'))).toEqual([wire.REP_ERR_UNKNOWN])
    door.path.openVDisk = () => Promise.reject(new HitherError('CLUSTER_CLOSED', 'closed'))
    expect(await types(wire.OPT_GO, infoData('disk'))).toEqual([wire.REP_ERR_SHUTDOWN])
    door.path.listVDisks = () => Promise.reject(new HitherError('CLUSTER_CLOSED', 'closed'))
    expect(await types(wire.OPT_LIST)).toEqual([wire.REP_ERR_SHUTDOWN])
  })

  it('serves names of any UTF-8 up to 4,096 bytes', async () => {
    const names = ['ö/ä :?#%', '日本語 ディスク', '💾'.repeat(1024)]
    const { types } = await greeted(...names.map((name) => new MemoryDisk(name, 4096)))
    for (const name of names) {
      expect(await types(wire.OPT_INFO, infoData(name))).toEqual([wire.REP_INFO, wire.REP_ACK])
    }
    expect(await types(wire.OPT_INFO, infoData('x'.repeat(4097)))).toEqual([wire.REP_ERR_INVALID])
  })

  it('refuses data that lies about its lengths, or is no text', async () => {
    const { types } = await greeted()
    const good = infoData('disk', [3])
    const bad = [
      Buffer.alloc(0),
      good.subarray(0, -1),
      Buffer.concat([good, Buffer.alloc(1)]),
      Buffer.concat([u32(0xffffffff), Buffer.from('disk'), u16(0)]),
      Buffer.concat([u32(4), Buffer.from('disk'), u16(9)]),
      infoData(Buffer.from([0xff, 0xfe, 0x80])),
      infoData('di\0sk'),
    ]
    for (const data of bad) expect(await types(wire.OPT_GO, data)).toEqual([wire.REP_ERR_INVALID])
    expect(await types(wire.OPT_INFO, good)).toEqual([wire.REP_INFO, wire.REP_INFO, wire.REP_ACK])
  })
})

describe('other options', () => {
  it('ABORT is acknowledged, then the connection ends', async () => {
    const { client } = await greeted()
    client.sendOption(wire.OPT_ABORT, Buffer.from('whatever'))
    expect((await client.readOptionReply()).type).toBe(wire.REP_ACK)
    expect((await client.readToEnd()).length).toBe(0)
  })

  it('TLS, extended headers and unknown options are refused politely', async () => {
    const { types } = await greeted()
    for (const option of [wire.OPT_STARTTLS, 11, 4, 0, 0xffffffff]) {
      expect(await types(option, Buffer.from('some data'))).toEqual([wire.REP_ERR_UNSUP])
    }
    expect(await types(wire.OPT_LIST)).toEqual([wire.REP_SERVER, wire.REP_ACK])
  })

  it('STRUCTURED_REPLY refuses data', async () => {
    const { types } = await greeted()
    expect(await types(wire.OPT_STRUCTURED_REPLY, Buffer.from('x'))).toEqual([wire.REP_ERR_INVALID])
    expect(await types(wire.OPT_STRUCTURED_REPLY)).toEqual([wire.REP_ACK])
  })

  it('skips the data of an oversized option and says so; ends the connection for an absurd one', async () => {
    const { door, client, types } = await greeted()
    expect(await types(wire.OPT_INFO, Buffer.alloc(65_537))).toEqual([wire.REP_ERR_TOO_BIG])
    expect(await types(99, Buffer.alloc(3_000_000))).toEqual([wire.REP_ERR_TOO_BIG])
    expect(await types(wire.OPT_LIST)).toEqual([wire.REP_SERVER, wire.REP_ACK])
    client.sendOption(wire.OPT_LIST, Buffer.alloc(0), 0xffffffff)
    expect((await client.readToEnd()).length).toBe(0)
    expect(door.errors[0]?.code).toBe('PROTOCOL_ERROR')
  })
})

describe('meta contexts', () => {
  it('need structured replies', async () => {
    const { types } = await greeted()
    const data = metaContextData('disk', ['base:allocation'])
    expect(await types(wire.OPT_SET_META_CONTEXT, data)).toEqual([wire.REP_ERR_INVALID])
    expect(await types(wire.OPT_LIST_META_CONTEXT, data)).toEqual([wire.REP_ERR_INVALID])
  })

  it('LIST knows base:allocation by name, by wildcard, and unasked', async () => {
    const { client, types } = await greeted()
    await client.option(wire.OPT_STRUCTURED_REPLY)
    const found = [wire.REP_META_CONTEXT, wire.REP_ACK]
    for (const queries of [[], ['base:'], ['base:allocation'], ['x-any:thing', 'base:allocation']]) {
      expect(await types(wire.OPT_LIST_META_CONTEXT, metaContextData('disk', queries))).toEqual(found)
    }
    expect(await types(wire.OPT_LIST_META_CONTEXT, metaContextData('disk', ['qemu:']))).toEqual([
      wire.REP_ACK,
    ])
    const [context] = await client.option(wire.OPT_LIST_META_CONTEXT, metaContextData('disk', []))
    expect(context!.data).toEqual(Buffer.concat([u32(0), Buffer.from('base:allocation')]))
  })

  it('SET selects by the full name only, of an export that exists', async () => {
    const { client, types } = await greeted()
    await client.option(wire.OPT_STRUCTURED_REPLY)
    const set = wire.OPT_SET_META_CONTEXT
    const found = [wire.REP_META_CONTEXT, wire.REP_ACK]
    expect(await types(set, metaContextData('disk', ['base:allocation', 'base:x']))).toEqual(found)
    for (const queries of [[], ['base:'], ['nonsense']]) {
      expect(await types(set, metaContextData('disk', queries))).toEqual([wire.REP_ACK])
    }
    expect(await types(set, metaContextData('nope', ['base:allocation']))).toEqual([wire.REP_ERR_UNKNOWN])
    const lying = Buffer.concat([metaContextData('disk', []).subarray(0, -4), u32(3)])
    expect(await types(set, lying)).toEqual([wire.REP_ERR_INVALID])
  })

  it('a selection for another export, or one replaced since, does not count', async () => {
    const { client } = await greeted(new MemoryDisk('a', 4096), new MemoryDisk('b', 4096))
    await client.option(wire.OPT_STRUCTURED_REPLY)
    client.structured = true
    await client.option(wire.OPT_SET_META_CONTEXT, metaContextData('a', ['base:allocation']))
    await client.option(wire.OPT_GO, infoData('b'))
    expect((await client.request(wire.CMD_BLOCK_STATUS, 0, 4096)).error).toBe(wire.EINVAL)
  })
})

describe('patience', () => {
  it('cuts off a client that does not finish its handshake', async () => {
    const door = await openDoor({ handshakeTimeoutMs: 60 })
    const silent = await door.connect()
    const dripping = await door.connect()
    await dripping.greet()
    const drip = setInterval(() => dripping.socket.write('I'), 10)
    await Promise.all([silent.readToEnd(), dripping.readToEnd()])
    clearInterval(drip)
    await until(() => door.server.connections() === 0)
  })

  it('does not count the time after the handshake', async () => {
    const door = await openDoor({ handshakeTimeoutMs: 60 })
    const client = await door.client()
    await new Promise((resolve) => setTimeout(resolve, 120))
    expect((await client.request(wire.CMD_READ, 0, 1)).error).toBe(0)
  })
})
