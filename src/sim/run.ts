/**
 * One run: a plan carried out on a simulated cluster, with every checker on.
 *
 *   1. the cluster opens, the disks are made, their clients start
 *   2. the operator does what the schedule says
 *   3. every fault ends; the clients stop; what they have under way has to end within a bound    (progress)
 *   4. background scans until RF is whole again, within a bound                                   (progress)
 *   5. settled: copies, failure domains, slot by slot                                             (settled.ts)
 *   6. every cell is read, and every snapshot that was kept                                       (register.ts)
 *   7. all disks and snapshots are deleted; after the scans no byte may be left                   (space.ts)
 * Throughout: reads against the register model, owners (owners.ts), replay positions (roots.ts), the
 * directory (directory.ts), copies (sealed.ts, copies.ts), errors of unknown kind.
 */
import { asHitherError } from '../base/errors.ts'
import type { EgroupId } from '../base/units.ts'
import { CopyCheck } from './check/copies.ts'
import { DirectoryCheck } from './check/directory.ts'
import { MoveCheck } from './check/moves.ts'
import { OwnerCheck } from './check/owners.ts'
import { RootCheck } from './check/roots.ts'
import { grownCopies } from './check/sealed.ts'
import { settledFaults } from './check/settled.ts'
import { leftovers } from './check/space.ts'
import { openSimCluster, type SimCluster } from './cluster.ts'
import { describeFault } from './schedule/fault.ts'
import { Operator } from './schedule/operator.ts'
import type { Plan } from './schedule/plan.ts'
import { Tally } from './tally.ts'
import { DiskLoad } from './workload/disk-load.ts'
import { Library } from './workload/library.ts'

/** After the last fault: requests have ended, and RF is whole again, within these times. Virtual ms. */
const ANSWERS_WITHIN_MS = 120_000
/** A reclaim whose question was lost asks again after 300 s (curator/reclaim.ts), and there are two of it in a scan. */
const JOBS_WITHIN_MS = 1_200_000
/** An unlisted copy may stay for 300 s (curator/unlisted.ts), and is looked for now and then. */
const WHOLE_WITHIN_MS = 900_000
const OWNER_LOOK_MS = 50
/** Looks at every copy, so less often. */
const COPIES_LOOK_MS = 500
const DAMAGE: ReadonlySet<string> = new Set(['rot', 'bad-sectors', 'misdirect', 'lose-writes'])
/** A run that needs more virtual time than this is stuck. */
const RUN_MAX_MS = 7_200_000
/** No more is told of one run. */
const VIOLATIONS_MAX = 10

export interface RunResult {
  readonly seed: number
  /** Empty: all invariants held. */
  readonly violations: readonly string[]
  readonly tally: Tally
  readonly virtualMs: number
  /** Of all that happened: two runs of one plan have the same. */
  readonly hash: string
  /** It was ended before its end: what it did up to there proves nothing. */
  readonly interrupted: boolean
}

/**
 * @param trace hears of every event and fault, a line each.
 * @param signal ends the run where it is.
 */
export async function runPlan(
  plan: Plan,
  trace?: (line: string) => void,
  signal?: AbortSignal,
): Promise<RunResult> {
  const violations: string[] = []
  const tally = new Tally()
  let sim: SimCluster | undefined
  const report = (what: string): void => {
    trace?.(`${at(sim)} VIOLATION ${what}`)
    if (violations.length < VIOLATIONS_MAX && !violations.includes(what)) violations.push(what)
  }
  let interrupt = (): void => {}
  const interrupted = new Promise<void>((resolve) => {
    interrupt = resolve
  })
  signal?.addEventListener('abort', interrupt)
  const stray = (reason: unknown): void => report(`crash: ${describe(reason)}`)
  process.on('unhandledRejection', stray)
  process.on('uncaughtException', stray)
  const { seed, settings, sparse = false } = plan
  try {
    sim = await openSimCluster({ seed, settings, sparse })
    const { loop } = sim
    const body = new Run(plan, sim, tally, report, trace)
      .all()
      .catch((error: unknown) => report(brokenBy(error)))
    await Promise.race([
      body,
      interrupted,
      loop.sleep(plan.durationMs + RUN_MAX_MS).then(() => report('progress: the run does not end')),
    ])
  } catch (error) {
    report(`crash: the cluster does not open: ${describe(error)}`)
  } finally {
    sim?.loop.stop()
    // What was rejected last is told in the next turn.
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', stray)
    process.off('uncaughtException', stray)
    signal?.removeEventListener('abort', interrupt)
  }
  return {
    seed: plan.seed,
    violations,
    tally,
    virtualMs: sim?.loop.now ?? 0,
    hash: sim?.loop.hash ?? '',
    interrupted: signal?.aborted === true,
  }
}

