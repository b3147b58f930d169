/**
 * One client of the simulated catalog, and all that lies between it and the server: latency, loss, being cut off.
 *
 * A client has one connection, so what it sends arrives in the order in which it was sent, and so do the answers.
 * While it is cut off, what is on the way waits, and goes on when it is healed. Its watches have ways of their own:
 * each lags by itself, so a change may be told long after it can be read, and after a later answer.
 *
 * As clients of etcd do, it sends again what may be done twice (reads, and all about leases) until it gives up with
 * `TIMEOUT`. A commit is sent once: without an answer its outcome is unknown, also after the `TIMEOUT`; it may even be
 * applied later, when it was on its way all the time.
 */
import { HitherError } from '../../base/errors.ts'
import type {
  Catalog,
  CatalogChange,
  CatalogEntry,
  CatalogResult,
  CatalogTransaction,
  Random,
} from '../types.ts'
import type { SimLoop } from './loop.ts'

/**
 * A distribution of delays in ms: half are under `median` (none under half of it), one in a hundred is over `tail`
 * (none over twice that). `tail` must not be below `median`.
 */
export interface DelayModel {
  readonly median: number
  readonly tail: number
}

/** Uniform in `min` … `max`, in ms. */
export interface DelayRange {
  readonly min: number
  readonly max: number
}

/** How a client and its connection behave. */
export interface SimCatalogTiming {
  /** From the client's call to its effect at the server. */
  readonly requestMs: DelayModel
  /** From there to the client. */
  readonly answerMs: DelayModel
  /** From a change to the watch that is told of it; drawn for each transaction and watch. Order is kept. */
  readonly watchLagMs: DelayRange
  /** What may be sent again is, when so many ms brought no answer. */
  readonly retryMs: number
  /** After so many ms the client gives up. */
  readonly timeoutMs: number
}

/** The server, as a client meets it: every call is judged and has its effect at once, or throws. */
export interface SimCatalogServer {
  /** Grows with each restart: connections, and answers on their way, do not outlive one. */
  readonly epoch: number
  get(key: string): CatalogEntry | undefined
  list(prefix: string): CatalogEntry[]
  commit(transaction: CatalogTransaction): CatalogResult
  /** A second grant with the same `token` is the same request, sent again. */
  grantLease(id: string, ttlMs: number, token: object): void
  keepLease(id: string): boolean
  revokeLease(id: string): void
}

/** What goes wrong between clients and the catalog. May be changed at any time. */
export class CatalogFaults {
  /** Probability that a request is lost before the server sees it. */
  requestLoss = 0
  /** Probability that an answer is lost: the request had its effect, the client does not hear. */
  answerLoss = 0
  /**
   * Probability that a request with an effect, held up until its client had given up on it, still arrives in the end:
   * its bytes were in a socket buffer, or the server did not see in time that it was called off.
   */
  lateArrival = 0.5
  readonly #isolated = new Set<string>()
  readonly #onHealed: () => void
  readonly #onDown: (down: boolean) => void
  #down = false

  /** `onDown` hears of each change of `down`; then `onHealed` is called whenever somebody may be less cut off. */
  constructor(onDown: (down: boolean) => void, onHealed: () => void) {
    this.#onDown = onDown
    this.#onHealed = onHealed
  }

  /** The whole catalog is out of reach for everybody (its quorum is lost): nothing happens in it, no lease ends. */
  get down(): boolean {
    return this.#down
  }

