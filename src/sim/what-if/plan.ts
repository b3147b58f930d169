/**
 * The plan of a what-if: which cluster, which VMs with which load, what happens when. Read from TOML
 * (docs/simulate.md describes every key); everything is checked here, so that a run does not fail half-way for a
 * mistyped setting. Times are milliseconds, sizes bytes.
 */
import { parse, TomlError } from 'smol-toml'
import type { ClusterSettings, LocalityPolicyName } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import { GiB, KiB, MiB, type NodeId, SECTOR_BYTES, VDISK_BYTES_MAX } from '../../base/units.ts'
import { type DeviceModel, HDD, SSD } from '../../platform/sim/device-models.ts'
import { readDevice } from './plan-devices.ts'
import { readEvents } from './plan-events.ts'
import { DEVICE_BYTES_MIN, Section } from './section.ts'

export const WORKLOADS = [
  'random-read',
  'random-write',
  'mixed',
  'sequential',
  'oltp',
  'boot',
  'trace',
] as const
export type WorkloadName = (typeof WORKLOADS)[number]

export const NICS = ['10GbE', '1GbE'] as const
export type NicName = (typeof NICS)[number]

export interface VmPlan {
  readonly name: string
  readonly node: NodeId
  /** Size of its disk. */
  readonly diskBytes: number
  readonly workload: WorkloadName
  readonly blockBytes: number
  /** Requests a second on average, at random moments; `undefined`: as many as `queueDepth` in flight give. */
  readonly iops: number | undefined
  readonly queueDepth: number
  /** The part of the disk that is used, from its start. */
  readonly workingSetBytes: number
  /** Share of reads, 0 … 1. */
  readonly readShare: number
  /** Share of each written block that compresses away, 0 … 1. */
  readonly compressible: number
  /** The working set is written before the clock starts. */
  readonly fill: boolean
  readonly startMs: number
  readonly stopMs: number
  readonly trace: { readonly file: string; readonly speed: number; readonly skipMs: number } | undefined
}

export type EventAction =
  | { readonly do: 'migrate'; readonly vm: string; readonly to: NodeId }
  | { readonly do: 'fail' | 'hang' | 'recover' | 'remove-node'; readonly node: NodeId }
  | { readonly do: 'add-node'; readonly ssdBytes?: number; readonly hddBytes?: number }
  | { readonly do: 'fail-device'; readonly device: string }

export type EventPlan = EventAction & { readonly atMs: number }

export interface Plan {
  readonly title: string
  readonly settings: ClusterSettings & { readonly nodes: number; readonly rf: 1 | 2 | 3 }
  readonly ssd: DeviceModel
  readonly hdd: DeviceModel
  readonly nic: NicName
  readonly vms: readonly VmPlan[]
  /** In order of time. */
  readonly events: readonly EventPlan[]
  readonly seed: number
  readonly durationMs: number
  /** Length of one window of the curves. */
  readonly sampleMs: number
}

/** All data of a run is really kept, in memory: a bound that a laptop can bear. */
const KEPT_BYTES_MAX = 4 * GiB
const VMS_MAX = 256
const WINDOWS = 60
const WINDOW_MIN_MS = 100
const WINDOWS_MAX = 2_000
const DAY_MS = 86_400_000
const LOCALITY_POLICIES: readonly LocalityPolicyName[] = ['never', 'classic', 'keep', 'readahead']

/** What each workload is unless the plan says otherwise. */
const WORKLOAD_DEFAULTS: Readonly<Record<WorkloadName, { blockBytes: number; readShare: number }>> = {
  'random-read': { blockBytes: 4 * KiB, readShare: 1 },
  'random-write': { blockBytes: 4 * KiB, readShare: 0 },
  mixed: { blockBytes: 4 * KiB, readShare: 0.7 },
  sequential: { blockBytes: 64 * KiB, readShare: 1 },
  oltp: { blockBytes: 8 * KiB, readShare: 0.7 },
  boot: { blockBytes: 32 * KiB, readShare: 0.9 },
  trace: { blockBytes: 4 * KiB, readShare: 1 },
}
const IOPS_DEFAULT = 200
const OPEN_LOOP_DEPTH = 64
const DISK_DEFAULT = 1 * GiB
const WORKING_SET_DEFAULT = 32 * MiB
/** LZ4 on 4 KiB blocks of real VM images saves about this share (a ratio of 1.8). */
const COMPRESSIBLE_DEFAULT = 0.45

