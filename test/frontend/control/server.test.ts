/**
 * The control server answers many requests side by side, survives any input, keeps others out, and shares its socket's
 * path with nothing that lives.
 */
import { once } from 'node:events'
import { chmod, lstat, mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { codeOf } from '../../../src/base/errors.ts'
import { KiB, MiB } from '../../../src/base/units.ts'
import { type ControlServer, connectControl, serveControl } from '../../../src/frontend/control/index.ts'
import { CONNECTIONS_MAX, TRANSFERS_MAX } from '../../../src/frontend/control/protocol.ts'
import { FakeCluster } from '../../cli/fake-cluster.ts'

let folder: string
let cluster: FakeCluster
let server: ControlServer
let path: string
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hither-control-'))
  path = join(folder, 'control.sock')
  cluster = new FakeCluster()
  server = await serveControl(cluster, { path })
})
afterEach(async () => {
  await server.close()
  await rm(folder, { recursive: true, force: true })
})

/** A connection by hand, and all that it receives. */
class Raw {
  readonly socket: Socket
  text = ''

  constructor() {
    this.socket = connect(path)
    this.socket.on('data', (chunk) => {
      this.text += chunk.toString('latin1')
    })
    this.socket.on('error', () => {})
  }

  send(...lines: unknown[]): void {
    for (const line of lines) {
      if (Buffer.isBuffer(line)) this.socket.write(line)
      else this.socket.write(typeof line === 'string' ? line : `${JSON.stringify(line)}\n`)
    }
  }

  hello(): void {
    this.send({ hello: 'hither-control', version: 1 })
  }

  async closed(): Promise<string> {
    if (!this.socket.destroyed) await once(this.socket, 'close')
    return this.text
  }

  async lines(count: number): Promise<Array<Record<string, unknown>>> {
    while (this.text.split('\n').length <= count) await once(this.socket, 'data')
    return this.text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
  }
}

