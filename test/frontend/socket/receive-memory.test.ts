/** Sockets that receive into one buffer: what a listener gets, and that the server still counts them. */
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { receiveIntoOneBuffer } from '../../../src/frontend/socket/receive-memory.ts'

let folder: string
let server: Server
let client: Socket
let socket: Socket

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hither-receive-'))
  server = createServer({ allowHalfOpen: true, pauseOnConnect: true })
  const path = join(folder, 'socket')
  await new Promise<void>((resolve) => server.listen(path, resolve))
  const accepted = once(server, 'connection')
  client = connect(path)
  socket = receiveIntoOneBuffer((await accepted)[0] as Socket)
})

afterEach(async () => {
  client.destroy()
  socket.destroy()
  if (server.listening) server.close()
  await rm(folder, { recursive: true })
})

it('gives every chunk in the same memory, all of what was sent, and the end', async () => {
  const memories = new Set<ArrayBufferLike>()
  let sum = 0
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    memories.add(chunk.buffer)
    bytes += chunk.length
    for (const byte of chunk) sum += byte
  })
  const ended = once(socket, 'end')
  socket.resume()
  const sent = Buffer.alloc(3_000_000)
  for (let i = 0; i < sent.length; i++) sent[i] = (i * 31) % 251
  client.end(sent)
  await ended
  expect(bytes).toBe(sent.length)
  expect(sum).toBe(sent.reduce((total, byte) => total + byte, 0))
  expect(memories.size).toBe(1)
  // It can still be written to, as the other half is open.
  const answer = once(client, 'data')
  socket.end('bye')
  expect(String((await answer)[0])).toBe('bye')
})

it('takes nothing while it is paused', async () => {
  let bytes = 0
  socket.on('data', (chunk: Buffer) => {
    bytes += chunk.length
    socket.pause()
  })
  client.write(Buffer.alloc(2_000_000))
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(bytes).toBe(0)
  socket.resume()
  await expect.poll(() => bytes).toBeGreaterThan(0)
  await new Promise((resolve) => setTimeout(resolve, 50))
  const paused = bytes
  expect(paused).toBeLessThan(2_000_000)
  await new Promise((resolve) => setTimeout(resolve, 50))
  expect(bytes).toBe(paused)
})

it('is counted by its server, which closes when it has gone', async () => {
  const count = () =>
    new Promise<number>((resolve) => server.getConnections((_, connections) => resolve(connections)))
  expect(await count()).toBe(1)
  let closed = false
  server.close(() => {
    closed = true
  })
  await new Promise((resolve) => setTimeout(resolve, 20))
  expect(closed).toBe(false)
  socket.destroy()
  await expect.poll(() => closed).toBe(true)
})

it('uses a socket as it is when it is not what this Node should make', () => {
  const other = Object.create(null) as Socket
  expect(receiveIntoOneBuffer(other)).toBe(other)
})
