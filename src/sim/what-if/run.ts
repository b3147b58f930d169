/**
 * Runs a plan on a simulated cluster: fills the disks, starts the load, lets the events happen, and reports. One plan
 * gives one report, on every machine: all that happens between the opening of the cluster and its end is an event of
 * virtual time.
 */
import type { Cluster } from '../../api.ts'
import { asHitherError, HitherError } from '../../base/errors.ts'
import { MiB, type NodeId, type VDiskId } from '../../base/units.ts'
import { seededRandom } from '../../platform/real/random.ts'
import type { Random } from '../../platform/types.ts'
import { openSimCluster, type SimCluster } from '../cluster.ts'
import { Guest } from './guest.ts'
import { micros } from './latency-log.ts'
import { Origins } from './origins.ts'
import { PauseMeter, Whereabouts } from './pauses.ts'
import type { EventPlan, Plan, VmPlan } from './plan.ts'
import { describeEvent } from './plan-events.ts'
import { Recorder } from './recorder.ts'
import type { EventOutcome, Report, VmOutcome } from './report.ts'
import { fillContent, type TraceColumns } from './workload.ts'

export interface WhatIfProgress {
  readonly step: 'fill' | 'run'
  /** 0 … 1 of this step. */
  readonly done: number
  readonly virtualMs: number
}

export interface WhatIfOptions {
  /** Traces by the name of the file, for plans whose VMs replay one. */
  readonly traces?: ReadonlyMap<string, TraceColumns>
  /** Ends the run early: the report is of what was until then. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: WhatIfProgress) => void
}

/**
 * Hosts learn from the catalog, through watches that lag, which disks are theirs. A disk that is opened after this time
 * is reached through the host of its VM, as a VM that boots would. Milliseconds.
 */
const SETTLE_MS = 1_000
/** Of the cluster's settings (api.ts). */
const HOLD_DOWN_DEFAULT_MS = 30_000
const FILL_WRITE_BYTES = MiB
const FILL_DEPTH = 4
/** The chance of the guests is apart from that of the world, and one VM's apart from another's. */
const GUEST_SALT = 0x51ed
const FILL_SALT = 0xf111
/** How often a shortage of copies is looked for: a share of a window, between these bounds in ms. */
const LOOKS_PER_WINDOW = 10
const LOOK_MIN_MS = 50
const LOOK_MAX_MS = 1_000

/**
 * @throws `BAD_SETTING` when the cluster refuses the settings, `CANCELLED` when `signal` fires before the load has begun
 */
export async function runWhatIf(plan: Plan, options: WhatIfOptions = {}): Promise<Report> {
  const sim = await openSimCluster({
    seed: plan.seed,
    settings: plan.settings,
    ssd: plan.ssd,
    hdd: plan.hdd,
    nic: plan.nic,
  })
  try {
    return await new WhatIfRun(sim, plan, options).run()
  } finally {
    await sim.close()
  }
}

interface Machine {
  readonly guest: Guest
  readonly vdisk: VDiskId
}

class WhatIfRun {
  readonly #sim: SimCluster
  readonly #cluster: Cluster
  readonly #plan: Plan
  readonly #options: WhatIfOptions
  readonly #whereabouts = new Whereabouts()
  readonly #origins: Origins
  readonly #pauses = new PauseMeter()
  readonly #outcomes: EventOutcome[] = []
  readonly #machines: Machine[] = []
  #recorder!: Recorder
  #beganMs = 0
  #over = false

  constructor(sim: SimCluster, plan: Plan, options: WhatIfOptions) {
    this.#sim = sim
    this.#cluster = sim.cluster
    this.#plan = plan
    this.#options = options
    this.#origins = new Origins(sim, this.#whereabouts)
  }

