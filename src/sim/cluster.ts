/**
 * A simulated cluster: the public API over the unchanged engine, in virtual time. Its promises resolve as virtual time
 * passes, which it does as fast as the machine can.
 */
import type { ClusterSettings } from '../api.ts'
import type { NodeId } from '../base/units.ts'
import type { Cvm } from '../cvm/cvm.ts'
import { type EmbeddedCluster, openIn } from '../embedded/cluster.ts'
import { resolveSettings } from '../embedded/settings.ts'
import type { ModelOverride } from '../platform/sim/device-models.ts'
import type { SimLoop } from '../platform/sim/loop.ts'
import { ONE_GBE, TEN_GBE } from '../platform/sim/network-model.ts'
import { SimWorld } from './world.ts'

export interface SimClusterOptions {
  /** Of everything that is left to chance. Equal seeds, equal runs. */
  readonly seed: number
  readonly settings?: ClusterSettings
  readonly ssd?: ModelOverride
  readonly hdd?: ModelOverride
  /** Default 10 GbE. */
  readonly nic?: '10GbE' | '1GbE'
  /** Devices say that they are sparse, as files do. Default `false`. */
  readonly sparse?: boolean
}

/** @throws `BAD_SETTING` */
export async function openSimCluster(options: SimClusterOptions): Promise<SimCluster> {
  const world = new SimWorld({
    seed: options.seed,
    nic: options.nic === '1GbE' ? ONE_GBE : TEN_GBE,
    sparse: options.sparse ?? false,
    ...(options.ssd === undefined ? {} : { ssd: options.ssd }),
    ...(options.hdd === undefined ? {} : { hdd: options.hdd }),
  })
  return new SimCluster(
    world,
    await openIn(world, `sim:${options.seed}`, resolveSettings(options.settings ?? {})),
  )
}

export class SimCluster {
  readonly world: SimWorld
  readonly cluster: EmbeddedCluster

  constructor(world: SimWorld, cluster: EmbeddedCluster) {
    this.world = world
    this.cluster = cluster
  }

  get loop(): SimLoop {
    return this.world.loop
  }

  /** The CVM of a node, for checkers; `undefined` while it is down. */
  cvm(node: NodeId): Cvm | undefined {
    return this.cluster.cvm(node)
  }

  /**
   * The nodes lose their power: their CVMs die, and their devices forget what was not synced; what is being written or
   * synced at that moment does not come to its end. A node whose CVM is just starting, or is not up, is left alone.
   */
  async losePower(nodes: readonly NodeId[]): Promise<void> {
    await Promise.all(
      nodes.map(async (node) => {
        if (this.cvm(node) === undefined) return
        const died = this.cluster.failCvm(node)
        // Dead within the call, so that it cannot see its devices go. Later only when it is being ended already.
        const cut = this.cvm(node) === undefined
        if (cut) this.world.cutPower(node)
        try {
          await died
        } catch {
          return
        }
        if (!cut) this.world.cutPower(node)
      }),
    )
  }

  /** Ends the cluster and its world, as a clean stop. */
  close(): Promise<void> {
    return this.cluster.close()
  }
}
