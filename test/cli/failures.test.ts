/** Exit codes, and the one line on standard error, are a contract with scripts. */
import { chmod, writeFile } from 'node:fs/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { serveControl } from '../../src/frontend/control/index.ts'
import { Harness } from './harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await Harness.start()
})
afterEach(() => harness.stop())

const run = (...argv: string[]) => harness.run(argv)

describe('exit codes', () => {
  it.each([
    [['disk', 'create', 'a'], 2, '--size'],
    [['disk', 'create', 'a', '--size', '10GB'], 2, 'write 10GiB'],
    [['disk', 'create', '--size', '1GiB'], 2, "missing required argument 'name'"],
    [['disk', 'rm', 'a', 'b'], 2, 'too many arguments'],
    [['container', 'create', 'c', '--rf', '4'], 2, 'one of 1, 2, 3'],
    [['nonsense'], 2, 'unknown command'],
    [['status', '--nonsense'], 2, 'unknown option'],
    [['start', '--memory', '--data', 'x'], 2, 'exclude each other'],
    [['start', '--hold-down', '30'], 2, 'with its unit'],
    [['disk', 'show', 'none'], 3, 'there is no disk none'],
    [['disk', 'create', 'a', '--size', '1GiB', '--node', 'node-9'], 3, 'node-9'],
    [['vm', 'move', 'none', '--to', 'node-1'], 3, 'none'],
    [['disk', 'import', 'no-such-file', 'a'], 3, 'there is no file no-such-file'],
    [['node', 'remove', 'node-2'], 5, 'RF 2 needs two nodes'],
  ])('%j', async (argv, code, words) => {
    const outcome = await run(...argv)
    expect(outcome.stderr).toContain(words)
    expect(outcome.stderr).toMatch(/^hither: .* \([A-Z_]+\)\n$/)
    expect(outcome).toMatchObject({ code, stdout: '' })
  })

  it('1 for what failed otherwise, 5 for a disk in use', async () => {
    await run('disk', 'create', 'a', '--size', '1GiB')
    expect((await run('disk', 'create', 'a', '--size', '1GiB')).code).toBe(1)
    const disk = await harness.cluster.openVDisk('a')
    expect((await run('disk', 'rm', 'a')).code).toBe(5)
    await disk.close()
  })

  it('4 when nobody listens: no socket, a socket of the dead, no cluster at all', async () => {
    await harness.stopServer()
    const outcome = await run('status')
    expect(outcome.code).toBe(4)
    expect(outcome.stderr).toContain('hither start')
    expect((await run('status', '--control', '/nonexistent/control.sock')).code).toBe(4)
  })

  it('with --json the error is an object with its code', async () => {
    const outcome = await run('disk', 'show', 'none', '--json')
    expect(outcome.stdout).toBe('')
    expect(JSON.parse(outcome.stderr)).toEqual({
      code: 'NOT_FOUND',
      message: 'there is no disk none',
      retryable: false,
    })
    const usage = await run('--json', 'disk', 'create', 'a', '--size', 'x')
    expect(JSON.parse(usage.stderr)).toMatchObject({ code: 'BAD_ARGUMENT' })
  })
})

describe('help', () => {
  it('is there for every command, with an example', async () => {
    const leaves = [
      'start|status|stats|events',
      'disk create|disk list|disk show|disk rm|disk resize|disk import|disk export',
      'disk snapshot|disk snapshots|disk snapshot-rm|disk clone',
      'vm list|vm move|cvm fail|cvm recover|node list|node add|node remove|device fail',
      'container create|container export|container unexport|container list|curator run|file list',
    ].flatMap((line) => line.split('|'))
    for (const leaf of leaves) {
      const { code, stdout, stderr } = await run(...leaf.split(' '), '--help')
      expect({ leaf, code, stderr }).toEqual({ leaf, code: 0, stderr: '' })
      expect(stdout).toContain(`$ hither ${leaf}`)
      expect(stdout).toContain('--json')
    }
  })

  it('comes with exit 2 when a subcommand is missing, and tells the exit codes', async () => {
    const bare = await run()
    expect(bare).toMatchObject({ code: 2, stdout: '' })
    expect(bare.stderr).toContain('Exit codes: 0 done')
    expect((await run('disk')).code).toBe(2)
    expect(await run('--version')).toMatchObject({ code: 0, stdout: '1.2.3\n' })
  })
})

describe('finding the cluster', () => {
  it('--control and HITHER_CONTROL take a socket or the folder that it is in', async () => {
    await harness.run(['disk', 'create', 'a', '--size', '1GiB'])
    const folder = harness.path('hither-data')
    for (const control of [harness.control, folder, 'hither-data']) {
      expect((await run('disk', 'show', 'a', '--control', control)).code).toBe(0)
      expect((await harness.run(['disk', 'show', 'a'], { env: { HITHER_CONTROL: control } })).code).toBe(0)
    }
    const wrong = { HITHER_CONTROL: harness.path('elsewhere') }
    expect((await harness.run(['disk', 'list'], { env: wrong })).code).toBe(4)
    expect((await harness.run(['disk', 'list', '--control', folder], { env: wrong })).code).toBe(0)
  })

  it('refuses a file that is no control socket', async () => {
    await writeFile(harness.path('notes.txt'), 'hello')
    const outcome = await run('status', '--control', harness.path('notes.txt'))
    expect(outcome.code).toBe(2)
    expect(outcome.stderr).toContain('is not a control socket')
  })

  it('finds a cluster in memory in the runtime folder, unless others can write there', async () => {
    await harness.stopServer()
    const before = process.env['XDG_RUNTIME_DIR']
    process.env['XDG_RUNTIME_DIR'] = harness.path('run')
    try {
      const server = await serveControl(harness.cluster, { path: harness.path('run/hither/control.sock') })
      expect((await run('disk', 'list')).code).toBe(0)
      await chmod(harness.path('run/hither'), 0o777)
      expect((await run('disk', 'list')).code).toBe(4)
      await server.close()
    } finally {
      if (before === undefined) delete process.env['XDG_RUNTIME_DIR']
      else process.env['XDG_RUNTIME_DIR'] = before
    }
  })
})

describe('colour', () => {
  it('is for terminals, and NO_COLOR turns it off', async () => {
    const code = '\u001b['
    expect((await harness.run(['status'], { terminal: true })).stdout).toContain(code)
    expect((await harness.run(['status'])).stdout).not.toContain(code)
    expect((await harness.run(['status'], { terminal: true, env: { NO_COLOR: '1' } })).stdout).not.toContain(
      escape,
    )
    expect((await harness.run(['status'], { env: { FORCE_COLOR: '1' } })).stdout).toContain(code)
  })
})
