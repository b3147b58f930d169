/**
 * The last events of the cluster, kept in a ring, and cursors over it. One subscription to the cluster feeds any number
 * of readers; a reader that falls behind by more than the ring is told how many it lost (`events-lost`).
 */
import type { Cluster, ClusterEvent } from '../../api.ts'

/** Events kept. */
const CAPACITY = 1_024

export class EventLog {
  readonly #ring: ClusterEvent[] = []
  readonly #stop = new AbortController()
  readonly #wakers = new Set<() => void>()
  readonly #feeding: Promise<void>
  /** Events ever appended; the ring holds numbers `#end - #ring.length` … `#end - 1`. */
  #end = 0

  constructor(cluster: Pick<Cluster, 'events'>) {
    this.#feeding = this.#feed(cluster.events({ signal: this.#stop.signal }))
  }

  /**
   * The last `recent` events and then, with `follow`, those that come. Ends when `signal` fires or the log is closed.
   * The first events are taken at the first `next()`.
   */
  async *read(options: {
    recent: number
    follow: boolean
    signal: AbortSignal
  }): AsyncGenerator<ClusterEvent, void> {
    const { follow, signal } = options
    let next = this.#end - Math.min(options.recent, this.#ring.length)
    const wake = () => this.#wakeAll()
    signal.addEventListener('abort', wake)
    try {
      while (!signal.aborted) {
        const first = this.#end - this.#ring.length
        if (next < first) {
          yield lost(first - next)
          next = first
        } else if (next < this.#end) {
          const event = this.#ring[next - first]!
          next += 1
          yield event
        } else if (!follow || this.#stop.signal.aborted) {
          return
        } else {
          await new Promise<void>((resolve) => this.#wakers.add(resolve))
        }
      }
    } finally {
      signal.removeEventListener('abort', wake)
    }
  }

  /** Ends all readers after what they have not read yet. */
  async close(): Promise<void> {
    this.#stop.abort()
    await this.#feeding
  }

  async #feed(events: AsyncIterable<ClusterEvent>): Promise<void> {
    try {
      for await (const event of events) {
        if (this.#ring.length === CAPACITY) this.#ring.shift()
        this.#ring.push(event)
        this.#end += 1
        this.#wakeAll()
      }
    } catch {
      // A subscription may end by throwing the signal's reason; the log just ends.
    }
    this.#stop.abort()
    this.#wakeAll()
  }

  #wakeAll(): void {
    const wakers = [...this.#wakers]
    this.#wakers.clear()
    for (const wake of wakers) wake()
  }
}

function lost(count: number): ClusterEvent {
  const now = new Date()
  return { at: now.toISOString(), time: now.getTime(), type: 'events-lost', count }
}