/** Something did not end in time; the message is the violation. */
class Stuck extends Error {}

class Run {
  private readonly plan: Plan
  /** Devices are damaged: copies may be gone. */
  private readonly damage: boolean
  /** Egroups of which some copy was completed from a partial one. */
  private readonly localised = new Set<EgroupId>()
  private readonly sim: SimCluster
  private readonly tally: Tally
  private readonly report: (what: string) => void
  private readonly trace: ((line: string) => void) | undefined
  private readonly loads: DiskLoad[] = []
  private operator: Operator | undefined
  /** The faults are over; scans are asked for. */
  private settling = false

  constructor(
    plan: Plan,
    sim: SimCluster,
    tally: Tally,
    report: (what: string) => void,
    trace: ((line: string) => void) | undefined,
  ) {
    this.trace = trace
    this.plan = plan
    this.damage = plan.faults.some(({ fault }) => DAMAGE.has(fault.do))
    this.sim = sim
    this.tally = tally
    this.report = report
  }

  async all(): Promise<void> {
    const { sim, plan, tally, report } = this
    const { loop, world } = sim
    const jumps = plan.faults.some(({ fault }) => fault.do === 'step-clock')
    const moves = new MoveCheck(sim, !jumps, () => this.isAsked(), report)
    void this.listen(moves)
    const owners = new OwnerCheck(sim, report)
    const roots = new RootCheck(report)
    const directory = new DirectoryCheck(roots, report)
    world.catalogServer.history = ({ key, value }) => {
      owners.changed(key, value)
      moves.changed(key, value)
      roots.changed(key, value)
      directory.changed(key, value)
    }
    this.every(OWNER_LOOK_MS, () => {
      owners.look()
      moves.look()
    })
    const copies = new CopyCheck(sim, directory, roots)
    // Damage takes copies away, too: a lost write may be that of the table that knows of one.
    this.every(COPIES_LOOK_MS, () => {
      grownCopies(sim, this.localised).forEach(report)
      if (!this.damage) copies.look().forEach(report)
    })
    const deps = { loop, random: world.chance(5), tally, onViolation: report }
    for (const disk of plan.disks) {
      const handle = await sim.cluster.createVDisk(disk.name, {
        size: disk.cells * 512,
        vm: disk.vm,
        node: disk.node,
      })
      this.loads.push(new DiskLoad(disk, handle, DiskLoad.modelOf(disk), deps))
    }
    const library = new Library(sim, this.loads, deps)
    for (const load of this.loads) load.start()
    if (plan.snapshots) library.start()
    const operator = new Operator(
      sim,
      tally,
      async (disk) => {
        if (plan.snapshots) await library.snapshot(disk)
      },
      (fault) => this.trace?.(`${at(sim)} FAULT ${describeFault(fault)}`),
    )
    this.operator = operator
    const begun = loop.now
    await operator.run(plan.faults)
    await loop.sleep(Math.max(0, begun + plan.durationMs - loop.now))
    const ended = operator.end()
    this.settling = true
    await this.within(
      ANSWERS_WITHIN_MS,
      () => this.loads.flatMap((load) => [...load.underWay]),
      async () => {
        await library.stop()
        await Promise.all(this.loads.map((load) => load.stop()))
      },
    )
    await this.within(
      JOBS_WITHIN_MS,
      () => operator.pending,
      () => ended,
    )
    await this.settle()
    for (const load of this.loads) await load.readAll()
    await library.readKept()
    if (plan.deleteAll) await this.deleteAll()
    await this.within(
      ANSWERS_WITHIN_MS,
      () => 'close',
      () => sim.close(),
    )
  }

