/**
 * One node of an embedded cluster: its devices, its network endpoint, its CVM (one life after another), and the path
 * of its host. This is what a hypervisor and a rack are in a real one: it starts the CVM, sees it die, and may be told
 * to kill or hang it.
 */
import { asHitherError, HitherError } from '../base/errors.ts'
import { KeyedMutex } from '../base/queue.ts'
import type { NodeId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { DeviceRecord, NodeRecord } from '../cluster/records.ts'
import { Cvm } from '../cvm/cvm.ts'
import { CvmCounters } from '../cvm/cvm-counters.ts'
import { HostPath } from '../cvm/host-path.ts'
import { hostEndpoint, RemotePort } from '../cvm/io-wire.ts'
import type { StoragePort } from '../cvm/port.ts'
import type { CvmSettings, EmitEvent } from '../cvm/settings.ts'
import { type Hangable, hangable } from '../platform/faults/hang.ts'
import type { Network } from '../platform/types.ts'
import { RpcEndpoint } from '../replication/rpc.ts'
import { IoCounters } from '../vdisk/counters.ts'
import { DeviceRack } from './device-rack.ts'
import type { World } from './world.ts'

/** A CVM that lost its lease by itself is replaced after this time; so is a replacement that did not start. Milliseconds. */
const RESTART_DELAY_MS = 200
/** A redirected IO that is not answered by then is tried again. Milliseconds. */
const REDIRECT_TIMEOUT_MS = 10_000

export type CvmState = 'up' | 'down' | 'hung'

export interface EmbeddedNodeDeps {
  readonly world: World
  readonly settings: CvmSettings
  readonly ioDeadlineMs: number
  /** The cluster as the hosts see it. */
  readonly observer: Membership
  readonly emit: EmitEvent
}

export class EmbeddedNode {
  readonly node: NodeId
  readonly path: HostPath
  private readonly deps: EmbeddedNodeDeps
  private readonly rack: DeviceRack
  private readonly hostNetwork: Network
  private readonly hostRpc: RpcEndpoint
  private readonly remotePorts = new Map<NodeId, RemotePort>()
  private readonly lifecycle = new KeyedMutex<NodeId>()
  private life: { cvm: Cvm; gate: Hangable; network: Network } | undefined
  private state: CvmState = 'down'
  private wanted = false
  /** Those who wait for work of the life that runs. */
  private readonly waiting = new Set<(error: HitherError) => void>()
  private closed = false
  private cancelRestart: (() => void) | undefined
  private readonly past = {
    io: new IoCounters(),
    events: new CvmCounters(),
    sentBytes: 0,
  }

  constructor(record: NodeRecord, deps: EmbeddedNodeDeps) {
    this.node = record.node
    this.deps = deps
    this.rack = new DeviceRack(record.node, record.devices, deps.world)
    this.hostNetwork = deps.world.endpoint(hostEndpoint(record.node))
    this.hostRpc = new RpcEndpoint(this.hostNetwork, deps.world.clock)
    const { observer } = deps
    this.path = new HostPath({
      host: this.node,
      clock: deps.world.clock,
      portTo: (node) => this.portTo(node),
      isAlive: (node) => observer.isAlive(node),
      aliveForMs: (node) => observer.aliveForMs(node),
      successorOf: (node) => observer.successorOf(node),
      holdDownMs: deps.settings.holdDownMs,
      deadlineMs: deps.ioDeadlineMs,
      onSwitched: (from, to) => deps.emit({ type: 'path-switched', host: this.node, from, to }),
    })
    observer.onChange(({ node, alive }) => this.leaseChanged(node, alive))
  }

  get cvm(): Cvm | undefined {
    return this.life?.cvm
  }

  /** Long work of the CVM that runs now. Rejects with `CVM_DOWN` when that one ends: a dead CVM never answers. */
  async whileUp<T>(work: (cvm: Cvm) => Promise<T>): Promise<T> {
    const life = this.life
    if (life === undefined) throw new HitherError('CVM_DOWN', `the CVM of ${this.node} is down`)
    let fall: (error: HitherError) => void = () => {}
    const fallen = new Promise<never>((_, reject) => {
      fall = reject
    })
    this.waiting.add(fall)
    try {
      return await Promise.race([work(life.cvm), fallen])
    } finally {
      this.waiting.delete(fall)
    }
  }

  get cvmState(): CvmState {
    return this.state
  }

  /** Counters of all lives together. */
  counters(): { io: IoCounters; events: CvmCounters; sentBytes: number } {
    const io = new IoCounters()
    addCounters(io, this.past.io)
    const events = new CvmCounters()
    addCounters(events, this.past.events)
    let sentBytes = this.past.sentBytes + this.hostNetwork.sentBytes()
    if (this.life !== undefined) {
      addCounters(io, this.life.cvm.counters)
      addCounters(events, this.life.cvm.events)
      sentBytes += this.life.network.sentBytes()
    }
    return { io, events, sentBytes }
  }

  start(): Promise<void> {
    this.wanted = true
    return this.lifecycle.run(this.node, () => this.startLocked())
  }

  /** Kills the CVM as a crash would; `hang`: it stops answering instead. */
  async fail(hang: boolean): Promise<void> {
    const life = this.life
    if (life === undefined || this.state !== 'up') {
      throw new HitherError('CONFLICT', `the CVM of ${this.node} is ${this.state} already`)
    }
    this.wanted = false
    if (hang) {
      this.state = 'hung'
      life.gate.hang()
      return
    }
    const incarnation = life.cvm.membership.incarnation
    await this.lifecycle.run(this.node, () => this.endLife('down'))
    this.deps.emit({ type: 'cvm-down', node: this.node, reason: 'crash' })
    await this.revoke(incarnation)
  }

  /** It stands still as under SIGSTOP, and nobody is told. Returns what lets this life go on, if it is not over. */
  pause(): () => void {
    const life = this.life
    if (life === undefined || this.state !== 'up') return () => {}
    life.gate.hang()
    return () => {
      if (this.life === life && this.state === 'up') life.gate.resume()
    }
  }

  async recover(): Promise<void> {
    if (this.state === 'up') throw new HitherError('CONFLICT', `the CVM of ${this.node} is up`)
    this.wanted = true
    await this.lifecycle.run(this.node, async () => {
      if (this.life !== undefined) {
        const incarnation = this.life.cvm.membership.incarnation
        await this.endLife('down')
        await this.revoke(incarnation)
      }
      await this.startLocked()
    })
  }

  /** The CVM serves no IO of its own any more, but still its peers. */
  async drain(): Promise<void> {
    this.wanted = false
    if (this.state === 'up') await this.life?.cvm.drain()
  }

  /** Drains and stops the CVM. */
  async stop(): Promise<void> {
    this.wanted = false
    await this.lifecycle.run(this.node, async () => {
      const life = this.life
      if (life === undefined) return
      try {
        if (this.state === 'up') await life.cvm.stop()
      } finally {
        await this.endLife('down')
      }
    })
  }

  /** Marks the device failed for this and every later life; returns the new records. */
  failDevice(id: string): readonly DeviceRecord[] {
    const records = this.rack.fail(id)
    this.life?.cvm.store.failDevice(id)
    return records
  }

  /** Ends the host's side: no path, no IO any more. */
  async close(): Promise<void> {
    this.closed = true
    this.cancelRestart?.()
    this.path.close()
    this.hostRpc.close()
    await this.hostNetwork.close()
  }

  private async startLocked(): Promise<void> {
    if (this.life !== undefined) return
    const { world, settings, emit } = this.deps
    const devices = await this.rack.start()
    const { clock, random, catalog } = world.of(this.node)
    const network = world.endpoint(this.node)
    const guests = world.guests(this.node)
    const packer = world.packer()
    const gate = hangable({ node: this.node, clock, random, network, catalog, devices, guests, packer })
    let cvm: Cvm
    try {
      cvm = await Cvm.start(gate.platform, settings, emit, () => this.lostLease(gate))
    } catch (error) {
      gate.kill()
      await this.rack.quiesce()
      throw error
    }
    this.life = { cvm, gate, network }
    this.state = 'up'
  }

  /** The instance is dead from here on: nothing of it reaches a device, a peer or a caller any more. */
  private async endLife(state: CvmState): Promise<void> {
    const life = this.life
    if (life === undefined) return
    this.life = undefined
    this.state = state
    life.gate.kill()
    const down = new HitherError('CVM_DOWN', `the CVM of ${this.node} is down`)
    life.cvm.kill(down)
    for (const fall of this.waiting) fall(down)
    this.path.lifeEnded()
    addCounters(this.past.io, life.cvm.counters)
    addCounters(this.past.events, life.cvm.events)
    this.past.sentBytes += life.network.sentBytes()
    await this.rack.quiesce()
  }

  private leaseChanged(node: NodeId, alive: boolean): void {
    if (this.closed) return
    if (!alive) this.hostRpc.peerDown(node)
    if (node === this.node && !alive && this.state === 'hung') {
      this.deps.emit({ type: 'cvm-down', node, reason: 'lease-expired' })
      // Peers serve its vDisks from here on. What it still has under way must not reach a caller's buffer any more.
      this.lifecycle
        .run(this.node, () => this.endLife('hung'))
        .catch((error: unknown) => this.reportError('end of the CVM', error))
    }
    this.path.review()
  }

  /**
   * The host sees its CVM's process die, so it may end the lease at once; a hang has to run it out. So has a catalog that
   * does not answer: the next life waits for it when it joins.
   */
  private async revoke(incarnation: string): Promise<void> {
    await this.deps.world.catalog.revokeLease(incarnation).catch(() => {})
  }

  /** The CVM noticed itself that its lease has ended: peers serve its vDisks now. It starts anew, empty-handed. */
  private lostLease(gate: Hangable): void {
    this.deps.emit({ type: 'cvm-down', node: this.node, reason: 'lease-expired' })
    this.lifecycle
      // Another life may have begun before it is this one's turn to end.
      .run(this.node, async () => {
        if (this.life?.gate === gate) await this.endLife('down')
      })
      .catch((error: unknown) => this.reportError('end of the CVM', error))
      .finally(() => this.restartLater())
  }

  /** Until it is up: what kept it from starting (a catalog that does not answer, say) may be over the next time. */
  private restartLater(): void {
    this.cancelRestart?.()
    this.cancelRestart = this.deps.world.clock.after(RESTART_DELAY_MS, () => {
      if (!this.wanted || this.closed) return
      this.start().catch((error: unknown) => {
        this.reportError('restart of the CVM', error)
        this.restartLater()
      })
    })
  }

  private reportError(what: string, error: unknown): void {
    const { message, code } = asHitherError(error)
    this.deps.emit({ type: 'error', where: `${this.node}: ${what}`, message, code })
  }

  private portTo(node: NodeId): StoragePort | undefined {
    if (node === this.node) return this.life?.cvm
    let port = this.remotePorts.get(node)
    if (port === undefined) {
      port = new RemotePort(this.hostRpc, node, REDIRECT_TIMEOUT_MS)
      this.remotePorts.set(node, port)
    }
    return port
  }
}

function addCounters<T extends IoCounters | CvmCounters>(total: T, part: T): void {
  const sums = total as unknown as Record<string, number>
  for (const [key, value] of Object.entries(part)) sums[key] = sums[key]! + (value as number)
}
