/**
 * The commands of the scenarios, on one simulated cluster each. Sizes are `4KiB`, `1MiB` …, durations `500ms`, `5s`, `10m`.
 *
 *   open nodes= rf= seed= ssd= hdd= nodes-per-block= lease= hold-down= rebuild-delay= curator= io-deadline= policy=
 *                                    a new cluster, in place of the one before; background scans are off unless `curator=` gives their interval; nothing is cached
 *   disk create NAME size= [vm=] [node=]
 *   write DISK from= length= value=  in requests of 256 KiB, one after the other
 *   read DISK from= length=          what is there, where it came from, the slowest request of 256 KiB
 *   fill DISK from= value=           256 KiB after the other, until one is refused
 *   trim DISK from= length= | snapshot DISK NAME | clone SOURCE NAME [snapshot=] [vm=] [node=]
 *   delete DISK | delete-snapshot DISK NAME
 *   migrate VM to= | fail NODE [hang] | recover NODE | power-loss NODE … | fail-device DEVICE
 *   add-node [ssd=] [hdd=] | remove-node NODE
 *   sleep DURATION                   of virtual time
 *   curator                          every background scan once, to its end
 *   status | space | copies DISK | spread DISK | events | check
 *
 * `events` tells what has happened since the last time; `check` what is wrong with a cluster at rest.
 * A command that is refused prints the error's code and sentence.
 */
import type {
  ClusterEvent,
  ClusterSettings,
  CuratorReport,
  LocalityPolicyName,
  VDisk,
} from '../../src/api.ts'
import { HitherError } from '../../src/base/errors.ts'
import { formatBytes } from '../../src/base/format-bytes.ts'
import { BLOCK_BYTES, KiB } from '../../src/base/units.ts'
import { parseDuration } from '../../src/cli/parse.ts'
import { settledFaults } from '../../src/sim/check/settled.ts'
import { openSimCluster, type SimCluster } from '../../src/sim/cluster.ts'
import { Arguments } from './arguments.ts'
import { blocksOf, valuesOf } from './blocks.ts'
import {
  describeCopies,
  describeError,
  describeEvents,
  describeSpace,
  describeSpread,
  describeStatus,
  describeValues,
  roughly,
} from './describe.ts'

const REQUEST_BYTES = 256 * KiB

type Command = (args: Arguments) => Promise<string[]>

export class Commands {
  #open: SimCluster | undefined
  readonly #disks = new Map<string, VDisk>()
  #events: ClusterEvent[] = []
  #output: string[] = []