  set down(down: boolean) {
    if (down === this.#down) return
    this.#down = down
    this.#onDown(down)
    if (!down) this.#onHealed()
  }

  /** Cuts the client off from the catalog; its leases run on, and out. */
  isolate(name: string): void {
    this.#isolated.add(name)
  }

  heal(name: string): void {
    if (this.#isolated.delete(name)) this.#onHealed()
  }

  isCut(name: string): boolean {
    return this.#down || this.#isolated.has(name)
  }
}

/** What clients share. */
export interface SimCatalogWorld {
  readonly loop: SimLoop
  readonly random: Random
  readonly faults: CatalogFaults
  readonly timing: SimCatalogTiming
  readonly server: SimCatalogServer
}

interface Watch {
  readonly prefix: string
  readonly line: Line<readonly CatalogChange[]>
}

/** One call of the client, however often it is sent. */
interface Call<T> {
  readonly what: string
  /** Sent again without an answer. */
  readonly repeats: boolean
  readonly changes: boolean
  readonly serve: (server: SimCatalogServer, token: object) => T
  /** Answered or given up. */
  settled: boolean
  settle(act: (resolve: (value: T) => void, reject: (error: unknown) => void) => void): void
}

export class SimCatalogClient implements Catalog {
  readonly name: string
  readonly #world: SimCatalogWorld
  readonly #requests: Line<() => void>
  readonly #answers: Line<() => void>
  readonly #watches = new Set<Watch>()

  constructor(name: string, world: SimCatalogWorld) {
    this.name = name
    this.#world = world
    this.#requests = this.#line(runAll)
    this.#answers = this.#line(runAll)
  }

  get(key: string): Promise<CatalogEntry | undefined> {
    return this.#call(`reading ${key}`, 'read', (server) => server.get(key))
  }

  list(prefix: string): Promise<CatalogEntry[]> {
    return this.#call(`listing ${prefix}`, 'read', (server) => server.list(prefix))
  }

  /**
   * Also rejects with `BAD_ARGUMENT` (a key that is not one, or that is put or removed twice), `LEASE_EXPIRED` (a put
   * under a lease that is not there), and `TIMEOUT`: applied or not, or not yet.
   */
  commit(transaction: CatalogTransaction): Promise<CatalogResult> {
    return this.#call('a transaction', 'change once', (server) => server.commit(transaction))
  }

  watch(prefix: string, onChange: (changes: readonly CatalogChange[]) => void): () => void {
    const line = this.#line<readonly CatalogChange[]>((batch) => {
      if (this.#watches.has(watch)) onChange(batch.flat())
    })
    const watch: Watch = { prefix, line }
    this.#watches.add(watch)
    return () => this.#watches.delete(watch)
  }

  /** Also rejects with `ALREADY_EXISTS` while a lease of this id lasts, and `TIMEOUT`. */
  grantLease(id: string, ttlMs: number): Promise<void> {
    return this.#call(`granting lease ${id}`, 'change', (server, token) =>
      server.grantLease(id, ttlMs, token),
    )
  }

  keepLease(id: string): Promise<boolean> {
    return this.#call(`renewing lease ${id}`, 'change', (server) => server.keepLease(id))
  }

  revokeLease(id: string): Promise<void> {
    return this.#call(`revoking lease ${id}`, 'change', (server) => server.revokeLease(id))
  }

  /** The server tells of one transaction. */
  tell(changes: readonly CatalogChange[]): void {
    for (const { prefix, line } of this.#watches) {
      const wanted = changes.filter(({ key }) => key.startsWith(prefix))
      if (wanted.length > 0) line.carry(this.#watchLag(), wanted)
    }
  }

  /** No longer cut off, perhaps: what was held up moves again. */
  resume(): void {
    const { timing, random } = this.#world
    this.#requests.resume(drawDelay(random, timing.requestMs))
    this.#answers.resume(drawDelay(random, timing.answerMs))
    for (const { line } of this.#watches) line.resume(this.#watchLag())
  }

  #watchLag(): number {
    const { min, max } = this.#world.timing.watchLagMs
    return min + (max - min) * drawUnit(this.#world.random)
  }

  #line<T>(deliver: (batch: T[]) => void): Line<T> {
    return new Line(this.#world.loop, () => this.#world.faults.isCut(this.name), deliver)
  }

  #call<T>(
    what: string,
    kind: 'read' | 'change' | 'change once',
    serve: (server: SimCatalogServer, token: object) => T,
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const call: Call<T> = {
        what,
        repeats: kind !== 'change once',
        changes: kind !== 'read',
        serve,
        settled: false,
        settle(act) {
          if (this.settled) return
          this.settled = true
          cancelTimeout()
          act(resolve, reject)
        },
      }
      const { loop, timing } = this.#world
      const cancelTimeout = loop.after(timing.timeoutMs, () => call.settle(() => reject(this.#timeout(call))))
      this.#send(call)
    })
  }

  #send<T>(call: Call<T>): void {
    const { loop, random, faults, timing } = this.#world
    const delay = drawDelay(random, timing.requestMs)
    if (!happens(random, faults.requestLoss)) this.#requests.carry(delay, () => this.#arrive(call))
    if (call.repeats) this.#sendAgainLater(call, loop, timing)
  }

  #sendAgainLater<T>(call: Call<T>, loop: SimLoop, timing: SimCatalogTiming): void {
    loop.after(timing.retryMs, () => {
      if (call.settled) return
      // While cut off, one more would only wait behind the first.
      if (this.#world.faults.isCut(this.name)) this.#sendAgainLater(call, loop, timing)
      else this.#send(call)
    })
  }

  /** At the server. */
  #arrive<T>(call: Call<T>): void {
    const { random, faults, timing, server } = this.#world
    if (call.settled && !(call.changes && happens(random, faults.lateArrival))) return
    const answer = outcomeOf(() => call.serve(server, call))
    const { epoch } = server
    const delay = drawDelay(random, timing.answerMs)
    if (happens(random, faults.answerLoss)) return
    this.#answers.carry(delay, () => {
      if (server.epoch === epoch) call.settle(answer)
    })
  }

  #timeout<T>(call: Call<T>): HitherError {
    const outcome = call.repeats ? '' : '; whether it was or will be applied is unknown'
    return new HitherError(
      'TIMEOUT',
      `the catalog did not answer ${this.name} within ${this.#world.timing.timeoutMs} ms about ${call.what}${outcome}`,
    )
  }
}

