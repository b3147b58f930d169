/**
 * Tells for each answer how it came about (report.ts, `AnswerClass`). The engine counts for each vDisk the bytes whose
 * read waited for another node, at the same moment as it answers; so the growth of that counter since the vDisk's last
 * answer belongs to this one.
 */
import type { ClusterEvent, NodeStatus } from '../../api.ts'
import type { NodeId, VDiskId } from '../../base/units.ts'
import type { SimCluster } from '../cluster.ts'
import type { Whereabouts } from './pauses.ts'
import type { AnswerClass } from './report.ts'

interface Seen {
  /** The counters belong to one stay of the vDisk with one owner: this object tells them apart. */
  counters: object
  remoteBytes: number
}

export class Origins {
  readonly #sim: SimCluster
  readonly #whereabouts: Whereabouts
  /** Where the path of a host leads, when it is not its own CVM. */
  readonly #redirects = new Map<NodeId, NodeId>()
  readonly #seen = new Map<VDiskId, Seen>()

  constructor(sim: SimCluster, whereabouts: Whereabouts) {
    this.#sim = sim
    this.#whereabouts = whereabouts
  }

  /** Where the paths lead now; from here on, events tell. */
  begin(nodes: readonly NodeStatus[]): void {
    for (const { node, path } of nodes) if (path !== node) this.#redirects.set(node, path)
  }

  onEvent(event: ClusterEvent): void {
    if (event.type !== 'path-switched') return
    if (event.to === event.host) this.#redirects.delete(event.host)
    else this.#redirects.set(event.host, event.to)
  }

  isRedirected(vm: string): boolean {
    const host = this.#whereabouts.nodeOf(vm)
    return host !== undefined && this.#redirects.has(host)
  }

  /** Of an answer that has come in this moment. */
  classify(vm: string, vdisk: VDiskId, write: boolean): AnswerClass {
    const remote = this.#waitedForNetwork(vm, vdisk)
    if (write) return 'write'
    if (this.isRedirected(vm)) return 'readRedirected'
    return remote ? 'readRemote' : 'readLocal'
  }

  #waitedForNetwork(vm: string, vdisk: VDiskId): boolean {
    const host = this.#whereabouts.nodeOf(vm)
    const counters = host === undefined ? undefined : this.#sim.cvm(host)?.ownership.get(vdisk)?.counters
    // Its own CVM does not own the vDisk: it forwarded the request to the one that does.
    if (counters === undefined) return true
    const seen = this.#seen.get(vdisk)
    const before = seen?.counters === counters ? seen.remoteBytes : 0
    this.#seen.set(vdisk, { counters, remoteBytes: counters.remoteBytes })
    return counters.remoteBytes > before
  }
}
