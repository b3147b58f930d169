/** Every command does what it says on a running cluster, prints a line or a table, and JSON with `--json`. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { FileSystem } from '../../src/api.ts'
import { GiB } from '../../src/base/units.ts'
import { Harness } from './harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await Harness.start()
})
afterEach(() => harness.stop())

const run = (...argv: string[]) => harness.run(argv)

describe('disk', () => {
  it('create, list, show', async () => {
    const created = await run('disk', 'create', 'a', '--size', '10GiB', '--vm', 'vm1', '--node', 'node-2')
    expect(created).toMatchObject({ code: 0, stdout: 'created disk a of vm1: 10 GiB, served by node-2\n' })
    expect(harness.cluster.state('a').handles).toBe(0)

    expect((await run('disk', 'list')).stdout).toBe(
      'DISK    SIZE  VM   SERVED BY  HOME    CONTAINER\na     10 GiB  vm1  node-2     node-2  default\n',
    )
    expect(await harness.json('disk', 'list')).toMatchObject([{ name: 'a', size: 10 * GiB, vm: 'vm1' }])

    const shown = (await run('disk', 'show', 'a')).stdout
    expect(shown).toContain('nbd            nbd://127.0.0.1:10810/a\n')
    expect(shown).toContain('read           4 KiB, 97.6 % local\n')
    expect(shown).toContain('node-2 to node-1, pause 340 ms')
    expect(await harness.json('disk', 'show', 'a')).toMatchObject({
      name: 'a',
      localReadRatio: 0.976,
      snapshots: [],
      nbd: 'nbd://127.0.0.1:10810/a',
    })
  })

  it('says so when there are none', async () => {
    expect((await run('disk', 'list')).stdout).toBe('no disks\n')
    expect(await harness.json('disk', 'list')).toEqual([])
  })

  it('resize takes the size in both forms, and --discard to lose data', async () => {
    await run('disk', 'create', 'a', '--size', '1GiB')
    expect((await run('disk', 'resize', 'a', '2GiB')).stdout).toBe('resized disk a to 2 GiB\n')
    expect(await harness.json('disk', 'resize', 'a', '--size', '3GiB')).toMatchObject({ size: 3 * GiB })
    const disk = await harness.cluster.openVDisk('a')
    await disk.write(2 * GiB, Buffer.from('data'))
    await disk.close()
    expect((await run('disk', 'resize', 'a', '1GiB')).code).toBe(5)
    expect((await run('disk', 'resize', 'a', '1GiB', '--discard')).code).toBe(0)
    expect((await run('disk', 'resize', 'a')).code).toBe(2)
  })

  it('snapshot, snapshots, clone, snapshot-rm, rm', async () => {
    await run('disk', 'create', 'a', '--size', '1GiB')
    expect((await run('disk', 'snapshot', 'a', 's1')).stdout).toBe('kept snapshot s1 of disk a\n')
    expect((await run('disk', 'snapshots', 'a')).stdout).toBe(
      'SNAPSHOT   SIZE  KEPT AT\ns1        1 GiB  2026-01-02T00:00:00.000Z\n',
    )
    expect((await run('disk', 'clone', 'a', 'b', '--snapshot', 's1', '--vm', 'vm2')).stdout).toBe(
      'cloned a to disk b of vm2: 1 GiB, served by node-1\n',
    )
    expect((await run('disk', 'clone', 'a', 'c', '--snapshot', 'none')).code).toBe(3)
    expect((await run('disk', 'snapshot-rm', 'a', 's1')).code).toBe(0)
    expect((await run('disk', 'snapshots', 'a')).stdout).toBe('no snapshots\n')
    expect((await run('disk', 'rm', 'a')).stdout).toBe('removed disk a\n')
    expect([...harness.cluster.disks.keys()]).toEqual(['b'])
  })
})

describe('vm, cvm, node, device', () => {
  it('vm list and move', async () => {
    expect((await run('vm', 'list')).stdout).toBe('no VMs\n')
    await run('disk', 'create', 'a', '--size', '1GiB', '--vm', 'vm1')
    expect((await run('vm', 'move', 'vm1', '--to', 'node-2')).code).toBe(0)
    expect(await harness.json('vm', 'list')).toEqual([{ name: 'vm1', node: 'node-2' }])
    expect((await run('vm', 'list')).stdout).toBe('VM   NODE\nvm1  node-2\n')
  })

  it('cvm fail, fail --hang, recover', async () => {
    expect((await run('cvm', 'fail', 'node-1')).code).toBe(0)
    expect(await harness.json('cvm', 'fail', 'node-1', '--hang')).toEqual({ node: 'node-1', cvm: 'hung' })
    expect((await run('cvm', 'recover', 'node-1')).code).toBe(0)
    expect(harness.cluster.calls).toEqual([
      ['failCvm', 'node-1', false],
      ['failCvm', 'node-1', true],
      ['recoverCvm', 'node-1'],
    ])
  })

  it('node list, add, remove', async () => {
    expect((await run('node', 'list')).stdout).toBe(
      'NODE    BLOCK    CVM   PATH    DEVICES                     NBD DOOR\n' +
        'node-1  block-1  up    node-1  node-1.ssd0 1 MiB of 8 GiB  nbd://127.0.0.1:10809\n'.replace(
          '  nbd',
          '  nbd',
        ) +
        'node-2  block-2  down  node-1  node-2.ssd0 1 MiB of 8 GiB  nbd://127.0.0.1:10810\n',
    )
    const door = { node: 'node-3', nbd: 'nbd://127.0.0.1:10811' }
    expect(await harness.json('node', 'add', '--ssd', '16GiB')).toEqual(door)
    expect(harness.cluster.calls).toEqual([['addNode', { ssdBytes: 16 * GiB }]])
    expect((await run('node', 'remove', 'node-3')).code).toBe(0)
    expect(harness.cluster.nodes).toEqual(['node-1', 'node-2'])
  })

  it('node add and node list name both doors of a host', async () => {
    expect((await run('node', 'add')).stdout).toBe('added node-3, its door is nbd://127.0.0.1:10811\n')
    harness.nfs = true
    expect((await run('node', 'add')).stdout).toBe(
      'added node-4, its doors are nbd://127.0.0.1:10812 and nfs://127.0.0.1:2052/default\n',
    )
    const [title, line] = (await run('node', 'list')).stdout.split('\n')
    expect(title).toMatch(/NBD DOOR +NFS DOOR$/)
    expect(line).toMatch(/nbd:\/\/127\.0\.0\.1:10809 +nfs:\/\/127\.0\.0\.1:2049\/default$/)
  })

  it('device fail', async () => {
    expect((await run('device', 'fail', 'node-1.ssd0')).stdout).toBe('device node-1.ssd0 has failed\n')
    expect(harness.cluster.calls).toEqual([['failDevice', 'node-1.ssd0']])
  })
})

describe('container, curator, status, stats', () => {
  it('container create passes on what was said and nothing else', async () => {
    await run('container', 'create', 'plain')
    const options = [
      '--rf',
      '1',
      '--no-compression',
      '--no-dedupe',
      '--min-copies',
      '1',
      '--durability',
      'flush',
    ]
    await run('container', 'create', 'scratch', ...options)
    expect(harness.cluster.calls).toEqual([
      ['createContainer', 'plain', {}],
      [
        'createContainer',
        'scratch',
        { rf: 1, compression: false, dedupe: false, minCopies: 1, durability: 'flush' },
      ],
    ])
    const table = (await run('container', 'list')).stdout.split('\n')
    expect(table[0]).toBe('CONTAINER  RF  MIN COPIES  COMPRESSION  DEDUPE  DURABILITY  EXPORT')
    expect(table[3]).toBe('scratch     1           1  no           no      flush       no')
  })

  it('container create exports when it is told how', async () => {
    const networks = ['--allow', '10.0.0.0/8', '--allow', '::1']
    await run('container', 'create', 'open', '--export')
    await run('container', 'create', 'narrow', ...networks, '--read-only', '--squash', 'all')
    expect(harness.cluster.calls).toEqual([
      ['createContainer', 'open', { export: {} }],
      [
        'createContainer',
        'narrow',
        { export: { allow: ['10.0.0.0/8', '::1'], readOnly: true, squash: 'all' } },
      ],
    ])
    expect((await run('container', 'create', 'x', '--squash', 'some')).code).toBe(2)
  })

  it('container export and unexport say what is so from now on', async () => {
    await run('container', 'create', 'images')
    const exported = await run('container', 'export', 'images', '--allow', '10.0.0.0/8', '--read-only')
    expect(exported.stdout).toBe('container images is exported: ro, squash root, 10.0.0.0/8\n')
    await run('container', 'export', 'images')
    expect(await harness.json('container', 'unexport', 'images')).not.toHaveProperty('export')
    expect(harness.cluster.calls.slice(1)).toEqual([
      ['exportContainer', 'images', { allow: ['10.0.0.0/8'], readOnly: true }],
      ['exportContainer', 'images', {}],
      ['unexportContainer', 'images'],
    ])
    expect((await run('container', 'export')).code).toBe(2)
  })

  it('file list says what is in a directory, and nothing a terminal would obey', async () => {
    const time = { seconds: 1_700_000_000, nanoseconds: 5_000_000 }
    const of = (id: number, type: 'file' | 'directory', size: number) => ({
      type,
      id,
      birth: 1,
      mode: 0o750,
      links: 1,
      uid: 7,
      gid: 8,
      size,
      used: size,
      accessed: time,
      modified: time,
      changed: time,
    })
    const entries = [
      { name: Buffer.from('dir'), id: 2, cookie: 1, attributes: of(2, 'directory', 64) },
      { name: Buffer.from('a\u001b[2J'), id: 3, cookie: 2, attributes: of(3, 'file', 12) },
    ]
    const fileSystem = {
      getAttributes: async () => of(1, 'directory', 128),
      list: async (directory: number) => ({
        directory: of(directory, 'directory', 128),
        entries: directory === 1 ? entries : [],
        end: true,
      }),
    } as unknown as FileSystem
    harness.cluster.files = (node) => ({
      node,
      listExports: async () => [],
      exportsVersion: () => 0,
      fileSystem: async () => fileSystem,
    })
    expect((await run('file', 'list')).stdout).toBe('dir/\na?[2J\n')
    const long = (await run('file', 'list', 'default:/', '-l', '-R')).stdout.split('\n')
    expect(long[1]).toBe('drwxr-x---      1    7    8    64  2023-11-14T22:13:20.005Z  dir/')
    expect(await harness.json('file', 'list')).toMatchObject([
      { path: 'dir', type: 'directory' },
      { size: 12 },
    ])
  })

  it('curator run', async () => {
    expect(await harness.json('curator', 'run')).toMatchObject({ reclaimedBytes: 4_194_304 })
    const text = (await run('curator', 'run')).stdout
    expect(text).toContain('reclaimed   4 MiB, 1 egroups removed, 0 compacted')
    expect(text).not.toContain('incomplete')
  })

  it('status says health, reasons, nodes and disks', async () => {
    await run('disk', 'create', 'a', '--size', '1GiB', '--vm', 'vm1')
    const lines = (await run('status')).stdout.split('\n')
    expect(lines.slice(0, 3)).toEqual(['degraded', '  the CVM of node-2 is down', ''])
    expect(lines.some((line) => line.startsWith('a     1 GiB  vm1  node-1'))).toBe(true)
    expect(await harness.json('status')).toEqual(JSON.parse(JSON.stringify(harness.cluster.status())))
  })

  it('stats --json is the whole of stats', async () => {
    expect(await harness.json('stats')).toEqual(harness.cluster.stats())
    const text = (await run('stats')).stdout
    expect(text).toContain('90 % local (1 B remote)')
    expect(text).toContain('node-1     1 MiB  8 GiB     1 MiB  8 GiB')
  })
})

describe('events', () => {
  it('prints the latest and ends', async () => {
    harness.cluster.emit({ type: 'cvm-down', node: 'node-1', reason: 'crash' })
    harness.cluster.emit({ type: 'node-added', node: 'node-3' })
    const { stdout, code } = await harness.run(['events', '--last', '1', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toEqual({
      event: 'node-added',
      at: '2026-01-02T03:04:05.000Z',
      time: Date.UTC(2026, 0, 2, 3, 4, 5),
      node: 'node-3',
    })
    expect((await run('events')).stdout).toMatch(
      / {2}cvm-down {2}node-1 \(crash\)\n.* node-added {2}node-3\n$/,
    )
  })

  it('--follow prints what comes, not what was, until interrupted, and that is no failure', async () => {
    harness.cluster.emit({ type: 'node-added', node: 'node-3' })
    const stop = new AbortController()
    const feed = setInterval(
      () => harness.cluster.emit({ type: 'cvm-started', node: 'node-2', lostCopies: 0 }),
      10,
    )
    const { stdout, code } = await harness.run(['events', '--follow', '--json'], {
      signal: stop.signal,
      onOutput: () => stop.abort(),
    })
    clearInterval(feed)
    expect(code).toBe(0)
    expect(stdout).not.toContain('node-added')
    expect(JSON.parse(stdout.split('\n')[0]!)).toMatchObject({ event: 'cvm-started', node: 'node-2' })
  })
})
