/**
 * What one connection may have under way, and when its socket is read.
 *
 * A connection has at most `requestsMax` requests and `bytesMax` of their bytes under way, from admission until the answer
 * has left, and all connections of a door share one byte budget. When a bound is met the socket is no longer read: a
 * client that does not take its answers stops itself. When there is room again `onRoom` is called, to go on with what was
 * read already.
 */
import type { Socket } from 'node:net'
import type { ByteBudget } from './byte-budget.ts'

export interface IntakeLimits {
  readonly requestsMax: number
  readonly bytesMax: number
  /** Of all connections of the door together. */
  readonly budget: ByteBudget
}

export class Intake {
  readonly #socket: Socket
  readonly #limits: IntakeLimits
  readonly #onRoom: () => void
  /** Admitted, and not yet answered to the client: requests, and their bytes. */
  #requests = 0
  #bytes = 0
  #waiting = false
  #closed = false

  constructor(socket: Socket, limits: IntakeLimits, onRoom: () => void) {
    this.#socket = socket
    this.#limits = limits
    this.#onRoom = onRoom
  }

  /** The socket is paused until there is room. */
  get waiting(): boolean {
    return this.#waiting
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return this.#requests === 0
  }

  /** Admits a request of so many bytes; `false`: there is no room for it now. */
  tryTake(bytes: number): boolean {
    const { requestsMax, bytesMax, budget } = this.#limits
    if (this.#requests >= requestsMax || this.#bytes + bytes > bytesMax) return false
    if (!budget.tryTake(bytes)) {
      budget.wait(this.#retry)
      return false
    }
    this.#requests += 1
    this.#bytes += bytes
    return true
  }

  /** So many requests, which held so many bytes, are over. */
  give(requests: number, bytes: number): void {
    if (this.#closed) return
    this.#requests -= requests
    this.#bytes -= bytes
    this.#limits.budget.give(bytes)
  }

  /** What was read is parsed, all of it, or up to a request that there was no room for. */
  parsed(all: boolean): void {
    if (all !== this.#waiting) return
    this.#waiting = !all
    if (all) this.#socket.resume()
    else this.#socket.pause()
  }

  /** Goes on when the connection waits for room. `false`: it does not. */
  retry(): boolean {
    if (!this.#waiting) return false
    this.#onRoom()
    return true
  }

  /** What waits is not waited for any more. */
  stopWaiting(): void {
    this.#waiting = false
    this.#limits.budget.forget(this.#retry)
  }

  /** The connection is gone. Of its bytes, `held` are still used, and given back to the budget by whoever does. */
  close(held: number): void {
    this.stopWaiting()
    this.#closed = true
    this.#limits.budget.give(this.#bytes - held)
  }

  readonly #retry = (): void => {
    this.retry()
  }
}
