/**
 * The link between the two nodes: one queue, first in first out, 10 Gb/s, 200 µs from the first byte sent to its use.
 * It answers one question: is a prefetched block here yet? Times are milliseconds.
 */
import { BLOCK_BYTES } from '../base/units.ts'

const BYTES_PER_MS = 1.25e6
const LATENCY_MS = 0.2
const BLOCK_MS = BLOCK_BYTES / BYTES_PER_MS

interface Flight {
  readonly start: number
  readonly end: number
  /** When its first block is here; the others follow at wire speed. */
  readonly firstAt: number
}

export class Wire {
  #freeAt = 0
  #flights: Flight[] = []
  #landedAt = 0

  /** Sends blocks that a read waits for. */
  sendNow(blocks: number, now: number): void {
    this.#freeAt = Math.max(this.#freeAt, now) + blocks * BLOCK_MS
  }

  /** Sends a run of prefetched blocks. */
  sendAhead(start: number, count: number, now: number): void {
    const begin = Math.max(this.#freeAt, now)
    this.#freeAt = begin + count * BLOCK_MS
    this.#landedAt = this.#freeAt + LATENCY_MS
    this.#flights.push({ start, end: start + count, firstAt: begin + BLOCK_MS + LATENCY_MS })
  }

  /** Whether a block that was sent ahead is still under way. */
  isUnderWay(block: number, now: number): boolean {
    if (now >= this.#landedAt) {
      if (this.#flights.length > 0) this.#flights = []
      return false
    }
    for (const flight of this.#flights) {
      if (block >= flight.start && block < flight.end) {
        return flight.firstAt + (block - flight.start) * BLOCK_MS > now
      }
    }
    return false
  }
}
