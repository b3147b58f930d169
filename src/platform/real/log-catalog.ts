/**
 * The catalog of an embedded cluster: a KvLog over a whole device, with revisions, watches and leases on top.
 *
 * Two states. `entries` is what everybody sees: all that is durable. Transactions are judged against the newest state,
 * which is `entries` under `ahead`: what was accepted but is not durable yet. So compare-and-set never waits for a
 * disk, and any number of transactions share one write. All outcomes, refusals too, are told in the order of the calls
 * and after everything they depend on is durable: what a caller has been told cannot be undone by a crash.
 *
 * Keys under a lease live in memory only, but in the same order: their transactions pass through the table as empty
 * commits. A restart of the catalog ends every lease, as if all had run out.
 *
 * Revisions never repeat, although those of lease keys are not stored: a reserved key holds a bound that no used
 * revision has reached, raised by a large step when it is about to be; a restart goes on from the bound.
 */
import { codeOf, HitherError } from '../../base/errors.ts'
import { alignDown, SECTOR_BYTES } from '../../base/units.ts'
import { type Change, KvLog } from '../kv-log.ts'
import { SortedMap } from '../sorted-map.ts'
import type {
  BlockDevice,
  Catalog,
  CatalogChange,
  CatalogEntry,
  CatalogResult,
  CatalogTransaction,
  Clock,
} from '../types.ts'
import { CatalogWatches } from './catalog-watches.ts'
import { decodeStored, encodeBound, encodeStored, REVISION_KEY } from './log-catalog-format.ts'

/** Revisions reserved with one durable write. */
const REVISION_STEP = 100_000

/** By how much a lease has to be overdue to show that the process stood still: timers of a busy one are late, too. */
const STALL_SHARE = 1 / 8
const STALL_MS_MIN = 250
/** Share of its TTL that such a lease is given: holders renew four times a TTL. */
const GRACE_SHARE = 1 / 2

interface Lease {
  readonly id: string
  readonly ttlMs: number
  /** By the clock. */
  deadline: number
  cancelTimer: () => void
  /** Keys under it, in the newest state. */
  readonly keys: Set<string>
}

/** What a transaction does to one key. */
interface Effect {
  readonly key: string
  /** `undefined`: removed. */
  readonly entry: CatalogEntry | undefined
  readonly lease: Lease | undefined
}

export class LogCatalog implements Catalog {
  readonly #table: KvLog
  readonly #clock: Clock
  readonly #entries = new SortedMap<CatalogEntry>()
  readonly #ahead = new Map<string, Effect>()
  readonly #watches = new CatalogWatches()
  readonly #leases = new Map<string, Lease>()
  /** In the newest state: keys that are not durable. */
  readonly #leaseOf = new Map<string, Lease>()
  /** Newest revision given out, and newest that is visible. */
  #revision: number
  #visibleRevision: number
  /** No revision from here on was ever used. */
  #bound: number
  #closing: Promise<void> | undefined

  private constructor(table: KvLog, clock: Clock) {
    this.#table = table
    this.#clock = clock
    const stored = table.get(REVISION_KEY)
    this.#bound = stored ? decodeStored(stored).revision : 1
    this.#revision = this.#bound - 1
    this.#visibleRevision = this.#revision
    for (const [key, bytes] of table.entries('')) {
      if (key !== REVISION_KEY) this.#entries.set(key, { key, ...decodeStored(bytes) })
    }
  }

  /**
   * Opens the catalog on `device`, which is the catalog's alone until `close`; makes it when the device is blank.
   * Rejects with `CATALOG_CORRUPT`, `FORMAT_UNKNOWN`, or the device's own error.
   * @param isNew nothing was ever written to the device, so it is not looked through first
   */
  static async open(device: BlockDevice, clock: Clock, isNew = false): Promise<LogCatalog> {
    const range = { offset: 0, length: alignDown(device.size, SECTOR_BYTES) }
    try {
      return new LogCatalog(await KvLog.open(device, range, { blank: isNew }), clock)
    } catch (error) {
      if (codeOf(error) !== 'DEVICE_CORRUPT') throw error
      const reason = (error as HitherError).message
      throw new HitherError('CATALOG_CORRUPT', `the catalog cannot be trusted: ${reason}`, { cause: error })
    }
  }

