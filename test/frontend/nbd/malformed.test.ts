/**
 * Property: whatever bytes a client sends, its own connection is all it can harm. The door keeps serving another
 * client, reports nothing as a defect of its own, and holds nothing afterwards.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import * as wire from '../../../src/frontend/nbd/wire.ts'
import { openDoor, type TestDoor, until } from './door.ts'
import { encodeRequest, infoData, metaContextData, type RawClient, u32 } from './raw-client.ts'

function option(number: number, data: Buffer): Buffer {
  return Buffer.concat([Buffer.from('IHAVEOPT'), u32(number), u32(data.length), data])
}

/** A session that is right from the flags to DISC, as the parts that it is made of. */
const SESSION: readonly Buffer[] = [
  u32(3),
  option(wire.OPT_STRUCTURED_REPLY, Buffer.alloc(0)),
  option(wire.OPT_LIST, Buffer.alloc(0)),
  option(wire.OPT_SET_META_CONTEXT, metaContextData('disk', ['base:allocation'])),
  option(wire.OPT_INFO, infoData('disk', [1, 2, 3])),
  option(wire.OPT_GO, infoData('disk', [3])),
  encodeRequest(1n, wire.CMD_READ, 100, 5000),
  encodeRequest(2n, wire.CMD_WRITE, 4096, 600, { payload: Buffer.alloc(600, 0x25) }),
  encodeRequest(3n, wire.CMD_BLOCK_STATUS, 0, 65_536),
  encodeRequest(4n, wire.CMD_WRITE_ZEROES, 0, 9000, { flags: wire.CMD_FLAG_FUA }),
  encodeRequest(5n, wire.CMD_CACHE, 0, 9000),
  encodeRequest(6n, wire.CMD_FLUSH, 0, 0),
  encodeRequest(7n, wire.CMD_DISC, 0, 0),
]

/** Bytes that mean something in this protocol are likelier than others to find a hole. */
const telling = fc.constantFrom(0, 1, 4, 7, 0x25, 0x49, 0x60, 0x7f, 0x80, 0xff)
const anyByte = fc.oneof(telling, fc.integer({ min: 0, max: 255 }))