  readonly #commands: Readonly<Record<string, Command>> = {
    open: (args) => this.#openCluster(args),
    disk: (args) => this.#createDisk(args),
    write: (args) => this.#write(args),
    read: (args) => this.#read(args),
    fill: (args) => this.#fill(args),
    trim: (args) => this.#trim(args),
    snapshot: (args) => this.#snapshot(args),
    clone: (args) => this.#clone(args),
    delete: (args) => this.#delete(args),
    'delete-snapshot': (args) => this.#deleteSnapshot(args),
    migrate: (args) => this.#migrate(args),
    fail: (args) => this.#fail(args),
    recover: (args) => this.#recover(args),
    'power-loss': (args) => this.#losePower(args),
    'fail-device': (args) => this.#failDevice(args),
    'add-node': (args) => this.#addNode(args),
    'remove-node': (args) => this.#removeNode(args),
    sleep: (args) => this.#sleep(args),
    curator: (args) => this.#runCurator(args),
    status: (args) => this.#show(args, () => describeStatus(this.#sim.cluster.status())),
    space: (args) => this.#show(args, () => describeSpace(this.#sim.cluster.stats())),
    copies: (args) => this.#showDisk(args, (id) => describeCopies(this.#sim, id)),
    spread: (args) => this.#showDisk(args, (id) => describeSpread(this.#sim, id)),
    events: (args) => this.#show(args, () => describeEvents(this.#events.splice(0))),
    check: (args) => this.#check(args),
  }

  /** Runs one command line; what it prints is kept for `takeOutput`. */
  async run(line: string): Promise<void> {
    const args = new Arguments(line)
    const command = this.#commands[args.command] ?? args.fail('there is no such command')
    try {
      this.#output.push(...(await command(args)))
    } catch (error) {
      if (!(error instanceof HitherError)) throw error
      this.#output.push(describeError(error))
    }
  }

  /** What the commands since the last call have printed. */
  takeOutput(): string[] {
    const output = this.#output
    this.#output = []
    return output
  }

  async close(): Promise<void> {
    await this.#open?.close()
  }

  get #sim(): SimCluster {
    if (this.#open === undefined) throw new Error('a scenario begins with `open`')
    return this.#open
  }

  async #openCluster(args: Arguments): Promise<string[]> {
    const settings: ClusterSettings = {
      ...given('nodes', args.count('nodes')),
      ...given('rf', args.count('rf') as 1 | 2 | 3 | undefined),
      ...given('nodesPerBlock', args.count('nodes-per-block')),
      ...given('ssdBytes', args.size('ssd')),
      ...given('hddBytes', args.size('hdd')),
      ...given('leaseTtlMs', args.duration('lease')),
      ...given('holdDownMs', args.duration('hold-down')),
      ...given('rebuildDelayMs', args.duration('rebuild-delay')),
      ...given('ioDeadlineMs', args.duration('io-deadline')),
      ...given('localityPolicy', args.text('policy') as LocalityPolicyName | undefined),
      curatorIntervalMs: args.duration('curator') ?? 0,
      cacheBytes: 0,
    }
    const seed = args.needCount('seed')
    args.end()
    await this.close()
    this.#disks.clear()
    this.#events = []
    const sim = await openSimCluster({ seed, settings })
    this.#open = sim
    const events = sim.cluster.events()
    void (async () => {
      for await (const event of events) this.#events.push(event)
    })()
    return [`${sim.cluster.nodes.length} nodes`]
  }

  async #createDisk(args: Arguments): Promise<string[]> {
    if (args.word('create') !== 'create') args.fail('only `disk create` is known')
    const name = args.word('the name')
    const options = {
      size: args.needSize('size'),
      ...given('vm', args.text('vm')),
      ...given('node', args.text('node')),
    }
    args.end()
    this.#disks.set(name, await this.#sim.cluster.createVDisk(name, options))
    return []
  }

  async #write(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    const [from, length, value] = [args.needSize('from'), args.needSize('length'), args.needCount('value')]
    args.end()
    let slowestMs = 0
    for (let at = from; at < from + length; at += REQUEST_BYTES) {
      const bytes = Math.min(REQUEST_BYTES, from + length - at)
      slowestMs = Math.max(slowestMs, await this.#writeOne(disk, at, bytes, value))
    }
    return [`${formatBytes(length)} acknowledged, the slowest request in ${roughly(slowestMs)}`]
  }

  async #fill(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    const [from, value] = [args.needSize('from'), args.needCount('value')]
    args.end()
    let at = from
    try {
      for (; at + REQUEST_BYTES <= disk.size; at += REQUEST_BYTES)
        await this.#writeOne(disk, at, REQUEST_BYTES, value)
      return [`${formatBytes(at - from)} acknowledged, up to the end of the disk`]
    } catch (error) {
      if (!(error instanceof HitherError)) throw error
      return [`${formatBytes(at - from)} acknowledged, then ${describeError(error)}`]
    }
  }

  /** Returns how long it took, virtual ms. */
  async #writeOne(disk: VDisk, from: number, length: number, value: number): Promise<number> {
    const startedAt = this.#sim.loop.now
    await disk.write(from, blocksOf(value, from / BLOCK_BYTES, length / BLOCK_BYTES))
    return this.#sim.loop.now - startedAt
  }

  async #read(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    const [from, length] = [args.needSize('from'), args.needSize('length')]
    args.end()
    const { cluster, loop } = this.#sim
    const before = cluster.stats().read
    const values: number[] = []
    let slowestMs = 0
    for (let at = from; at < from + length; at += REQUEST_BYTES) {
      const startedAt = loop.now
      const bytes = await disk.read(at, Math.min(REQUEST_BYTES, from + length - at))
      slowestMs = Math.max(slowestMs, loop.now - startedAt)
      values.push(...valuesOf(bytes, at / BLOCK_BYTES))
    }
    const after = cluster.stats().read
    const local = formatBytes(after.localBytes - before.localBytes)
    const remote = formatBytes(after.remoteBytes - before.remoteBytes)
    return [
      ...describeValues(values, from, BLOCK_BYTES),
      `${local} from the owner's own node, ${remote} from other nodes, the slowest request in ${roughly(slowestMs)}`,
    ]
  }

  async #trim(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    const [from, length] = [args.needSize('from'), args.needSize('length')]
    args.end()
    await disk.trim(from, length)
    return []
  }

  async #snapshot(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    const name = args.word('the name of the snapshot')
    args.end()
    const startedAt = this.#sim.loop.now
    await disk.snapshot(name)
    return [`snapshot ${name} in ${roughly(this.#sim.loop.now - startedAt)}`]
  }

  async #clone(args: Arguments): Promise<string[]> {
    const [source, name] = [args.word('the source'), args.word('the name of the clone')]
    const options = {
      ...given('snapshot', args.text('snapshot')),
      ...given('vm', args.text('vm')),
      ...given('node', args.text('node')),
    }
    args.end()
    const startedAt = this.#sim.loop.now
    this.#disks.set(name, await this.#sim.cluster.cloneVDisk(source, name, options))
    return [`clone ${name} in ${roughly(this.#sim.loop.now - startedAt)}`]
  }

  async #delete(args: Arguments): Promise<string[]> {
    const disk = this.#disk(args)
    args.end()
    await disk.close()
    this.#disks.delete(disk.name)
    await this.#sim.cluster.deleteVDisk(disk.name)
    return []
  }

  async #deleteSnapshot(args: Arguments): Promise<string[]> {
    const [disk, name] = [args.word('the disk'), args.word('the snapshot')]
    args.end()
    await this.#sim.cluster.deleteSnapshot(disk, name)
    return []
  }

  async #migrate(args: Arguments): Promise<string[]> {
    const [vm, to] = [args.word('the VM'), args.needText('to')]
    args.end()
    const startedAt = this.#sim.loop.now
    await this.#sim.cluster.migrateVm(vm, { to })
    return [`${vm} runs on ${to} after ${roughly(this.#sim.loop.now - startedAt)}`]
  }

  async #fail(args: Arguments): Promise<string[]> {
    const hang = args.flag('hang')
    const node = args.word('the node')
    args.end()
    await this.#sim.cluster.failCvm(node, { hang })
    return []
  }

  async #recover(args: Arguments): Promise<string[]> {
    const nodes = args.rest()
    args.end()
    await Promise.all(nodes.map((node) => this.#sim.cluster.recoverCvm(node)))
    return []
  }

  async #losePower(args: Arguments): Promise<string[]> {
    const nodes = args.rest()
    args.end()
    await this.#sim.losePower(nodes)
    return []
  }

  async #failDevice(args: Arguments): Promise<string[]> {
    const device = args.word('the device')
    args.end()
    await this.#sim.cluster.failDevice(device)
    return []
  }

  async #addNode(args: Arguments): Promise<string[]> {
    const options = { ...given('ssdBytes', args.size('ssd')), ...given('hddBytes', args.size('hdd')) }
    args.end()
    return [await this.#sim.cluster.addNode(options)]
  }

  async #removeNode(args: Arguments): Promise<string[]> {
    const node = args.word('the node')
    args.end()
    await this.#sim.cluster.removeNode(node)
    return [`${node} is removed`]
  }

  async #sleep(args: Arguments): Promise<string[]> {
    const ms = parseDuration(args.word('the duration'))
    args.end()
    await this.#sim.loop.sleep(ms)
    return []
  }

  async #runCurator(args: Arguments): Promise<string[]> {
    args.end()
    return describeReport(await this.#sim.cluster.runCurator())
  }

  async #check(args: Arguments): Promise<string[]> {
    args.end()
    const faults = await settledFaults(this.#sim)
    return faults.length === 0 ? ['every egroup has its copies, apart from each other and equal'] : faults
  }

  async #show(args: Arguments, lines: () => string[] | Promise<string[]>): Promise<string[]> {
    args.end()
    // Events of the last command reach the log before it is read.
    await this.#sim.loop.sleep(0)
    return lines()
  }

  async #showDisk(args: Arguments, lines: (id: number) => Promise<string[]>): Promise<string[]> {
    const { id } = await this.#sim.cluster.vdiskInfo(args.word('the disk'))
    return this.#show(args, () => lines(id))
  }

  #disk(args: Arguments): VDisk {
    const name = args.word('the disk')
    return this.#disks.get(name) ?? args.fail(`there is no open disk ${name}`)
  }
}