/** Reads the text of a plan. `title` is what a report calls it when the plan has no `title` of its own. */
export function parsePlan(text: string, title: string): Plan {
  const root = new Section('', parseToml(text))
  const named = root.text('title') ?? title
  const settings = readCluster(root.section('cluster'))
  const devices = root.section('devices')
  const ssd = readDevice(devices.section('ssd'), SSD)
  const hdd = readDevice(devices.section('hdd'), HDD)
  devices.finish()
  const network = root.section('network')
  const nic = network.choice('nic', NICS) ?? '10GbE'
  network.finish()
  const run = readRun(root.section('run'))
  const vms = readVms(root, settings, run.durationMs)
  const events = readEvents(root.sections('event'), {
    nodes: settings.nodes,
    vms,
    durationMs: run.durationMs,
    hasHdd: settings.hddBytes !== 0,
  })
  root.finish()
  if (vms.length === 0) throw new HitherError('BAD_SETTING', 'vm is missing: write at least one [[vm]]')
  return { title: named, settings, ssd, hdd, nic, vms, events, ...run }
}

function parseToml(text: string): Record<string, unknown> {
  try {
    return parse(text)
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause
    const reason = cause.message.split('\n')[0]!.replace(/^Invalid TOML document: /, '')
    throw new HitherError('BAD_SETTING', `line ${cause.line}, column ${cause.column}: ${reason}`, { cause })
  }
}

function readCluster(section: Section): Plan['settings'] {
  const nodes = section.whole('nodes', 1, 64) ?? 4
  const rf = (section.whole('rf', 1, 3) ?? Math.min(2, nodes)) as 1 | 2 | 3
  if (rf > nodes) throw section.clash('rf', `is ${rf}, but there are only ${nodes} nodes`)
  const hddBytes = section.size('hdd', 0)
  if (hddBytes !== undefined && hddBytes > 0 && hddBytes < DEVICE_BYTES_MIN) {
    throw section.bad('hdd', `is 0 for none, or at least ${DEVICE_BYTES_MIN} bytes`)
  }
  const optional = {
    ssdBytes: section.size('ssd', DEVICE_BYTES_MIN),
    hddBytes,
    nodesPerBlock: section.whole('nodes_per_block', 1, 4),
    leaseTtlMs: wholeMs(section, 'lease_ttl', 50),
    holdDownMs: wholeMs(section, 'hold_down', 0),
    rebuildDelayMs: wholeMs(section, 'rebuild_delay', 0),
    curatorIntervalMs: wholeMs(section, 'curator_interval', 0),
    ioDeadlineMs: wholeMs(section, 'io_deadline', 1),
    cacheBytes: section.size('cache', 0),
    mapBytes: section.size('map_memory', MiB),
    localityPolicy: section.choice('locality', LOCALITY_POLICIES),
  }
  section.finish()
  return { nodes, rf, ...given(optional) }
}

function wholeMs(section: Section, key: string, min: number): number | undefined {
  const ms = section.duration(key, min)
  return ms === undefined ? undefined : Math.round(ms)
}

/** Without the keys that were not given. */
function given<T extends object>(values: T): { [K in keyof T]?: NonNullable<T[K]> } {
  const kept = Object.entries(values).filter(([, value]) => value !== undefined)
  return Object.fromEntries(kept) as { [K in keyof T]?: NonNullable<T[K]> }
}

function readRun(section: Section): { durationMs: number; seed: number; sampleMs: number } {
  const durationMs = section.duration('duration', 1) ?? 60_000
  if (durationMs > 30 * DAY_MS) throw section.bad('duration', 'is at most 30 days')
  const seed = section.whole('seed', 0, 2 ** 32 - 1) ?? 1
  const sampleMs = section.duration('sample', 1) ?? Math.max(WINDOW_MIN_MS, durationMs / WINDOWS)
  if (durationMs / sampleMs > WINDOWS_MAX) {
    throw section.clash('sample', `cuts the run into more than ${WINDOWS_MAX} windows; make it longer`)
  }
  section.finish()
  return { durationMs, seed, sampleMs }
}

