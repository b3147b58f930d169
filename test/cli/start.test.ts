/** `start` puts the parts together in order, says ready first, and takes them apart in reverse whatever happens. */
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { ClusterSettings } from '../../src/api.ts'
import { HitherError } from '../../src/base/errors.ts'
import type { StartParts } from '../../src/cli/commands/start.ts'
import { serveControl } from '../../src/frontend/control/index.ts'
import { FakeCluster } from './fake-cluster.ts'
import { Harness } from './harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await Harness.start()
  await harness.stopServer()
})
afterEach(() => harness.stop())

class World {
  readonly cluster = new FakeCluster()
  readonly opened: Array<{ location: string; settings: ClusterSettings }> = []
  readonly doors = new Map<number, string>()
  readonly closed: string[] = []
  portInUse: number | undefined
  portmapped: number | undefined

  readonly parts: StartParts = {
    openCluster: async (location, settings) => {
      this.opened.push({ location, settings })
      return Object.assign(this.cluster, {
        close: async () => {
          this.closed.push('cluster')
        },
      })
    },
    serveNbd: async (path, { host, port }) => {
      if (port === this.portInUse) throw new HitherError('BAD_SETTING', `port ${port} is in use`)
      this.doors.set(port, path.node)
      return {
        url: `nbd://${host}:${port}`,
        close: async () => {
          this.doors.delete(port)
          this.closed.push(`door ${path.node}`)
        },
      }
    },
    serveNfs: async (path, { host, port }) => {
      this.doors.set(port, path.node)
      return {
        url: `nfs://${host}:${port}`,
        port,
        close: async () => {
          this.doors.delete(port)
          this.closed.push(`files ${path.node}`)
        },
      }
    },
    servePortmap: async ({ nfsPort }) => {
      this.portmapped = nfsPort
      return {
        close: async () => {
          this.closed.push('portmap')
        },
      }
    },
    serveControl,
  }
}

/** Runs `start`, does `whileUp` once it is ready, stops it. */
async function start(
  world: World,
  argv: string[],
  whileUp: (ready: string) => Promise<void> = async () => {},
) {
  const stop = new AbortController()
  let up: Promise<void> | undefined
  const outcome = await harness.run(['start', ...argv], {
    parts: world.parts,
    signal: stop.signal,
    onOutput: (text) => {
      if (up !== undefined || !/ready|hither is up/.test(text)) return
      up = whileUp(text).finally(() => stop.abort())
    },
  })
  await up
  return outcome
}