/** An option that is there only when it was given. */
function given<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return value === undefined ? {} : ({ [key]: value } as { [key in K]: V })
}

/** What a run of the Curator did; what it did not do is left out. */
function describeReport(report: CuratorReport): string[] {
  const parts: ReadonlyArray<readonly [amount: number, text: string]> = [
    [report.reclaimedBytes, `reclaimed ${formatBytes(report.reclaimedBytes)}`],
    [report.removedEgroups, `removed ${report.removedEgroups} egroups`],
    [report.compactedEgroups, `compacted ${report.compactedEgroups} egroups`],
    [report.rebuiltEgroups, `rebuilt ${report.rebuiltEgroups} egroups, ${formatBytes(report.rebuiltBytes)}`],
    [report.movedDownBytes, `moved ${formatBytes(report.movedDownBytes)} down to HDD`],
    [report.evictedBytes, `evicted ${formatBytes(report.evictedBytes)}`],
    [report.repairedSlices, `repaired ${report.repairedSlices} slices`],
  ]
  const did = parts.filter(([amount]) => amount > 0).map(([, text]) => text)
  return [
    did.length === 0 ? 'nothing to do' : did.join('; '),
    ...(report.incomplete === undefined ? [] : [`incomplete: ${report.incomplete}`]),
  ]
}
