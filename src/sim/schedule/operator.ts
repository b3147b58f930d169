/** Does to a simulated cluster what a schedule says, and ends each fault after its time. */
import type { NodeId } from '../../base/units.ts'
import type { ChaosSettings } from '../../platform/faults/chaos-device.ts'
import type { SimCluster } from '../cluster.ts'
import type { Tally } from '../tally.ts'
import type { Fault, TimedFault } from './fault.ts'

/** A CVM that could not be started (its catalog was away, say) is started again after this time, as a host would. */
const RESTART_EVERY_MS = 500

export class Operator {
  private readonly sim: SimCluster
  private readonly tally: Tally
  /** Nodes whose CVM is being kept down. */
  private readonly down = new Set<NodeId>()
  /** Of these, the ones that are just going down: whoever starts one now would have its power cut under the new CVM. */
  private readonly falling = new Set<NodeId>()
  private readonly jobs = new Map<Promise<unknown>, string>()
  private readonly isolated = new Set<NodeId>()
  private readonly onFault: (fault: TimedFault) => void
  private over = false

  /** @param onFault hears of each fault when it begins. */
  constructor(sim: SimCluster, tally: Tally, onFault: (fault: TimedFault) => void) {
    this.onFault = onFault
    this.sim = sim
    this.tally = tally
  }

  /** Resolves when the last fault has begun. */
  async run(schedule: readonly TimedFault[]): Promise<void> {
    const { loop } = this.sim
    const start = loop.now
    for (const { at, fault } of schedule) {
      if (start + at > loop.now) await loop.sleep(start + at - loop.now)
      this.tally.fault(fault.do)
      this.onFault({ at, fault })
      this.begin(fault)
    }
  }

  /** Ends every fault: all is well again, as far as an operator can see to it. Dead devices stay dead. */
  async end(): Promise<void> {
    this.over = true
    const { world } = this.sim
    world.network.faults.heal()
    world.catalogServer.faults.down = false
    for (const node of this.isolated) world.catalogServer.faults.heal(node)
    for (const { chaos } of world.disks.values()) calm(chaos)
    for (const node of [...this.down]) if (!this.falling.has(node)) this.start(node)
    // One that was falling is started by the job that made it fall.
    while (this.jobs.size > 0) await Promise.all(this.jobs.keys())
  }

  /** What was asked for, and is not done. */
  get pending(): Iterable<string> {
    return this.jobs.values()
  }

  private begin(fault: Fault): void {
    const { world, cluster } = this.sim
    const { network, catalogServer: catalog } = world
    switch (fault.do) {
      case 'crash':
      case 'hang':
      case 'power-loss':
        this.job(fault.do, this.fail(fault.do, [fault.node], fault.forMs))
        return
      case 'blackout':
        this.job(fault.do, this.fail('power-loss', cluster.nodes, fault.forMs))
        return
      case 'cut':
        this.for(fault.forMs, network.faults.cut(fault.from, fault.to, fault.oneWay))
        return
      case 'isolate':
        this.for(fault.forMs, network.faults.isolate(fault.node))
        return
      case 'isolate-from-catalog':
        catalog.faults.isolate(fault.node)
        this.isolated.add(fault.node)
        this.for(fault.forMs, () => catalog.faults.heal(fault.node))
        return
      case 'catalog-down':
        catalog.faults.down = true
        this.for(fault.forMs, () => {
          catalog.faults.down = false
        })
        return
      case 'lose-switch':
        network.faults.loseSwitch('tor-a')
        this.for(fault.forMs, () => network.faults.restoreSwitch('tor-a'))
        return
      case 'bad-network':
        network.faults.loss = fault.loss
        network.faults.duplication = fault.duplication
        network.faults.reorder = fault.reorder
        this.for(fault.forMs, () => network.faults.calm())
        return
      case 'slow-device':
      case 'rot':
      case 'misdirect':
      case 'lose-writes':
      case 'bad-sectors':
        this.damage(fault)
        return
      case 'dead-device':
        this.job(fault.do, cluster.failDevice(`${fault.node}.ssd0`))
        return
      case 'drift':
        world.clockOf(fault.node).drift(fault.partsPerMillion)
        return
      case 'step-clock':
        world.clockOf(fault.node).step(fault.ms)
        return
      case 'migrate':
        if (cluster.nodes.includes(fault.to))
          this.job(fault.do, cluster.migrateVm(fault.vm, { to: fault.to }))
        return
      case 'curator':
        this.job(fault.do, cluster.runCurator())
        return
      case 'add-node':
        this.job(fault.do, cluster.addNode())
        return
      case 'remove-node':
        this.job(fault.do, cluster.removeNode(fault.node))
        return
    }
  }

  private damage(fault: Fault & { readonly node: NodeId; readonly forMs: number }): void {
    for (const disk of this.sim.world.disks.values()) {
      const { chaos } = disk
      if (disk.node !== fault.node) continue
      if (fault.do === 'rot') chaos.bitRot = fault.share
      if (fault.do === 'misdirect') chaos.misdirectedWrite = fault.share
      if (fault.do === 'lose-writes') chaos.lostWrite = fault.share
      if (fault.do === 'bad-sectors') chaos.latentSectorError = fault.share
      if (fault.do === 'slow-device') {
        chaos.slow = 1
        chaos.slowMs = { min: fault.ms / 2, max: fault.ms }
      }
      this.for(fault.forMs, () => calm(chaos))
    }
  }

  private async fail(
    how: 'crash' | 'hang' | 'power-loss',
    nodes: readonly NodeId[],
    forMs: number,
  ): Promise<void> {
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
    if (!this.over) await this.sim.loop.sleep(forMs)
    for (const node of standing) this.start(node)
  }

  private start(node: NodeId): void {
    if (!this.down.delete(node)) return
    this.job(`start of ${node}`, this.startAgain(node))
  }

  private async startAgain(node: NodeId): Promise<void> {
    for (;;) {
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

  private for(ms: number, end: () => void): void {
    this.sim.loop.after(ms, () => {
      if (!this.over) end()
    })
  }

  /** What an operator asks for may be refused at such a moment. */
  private job(what: string, work: Promise<unknown>): void {
    const done: Promise<unknown> = work
      .catch((error: unknown) =>
        this.tally.mark(
          `refused: ${error instanceof Error ? ((error as { code?: string }).code ?? error.message) : error}`,
        ),
      )
      .finally(() => this.jobs.delete(done))
    this.jobs.set(done, `${what} since ${this.sim.loop.now.toFixed(0)} ms`)
  }
}

function calm(chaos: ChaosSettings): void {
  Object.assign(chaos, { latentSectorError: 0, bitRot: 0, misdirectedWrite: 0, lostWrite: 0, slow: 0 })
}
