/**
 * Plays a trace of one vDisk against a locality policy: its VM has just been moved, everything is on the node it left.
 *
 * The move happens at a given time of the trace. Reads before it are local, and the policy sees them; what was written
 * before it is at the source like the rest, and so is every block that was never written (as in the reference program
 * the figures are compared with). After it a written block is local, a read block is where the policy has brought it.
 *
 *   red     bytes of reads that had to wait for the wire
 *   green   bytes fetched ahead of their read
 *   never   what would be red if nothing were ever kept: all reads of blocks not written after the move
 *
 * Two ways to count:
 *   request  as it is. A read is one request; all its missing blocks wait. A prefetched block crosses a wire with a
 *            bandwidth and a latency, and a read that comes before it waits as well: such late bytes are red and
 *            green, and cross the wire once (wire = red + green − late).
 *   block    as the known reference figures are counted (24.58 % for never): every request is taken apart into
 *            single-block reads, one after the other, and a fetch takes no time. A block fetched because of an earlier
 *            block of the same request is green then, though its reader in truth waits for it. Kind to every rule
 *            that fetches more than a block; for comparison.
 *
 * Left out: the completion of a nearly held egroup (at most an eighth of it; a trace of addresses does not know log
 * groups), compression, and other traffic on the wire.
 */
import { BLOCK_BYTES } from '../base/units.ts'
import type { LocalityPolicy, PrefetchRange } from '../locality/policy.ts'
import { BlockStates, HELD, REMOTE, WRITTEN } from './block-states.ts'
import type { Trace } from './trace.ts'
import { Wire } from './wire.ts'

export type Accounting = 'request' | 'block'

export interface SimulateOptions {
  readonly accounting: Accounting
  /** When the VM moves, ms from the first request. */
  readonly moveAtMs: number
  /** Called now and then with requests done. */
  readonly onProgress?: (done: number) => void
}

/** All bytes are of reads after the move. */
export interface SimulateResult {
  readonly readBytes: number
  readonly redBytes: number
  /** Part of `redBytes` and of `greenBytes`: prefetched, but too late. */
  readonly lateBytes: number
  readonly greenBytes: number
  /** What crossed the wire: red + green − late. */
  readonly wireBytes: number
  /** What would have crossed it under `never`. */
  readonly neverBytes: number
}

const VDISK = 1
const PROGRESS_EVERY = 16_384

export function simulate(trace: Trace, policy: LocalityPolicy, options: SimulateOptions): SimulateResult {
  const player = new Player(policy, options.accounting === 'request' ? new Wire() : undefined)
  for (let i = 0; i < trace.length; i++) {
    const start = trace.start[i]!
    const count = trace.count[i]!
    const now = trace.timeMs[i]!
    const moved = now >= options.moveAtMs
    if (trace.write[i] === 1) {
      if (moved) player.write(start, count)
    } else if (options.accounting === 'request') {
      player.read(start, count, now, moved)
    } else {
      for (let block = start; block < start + count; block++) player.read(block, 1, now, moved)
    }
    if (i % PROGRESS_EVERY === 0) options.onProgress?.(i)
  }
  return player.result()
}

class Player {
  readonly #policy: LocalityPolicy
  readonly #wire: Wire | undefined
  readonly #states = new BlockStates()
  #readBlocks = 0
  #remoteBlocks = 0
  #lateBlocks = 0
  #greenBlocks = 0
  #neverBlocks = 0

  constructor(policy: LocalityPolicy, wire: Wire | undefined) {
    this.#policy = policy
    this.#wire = wire
  }

  write(start: number, count: number): void {
    for (let block = start; block < start + count; block++) this.#states.set(block, WRITTEN)
  }

  read(start: number, count: number, now: number, moved: boolean): void {
    let remoteBlocks = 0
    let heldBlocks = 0
    let lateBlocks = 0
    if (moved) {
      for (let block = start; block < start + count; block++) {
        const state = this.#states.get(block)
        if (state === REMOTE) remoteBlocks++
        else if (state === HELD) {
          heldBlocks++
          if (this.#wire?.isUnderWay(block, now)) lateBlocks++
        }
      }
      this.#readBlocks += count
      this.#remoteBlocks += remoteBlocks
      this.#lateBlocks += lateBlocks
      this.#neverBlocks += remoteBlocks + heldBlocks
      if (remoteBlocks > 0) this.#wire?.sendNow(remoteBlocks, now)
    }
    const decision = this.#policy.onRead({
      vdisk: VDISK,
      start,
      count,
      remoteBlocks,
      heldBlocks,
      lateBlocks,
      now,
    })
    if (decision.keep && remoteBlocks > 0) this.#hold(start, count)
    for (const range of decision.prefetch) this.#prefetch(range, now, moved)
  }

  result(): SimulateResult {
    return {
      readBytes: this.#readBlocks * BLOCK_BYTES,
      redBytes: (this.#remoteBlocks + this.#lateBlocks) * BLOCK_BYTES,
      lateBytes: this.#lateBlocks * BLOCK_BYTES,
      greenBytes: this.#greenBlocks * BLOCK_BYTES,
      wireBytes: (this.#remoteBlocks + this.#greenBlocks) * BLOCK_BYTES,
      neverBytes: this.#neverBlocks * BLOCK_BYTES,
    }
  }

  #hold(start: number, count: number): void {
    for (let block = start; block < start + count; block++) {
      if (this.#states.get(block) === REMOTE) this.#states.set(block, HELD)
    }
  }

  /** Fetches what is remote of the range. Before the move everything is local, and nothing is fetched. */
  #prefetch(range: PrefetchRange, now: number, moved: boolean): void {
    let fetched = 0
    if (moved) {
      const end = range.start + range.count
      let run = 0
      for (let block: number = range.start; block < end; block++) {
        if (this.#states.get(block) === REMOTE) {
          this.#states.set(block, HELD)
          run++
          continue
        }
        if (run > 0) this.#wire?.sendAhead(block - run, run, now)
        fetched += run
        run = 0
      }
      if (run > 0) this.#wire?.sendAhead(end - run, run, now)
      fetched += run
    }
    this.#greenBlocks += fetched
    this.#policy.onPrefetched(VDISK, range, fetched)
  }
}
