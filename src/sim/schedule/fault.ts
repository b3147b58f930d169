/**
 * The language of schedules: what may happen to a cluster, as plain data, so that a schedule can be drawn from a seed,
 * written in a file, printed, and shortened to what a failure needs.
 *
 * WHAT A CLUSTER MUST SURVIVE, without a wrong byte and with all IO answered once the fault is over:
 *   any number of CVMs that crash, hang, or lose their power (un-synced writes lost, torn, re-ordered), one after the
 *   other or all at once; frames lost, doubled, late, overtaken; nodes cut off from each other one way or both, or from
 *   the catalog; the catalog gone for a time (its leases then get their whole time again, as after an election in etcd),
 *   or gone with all nodes (every lease ends); CVMs that flap, that stand still and go on as if nothing had been, that
 *   are restarted one after the other; a switch lost; clocks that drift and jump; devices that are slow, or full for a
 *   time; nodes added and removed, moves, snapshots, clones, deletes and background scans at any of these moments; and
 *   lasting damage (rot, unreadable sectors, lost or misdirected writes, a dead device) on the devices of up to RF-1
 *   nodes, as long as another valid copy can be reached.
 *
 * WHAT IT MUST REPORT, never hide: all copies of an egroup damaged (`CHECKSUM_MISMATCH`), all of them away
 * (`DATA_UNAVAILABLE`), too few nodes for RF (`NO_REPLICAS`), no space (`NO_SPACE`).
 *
 * A lost write is lasting damage that nothing shows until the copy is read: a device that lied. So a plan that has it
 * keeps the other nodes up (draw-faults.ts): with RF 2, what only a lying device and a node that is away hold is held by nobody.
 */
import type { NodeId } from '../../base/units.ts'
import type { SwitchName } from '../../platform/sim/network-model.ts'

export type Fault =
  | { readonly do: 'crash' | 'hang' | 'power-loss'; readonly node: NodeId; readonly forMs: number }
  /** The CVM stands still, and goes on where it was: as a process under SIGSTOP, or a host that swaps. */
  | { readonly do: 'pause'; readonly node: NodeId; readonly forMs: number }
  /** It stands still for `ms`, runs for as long, and so on. */
  | { readonly do: 'slow-cvm'; readonly node: NodeId; readonly ms: number; readonly forMs: number }
  /** Crashes and comes back, some times in a row; `forMs`: how long it is down each time. */
  | { readonly do: 'flap'; readonly node: NodeId; readonly times: number; readonly forMs: number }
  /** The CVM of each node in turn, the next one when the last is up again; `forMs`: how long each is down. */
  | { readonly do: 'rolling-restart'; readonly forMs: number }
  | { readonly do: 'blackout'; readonly forMs: number }
  | {
      readonly do: 'cut'
      readonly from: NodeId
      readonly to: NodeId
      readonly oneWay: boolean
      readonly forMs: number
    }
  | { readonly do: 'isolate' | 'isolate-from-catalog'; readonly node: NodeId; readonly forMs: number }
  | { readonly do: 'catalog-down'; readonly forMs: number }
  | { readonly do: 'lose-switch'; readonly switch: SwitchName; readonly forMs: number }
  | {
      readonly do: 'bad-network'
      readonly loss: number
      readonly duplication: number
      readonly reorder: number
      readonly forMs: number
    }
  | { readonly do: 'slow-device'; readonly node: NodeId; readonly ms: number; readonly forMs: number }
  | {
      readonly do: 'rot' | 'misdirect' | 'lose-writes' | 'bad-sectors'
      readonly node: NodeId
      readonly share: number
      readonly forMs: number
    }
  | { readonly do: 'full-device'; readonly node: NodeId; readonly forMs: number }
  | { readonly do: 'dead-device'; readonly node: NodeId }
  | { readonly do: 'drift'; readonly node: NodeId; readonly partsPerMillion: number }
  | { readonly do: 'step-clock'; readonly node: NodeId; readonly ms: number }
  | { readonly do: 'migrate'; readonly vm: string; readonly to: NodeId }
  | { readonly do: 'curator' }
  /** A snapshot with a name, which is read again later; skipped where the plan has no snapshots. */
  | { readonly do: 'snapshot'; readonly disk: string }
  | { readonly do: 'add-node' }
  | { readonly do: 'remove-node'; readonly node: NodeId }

export interface TimedFault {
  /** Virtual ms after the workload has begun. */
  readonly at: number
  readonly fault: Fault
}

/** One line for a person. */
export function describeFault({ at, fault }: TimedFault): string {
  const { do: what, ...rest } = fault
  const details = Object.entries(rest).map(
    ([key, value]) => `${key}=${typeof value === 'number' ? round(value) : value}`,
  )
  return [`${round(at)} ms`, what, ...details].join('  ')
}

function round(value: number): number {
  return Math.round(value * 1000) / 1000
}