  /** Record bytes used and available, of durable keys. */
  get room(): { readonly usedBytes: number; readonly sizeBytes: number } {
    return this.#table.room
  }

  get(key: string): Promise<CatalogEntry | undefined> {
    if (this.#closing) return Promise.reject(closed())
    return Promise.resolve(this.#entries.get(key))
  }

  list(prefix: string): Promise<CatalogEntry[]> {
    if (this.#closing) return Promise.reject(closed())
    const found: CatalogEntry[] = []
    for (const [, entry] of this.#entries.entries(prefix)) found.push(entry)
    return Promise.resolve(found)
  }

  /**
   * Also rejects with `BAD_ARGUMENT` (a key that is not one, or that is put or removed twice), `LEASE_EXPIRED` (a put
   * under a lease that is not there), `DEVICE_FULL`, and `DEVICE_FAILED`, after which only reads go on.
   */
  commit(transaction: CatalogTransaction): Promise<CatalogResult> {
    if (this.#closing) return Promise.reject(closed())
    try {
      return this.#holds(transaction) ? this.#accept(this.#effectsOf(transaction)) : this.#refuse()
    } catch (error) {
      return Promise.reject(error)
    }
  }

  watch(prefix: string, onChange: (changes: readonly CatalogChange[]) => void): () => void {
    return this.#watches.add(prefix, onChange)
  }

  /** Rejects with `ALREADY_EXISTS` while a lease of this id lasts. */
  grantLease(id: string, ttlMs: number): Promise<void> {
    if (this.#closing) return Promise.reject(closed())
    if (this.#liveLease(id)) {
      return Promise.reject(new HitherError('ALREADY_EXISTS', `the lease ${id} has not ended yet`))
    }
    const lease: Lease = {
      id,
      ttlMs,
      deadline: this.#clock.now() + ttlMs,
      cancelTimer: () => undefined,
      keys: new Set(),
    }
    this.#leases.set(id, lease)
    this.#armTimer(lease)
    return Promise.resolve()
  }

  keepLease(id: string): Promise<boolean> {
    if (this.#closing) return Promise.reject(closed())
    const lease = this.#liveLease(id)
    if (lease) lease.deadline = this.#clock.now() + lease.ttlMs
    return Promise.resolve(lease !== undefined)
  }

  revokeLease(id: string): Promise<void> {
    if (this.#closing) return Promise.reject(closed())
    const lease = this.#leases.get(id)
    return lease ? this.#endLease(lease).then(() => undefined) : Promise.resolve()
  }

  /** Ends all leases without telling, waits for the commits under way, and lets go of the device, which stays open. */
  close(): Promise<void> {
    if (!this.#closing) {
      for (const lease of this.#leases.values()) lease.cancelTimer()
      this.#leases.clear()
      this.#closing = this.#table.close().then(() => this.#watches.end())
    }
    return this.#closing
  }

  /** In the newest state. */
  #newest(key: string): CatalogEntry | undefined {
    const ahead = this.#ahead.get(key)
    return ahead ? ahead.entry : this.#entries.get(key)
  }

  #holds({ when }: CatalogTransaction): boolean {
    return !when || when.every(({ key, revision }) => (this.#newest(key)?.revision ?? 0) === revision)
  }

  /** Tells so only when what stands against it can be seen. */
  async #refuse(): Promise<CatalogResult> {
    await this.#table.commit([])
    return { ok: false, revision: this.#visibleRevision }
  }

  /** Effects with the revision that the transaction will have. Throws, and changes nothing, when it is not valid. */
  #effectsOf({ put = [], remove = [] }: CatalogTransaction): Effect[] {
    const revision = this.#revision + 1
    const effects = new Map<string, Effect>()
    const add = (key: string, entry?: CatalogEntry, lease?: Lease): void => {
      if (key === '' || key.startsWith('\0')) throw new HitherError('BAD_ARGUMENT', 'a key must not be empty')
      if (effects.has(key)) throw new HitherError('BAD_ARGUMENT', `key ${key} twice in one transaction`)
      effects.set(key, { key, entry, lease })
    }
    for (const { key, value, lease: id } of put) {
      const lease = id === undefined ? undefined : this.#liveLease(id)
      if (id !== undefined && !lease) throw new HitherError('LEASE_EXPIRED', `the lease ${id} has ended`)
      add(key, { key, value, revision }, lease)
    }
    for (const key of remove) add(key)
    return [...effects.values()]
  }

  /** Judges room, then makes the effects the newest state and sends them on their way. */
  #accept(effects: readonly Effect[]): Promise<CatalogResult> {
    const changes = this.#changesOf(effects)
    const revision = this.#revision + 1
    if (revision >= this.#bound) {
      changes.push({ key: REVISION_KEY, value: encodeBound(revision + REVISION_STEP) })
    }
    const refusal = this.#table.refusal(changes)
    if (refusal) return Promise.reject(refusal)

    this.#revision = revision
    if (revision >= this.#bound) this.#bound = revision + REVISION_STEP
    for (const effect of effects) {
      this.#ahead.set(effect.key, effect)
      this.#bind(effect.key, effect.lease)
    }
    return this.#table.commit(changes).then(() => this.#show(effects, revision))
  }

  /** What the effects do to the durable table. */
  #changesOf(effects: readonly Effect[]): Change[] {
    const changes: Change[] = []
    for (const { key, entry, lease } of effects) {
      if (entry && !lease) {
        changes.push({ key, value: encodeStored(entry.revision, entry.value) })
      } else if (this.#newest(key) && !this.#leaseOf.has(key)) {
        changes.push({ key, value: undefined })
      }
    }
    return changes
  }

  /** In the newest state, the key is under `lease`, or under none. */
  #bind(key: string, lease: Lease | undefined): void {
    this.#leaseOf.get(key)?.keys.delete(key)
    if (lease) {
      this.#leaseOf.set(key, lease)
      lease.keys.add(key)
    } else {
      this.#leaseOf.delete(key)
    }
  }

  #show(effects: readonly Effect[], revision: number): CatalogResult {
    const changes: CatalogChange[] = []
    for (const effect of effects) {
      const { key, entry } = effect
      if (this.#ahead.get(key) === effect) this.#ahead.delete(key)
      if (entry) this.#entries.set(key, entry)
      else if (!this.#entries.delete(key)) continue
      changes.push({ key, value: entry?.value, revision })
    }
    this.#visibleRevision = revision
    this.#watches.tell(changes)
    return { ok: true, revision }
  }

  /** A lease that has run out ends here, although its timer may still be to come. */
  #liveLease(id: string): Lease | undefined {
    const lease = this.#leases.get(id)
    if (!lease || this.#clock.now() < lease.deadline || this.#spared(lease)) return lease
    this.#expire(lease)
    return undefined
  }

  /**
   * A lease that is found run out late was not let down by its holder: this process stood still (a long computation of
   * the embedder, a suspended machine), the holders in it with it. It gets time for a renewal. A holder counts its lease
   * by its own clock and shorter than this, so a longer one here is always safe.
   */
  #spared(lease: Lease): boolean {
    const now = this.#clock.now()
    if (now - lease.deadline <= Math.max(lease.ttlMs * STALL_SHARE, STALL_MS_MIN)) return false
    lease.deadline = now + lease.ttlMs * GRACE_SHARE
    return true
  }

  #armTimer(lease: Lease): void {
    lease.cancelTimer = this.#clock.after(lease.deadline - this.#clock.now(), () => {
      if (this.#clock.now() < lease.deadline || this.#spared(lease)) this.#armTimer(lease)
      else this.#expire(lease)
    })
  }

  #expire(lease: Lease): void {
    // Fails only with the whole table, and everybody who commits is told of that.
    this.#endLease(lease).catch(() => undefined)
  }

  #endLease(lease: Lease): Promise<CatalogResult> {
    lease.cancelTimer()
    this.#leases.delete(lease.id)
    return this.#accept([...lease.keys].map((key) => ({ key, entry: undefined, lease: undefined })))
  }
}

function closed(): HitherError {
  return new HitherError('CLUSTER_CLOSED', 'the catalog is closed')
}
