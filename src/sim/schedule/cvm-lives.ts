/**
 * The CVMs of a simulated cluster as their hosts see them: which are kept down, and who starts them again. A CVM that
 * could not be started (its catalog was away, say) is started again after a while, as a host would.
 */
import type { NodeId } from '../../base/units.ts'
import type { SimCluster } from '../cluster.ts'
import type { Tally } from '../tally.ts'

const RESTART_EVERY_MS = 500
/** A CVM is up for so long, on the mean, before it flaps again. */
const FLAP_UP_MS = 300
/** Between two looks whether a CVM that is restarted in its turn is up. */
const LOOK_MS = 100

export class CvmLives {
  private readonly sim: SimCluster
  private readonly tally: Tally
  /** Nodes whose CVM is being kept down. */
  private readonly down = new Set<NodeId>()
  /** Those of them that are going down just now. */
  private readonly falling = new Set<NodeId>()
  private readonly paused = new Set<() => void>()
  private over = false

  constructor(sim: SimCluster, tally: Tally) {
    this.sim = sim
    this.tally = tally
  }

  /** Everything goes on; resolves when every CVM that was down is up. One that is falling is started by whoever felled it. */
  async end(): Promise<void> {
    this.over = true
    for (const resume of this.paused) resume()
    await Promise.all(
      [...this.down].filter((node) => !this.falling.has(node)).map((node) => this.start(node)),
    )
  }

  /** They go down, and come back after `forMs`; those that are down already are left alone. */
  async fail(how: 'crash' | 'hang' | 'power-loss', nodes: readonly NodeId[], forMs: number): Promise<void> {
    const standing = nodes.filter((node) => !this.down.has(node))
    for (const node of standing) {
      this.down.add(node)
      this.falling.add(node)
    }
    if (how === 'power-loss') {
      await this.sim.losePower(standing)
      // Nobody is left who could serve under a lease that a restart of the catalog ends early.
      if (nodes.length === this.sim.cluster.nodes.length) this.sim.world.catalogServer.restart()
    } else {
      const hang = how === 'hang'
      await Promise.all(
        standing.map((node) => this.sim.cluster.failCvm(node, { hang }).catch(() => undefined)),
      )
    }
    for (const node of standing) this.falling.delete(node)
    await this.wait(forMs)
    await Promise.all(standing.map((node) => this.start(node)))
  }

  async flap(node: NodeId, times: number, forMs: number): Promise<void> {
    for (let i = 0; i < times && !this.over; i++) {
      await this.fail('crash', [node], forMs)
      await this.wait(FLAP_UP_MS)
    }
  }

  async restartInTurn(forMs: number): Promise<void> {
    for (const node of this.sim.cluster.nodes) {
      if (this.over) return
      await this.fail('crash', [node], forMs)
      while (!this.over && this.isMember(node) && this.sim.cvm(node) === undefined) await this.wait(LOOK_MS)
    }
  }

  async pause(node: NodeId, forMs: number): Promise<void> {
    const resume = this.sim.cluster.pauseCvm(node)
    this.paused.add(resume)
    await this.wait(forMs)
    this.paused.delete(resume)
    resume()
  }

  async stutter(node: NodeId, ms: number, forMs: number): Promise<void> {
    const until = this.sim.loop.now + forMs
    while (!this.over && this.sim.loop.now < until && this.isMember(node)) {
      await this.pause(node, ms)
      await this.wait(ms)
    }
  }

  private async wait(ms: number): Promise<void> {
    if (!this.over) await this.sim.loop.sleep(ms)
  }

  private isMember(node: NodeId): boolean {
    return this.sim.cluster.nodes.includes(node)
  }

  private async start(node: NodeId): Promise<void> {
    if (!this.down.delete(node)) return
    // A node may be removed while it is down.
    while (this.isMember(node)) {
      try {
        await this.sim.cluster.recoverCvm(node)
        return
      } catch (error) {
        // It is up already, or it has been asked to be down again; else it is tried again.
        if (this.sim.cvm(node) !== undefined || this.down.has(node)) return
        this.tally.mark(`restart failed: ${error instanceof Error ? error.name : 'unknown'}`)
      }
      await this.sim.loop.sleep(RESTART_EVERY_MS)
    }
  }
}
