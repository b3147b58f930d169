/** Does to a simulated cluster what a schedule says, and ends each fault after its time. */
import type { NodeId } from '../../base/units.ts'
import type { ChaosSettings } from '../../platform/faults/chaos-device.ts'
import type { SimCluster } from '../cluster.ts'
import type { Tally } from '../tally.ts'
import { CvmLives } from './cvm-lives.ts'
import type { Fault, TimedFault } from './fault.ts'

export class Operator {
  private readonly sim: SimCluster
  private readonly tally: Tally
  private readonly lives: CvmLives
  private readonly jobs = new Map<Promise<unknown>, string>()
  private readonly isolated = new Set<NodeId>()
  private readonly snapshot: (disk: string) => Promise<void>
  private readonly onFault: (fault: TimedFault) => void
  private over = false

  /**
   * @param snapshot takes one of the disk, and knows what is in it.
   * @param onFault hears of each fault when it begins.
   */
  constructor(
    sim: SimCluster,
    tally: Tally,
    snapshot: (disk: string) => Promise<void>,
    onFault: (fault: TimedFault) => void,
  ) {
    this.snapshot = snapshot
    this.onFault = onFault
    this.sim = sim
    this.tally = tally
    this.lives = new CvmLives(sim, tally)
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
    this.job('end', this.lives.end())
    await Promise.all(this.jobs.keys())
  }

  /** What was asked for, and is not done. */
  get pending(): Iterable<string> {
    return this.jobs.values()
  }

  /** Whether somebody waits for a scan, or for a node to be emptied. */
  get hasScans(): boolean {
    return [...this.jobs.values()].some((job) => job.startsWith('curator') || job.startsWith('remove-node'))
  }

  private begin(fault: Fault): void {
    const { world, cluster } = this.sim
    const { network, catalogServer: catalog } = world
    switch (fault.do) {
      case 'crash':
      case 'hang':
      case 'power-loss':
        this.job(fault.do, this.lives.fail(fault.do, [fault.node], fault.forMs))
        return
      case 'blackout':
        this.job(fault.do, this.lives.fail('power-loss', cluster.nodes, fault.forMs))
        return
      case 'pause':
        this.job(fault.do, this.lives.pause(fault.node, fault.forMs))
        return
      case 'slow-cvm':
        this.job(fault.do, this.lives.stutter(fault.node, fault.ms, fault.forMs))
        return
      case 'flap':
        this.job(fault.do, this.lives.flap(fault.node, fault.times, fault.forMs))
        return
      case 'rolling-restart':
        this.job(fault.do, this.lives.restartInTurn(fault.forMs))
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
        network.faults.loseSwitch(fault.switch)
        this.for(fault.forMs, () => network.faults.restoreSwitch(fault.switch))
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
      case 'full-device':
        this.job(fault.do, this.fill(fault.node, fault.forMs))
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
      case 'snapshot':
        this.job(fault.do, this.snapshot(fault.disk))
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

  /** A device that could not write its table of copies takes no change until its CVM starts again (kv-log.ts). */
  private async fill(node: NodeId, forMs: number): Promise<void> {
    const own = [...this.sim.world.disks.values()].filter((disk) => disk.node === node)
    for (const { chaos } of own) chaos.full = true
    if (!this.over) await this.sim.loop.sleep(forMs)
    for (const { chaos } of own) chaos.full = false
    await this.lives.fail('crash', [node], 0)
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
  Object.assign(chaos, {
    latentSectorError: 0,
    bitRot: 0,
    misdirectedWrite: 0,
    lostWrite: 0,
    slow: 0,
    full: false,
  })
}
