/**
 * What goes wrong on the simulated network, and how often it did. Everything may be changed at any time.
 *
 * Faults concern frames between different nodes; within a node there is no network. Chance (loss, duplication, re-order,
 * delay) is drawn when a frame is sent. A cut holds for what is sent over it, and for what would arrive over it. Lost
 * frames vanish: no `onPeerDown`, as no packet tells of it.
 */
import { HitherError } from '../../base/errors.ts'
import type { NodeId } from '../../base/units.ts'
import { SWITCHES, type SwitchName } from './network-model.ts'

/** Uniform in `min` … `max`, ms. */
export interface MsRange {
  readonly min: number
  readonly max: number
}

/**
 * Groups that do not reach each other, while nodes in none of them reach all; or one way: nothing from the nodes of
 * `from` arrives at those of `to`.
 */
export type Partition =
  | ReadonlyArray<readonly NodeId[]>
  | { readonly from: readonly NodeId[]; readonly to: readonly NodeId[] }

/**
 * Frames by what happened to them. `cut`: vanished at a partition or isolated node. `noSwitch`: vanished with both
 * switches lost. `failover`: carried by the other switch of their pair. The rest is by chance.
 */
export interface NetworkFaultCounts {
  loss: number
  duplication: number
  reorder: number
  delay: number
  cut: number
  noSwitch: number
  failover: number
}

type Cut = (from: NodeId, to: NodeId) => boolean

export class NetworkFaults {
  /** Probability that a frame vanishes. */
  loss = 0
  /** Probability that a frame arrives a second time, by a time of `reorderMs` later. */
  duplication = 0
  /** Probability that a frame is held up by a time of `reorderMs` while later ones overtake it. */
  reorder = 0
  /** Probability that a frame, and with it those behind it, is held up by a time of `delayMs`. */
  delay = 0
  /** A choice: many round trips, well under any timeout. */
  reorderMs: MsRange = { min: 0.2, max: 5 }
  /** A choice: up to the smallest retransmission timeout of Linux's TCP, 200 ms. */
  delayMs: MsRange = { min: 1, max: 200 }
  readonly injected: NetworkFaultCounts = {
    loss: 0,
    duplication: 0,
    reorder: 0,
    delay: 0,
    cut: 0,
    noSwitch: 0,
    failover: 0,
  }
  readonly #cuts = new Set<Cut>()
  readonly #lost = new Set<SwitchName>()

  /**
   * Adds a partition to those there are; returns what ends this one.
   * @throws `BAD_ARGUMENT` when a node is in two groups
   */
  partition(partition: Partition): () => void {
    if ('from' in partition) {
      const [from, to] = [new Set(partition.from), new Set(partition.to)]
      return this.#add((sender, receiver) => from.has(sender) && to.has(receiver))
    }
    const groupOf = new Map<NodeId, number>()
    for (const [group, nodes] of partition.entries()) {
      for (const node of nodes) {
        if ((groupOf.get(node) ?? group) !== group) {
          throw new HitherError(
            'BAD_ARGUMENT',
            `${node} is in two groups of the partition; give it one place`,
          )
        }
        groupOf.set(node, group)
      }
    }
    return this.#add((sender, receiver) => {
      const [one, other] = [groupOf.get(sender), groupOf.get(receiver)]
      return one !== undefined && other !== undefined && one !== other
    })
  }

  /** Cuts the way between two nodes, or only that from the first to the second. Returns what ends it. */
  cut(from: NodeId, to: NodeId, oneWay = false): () => void {
    return this.partition(oneWay || from === to ? { from: [from], to: [to] } : [[from], [to]])
  }

  /** Cuts the node off from all others, both ways. Returns what ends it. */
  isolate(node: NodeId): () => void {
    return this.#add((sender, receiver) => sender === node || receiver === node)
  }

  /** Pairs on this switch (in every rack) go over the other, with half of the bandwidth. No frame is lost by it. */
  loseSwitch(name: SwitchName): void {
    this.#lost.add(name)
  }

  restoreSwitch(name: SwitchName): void {
    this.#lost.delete(name)
  }

  /** No more faults by chance. Cuts and lost switches stay. */
  calm(): void {
    this.loss = 0
    this.duplication = 0
    this.reorder = 0
    this.delay = 0
  }

  /** Ends every fault. Counts stay. */
  heal(): void {
    this.calm()
    this.#cuts.clear()
    this.#lost.clear()
  }

  isCut(from: NodeId, to: NodeId): boolean {
    for (const cut of this.#cuts) if (cut(from, to)) return true
    return false
  }

  /** The switch that carries what belongs on `home`, or `undefined` when both are lost. */
  carrier(home: SwitchName): SwitchName | undefined {
    if (!this.#lost.has(home)) return home
    return SWITCHES.find((name) => !this.#lost.has(name))
  }

  /** Part of a lane's bandwidth there is: with one switch lost, its pairs and those of the other share the ports. */
  get bandwidthShare(): number {
    return this.#lost.size === 0 ? 1 : 0.5
  }

  #add(cut: Cut): () => void {
    this.#cuts.add(cut)
    return () => {
      this.#cuts.delete(cut)
    }
  }
}
