/**
 * A CVM that hangs or dies, seen from outside: `hangable` puts a gate between an engine and its platform.
 *
 * Hung, it is like a process under SIGSTOP. Time goes on, and device IO that had begun ends on the medium, but nothing
 * reaches the engine and nothing leaves it: outcomes, timers, watches and frames are kept, and calls that it still makes
 * do not begin. Frames are kept as socket buffers would, up to a bound; past it a connection counts as broken: what
 * follows from or to that peer is dropped until the engine runs again, and is then told as `onPeerDown`. `resume` lets
 * everything go in the order it came.
 *
 * Killed, it is like a process after SIGKILL. Its sockets are closed, so its peers are told; its timers and watches end;
 * every call, under way or new, rejects with `CVM_DOWN`; no callback fires again. IO under way may or may not reach the
 * medium, as in any crash. Leases run on until their time is up. The inner devices stay open for the next engine.
 */
import type { BlockDevice, Catalog, CatalogChange, Clock, Platform, ReadUse, WriteUse } from '../types.ts'
import { Gate } from './gate.ts'
import { GatedNetwork } from './gated-network.ts'

export interface Hangable {
  /** For the engine. */
  readonly platform: Platform
  hang(): void
  resume(): void
  kill(): void
}

/** The devices, catalog, clock and network of `inner` must not be used by the engine but through the result. */
export function hangable(inner: Platform): Hangable {
  const gate = new Gate(inner.node)
  const network = new GatedNetwork(gate, inner.network)
  const clock = new GatedClock(gate, inner.clock)
  const catalog = new GatedCatalog(gate, inner.catalog)
  return {
    platform: {
      node: inner.node,
      random: inner.random,
      clock,
      network,
      catalog,
      devices: inner.devices.map((device) => new GatedDevice(gate, device)),
      guests: inner.guests,
      // Memory only: what it hands to a dead engine goes nowhere.
      packer: inner.packer,
    },
    hang: () => gate.shut(),
    resume: () => gate.reopen(),
    kill() {
      if (gate.dead) return
      gate.destroy()
      clock.end()
      catalog.end()
      void inner.network.close()
    },
  }
}

class GatedDevice implements BlockDevice {
  readonly id: string
  readonly tier: BlockDevice['tier']
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly #gate: Gate
  readonly #inner: BlockDevice

  constructor(gate: Gate, inner: BlockDevice) {
    this.#gate = gate
    this.#inner = inner
    this.id = inner.id
    this.tier = inner.tier
    this.size = inner.size
    this.sectorSize = inner.sectorSize
    this.isSparse = inner.isSparse === true
  }

  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    if (this.#gate.open) return this.#gate.outcome(this.#inner.read(offset, target, use))
    return this.#gate.call(() => this.#inner.read(offset, target, use))
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    if (this.#gate.open) return this.#gate.outcome(this.#inner.write(offset, parts))
    return this.#gate.call(() => this.#inner.write(offset, parts))
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void> {
    if (this.#gate.open) return this.#gate.outcome(this.#inner.writeDurably(offset, parts, use))
    return this.#gate.call(() => this.#inner.writeDurably(offset, parts, use))
  }

  sync(): Promise<void> {
    return this.#gate.call(() => this.#inner.sync())
  }

  trim(offset: number, length: number): Promise<void> {
    return this.#gate.call(() => this.#inner.trim(offset, length))
  }

  close(): Promise<void> {
    return this.#gate.call(() => this.#inner.close())
  }
}

class GatedClock implements Clock {
  readonly #gate: Gate
  readonly #inner: Clock
  /** What ends each pending timer or sleep when the process dies. */
  readonly #pending = new Set<() => void>()

  constructor(gate: Gate, inner: Clock) {
    this.#gate = gate
    this.#inner = inner
  }

  now(): number {
    return this.#inner.now()
  }

  wall(): number {
    return this.#inner.wall()
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    if (this.#gate.dead) return Promise.reject(this.#gate.down())
    return new Promise((resolve, reject) => {
      if (signal?.aborted) {
        reject(signal.reason)
        return
      }
      const finish = (settle: () => void): void => {
        cancel()
        this.#pending.delete(die)
        signal?.removeEventListener('abort', abort)
        settle()
      }
      const cancel = this.after(ms, () => finish(resolve))
      const abort = (): void => finish(() => reject(signal?.reason))
      const die = (): void => finish(() => reject(this.#gate.down()))
      this.#pending.add(die)
      signal?.addEventListener('abort', abort, { once: true })
    })
  }

  turn(): Promise<void> {
    return this.#gate.call(() => this.#inner.turn())
  }

  after(ms: number, fire: () => void): () => void {
    if (this.#gate.dead) return () => undefined
    const cancel = (): void => {
      this.#pending.delete(cancel)
      cancelInner()
    }
    const cancelInner = this.#inner.after(ms, () =>
      this.#gate.pass(() => {
        // Gone from the set when it was cancelled after it came due, while hung.
        if (this.#pending.delete(cancel) && !this.#gate.dead) fire()
      }),
    )
    this.#pending.add(cancel)
    return cancel
  }

  end(): void {
    for (const die of [...this.#pending]) die()
  }
}

class GatedCatalog implements Catalog {
  readonly #gate: Gate
  readonly #inner: Catalog
  readonly #watches = new Set<() => void>()

  constructor(gate: Gate, inner: Catalog) {
    this.#gate = gate
    this.#inner = inner
  }

  get(key: string): ReturnType<Catalog['get']> {
    return this.#gate.call(() => this.#inner.get(key))
  }

  list(prefix: string): ReturnType<Catalog['list']> {
    return this.#gate.call(() => this.#inner.list(prefix))
  }

  commit(transaction: Parameters<Catalog['commit']>[0]): ReturnType<Catalog['commit']> {
    return this.#gate.call(() => this.#inner.commit(transaction))
  }

  watch(prefix: string, onChange: (changes: readonly CatalogChange[]) => void): () => void {
    if (this.#gate.dead) return () => undefined
    const endInner = this.#inner.watch(prefix, (changes) =>
      this.#gate.pass(() => {
        if (this.#watches.has(end) && !this.#gate.dead) onChange(changes)
      }),
    )
    const end = (): void => {
      this.#watches.delete(end)
      endInner()
    }
    this.#watches.add(end)
    return end
  }

  grantLease(id: string, ttlMs: number): Promise<void> {
    return this.#gate.call(() => this.#inner.grantLease(id, ttlMs))
  }

  keepLease(id: string): Promise<boolean> {
    return this.#gate.call(() => this.#inner.keepLease(id))
  }

  revokeLease(id: string): Promise<void> {
    return this.#gate.call(() => this.#inner.revokeLease(id))
  }

  end(): void {
    for (const endWatch of [...this.#watches]) endWatch()
  }
}