describe('start', () => {
  it('--json: the first line is the ready event, events follow, SIGTERM ends it with 0', async () => {
    const world = new World()
    const { code, stdout, stderr } = await start(world, ['--json'], async () => {
      await harness.json('cvm', 'fail', 'node-2')
    })
    const lines = stdout.trimEnd().split('\n')
    expect(lines[0]).toBe(
      JSON.stringify({
        event: 'ready',
        control: join(harness.folder, 'hither-data', 'control.sock'),
        hosts: [
          { node: 'node-1', nbd: 'nbd://127.0.0.1:10809' },
          { node: 'node-2', nbd: 'nbd://127.0.0.1:10810' },
        ],
      }),
    )
    expect(JSON.parse(lines[1]!)).toMatchObject({ event: 'cvm-down', node: 'node-2', reason: 'crash' })
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(world.opened).toEqual([{ location: `file:${join(harness.folder, 'hither-data')}`, settings: {} }])
    expect(world.closed).toEqual(['door node-1', 'door node-2', 'cluster'])
    expect((await harness.run(['status'])).code).toBe(4)
  })

  it('--nfs-port: an NFS door beside each NBD door, and with --portmap a portmapper for the first', async () => {
    const world = new World()
    const { code, stdout } = await start(world, ['--json', '--nfs-port', '2049', '--portmap'])
    expect(JSON.parse(stdout.split('\n')[0]!)['hosts']).toEqual([
      { node: 'node-1', nbd: 'nbd://127.0.0.1:10809', nfs: 'nfs://127.0.0.1:2049/default' },
      { node: 'node-2', nbd: 'nbd://127.0.0.1:10810', nfs: 'nfs://127.0.0.1:2050/default' },
    ])
    expect(world.portmapped).toBe(2_049)
    expect(code).toBe(0)
    expect(world.closed.sort()).toEqual([
      ...['cluster', 'door node-1', 'door node-2', 'files node-1', 'files node-2', 'portmap'],
    ])
    expect((await start(new World(), ['--portmap'])).code).toBe(2)
    expect((await start(new World(), ['--nfs-port', '2049'])).stdout).toContain(
      'node-2  nbd://127.0.0.1:10810  nfs://127.0.0.1:2050/default',
    )
  })

  it('tells a person the doors and three commands', async () => {
    const { stdout } = await start(new World(), [])
    expect(stdout).toContain('hither is up: 2 nodes, data in ./hither-data')
    expect(stdout).toContain('node-2  nbd://127.0.0.1:10810')
    expect(stdout.match(/^ {2}hither (disk create|disk import|status)/gm)).toHaveLength(3)
    expect(stdout).toContain('stopping')
  })

  it('names the control socket in the commands when they would not find it', async () => {
    const { stdout } = await start(new World(), ['--data', 'elsewhere'])
    expect(stdout).toContain(`  hither --control ${join(harness.folder, 'elsewhere', 'control.sock')} status`)
  })

  it('passes on the settings that were given', async () => {
    const world = new World()
    const flags = [
      ...['--nodes', '3', '--rf', '3', '--ssd', '1GiB', '--hdd', '0', '--nodes-per-block', '2'],
      ...['--lease-ttl', '500ms', '--hold-down', '5s', '--rebuild-delay', '1m', '--curator-interval', '0'],
      ...['--io-deadline', '10s', '--cache', '1MiB', '--map-memory', '2MiB', '--locality', 'classic'],
    ]
    await start(world, ['--memory', '--control', 'c.sock', '--host', '::1', '--nbd-port', '7000', ...flags])
    expect(world.opened).toEqual([
      {
        location: 'memory:',
        settings: {
          nodes: 3,
          rf: 3,
          ssdBytes: 1_073_741_824,
          hddBytes: 0,
          nodesPerBlock: 2,
          leaseTtlMs: 500,
          holdDownMs: 5_000,
          rebuildDelayMs: 60_000,
          curatorIntervalMs: 0,
          ioDeadlineMs: 10_000,
          cacheBytes: 1_048_576,
          mapBytes: 2_097_152,
          localityPolicy: 'classic',
        },
      },
    ])
  })

  it('gives a new node its door, and takes that of a removed node away', async () => {
    const world = new World()
    await start(world, [], async () => {
      expect(await harness.json('node', 'add')).toEqual({ node: 'node-3', nbd: 'nbd://127.0.0.1:10811' })
      expect(world.doors.get(10_811)).toBe('node-3')
      await harness.json('node', 'remove', 'node-2')
      expect([...world.doors.values()]).toEqual(['node-1', 'node-3'])
    })
  })

  it('says why a new node has no door, and goes on', async () => {
    const world = new World()
    await start(world, [], async () => {
      world.portInUse = 10_811
      const { code, stdout } = await harness.run(['node', 'add'])
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: 'added node-3, without a door: port 10811 is in use\n',
      })
    })
  })

  it('closes what it had opened when a door fails, and says why', async () => {
    const world = new World()
    world.portInUse = 10_810
    const { code, stdout, stderr } = await start(world, ['--json'])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(JSON.parse(stderr)).toMatchObject({ code: 'BAD_SETTING', message: 'port 10810 is in use' })
    expect(world.closed).toEqual(['door node-1', 'cluster'])
  })

  it('refuses the control socket of a live cluster with exit 5, and closes what it had opened', async () => {
    const first = new World()
    await start(first, [], async () => {
      const second = new World()
      const outcome = await harness.run(['start', '--nbd-port', '0'], { parts: second.parts })
      expect(outcome.code).toBe(5)
      expect(outcome.stderr).toContain('another cluster listens')
      expect(second.closed.at(-1)).toBe('cluster')
      expect((await harness.run(['status'])).code).toBe(0)
    })
  })
})