  async run(): Promise<Report> {
    const { loop } = this.#sim
    const listening = new AbortController()
    try {
      await this.#prepare()
      this.#origins.begin(this.#cluster.status().nodes)
      void this.#listen(listening.signal)
      this.#beganMs = loop.now
      this.#recorder = new Recorder(this.#cluster.stats())
      for (const event of this.#plan.events) loop.after(event.atMs, () => void this.#perform(event))
      for (const { guest } of this.#machines) guest.begin()
      this.#every(this.#plan.sampleMs, () => this.#sample())
      const lookMs = this.#plan.sampleMs / LOOKS_PER_WINDOW
      this.#every(Math.min(LOOK_MAX_MS, Math.max(LOOK_MIN_MS, lookMs)), () =>
        this.#recorder.look(this.#elapsedMs, this.#cluster.stats()),
      )
      const interrupted = await this.#untilEnd()
      this.#over = true
      for (const { guest } of this.#machines) guest.end()
      return this.#report(interrupted)
    } finally {
      this.#over = true
      listening.abort()
    }
  }

  get #elapsedMs(): number {
    return this.#sim.loop.now - this.#beganMs
  }

  async #listen(signal: AbortSignal): Promise<void> {
    for await (const event of this.#cluster.events({ signal })) this.#origins.onEvent(event)
  }

  /** Creates the VMs and writes their working sets. */
  async #prepare(): Promise<void> {
    const { vms, seed } = this.#plan
    const totalBytes = vms.reduce((sum, vm) => sum + (vm.fill ? vm.workingSetBytes : 0), 0)
    let doneBytes = 0
    const onFilled = (bytes: number): void => {
      this.#throwIfCancelled()
      doneBytes += bytes
      this.#tell('fill', doneBytes / totalBytes)
    }
    for (const { name, diskBytes, node } of vms) {
      this.#throwIfCancelled()
      const disk = await this.#cluster.createVDisk(name, { size: diskBytes, vm: name, node })
      await disk.close()
      this.#whereabouts.move(name, node)
    }
    await this.#settle()
    for (const [at, plan] of vms.entries()) this.#machines.push(await this.#openMachine(plan, at))
    await Promise.all(
      this.#machines.map(({ guest }, at) =>
        // Machines that boot have the same image: their disks deduplicate, as clones of one template do.
        fill(guest, chance(seed, FILL_SALT, guest.plan.workload === 'boot' ? 0 : at + 1), onFilled),
      ),
    )
  }