type Mutation =
  | { kind: 'set'; at: number; byte: number }
  | { kind: 'cut'; at: number; length: number }
  | { kind: 'insert'; at: number; bytes: number[] }

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.record({
    kind: fc.constant('set' as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    byte: anyByte,
  }),
  fc.record({
    kind: fc.constant('cut' as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    length: fc.integer({ min: 1, max: 40 }),
  }),
  fc.record({
    kind: fc.constant('insert' as const),
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    bytes: fc.array(anyByte, { minLength: 1, maxLength: 30 }),
  }),
)

function mutate(bytes: Buffer, mutations: readonly Mutation[]): Buffer {
  let result = Buffer.from(bytes)
  for (const one of mutations) {
    const at = Math.min(Math.floor(one.at * result.length), result.length - 1)
    if (one.kind === 'set') result[at] = one.byte
    else {
      const tail = result.subarray(one.kind === 'cut' ? at + one.length : at)
      result = Buffer.concat([result.subarray(0, at), Buffer.from(one.kind === 'cut' ? [] : one.bytes), tail])
    }
    if (result.length === 0) return result
  }
  return result
}

/** Sends `stream` in pieces, says FIN, reads what comes, and sees that a second client does not notice. */
async function inflict(door: TestDoor, bystander: RawClient, stream: Buffer, pieces: number): Promise<void> {
  const client = await door.connect()
  const step = Math.max(1, Math.ceil(stream.length / pieces))
  for (let at = 0; at < stream.length; at += step) {
    client.socket.write(stream.subarray(at, at + step))
    if (pieces > 1) await new Promise((resolve) => setImmediate(resolve))
  }
  client.socket.end()
  await client.readToEnd()
  client.close()
  expect((await bystander.request(wire.CMD_READ, 900_000, 64)).data).toEqual(Buffer.alloc(64, 0xab))
}

async function doorWithBystander(): Promise<{ door: TestDoor; bystander: RawClient }> {
  const door = await openDoor()
  const bystander = await door.client()
  await bystander.request(wire.CMD_WRITE, 900_000, 64, { payload: Buffer.alloc(64, 0xab) })
  return { door, bystander }
}

async function expectUnharmed(door: TestDoor, bystander: RawClient): Promise<void> {
  await until(() => door.server.connections() === 1 && door.disk.openHandles === 1)
  expect(door.errors.filter((error) => error.code !== 'PROTOCOL_ERROR')).toEqual([])
  expect((await bystander.request(wire.CMD_READ, 0, 1024 * 1024)).error).toBe(0)
}

describe('malformed input ends its own connection only', () => {
  it('the unmutated session is answered to its end', async () => {
    const { door, bystander } = await doorWithBystander()
    const client = await door.connect()
    client.socket.write(Buffer.concat(SESSION))
    const answer = await client.readToEnd()
    // The last of six replies: a simple one, to the flush.
    expect(answer.includes(Buffer.from('67446698000000000000000000000006', 'hex'))).toBe(true)
    await expectUnharmed(door, bystander)
    expect(door.errors).toEqual([])
  })

  it('mutated sessions', async () => {
    const { door, bystander } = await doorWithBystander()
    const session = Buffer.concat(SESSION)
    await fc.assert(
      fc.asyncProperty(
        fc.array(mutation, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 5 }),
        (mutations, pieces) => inflict(door, bystander, mutate(session, mutations), pieces),
      ),
      { numRuns: 250 },
    )
    await expectUnharmed(door, bystander)
  })

  it('sessions cut off anywhere', async () => {
    const { door, bystander } = await doorWithBystander()
    const session = Buffer.concat(SESSION)
    for (let end = 0; end < session.length; end += 13) {
      await inflict(door, bystander, session.subarray(0, end), 1)
    }
    await expectUnharmed(door, bystander)
  })

  it('requests of random fields, on a connection that got that far', async () => {
    const { door, bystander } = await doorWithBystander()
    const fields = fc.record({
      flags: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })),
      command: fc.oneof(fc.integer({ min: 0, max: 9 }), fc.integer({ min: 0, max: 0xffff })),
      offset: fc.oneof(
        fc.bigInt({ min: 0n, max: 1_048_576n }),
        fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
      ),
      length: fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.integer({ min: 0, max: 0xffff_ffff })),
    })
    const handshake = Buffer.concat([u32(3), option(wire.OPT_EXPORT_NAME, Buffer.from('disk'))])
    await fc.assert(
      fc.asyncProperty(fc.array(fields, { minLength: 1, maxLength: 6 }), async (requests) => {
        // Commands that name the bystander's bytes are not the point here.
        const stream = requests
          .filter(({ offset, command }) => offset < 800_000n || command === wire.CMD_READ)
          .filter(
            ({ offset, length, command }) => offset + BigInt(length) < 900_000n || command === wire.CMD_READ,
          )
          .map(({ command, offset, length, flags }) => encodeRequest(9n, command, offset, length, { flags }))
        await inflict(door, bystander, Buffer.concat([handshake, ...stream]), 2)
      }),
      { numRuns: 150 },
    )
    await expectUnharmed(door, bystander)
  })

  it('a write longer than 32 MiB is cut off at its header', async () => {
    const { door, bystander } = await doorWithBystander()
    const client = await door.client()
    client.send(wire.CMD_WRITE, 0, wire.PAYLOAD_BYTES_MAX + 1)
    expect((await client.readToEnd()).length).toBe(0)
    expect(door.errors.map((error) => error.code)).toEqual(['PROTOCOL_ERROR'])
    await expectUnharmed(door, bystander)
  })

  it('garbage, resets in the middle, and a flood of connections', async () => {
    const { door, bystander } = await doorWithBystander()
    for (let i = 0; i < 60; i += 1) {
      const client = await door.connect()
      client.socket.write(i % 2 === 0 ? Buffer.alloc(100_000, i) : Buffer.concat(SESSION.slice(0, 7)))
      if (i % 3 === 0) client.socket.resetAndDestroy()
      else client.close()
    }
    await expectUnharmed(door, bystander)
  })
})