function readVms(root: Section, settings: Plan['settings'], durationMs: number): VmPlan[] {
  const vms: VmPlan[] = []
  for (const section of root.sections('vm')) {
    const count = section.whole('count', 1, VMS_MAX) ?? 1
    const name = section.requiredText('name')
    const node = section.node('node', settings.nodes)
    const template = readVm(section, durationMs)
    section.finish()
    for (let i = 0; i < count; i++) {
      const own = count === 1 ? name : `${name}-${i + 1}`
      if (vms.some((vm) => vm.name === own)) throw section.bad('name', `must be unique; "${own}" is twice`)
      vms.push({ ...template, name: own, node: node ?? `node-${(vms.length % settings.nodes) + 1}` })
    }
    const keptBytes = vms.reduce((sum, vm) => sum + vm.workingSetBytes * settings.rf, 0)
    if (keptBytes > KEPT_BYTES_MAX) {
      throw section.clash(
        'working_set',
        `is too much: with RF ${settings.rf} the working sets so far are ${Math.round(keptBytes / MiB)} MiB, and all of it is kept in memory; ${KEPT_BYTES_MAX / MiB} MiB are allowed`,
      )
    }
  }
  if (vms.length > VMS_MAX) {
    throw new HitherError('BAD_SETTING', `vm is there ${vms.length} times; ${VMS_MAX} are allowed`)
  }
  return vms
}

function readVm(section: Section, durationMs: number): Omit<VmPlan, 'name' | 'node'> {
  const workload = section.requiredChoice('workload', WORKLOADS)
  const defaults = WORKLOAD_DEFAULTS[workload]
  const diskBytes = section.size('disk', MiB) ?? DISK_DEFAULT
  if (diskBytes > VDISK_BYTES_MAX) throw section.bad('disk', 'is at most 64 TiB')
  const blockBytes = section.size('block', SECTOR_BYTES) ?? defaults.blockBytes
  if (blockBytes > 4 * MiB || blockBytes % SECTOR_BYTES !== 0) {
    throw section.bad('block', `is a multiple of ${SECTOR_BYTES} bytes, at most 4 MiB`)
  }
  const workingSetBytes =
    section.size('working_set', blockBytes) ?? Math.min(diskBytes, Math.max(WORKING_SET_DEFAULT, blockBytes))
  if (workingSetBytes > diskBytes) throw section.bad('working_set', 'is not larger than the disk')
  const iops = section.number('iops', 0.01, 1_000_000)
  const depth = section.whole('queue_depth', 1, 1_024)
  const startMs = section.duration('start') ?? 0
  const stopMs = section.duration('stop') ?? durationMs
  if (stopMs <= startMs) throw section.bad('stop', 'is later than start')
  const readShare = section.number('read_share', 0, 1) ?? defaults.readShare
  const compressible = section.number('compressible', 0, 1) ?? COMPRESSIBLE_DEFAULT
  const fill = section.flag('fill') ?? true
  return {
    diskBytes,
    workload,
    blockBytes,
    iops: iops ?? (depth === undefined ? IOPS_DEFAULT : undefined),
    queueDepth: depth ?? OPEN_LOOP_DEPTH,
    workingSetBytes,
    readShare,
    compressible,
    fill,
    startMs,
    stopMs,
    trace: readTrace(section, workload),
  }
}

function readTrace(section: Section, workload: WorkloadName): VmPlan['trace'] {
  const file = section.text('trace')
  const speed = section.number('trace_speed', 0.001, 1_000_000)
  const skipMs = section.duration('trace_skip')
  if (workload !== 'trace') {
    const stray = section.has('trace') ? 'trace' : section.has('trace_speed') ? 'trace_speed' : 'trace_skip'
    if (section.has(stray)) throw section.clash(stray, 'needs workload = "trace"')
    return undefined
  }
  for (const key of ['iops', 'read_share']) {
    if (section.has(key)) throw section.clash(key, 'does not go with workload = "trace": the trace says it')
  }
  if (file === undefined) throw section.clash('trace', 'is missing: the path of a trace file')
  return { file, speed: speed ?? 1, skipMs: skipMs ?? 0 }
}
