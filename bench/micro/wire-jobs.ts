/** What crosses a wire: calls between CVMs over the loopback network, and the requests and replies of an NBD client. */
import { Socket } from 'node:net'
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import { RequestParser, type RequestSink } from '../../src/frontend/nbd/request-parser.ts'
import {
  CMD_WRITE,
  REQUEST_HEADER_BYTES,
  REQUEST_MAGIC,
  SIMPLE_REPLY_BYTES,
  SIMPLE_REPLY_MAGIC,
} from '../../src/frontend/nbd/wire.ts'
import { BufferPool } from '../../src/frontend/socket/buffer-pool.ts'
import { ReplyWriter } from '../../src/frontend/socket/reply-writer.ts'
import { LoopbackHub } from '../../src/platform/real/loopback-network.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { RpcEndpoint } from '../../src/replication/rpc.ts'
import { microBlocks } from './inputs.ts'
import type { MicroJob } from './job.ts'

const METHOD = 1
const TIMEOUT_MS = 10_000
const REQUESTS = 8

function rpc(name: string, together: number): MicroJob {
  return {
    name: `RPC with 4 KiB, ${name}`,
    setUp() {
      const hub = new LoopbackHub()
      const clock = new WallClock()
      const [client, server] = ['a', 'b'].map((end) => new RpcEndpoint(hub.endpoint(end), clock)) as [
        RpcEndpoint,
        RpcEndpoint,
      ]
      server.handle(METHOD, async (_header, body) => ({ header: { length: body.length } }))
      client.open()
      server.open()
      const body = [microBlocks().subarray(0, BLOCK_BYTES)]
      return {
        operationsPerCall: together,
        bytesPerCall: together * BLOCK_BYTES,
        async run(i) {
          const calls = Array.from({ length: together }, () =>
            client.call<{ length: number }>('b', METHOD, { egroup: i }, body, TIMEOUT_MS),
          )
          let bytes = 0
          for (const answer of await Promise.all(calls)) bytes += answer.header.length
          return bytes
        },
        async close() {
          client.close()
          server.close()
        },
      }
    },
  }
}

const nbdParse: MicroJob = {
  name: 'NBD, parse 8 writes of 4 KiB',
  setUp() {
    const data = microBlocks()
    const chunk = Buffer.alloc(REQUESTS * (REQUEST_HEADER_BYTES + BLOCK_BYTES))
    for (let n = 0; n < REQUESTS; n++) {
      const at = n * (REQUEST_HEADER_BYTES + BLOCK_BYTES)
      chunk.writeUInt32BE(REQUEST_MAGIC, at)
      chunk.writeUInt16BE(CMD_WRITE, at + 6)
      chunk.writeUInt32BE(n, at + 12)
      chunk.writeBigUInt64BE(BigInt(n * BLOCK_BYTES), at + 16)
      chunk.writeUInt32BE(BLOCK_BYTES, at + 24)
      chunk.set(data.subarray(n * BLOCK_BYTES, (n + 1) * BLOCK_BYTES), at + REQUEST_HEADER_BYTES)
    }
    let answer = 0
    const sink: RequestSink = {
      begin: () => 'take',
      taken(header, payload) {
        answer += header.offset + header.cookieLow + payload![9]!
      },
      skipped() {},
    }
    const parser = new RequestParser(sink, new BufferPool(MiB))
    return {
      operationsPerCall: REQUESTS,
      bytesPerCall: REQUESTS * BLOCK_BYTES,
      run() {
        parser.push(chunk)
        return answer
      },
    }
  },
}

/** A socket that takes everything at once and sends nothing. */
class SinkSocket extends Socket {
  taken = 0

  override _writev(
    chunks: Array<{ chunk: Buffer; encoding: BufferEncoding }>,
    done: (error?: Error | null) => void,
  ): void {
    for (const { chunk } of chunks) this.taken += chunk.length
    done()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.taken += chunk.length
    done()
  }
}

const nbdReply: MicroJob = {
  name: 'NBD, reply to 8 reads of 4 KiB',
  setUp() {
    const data = Buffer.from(microBlocks())
    const socket = new SinkSocket()
    let sent = (): void => {}
    const writer = new ReplyWriter(socket, new BufferPool(MiB), () => sent())
    return {
      operationsPerCall: REQUESTS,
      bytesPerCall: REQUESTS * BLOCK_BYTES,
      async run(i) {
        const done = new Promise<void>((resolve) => {
          sent = resolve
        })
        for (let n = 0; n < REQUESTS; n++) {
          const at = writer.reserve(SIMPLE_REPLY_BYTES)
          writer.buffer.writeUInt32BE(SIMPLE_REPLY_MAGIC, at)
          writer.buffer.writeUInt32BE(0, at + 4)
          writer.buffer.writeUInt32BE(0, at + 8)
          writer.buffer.writeUInt32BE(i * REQUESTS + n, at + 12)
          writer.append(data.subarray(n * BLOCK_BYTES, (n + 1) * BLOCK_BYTES), undefined)
          writer.commit(BLOCK_BYTES)
        }
        await done
        return socket.taken
      },
      async close() {
        socket.destroy()
      },
    }
  },
}

export const wireJobs: readonly MicroJob[] = [rpc('one', 1), rpc('32 at a time', 32), nbdParse, nbdReply]
