/**
 * The external network between CVMs of one process. It carries encoded frames, as a socket would, so that the wire
 * format is exercised in every world; each frame is copied once, because its receiver owns it.
 *
 * Delivery. All that is sent in one turn is delivered in the next microtask, in the order sent over the whole hub:
 * latency is that of a promise. Two CVMs that answer each other over memory devices would so never let the event loop
 * reach its sockets and timers, so only a number of such rounds run per turn of the event loop; the next waits for
 * `setImmediate`.
 *
 * Life and death. A frame is meant for the endpoint that was open when it was sent: closing drops what is under way
 * from and to it, and a later endpoint of the same name gets nothing of it. Whoever ever exchanged a frame with the
 * closed endpoint is told by `onPeerDown`, as a reset connection would, in order with the frames; whoever sends to a
 * name that is not there, too.
 */
import { HitherError } from '../../base/errors.ts'
import { Endpoint } from '../endpoint.ts'
import { FramePool } from '../frame-pool.ts'
import type { Network } from '../types.ts'

/** Rounds of delivery by microtask before the event loop gets a turn. */
const ROUNDS_PER_TURN = 32

/** On its way to `target`: a frame, or the news that `from` is gone. */
interface Delivery {
  readonly target: Endpoint
  readonly from: string
  readonly sender: Endpoint | undefined
  readonly frame: Uint8Array | undefined
}

export class LoopbackHub {
  readonly #endpoints = new Map<string, Endpoint>()
  readonly #frames = new FramePool()
  #underWay: Delivery[] = []
  #scheduled = false
  #roundsLeft = ROUNDS_PER_TURN

  /** Opens the endpoint `name`. Throws `IN_USE` while one of this name is open. */
  endpoint(name: string): Network {
    if (this.#endpoints.has(name)) {
      throw new HitherError('IN_USE', `the network endpoint ${name} is open already; close it first`)
    }
    const endpoint = new Endpoint(name, {
      takeFrame: (length) => this.#frames.take(length),
      giveBack: (frame) => this.#frames.giveBack(frame),
      find: (peer) => this.#endpoints.get(peer),
      carry: (sender, to, target, frame) => {
        if (target === undefined) this.#tellDown(sender, to)
        else this.#enqueue({ target, from: sender.self, sender, frame })
      },
      tellClosed: (peer) => this.#tellDown(peer, name),
      forget: () => this.#endpoints.delete(name),
    })
    this.#endpoints.set(name, endpoint)
    return endpoint
  }

  #tellDown(target: Endpoint, from: string): void {
    this.#enqueue({ target, from, sender: undefined, frame: undefined })
  }

  #enqueue(delivery: Delivery): void {
    this.#underWay.push(delivery)
    if (!this.#scheduled) this.#schedule()
  }

  #schedule(): void {
    this.#scheduled = true
    if (this.#roundsLeft === 0) {
      setImmediate(() => {
        this.#roundsLeft = ROUNDS_PER_TURN
        this.#deliverRound()
      })
      return
    }
    if (this.#roundsLeft === ROUNDS_PER_TURN) {
      setImmediate(() => {
        if (this.#roundsLeft > 0) this.#roundsLeft = ROUNDS_PER_TURN
      })
    }
    this.#roundsLeft -= 1
    queueMicrotask(() => this.#deliverRound())
  }

  #deliverRound(): void {
    const round = this.#underWay
    this.#underWay = []
    this.#scheduled = false
    let next = 0
    try {
      while (next < round.length) receive(round[next++]!)
    } finally {
      // Not at the end only when a handler threw: the error goes on, the rest goes out in the next round.
      if (next < round.length) this.#underWay = round.slice(next).concat(this.#underWay)
      if (this.#underWay.length > 0 && !this.#scheduled) this.#schedule()
    }
  }
}

function receive({ target, from, sender, frame }: Delivery): void {
  if (target.closed) return
  if (frame === undefined) target.peerDownHandler(from)
  else if (!sender?.closed) target.frameHandler(from, frame)
}
