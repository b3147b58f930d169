/**
 * The catalog of the simulated world: a model of an etcd cluster as its clients see it.
 *
 * The server is one durable state in memory: a transaction is judged and applied at one moment of virtual time, and
 * nothing that was committed is ever lost. All that makes a real one hard to use lies between it and its clients
 * (sim-catalog-client.ts): latency, lost requests and answers, clients cut off, watches that lag. Leases run in the
 * server's time, that of the loop.
 *
 * Two more faults are the server's own. `restart()`: every lease ends and answers on their way are lost. `faults.down`:
 * nothing happens, no lease ends; when it is over each lease has its whole time again, as with a new leader of etcd.
 */
import { HitherError } from '../../base/errors.ts'
import { KEY_BYTES_MAX, keyBytes } from '../kv-log-format.ts'
import { SortedMap } from '../sorted-map.ts'
import type {
  Catalog,
  CatalogChange,
  CatalogEntry,
  CatalogResult,
  CatalogTransaction,
  Random,
} from '../types.ts'
import type { SimLoop } from './loop.ts'
import {
  CatalogFaults,
  SimCatalogClient,
  type SimCatalogServer,
  type SimCatalogTiming,
  type SimCatalogWorld,
} from './sim-catalog-client.ts'

/**
 * An etcd of three members on a local network, lightly loaded. Its documentation (op-guide, "Performance") tells of about
 * 1 ms a request; the tail is that of a disk as slow as is still common advice for it, 99 of 100 syncs within 10 ms. It
 * tells a watch at once, and every 100 ms one that fell behind; the lag here is between. The last two are choices.
 */
export const ETCD_TIMING: SimCatalogTiming = {
  requestMs: { median: 0.5, tail: 5 },
  answerMs: { median: 0.5, tail: 5 },
  watchLagMs: { min: 0.2, max: 20 },
  retryMs: 250,
  timeoutMs: 2000,
}

/** One key of one applied transaction, or of a lease that ended. */
export interface CatalogHistoryEntry extends CatalogChange {
  /** Virtual time of the loop. */
  readonly atMs: number
}

export interface SimCatalogOptions {
  /** What differs from `ETCD_TIMING`. */
  readonly timing?: Partial<SimCatalogTiming>
}

interface Lease {
  readonly id: string
  readonly ttlMs: number
  /** The request that it was granted to. */
  readonly token: object
  readonly keys: Set<string>
  cancelTimer: () => void
}

/** What a transaction does to one key. */
interface Effect {
  /** `undefined`: removed. */
  readonly value: Uint8Array | undefined
  readonly lease: Lease | undefined
}

export class SimCatalog implements SimCatalogServer {
  readonly faults: CatalogFaults
  /** Hears of every change at the moment it is applied, in order: for checkers, which only look. */
  history: ((change: CatalogHistoryEntry) => void) | undefined
  readonly #loop: SimLoop
  readonly #world: SimCatalogWorld
  readonly #clients = new Map<string, SimCatalogClient>()
  readonly #entries = new SortedMap<CatalogEntry>()
  readonly #leases = new Map<string, Lease>()
  readonly #leaseOf = new Map<string, Lease>()
  #revision = 0
  #epoch = 0