  /** A young cluster may have hosts whose path had to go to a peer at first: it returns after the hold-down time. */
  async #settle(): Promise<void> {
    const { loop } = this.#sim
    const deadline = loop.now + (this.#plan.settings.holdDownMs ?? HOLD_DOWN_DEFAULT_MS) + 10 * SETTLE_MS
    do {
      this.#throwIfCancelled()
      await loop.sleep(SETTLE_MS)
    } while (loop.now < deadline && this.#cluster.status().nodes.some(({ node, path }) => path !== node))
  }

  async #openMachine(plan: VmPlan, at: number): Promise<Machine> {
    const trace = plan.trace === undefined ? undefined : this.#options.traces?.get(plan.trace.file)
    if (plan.trace !== undefined && trace === undefined) {
      throw new HitherError('BAD_SETTING', `vm[${at + 1}].trace ${plan.trace.file} was not loaded`)
    }
    const disk = await this.#cluster.openVDisk(plan.name)
    const vdisk = (await this.#cluster.vdiskInfo(plan.name)).id
    const guest = new Guest({
      plan,
      disk,
      loop: this.#sim.loop,
      random: chance(this.#plan.seed, GUEST_SALT, at),
      trace,
      onAnswer: (answered, request, wantedMs) =>
        this.#answered(answered, vdisk, request.write, request.length, wantedMs),
    })
    return { guest, vdisk }
  }

  #throwIfCancelled(): void {
    if (this.#options.signal?.aborted) {
      throw new HitherError('CANCELLED', 'interrupted before the load began; there is nothing to report')
    }
  }

  #answered(guest: Guest, vdisk: VDiskId, write: boolean, bytes: number, wantedMs: number): void {
    if (this.#over) return
    const { name } = guest.plan
    const { now } = this.#sim.loop
    this.#recorder.answered(this.#origins.classify(name, vdisk, write), now - wantedMs)
    if (this.#origins.isRedirected(name)) this.#recorder.redirected(bytes)
    this.#pauses.answered(name, now - this.#beganMs, now - wantedMs)
  }

  #sample(): void {
    this.#recorder.endWindow(this.#elapsedMs, this.#cluster.stats())
    this.#tell('run', this.#elapsedMs / this.#plan.durationMs)
  }

  #every(ms: number, act: () => void): void {
    this.#sim.loop.after(ms, () => {
      if (this.#over) return
      act()
      this.#every(ms, act)
    })
  }

  #tell(step: WhatIfProgress['step'], done: number): void {
    this.#options.onProgress?.({ step, done: Math.min(1, done), virtualMs: this.#sim.loop.now })
  }

  /** Resolves at the end of the run: `true` when a signal ended it early. */
  #untilEnd(): Promise<boolean> {
    const { signal } = this.#options
    return new Promise((resolve) => {
      const interrupt = (): void => resolve(true)
      this.#sim.loop.after(this.#plan.durationMs, () => {
        signal?.removeEventListener('abort', interrupt)
        resolve(false)
      })
      signal?.addEventListener('abort', interrupt, { once: true })
      if (signal?.aborted) interrupt()
    })
  }

  /** An event that the cluster refuses is part of the answer, not the end of the run. */
  async #perform(event: EventPlan): Promise<void> {
    if (this.#over) return
    const what = describeEvent(event)
    const { atMs } = event
    this.#recorder.beginPhase(this.#elapsedMs, this.#cluster.stats(), what)
    const hitNode = nodeHitBy(event)
    if (hitNode !== undefined) {
      this.#pauses.watch(what, atMs, this.#whereabouts.on(hitNode))
      this.#recorder.watchShortage(what, atMs)
    } else if (event.do === 'migrate') {
      this.#pauses.watch(what, atMs, [event.vm])
    }
    const slot = this.#outcomes.push({ atMs, what, tookMs: undefined, error: undefined }) - 1
    const beganMs = this.#sim.loop.now
    let error: EventOutcome['error']
    try {
      await this.#act(event)
    } catch (failure) {
      const { code, message } = asHitherError(failure)
      error = { code, message }
    }
    if (!this.#over) {
      this.#outcomes[slot] = { atMs, what, tookMs: micros(this.#sim.loop.now - beganMs), error }
    }
  }

  async #act(event: EventPlan): Promise<void> {
    switch (event.do) {
      case 'migrate':
        await this.#cluster.migrateVm(event.vm, { to: event.to })
        this.#whereabouts.move(event.vm, event.to)
        return
      case 'fail':
        return this.#cluster.failCvm(event.node)
      case 'hang':
        return this.#cluster.failCvm(event.node, { hang: true })
      case 'recover':
        return this.#cluster.recoverCvm(event.node)
      case 'add-node': {
        const { ssdBytes, hddBytes } = event
        await this.#cluster.addNode({
          ...(ssdBytes === undefined ? {} : { ssdBytes }),
          ...(hddBytes === undefined ? {} : { hddBytes }),
        })
        return
      }
      case 'remove-node':
        return this.#cluster.removeNode(event.node)
      case 'fail-device':
        return this.#cluster.failDevice(event.device)
    }
  }

  #report(interrupted: boolean): Report {
    const { title, seed, settings, nic, durationMs } = this.#plan
    const ranMs = micros(Math.min(durationMs, this.#elapsedMs))
    const stats = this.#cluster.stats()
    this.#recorder.look(ranMs, stats)
    const guests = this.#machines.map(({ guest }) => guest)
    const waiting = new Set(guests.filter((guest) => guest.waiting > 0).map((guest) => guest.plan.name))
    return {
      title,
      seed,
      nodes: settings.nodes,
      rf: settings.rf,
      nic,
      durationMs,
      ranMs,
      interrupted,
      hash: this.#sim.loop.hash,
      ...this.#recorder.finish(ranMs, stats),
      events: this.#outcomes,
      pauses: this.#pauses.report(ranMs, waiting),
      vms: guests.map((guest) => this.#vmOutcome(guest)),
    }
  }

  #vmOutcome(guest: Guest): VmOutcome {
    const { name, node } = guest.plan
    return {
      vm: name,
      node: this.#whereabouts.nodeOf(name) ?? node,
      requests: guest.requests,
      readBytes: guest.readBytes,
      writtenBytes: guest.writtenBytes,
      failed: [...guest.failures].map(([code, count]) => ({ code, count })),
      waiting: guest.waiting,
    }
  }
}

/** The node that an event breaks or takes away. */
function nodeHitBy(event: EventPlan): NodeId | undefined {
  if (event.do === 'fail' || event.do === 'hang' || event.do === 'remove-node') return event.node
  return event.do === 'fail-device' ? event.device.split('.')[0] : undefined
}

function chance(seed: number, salt: number, at: number): Random {
  return seededRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(salt + at, 0x85ebca6b))
}

async function fill(guest: Guest, random: Random, onFilled: (bytes: number) => void): Promise<void> {
  const plan: VmPlan = guest.plan
  if (!plan.fill) return
  let offset = 0
  const writeRest = async (): Promise<void> => {
    while (offset < plan.workingSetBytes) {
      const from = offset
      const length = Math.min(FILL_WRITE_BYTES, plan.workingSetBytes - from)
      offset += length
      const bytes = new Uint8Array(length)
      fillContent(bytes, plan.compressible, random)
      await guest.disk.write(from, bytes)
      onFilled(length)
    }
  }
  await Promise.all(Array.from({ length: FILL_DEPTH }, writeRest))
}
