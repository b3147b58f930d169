/** Defaults and checks of the public settings. */
import { availableParallelism, totalmem } from 'node:os'
import type { ClusterSettings } from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { GiB, MiB } from '../base/units.ts'
import type { CvmSettings } from '../cvm/settings.ts'

/** A device must hold its own tables and a few egroups. */
const DEVICE_BYTES_MIN = 64 * MiB
/** Of a CVM's cache where nothing says how much memory there is. Bytes. */
const CACHE_BYTES = 64 * MiB
/** Part of the machine's memory that one CVM's cache takes: a sixteenth for four in one process. */
const CACHE_SHARE = 1 / 64
const CACHE_BYTES_MAX = 1 * GiB

export interface ResolvedSettings extends CvmSettings {
  readonly nodes: number
  readonly rf: 1 | 2 | 3
  readonly ssdBytes: number
  readonly hddBytes: number
  readonly nodesPerBlock: number
  readonly ioDeadlineMs: number
  readonly packThreads: number
}

export function resolveSettings(settings: ClusterSettings): ResolvedSettings {
  const nodes = whole('nodes', settings.nodes ?? 4, 1, 64)
  const rf = settings.rf ?? (nodes >= 2 ? 2 : 1)
  if (rf !== 1 && rf !== 2 && rf !== 3) throw bad('rf', rf, 'is 1, 2 or 3')
  if (rf > nodes) throw bad('rf', rf, `needs as many nodes, and there are ${nodes}`)
  const leaseTtlMs = whole('leaseTtlMs', settings.leaseTtlMs ?? 2_000, 50, 600_000)
  const policy = settings.localityPolicy ?? 'readahead'
  if (!['never', 'classic', 'keep', 'readahead'].includes(policy)) {
    throw bad('localityPolicy', policy, 'is never, classic, keep or readahead')
  }
  return {
    nodes,
    rf,
    ssdBytes: whole('ssdBytes', settings.ssdBytes ?? 8 * GiB, DEVICE_BYTES_MIN, Number.MAX_SAFE_INTEGER),
    hddBytes:
      settings.hddBytes === 0
        ? 0
        : whole('hddBytes', settings.hddBytes ?? 32 * GiB, DEVICE_BYTES_MIN, Number.MAX_SAFE_INTEGER),
    nodesPerBlock: whole('nodesPerBlock', settings.nodesPerBlock ?? 1, 1, 4),
    leaseTtlMs,
    holdDownMs: whole('holdDownMs', settings.holdDownMs ?? 30_000, 0, 86_400_000),
    rebuildDelayMs: whole('rebuildDelayMs', settings.rebuildDelayMs ?? 60_000, 0, 86_400_000),
    curatorIntervalMs: whole('curatorIntervalMs', settings.curatorIntervalMs ?? 60_000, 0, 86_400_000),
    ioDeadlineMs: whole('ioDeadlineMs', settings.ioDeadlineMs ?? 60_000, 1, 86_400_000),
    cacheBytes: whole('cacheBytes', settings.cacheBytes ?? CACHE_BYTES, 0, 64 * GiB),
    mapBytes: whole('mapBytes', settings.mapBytes ?? 256 * MiB, 1 * MiB, 64 * GiB),
    localityPolicy: policy,
    packThreads: whole('packThreads', settings.packThreads ?? packThreadsHere(), 0, 64),
    // A slow copy must not hold writes for longer than a dead one: it is dropped when its node's lease would end.
    appendTimeoutMs: leaseTtlMs,
  }
}

/** What a CVM's cache may take on this machine, or of what this process may have, when that is less. Bytes. */
export function cacheBytesHere(): number {
  // 0: there is no limit, or nobody knows.
  const limit = process.constrainedMemory() || Number.POSITIVE_INFINITY
  return cacheBytesOf(Math.min(totalmem(), limit))
}

/** What a CVM's cache may take of `memoryBytes`. */
export function cacheBytesOf(memoryBytes: number): number {
  return Math.min(Math.max(Math.floor(memoryBytes * CACHE_SHARE), CACHE_BYTES), CACHE_BYTES_MAX)
}

/** The other cores, as far as one thread can keep them busy. */
function packThreadsHere(): number {
  return Math.min(3, availableParallelism() - 1)
}

function whole(name: string, value: number, least: number, most: number): number {
  if (!Number.isSafeInteger(value) || value < least || value > most) {
    throw bad(name, value, `is a whole number from ${least} to ${most}`)
  }
  return value
}

function bad(name: string, value: unknown, rule: string): HitherError {
  return new HitherError('BAD_SETTING', `setting ${name} ${rule}, not ${String(value)}`)
}
