/**
 * The event loop of the simulated world: virtual time, and everything that happens in it, in one order.
 *
 * An event is a callback at a time. The earliest runs first; of two at the same time, the one scheduled first. Between
 * two events every microtask is drained (each event runs in a macrotask of its own), so that ordinary `async` code runs
 * to its next wait before time goes on. Nothing else decides an order: with the same seed, the same events run in the
 * same order on every machine and Node version, and `hash` proves it.
 *
 * Time does not pass by itself: when no event is left, nothing happens until somebody schedules one.
 */
import { HitherError } from '../../base/errors.ts'

/** Macrotasks queued in one go: one turn of Node's event loop (a system call) serves so many events. */
const BATCH = 128

interface SimEvent {
  readonly time: number
  readonly order: number
  fire: (() => void) | undefined
}

export class SimLoop {
  #now = 0
  #order = 0
  #fired = 0
  #hash = 0x811c9dc5
  #heap: SimEvent[] = []
  #queued = 0
  #stopped = false
  readonly #step = (): void => this.#run()

  /** Virtual milliseconds since the world began, with fractions. */
  get now(): number {
    return this.#now
  }

  /** Events that have run. */
  get fired(): number {
    return this.#fired
  }

  /** Of every event and note so far, in order: equal for two runs that did the same. Eight hex digits. */
  get hash(): string {
    return (this.#hash >>> 0).toString(16).padStart(8, '0')
  }

  /** Calls `fire` after so many virtual ms (0: after what is due now already). Returns what cancels it. */
  after(ms: number, fire: () => void): () => void {
    if (!(ms >= 0)) throw new HitherError('BAD_ARGUMENT', `an event cannot be ${ms} ms from now`)
    const event: SimEvent = { time: this.#now + ms, order: this.#order++, fire }
    if (!this.#stopped) {
      this.#push(event)
      this.#wake()
    }
    return () => {
      event.fire = undefined
    }
  }

  /** Resolves after so many virtual ms. */
  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, resolve)
    })
  }

  /** Mixes a number into the hash: what was decided, answered, read. Its low 32 bits count. */
  note(value: number): void {
    this.#hash = Math.imul(this.#hash ^ (value | 0), 0x01000193)
    this.#hash ^= this.#hash >>> 15
  }

  /** The end of this world: no event runs any more. */
  stop(): void {
    this.#stopped = true
    this.#heap = []
  }

  #wake(): void {
    if (this.#queued > 0) return
    const batch = Math.min(BATCH, Math.max(1, this.#heap.length))
    this.#queued = batch
    for (let i = 0; i < batch; i++) setImmediate(this.#step)
  }

  #run(): void {
    this.#queued--
    const event = this.#pop()
    if (event !== undefined) {
      this.#now = event.time
      this.#fired++
      this.note(event.order)
      this.note(event.time * 1000)
      const fire = event.fire!
      event.fire = undefined
      try {
        fire()
      } finally {
        if (this.#queued === 0 && this.#heap.length > 0) this.#wake()
      }
    }
  }

  /** The earliest event that was not cancelled. */
  #pop(): SimEvent | undefined {
    const heap = this.#heap
    while (heap.length > 0) {
      const top = heap[0]!
      const last = heap.pop()!
      if (heap.length > 0) this.#sink(last)
      if (top.fire !== undefined) return top
    }
    return undefined
  }

  #push(event: SimEvent): void {
    const heap = this.#heap
    let at = heap.length
    heap.push(event)
    while (at > 0) {
      const parent = (at - 1) >> 1
      if (!before(event, heap[parent]!)) break
      heap[at] = heap[parent]!
      at = parent
    }
    heap[at] = event
  }

  #sink(event: SimEvent): void {
    const heap = this.#heap
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++
      if (!before(heap[child]!, event)) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = event
  }
}

function before(a: SimEvent, b: SimEvent): boolean {
  return a.time < b.time || (a.time === b.time && a.order < b.order)
}
