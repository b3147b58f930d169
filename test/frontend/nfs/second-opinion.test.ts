/**
 * What json-pack's NFS codec, written by others, thinks of our bytes: it reads every call of our test client and every
 * answer of the door, and what it writes again of what it read is the same, byte for byte. Guards: that client and server
 * here do not share one wrong idea of the protocol.
 */
import { Reader } from '@jsonjoy.com/buffers/lib/Reader.js'
import { Writer } from '@jsonjoy.com/buffers/lib/Writer.js'
import { Nfsv3Decoder, Nfsv3Encoder, type Nfsv3Proc } from '@jsonjoy.com/json-pack/lib/nfs/v3/index.js'
import { RpcMessageDecoder } from '@jsonjoy.com/json-pack/lib/rpc/RpcMessageDecoder.js'
import { describe, expect, it } from 'vitest'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { openDoor } from './door.ts'
import { everything } from './everything.ts'
import { type Exchange, encodeCall } from './raw-client.ts'

/** What the other codec makes of `bytes`, written again. */
function again(bytes: Buffer, procedure: number, isRequest: boolean): Buffer {
  const proc = procedure as Nfsv3Proc
  const message = new Nfsv3Decoder().decodeMessage(new Reader(new Uint8Array(bytes)), proc, isRequest)
  expect(message).toBeDefined()
  return Buffer.from(new Nfsv3Encoder(new Writer()).encodeMessage(message!, proc, isRequest))
}

describe('the codec of json-pack', () => {
  it('reads calls and answers of every procedure, and writes them the same', async () => {
    const door = await openDoor()
    const calls = await door.calls()
    const root = await calls.mount()
    calls.client.tape = []
    await everything(calls, root)
    const tape: readonly Exchange[] = calls.client.tape
    expect(new Set(tape.map(({ procedure }) => procedure)).size).toBe(21)
    const different = tape.flatMap(({ procedure, args, results }, i) => [
      ...(again(args, procedure, true).equals(args) ? [] : [`call ${i}, procedure ${procedure}`]),
      ...(again(results, procedure, false).equals(results) ? [] : [`answer ${i}, procedure ${procedure}`]),
    ])
    expect(different).toEqual([])
  })

  it('reads the header of a call, and of each kind of answer', async () => {
    const door = await openDoor()
    const client = await door.connect()
    const decode = (bytes: Buffer) => new RpcMessageDecoder().decodeMessage(new Reader(new Uint8Array(bytes)))
    const call = encodeCall(77, wire.NFS_PROGRAM, 0, Buffer.alloc(0))
    expect(decode(call)).toMatchObject({ xid: 77, rpcvers: 2, prog: 100_003, vers: 3, proc: 0 })
    const accepted = await client.nfs(0, Buffer.alloc(0), { xid: 78 })
    expect(decode(accepted.bytes)).toMatchObject({ xid: 78, stat: 0 })
    const mismatch = await client.nfs(0, Buffer.alloc(0), { xid: 79, version: 2 })
    expect(decode(mismatch.bytes)).toMatchObject({ xid: 79, stat: 2, mismatchInfo: { low: 3, high: 3 } })
  })
})
