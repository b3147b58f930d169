/**
 * What a what-if found out: plain data, the same that `--json` prints. Times are virtual milliseconds since the load
 * began, sizes bytes.
 */
import type { ErrorCode } from '../../base/errors.ts'
import type { NodeId } from '../../base/units.ts'

/**
 * How an answer came about. `readRemote`: at least one block had to wait for the network. `readRedirected`: the host's
 * path led to a peer, because its own CVM was down.
 */
export const CLASSES = ['readLocal', 'readRemote', 'readRedirected', 'write'] as const
export type AnswerClass = (typeof CLASSES)[number]

/** Percentiles of the time from the moment the VM wanted a request to its answer. */
export interface LatencySummary {
  readonly count: number
  readonly meanMs: number
  readonly p50Ms: number
  readonly p90Ms: number
  readonly p99Ms: number
  readonly p999Ms: number
  readonly maxMs: number
}

/** `undefined` for a class without an answer. */
export type Latencies = Readonly<Record<AnswerClass, LatencySummary | undefined>>

/** Bytes of one stretch of time. */
export interface Traffic {
  /** Read from the reader's own node. */
  readonly localBytes: number
  /** Red: reads that waited for another node. */
  readonly redBytes: number
  /** Green: brought to the node that reads, to stay. */
  readonly greenBytes: number
  /** Purple: answered over a redirected path, reads and writes. */
  readonly purpleBytes: number
  readonly writtenBytes: number
  /** Moves, rebuilds, compaction and tiering. */
  readonly backgroundBytes: number
  /** Everything on the network between nodes. */
  readonly externalBytes: number
}

/** At one moment. */
export interface Space {
  readonly logicalBytes: number
  readonly storedBytes: number
  readonly partialBytes: number
  readonly underReplicatedBytes: number
  readonly ssd: { readonly usedBytes: number; readonly sizeBytes: number }
  readonly hdd: { readonly usedBytes: number; readonly sizeBytes: number }
  readonly nodes: Readonly<Record<NodeId, { readonly ssdBytes: number; readonly hddBytes: number }>>
}

/** One point of the curves: what happened from `fromMs` to `toMs`, and the space at `toMs`. */
export interface Window {
  readonly fromMs: number
  readonly toMs: number
  readonly latency: Latencies
  readonly traffic: Traffic
  readonly space: Space
}

/** From one event of the plan (or the start) to the next. */
export interface Phase {
  readonly fromMs: number
  readonly toMs: number
  readonly label: string
  readonly latency: Latencies
  readonly traffic: Traffic
}

export interface EventOutcome {
  readonly atMs: number
  readonly what: string
  /** How long the call took; `undefined` when the run ended first. */
  readonly tookMs: number | undefined
  readonly error: { readonly code: ErrorCode; readonly message: string } | undefined
}

/** The longest time without an answer that a VM had around an event. */
export interface Pause {
  readonly event: string
  readonly atMs: number
  readonly vm: string
  /** The VM ran on the node that the event hit. */
  readonly hit: boolean
  readonly pauseMs: number
  /** The longest time that one request took; what is not answered yet does not count. */
  readonly slowestMs: number
  /** `false`: it was still waiting when the run ended. */
  readonly ended: boolean
}

/** How long bytes had fewer copies than they should after an event. */
export interface FullRf {
  readonly event: string
  readonly atMs: number
  readonly peakBytes: number
  /** From the event on; 0 when nothing was ever short, `undefined` when the run ended first. */
  readonly restoredMs: number | undefined
}

export interface VmOutcome {
  readonly vm: string
  readonly node: NodeId
  readonly requests: number
  readonly readBytes: number
  readonly writtenBytes: number
  readonly failed: ReadonlyArray<{ readonly code: ErrorCode; readonly count: number }>
  /** Wanted, but not answered when the run ended. */
  readonly waiting: number
}

export interface Report {
  readonly title: string
  readonly seed: number
  readonly nodes: number
  readonly rf: number
  readonly nic: string
  readonly durationMs: number
  /** Less than `durationMs` when the run was interrupted. */
  readonly ranMs: number
  readonly interrupted: boolean
  /** Of everything that happened in the simulated world: equal for two runs of one plan. */
  readonly hash: string
  readonly latency: Latencies
  readonly traffic: Traffic
  readonly phases: readonly Phase[]
  readonly windows: readonly Window[]
  readonly events: readonly EventOutcome[]
  readonly pauses: readonly Pause[]
  readonly fullRf: readonly FullRf[]
  readonly vms: readonly VmOutcome[]
}