  private isAsked(): boolean {
    return this.settling || this.operator?.hasScans === true
  }

  /** Scans until the cluster is whole. */
  private async settle(): Promise<void> {
    const { loop, cluster } = this.sim
    const deadline = loop.now + WHOLE_WITHIN_MS
    for (
      let waitMs = (this.plan.settings.holdDownMs ?? 0) + (this.plan.settings.rebuildDelayMs ?? 0);
      ;
      waitMs *= 2
    ) {
      await loop.sleep(waitMs)
      let faults: string[]
      try {
        await cluster.runCurator()
        faults = await settledFaults(this.sim)
      } catch (error) {
        faults = [describe(error)]
      }
      if (faults.length === 0) return
      if (loop.now > deadline) {
        for (const fault of faults.slice(0, 5)) this.report(`settled: ${fault}`)
        return
      }
    }
  }

  private async deleteAll(): Promise<void> {
    const { cluster, loop } = this.sim
    for (const load of this.loads) await load.disk.close()
    for (const { name, readOnly } of await cluster.listVDisks()) {
      if (readOnly) continue
      for (const snapshot of await cluster.listSnapshots(name))
        await cluster.deleteSnapshot(name, snapshot.name)
      await cluster.deleteVDisk(name)
    }
    const deadline = loop.now + WHOLE_WITHIN_MS
    for (let waitMs = 5_000; ; waitMs *= 2) {
      await cluster.runCurator().catch(() => undefined)
      const left = leftovers(this.sim)
      if (left.length === 0) return
      if (loop.now > deadline) {
        for (const what of left.slice(0, 5)) this.report(`space: ${what}`)
        return
      }
      await loop.sleep(waitMs)
    }
  }

  private every(ms: number, look: () => void): void {
    this.sim.loop.after(ms, () => {
      look()
      this.every(ms, look)
    })
  }

  private async within(
    ms: number,
    pending: () => Iterable<string>,
    work: () => Promise<void>,
  ): Promise<void> {
    let done = false
    const late = this.sim.loop.sleep(ms).then(() => {
      if (!done)
        throw new Stuck(
          `progress: ${ms} virtual ms after the last fault this is not done: ${[...pending()].join('; ')}`,
        )
    })
    try {
      await Promise.race([work(), late])
    } finally {
      done = true
    }
  }

  /** Events are marks; an error of unknown kind is a bug. */
  private async listen(moves: MoveCheck): Promise<void> {
    for await (const event of this.sim.cluster.events()) {
      this.tally.event(event)
      moves.event(event)
      if (this.trace !== undefined) {
        const { at: _at, time: _time, type, ...rest } = event
        this.trace(`${at(this.sim)} ${type} ${JSON.stringify(rest)}`)
      }
      if (event.type === 'localised') this.localised.add(event.egroup)
      if (event.type === 'cvm-started' && event.lostCopies > 0 && !this.damage) {
        this.report(
          `copies: ${event.node} started without ${event.lostCopies} copies that it had acknowledged`,
        )
      }
      if (event.type === 'error' && (event.code === 'INTERNAL' || this.plan.faults.length === 0)) {
        this.report(`error: ${event.where}: ${event.code}: ${event.message}`)
      }
    }
  }
}

function at(sim: SimCluster | undefined): string {
  return (sim?.loop.now ?? 0).toFixed(3).padStart(12)
}

function brokenBy(error: unknown): string {
  return error instanceof Stuck ? error.message : `crash: ${describe(error)}`
}

function describe(reason: unknown): string {
  const error = asHitherError(reason)
  const where =
    reason instanceof Error
      ? (reason.stack ?? '')
          .split('\n')
          .slice(1, 4)
          .map((line) => line.trim())
          .join(' ')
      : ''
  return `${error.code}: ${error.message} ${where}`
}