describe('protocol', () => {
  it('runs requests side by side and answers each under its id', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    cluster.failDevice = () => held
    const raw = new Raw()
    raw.hello()
    raw.send({ id: 7, method: 'device.fail', params: { device: 'd' } }, { id: 8, method: 'disk.list' })
    expect(await raw.lines(2)).toEqual([
      { hello: 'hither-control', version: 1 },
      { id: 8, result: [] },
    ])
    release()
    expect((await raw.lines(3))[2]).toEqual({ id: 7, result: null })
    raw.socket.destroy()
  })

  it('answers far more requests than may run at a time', async () => {
    const client = await connectControl(path)
    const answers = await Promise.all(Array.from({ length: 500 }, () => client.call('disk.list', {})))
    expect(answers).toHaveLength(500)
    await client.close()
  })

  it.each([
    ['no hello', { id: 1, method: 'disk.list' }],
    ['another version', { hello: 'hither-control', version: 2 }],
    ['HTTP', 'GET / HTTP/1.1\r\n\r\n'],
  ])('%s is told so and disconnected', async (_, line) => {
    const raw = new Raw()
    raw.send(line)
    expect(JSON.parse(await raw.closed())).toMatchObject({ error: { code: 'PROTOCOL_ERROR' } })
  })

  it.each([
    ['a request without id', { method: 'disk.list' }],
    ['a request without method', { id: 1 }],
    ['an id of no number', { id: 'x', method: 'disk.list' }],
    ['what is not JSON', 'nonsense\n'],
    ['a line without end', 'x'.repeat(100 * KiB)],
    ['a payload too long', { id: 1, method: 'transfer.write', bytes: 2 * MiB }],
  ])('%s ends that connection only', async (_, line) => {
    const other = await connectControl(path)
    const raw = new Raw()
    raw.hello()
    raw.send(line)
    expect(await raw.closed()).toContain('PROTOCOL_ERROR')
    expect(await other.call('disk.list', {})).toEqual([])
    await other.close()
  })

  it('an id that is still in use ends the connection', async () => {
    cluster.failDevice = () => new Promise(() => {})
    const raw = new Raw()
    raw.hello()
    raw.send({ id: 1, method: 'device.fail', params: { device: 'd' } }, { id: 1, method: 'disk.list' })
    expect(await raw.closed()).toContain('still in use')
  })

  it('wrong methods and parameters are errors of that request, and change nothing', async () => {
    const raw = new Raw()
    raw.hello()
    const requests = [
      ['toString', {}],
      ['disk.create', []],
      ['disk.create', { name: 'a' }],
      ['disk.create', { name: 'a', size: -1 }],
      ['disk.create', { name: 'a', size: 1.5 }],
      ['disk.create', { name: 'a', size: '1' }],
      ['disk.create', { name: '', size: 1 }],
      ['disk.create', { name: { __proto__: null }, size: 1 }],
      ['disk.create', { name: 'a', size: 1, vm: 3 }],
      ['cvm.fail', { node: 'node-1', hang: 'yes' }],
      ['container.create', { name: 'c', policy: { rf: 4 } }],
      ['container.create', { name: 'c', policy: 7 }],
      ['transfer.read', { transfer: 99, offset: 0, length: 1 }],
      ['transfer.write', { transfer: 99, offset: 0 }],
      ['cluster.events', { recent: 'all' }],
    ]
    raw.send(...requests.map(([method, params], id) => ({ id, method, params })))
    const answers = (await raw.lines(requests.length + 1)).slice(1)
    expect(answers.map(({ error }) => (error as { code: string }).code)).toEqual(
      requests.map(() => 'BAD_ARGUMENT'),
    )
    expect(cluster.disks.size + cluster.calls.length).toBe(0)
    raw.socket.destroy()
  })

  it('no bytes at all bring it down', async () => {
    const line = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes)),
      fc.json({ maxDepth: 2 }).map((json) => Buffer.from(`${json}\n`)),
      fc
        .record({
          id: fc.nat({ max: 3 }),
          method: fc.constantFrom('disk.list', 'disk.show', 'transfer.import', 'cluster.events', '__proto__'),
          params: fc.oneof(fc.jsonValue(), fc.constant({ name: 'a', size: 512, recent: 1, follow: true })),
          bytes: fc.option(fc.nat({ max: 30 }), { nil: undefined }),
        })
        .map((request) => Buffer.from(`${JSON.stringify(request)}\n`)),
      fc.nat({ max: 3 }).map((cancel) => Buffer.from(`{"cancel":${cancel}}\n`)),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 20 }), async (lines) => {
        const raw = new Raw()
        raw.hello()
        raw.send(...lines)
        raw.socket.end()
        await raw.closed()
      }),
      { numRuns: 60 },
    )
    const client = await connectControl(path)
    expect(await client.call('disk.list', {})).toEqual([])
    await client.close()
  })

  it('takes a bounded number of connections, and new ones when old ones are gone', async () => {
    const clients = await Promise.all(Array.from({ length: CONNECTIONS_MAX }, () => connectControl(path)))
    await expect(connectControl(path)).rejects.toThrow(`${CONNECTIONS_MAX} connections already`)
    await Promise.all(clients.map((client) => client.close()))
    await expect
      .poll(async () => {
        const client = await connectControl(path)
        await client.close()
        return true
      })
      .toBe(true)
  })

  it('a peer that does not read its answers is not read from any more, and held in bounded memory', async () => {
    await (await cluster.createVDisk('a', { size: 4 * MiB })).close()
    let reads = 0
    const opened = cluster.openVDisk.bind(cluster)
    cluster.openVDisk = async (name) => {
      const disk = await opened(name)
      const read = disk.read.bind(disk)
      disk.read = (offset, length) => {
        reads += 1
        return read(offset, length)
      }
      return disk
    }
    const raw = new Raw()
    raw.hello()
    raw.send({ id: 1, method: 'transfer.export', params: { name: 'a' } })
    await raw.lines(2)
    raw.socket.pause()
    const params = { transfer: 1, offset: 0, length: MiB }
    for (let id = 2; id < 5_000; id += 1) raw.send({ id, method: 'transfer.read', params })
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(reads).toBeGreaterThan(0)
    expect(reads).toBeLessThan(100)
    raw.socket.destroy()
  })
})

describe('streams', () => {
  it('leaving the loop ends the stream at the server, and the connection stays', async () => {
    const client = await connectControl(path)
    cluster.emit({ type: 'node-added', node: 'node-3' })
    for (let turn = 0; turn < 20; turn += 1) {
      for await (const event of client.stream('cluster.events', { recent: 1, follow: true })) {
        expect(event.type).toBe('node-added')
        break
      }
    }
    expect(await client.call('disk.list', {})).toEqual([])
    await client.close()
  })

  it('a reader that falls behind is told how much it lost, and gets the rest in order', async () => {
    const client = await connectControl(path)
    const stream = client.stream('cluster.events', { recent: 0, follow: true })
    const first = stream.next()
    await client.call('disk.list', {})
    cluster.emit({ type: 'curator', report: await cluster.runCurator() })
    await first
    const names = Array.from({ length: 5_000 }, (_, at) => `node-${at}`)
    for (const node of names) cluster.emit({ type: 'node-added', node })
    let lost = 0
    let expected = 0
    while (expected < names.length) {
      const { value: event } = await stream.next()
      if (event?.type === 'events-lost') {
        lost += event.count
        expected += event.count
      } else if (event?.type === 'node-added') {
        expect(event.node).toBe(names[expected])
        expected += 1
      }
    }
    expect(lost).toBeGreaterThan(0)
    await client.close()
  })

  it('ends when the server closes', async () => {
    const client = await connectControl(path)
    const stream = client.stream('cluster.events', { recent: 0, follow: true })
    const next = stream.next().then(
      ({ done }) => (done ? 'ended' : 'event'),
      (error) => codeOf(error),
    )
    await client.call('disk.list', {})
    await server.close()
    expect(['ended', 'CLUSTER_UNREACHABLE']).toContain(await next)
  })
})