/**
 * A way on which nothing overtakes. While it is cut, everything stays on it; cut or not is looked at when something
 * would arrive.
 */
class Line<T> {
  readonly #loop: SimLoop
  readonly #isCut: () => boolean
  readonly #deliver: (batch: T[]) => void
  /** In order of `due`. */
  #underWay: Array<{ readonly due: number; readonly item: T }> = []
  #lastDue = 0

  /** `deliver` gets what arrives at one moment, in order. */
  constructor(loop: SimLoop, isCut: () => boolean, deliver: (batch: T[]) => void) {
    this.#loop = loop
    this.#isCut = isCut
    this.#deliver = deliver
  }

  carry(delayMs: number, item: T): void {
    const { now } = this.#loop
    this.#lastDue = Math.max(this.#lastDue, now + delayMs)
    this.#underWay.push({ due: this.#lastDue, item })
    this.#arriveAfter(this.#lastDue - now)
  }

  /** What was held up arrives so much later, unless it is held up again. */
  resume(delayMs: number): void {
    if (this.#underWay.length > 0) this.#arriveAfter(delayMs)
  }

  #arriveAfter(ms: number): void {
    this.#loop.after(ms, () => this.#arrive())
  }

  #arrive(): void {
    if (this.#isCut()) return
    const { now } = this.#loop
    const held = this.#underWay.findIndex(({ due }) => due > now)
    const arrived = held < 0 ? this.#underWay : this.#underWay.slice(0, held)
    this.#underWay = held < 0 ? [] : this.#underWay.slice(held)
    if (arrived.length > 0) this.#deliver(arrived.map(({ item }) => item))
  }
}

function runAll(steps: ReadonlyArray<() => void>): void {
  for (const step of steps) step()
}

/** How to settle a call with what `act` returned or threw. */
function outcomeOf<T>(act: () => T): (resolve: (value: T) => void, reject: (error: unknown) => void) => void {
  try {
    const value = act()
    return (resolve) => resolve(value)
  } catch (error) {
    return (_, reject) => reject(error)
  }
}

/** Uniform in 0 … 1, without 1. */
function drawUnit(random: Random): number {
  return random.u32() / 2 ** 32
}

function happens(random: Random, probability: number): boolean {
  return probability > 0 && drawUnit(random) < probability
}

/** With sums and products only, which are the same on every machine; `Math.exp` and its like are not bound to be. */
function drawDelay(random: Random, { median, tail }: DelayModel): number {
  const unit = drawUnit(random)
  if (unit < 0.5) return median * (0.5 + unit)
  if (unit >= 0.99) return tail * (1 + (unit - 0.99) * 100)
  const share = (unit - 0.5) / 0.49
  return median + (tail - median) * share * share * share * share
}