  constructor(loop: SimLoop, random: Random, options: SimCatalogOptions = {}) {
    this.#loop = loop
    this.faults = new CatalogFaults(
      (down) => this.#onDown(down),
      () => {
        for (const client of this.#clients.values()) client.resume()
      },
    )
    const timing = { ...ETCD_TIMING, ...options.timing }
    this.#world = { loop, random, faults: this.faults, timing, server: this }
  }

  /** Of the last applied transaction. */
  get revision(): number {
    return this.#revision
  }

  get epoch(): number {
    return this.#epoch
  }

  /** The catalog as `name` sees it, under which faults know it. The same name has the same connection. */
  client(name: string): Catalog {
    let client = this.#clients.get(name)
    if (!client) {
      client = new SimCatalogClient(name, this.#world)
      this.#clients.set(name, client)
    }
    return client
  }

  /** Crashes and is back at once. */
  restart(): void {
    this.#epoch += 1
    for (const lease of [...this.#leases.values()]) this.#endLease(lease)
  }

  get(key: string): CatalogEntry | undefined {
    return this.#entries.get(key)
  }

  list(prefix: string): CatalogEntry[] {
    const found: CatalogEntry[] = []
    for (const [, entry] of this.#entries.entries(prefix)) found.push(entry)
    return found
  }

  commit(transaction: CatalogTransaction): CatalogResult {
    const { when = [] } = transaction
    if (!when.every(({ key, revision }) => (this.#entries.get(key)?.revision ?? 0) === revision)) {
      return { ok: false, revision: this.#revision }
    }
    this.#apply(this.#effectsOf(transaction))
    return { ok: true, revision: this.#revision }
  }

  grantLease(id: string, ttlMs: number, token: object): void {
    const before = this.#leases.get(id)
    if (before?.token === token) return
    if (before) throw new HitherError('ALREADY_EXISTS', `the lease ${id} has not ended yet`)
    const lease: Lease = { id, ttlMs, token, keys: new Set(), cancelTimer: () => undefined }
    this.#leases.set(id, lease)
    this.#renew(lease)
  }

  keepLease(id: string): boolean {
    const lease = this.#leases.get(id)
    if (lease) this.#renew(lease)
    return lease !== undefined
  }

  revokeLease(id: string): void {
    const lease = this.#leases.get(id)
    if (lease) this.#endLease(lease)
  }

  #onDown(down: boolean): void {
    for (const lease of this.#leases.values()) {
      if (down) lease.cancelTimer()
      else this.#renew(lease)
    }
  }

  #renew(lease: Lease): void {
    lease.cancelTimer()
    lease.cancelTimer = this.#loop.after(lease.ttlMs, () => this.#endLease(lease))
  }

  #endLease(lease: Lease): void {
    lease.cancelTimer()
    this.#leases.delete(lease.id)
    if (lease.keys.size === 0) return
    this.#apply(new Map([...lease.keys].map((key) => [key, { value: undefined, lease: undefined }])))
  }

  /** By key. Throws, and changes nothing, when the transaction is not valid. */
  #effectsOf({ put = [], remove = [] }: CatalogTransaction): Map<string, Effect> {
    const effects = new Map<string, Effect>()
    const add = (key: string, effect: Effect): void => {
      if (!isKey(key)) {
        throw new HitherError(
          'BAD_ARGUMENT',
          `not a key of 1 to ${KEY_BYTES_MAX} bytes: ${JSON.stringify(key)}`,
        )
      }
      if (effects.has(key)) throw new HitherError('BAD_ARGUMENT', `key ${key} twice in one transaction`)
      effects.set(key, effect)
    }
    for (const { key, value, lease: id } of put) {
      const lease = id === undefined ? undefined : this.#leases.get(id)
      if (id !== undefined && !lease) throw new HitherError('LEASE_EXPIRED', `the lease ${id} has ended`)
      add(key, { value, lease })
    }
    for (const key of remove) add(key, { value: undefined, lease: undefined })
    return effects
  }

  #apply(effects: ReadonlyMap<string, Effect>): void {
    const revision = ++this.#revision
    this.#loop.note(revision)
    const changes: CatalogChange[] = []
    for (const [key, { value, lease }] of effects) {
      this.#bind(key, lease)
      if (value) this.#entries.set(key, { key, value, revision })
      else if (!this.#entries.delete(key)) continue
      changes.push({ key, value, revision })
    }
    for (const change of changes) this.history?.({ ...change, atMs: this.#loop.now })
    for (const client of this.#clients.values()) client.tell(changes)
  }

  /** The key is under `lease`, or under none. */
  #bind(key: string, lease: Lease | undefined): void {
    this.#leaseOf.get(key)?.keys.delete(key)
    if (lease) {
      this.#leaseOf.set(key, lease)
      lease.keys.add(key)
    } else {
      this.#leaseOf.delete(key)
    }
  }
}

/** As strict as the real catalog: what it would refuse must fail here, too. */
function isKey(key: string): boolean {
  if (key === '' || key.startsWith('\0') || /[\ud800-\udfff]/.test(key)) return false
  return keyBytes(key) <= KEY_BYTES_MAX
}