describe('transfers', () => {
  it('a client that disappears takes its half-filled new disk with it, but never one that was there', async () => {
    await (await cluster.createVDisk('old', { size: MiB })).close()
    const raw = new Raw()
    raw.hello()
    raw.send(
      { id: 1, method: 'transfer.import', params: { name: 'new', size: MiB } },
      { id: 2, method: 'transfer.import', params: { name: 'old', size: MiB } },
    )
    await raw.lines(3)
    raw.send({ id: 3, method: 'transfer.write', params: { transfer: 1, offset: 0 }, bytes: 4 }, 'data')
    await raw.lines(4)
    expect([...cluster.disks.keys()]).toEqual(['old', 'new'])
    raw.socket.destroy()
    await expect.poll(() => [...cluster.disks.keys()]).toEqual(['old'])
    expect(cluster.state('old').handles).toBe(0)
  })

  it('belong to their connection, and are bounded', async () => {
    await (await cluster.createVDisk('a', { size: MiB })).close()
    const [one, two] = [await connectControl(path), await connectControl(path)]
    const { transfer } = await one.call('transfer.export', { name: 'a' })
    await expect(two.call('transfer.read', { transfer, offset: 0, length: 1 })).rejects.toThrow(
      'no open transfer',
    )
    await expect(one.call('transfer.resize', { transfer, size: 2 * MiB })).rejects.toThrow('may not resize')
    const more = Array.from({ length: TRANSFERS_MAX }, () => one.call('transfer.export', { name: 'a' }))
    const outcomes = await Promise.allSettled(more)
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(1)
    await Promise.all([one.close(), two.close()])
    await expect.poll(() => cluster.state('a').handles).toBe(0)
  })
})

describe('the socket', () => {
  it('is for its user only', async () => {
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('goes away with the server', async () => {
    await server.close()
    await expect(lstat(path)).rejects.toThrow('ENOENT')
    await expect(connectControl(path)).rejects.toMatchObject({ code: 'CLUSTER_UNREACHABLE' })
  })

  it('of a live server is not taken over', async () => {
    await expect(serveControl(cluster, { path })).rejects.toMatchObject({ code: 'DATA_IN_USE' })
    const client = await connectControl(path)
    expect(await client.call('disk.list', {})).toEqual([])
    await client.close()
  })

  it('of a dead server is replaced', async () => {
    await server.close()
    const dead = createServer()
    dead.listen(`${path}.dead`)
    await once(dead, 'listening')
    const { link } = await import('node:fs/promises')
    await link(`${path}.dead`, path)
    dead.close()
    await expect(connectControl(path)).rejects.toMatchObject({ code: 'CLUSTER_UNREACHABLE' })
    server = await serveControl(cluster, { path })
    await (await connectControl(path)).close()
  })

  it('never replaces a file that is something else', async () => {
    const notes = join(folder, 'notes.txt')
    await writeFile(notes, 'precious')
    await expect(serveControl(cluster, { path: notes })).rejects.toMatchObject({ code: 'BAD_SETTING' })
    expect(await readFile(notes, 'utf8')).toBe('precious')
  })

  it('under a folder too deep for a socket has a pointer there, and works all the same', async () => {
    const before = process.env['XDG_RUNTIME_DIR']
    process.env['XDG_RUNTIME_DIR'] = folder
    try {
      const deep = join(folder, 'd'.repeat(60), 'e'.repeat(60), 'control.sock')
      const one = await serveControl(cluster, { path: deep })
      expect((await lstat(deep)).isFile()).toBe(true)
      expect((await stat(join(folder, 'hither'))).mode & 0o777).toBe(0o700)
      const client = await connectControl(deep)
      expect(await client.call('disk.list', {})).toEqual([])
      await client.close()
      await expect(serveControl(cluster, { path: deep })).rejects.toMatchObject({ code: 'DATA_IN_USE' })

      // As a crash leaves it: the pointer is there, nobody listens.
      const pointer = await readFile(deep, 'utf8')
      await one.close()
      await expect(lstat(deep)).rejects.toThrow('ENOENT')
      await writeFile(deep, pointer)
      const two = await serveControl(cluster, { path: deep })
      await (await connectControl(deep)).close()
      await two.close()

      await chmod(join(folder, 'hither'), 0o755)
      await mkdir(join(folder, 'd'.repeat(60)), { recursive: true })
      await expect(serveControl(cluster, { path: deep })).rejects.toThrow('closed to others')
    } finally {
      if (before === undefined) delete process.env['XDG_RUNTIME_DIR']
      else process.env['XDG_RUNTIME_DIR'] = before
    }
  })
})
