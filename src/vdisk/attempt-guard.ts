/**
 * Keeps late attempts of writes out. A write that was not answered is sent again; the network may hold the earlier attempt
 * back until after the write, and a later one, were acknowledged. Applied then, it would bring back old data.
 *
 * So every attempt has a name, and its vDisk's owner refuses it when
 *   - it was meant for another generation of the owner. The client learns the generation from the refusal, and sends the
 *     write once more: an extra round trip with each new owner, and none else;
 *   - a later attempt of the same write has come, or the client has said since that the write is over.
 * Both have to be told by a message that precedes the acknowledgement. Only an attempt after the first one can follow a
 * late one of the same write, so only those leave a trace here: while nothing goes wrong, an attempt costs a comparison.
 * The trace of a client is the writes that it had under way when it last sent one again, and a number below which all are
 * over. It ends with the owner's generation.
 */
import { HitherError } from '../base/errors.ts'
import { forgetOldest } from '../base/oldest.ts'
import type { Generation } from '../base/units.ts'

/** One attempt of a write, a trim or a zeroing. */
export interface WriteAttempt {
  /** Never used by another handle, in no life of any process. */
  readonly client: string
  /** Of the write; ascending in the order in which the client began them. */
  readonly number: number
  /** 1 for the first. */
  readonly attempt: number
  /** All of the client's writes below are over; 0: nothing is said. */
  readonly settledBelow: number
  /** Of the owner that it is meant for. */
  readonly generation: Generation
}

/** An attempt was refused because another generation serves the vDisk: it did nothing, and may be sent to that one. */
export class OwnerMoved extends HitherError {
  readonly generation: Generation

  constructor(generation: Generation) {
    super('NOT_OWNER', `the vDisk is served by generation ${generation} of its owner, not by the one meant`)
    this.generation = generation
  }
}

/** Clients remembered; the one that has sent nothing again for longest is forgotten first. */
const CLIENTS_MAX = 4096

interface Trace {
  settledBelow: number
  /** Write → its latest attempt, for those that were sent again. */
  readonly latest: Map<number, number>
}

export class AttemptGuard {
  private readonly generation: Generation
  private readonly clients = new Map<string, Trace>()

  constructor(generation: Generation) {
    this.generation = generation
  }

  /**
   * Throws `OwnerMoved`, or `CONFLICT` when the attempt comes too late. What it lets in has to be queued before anything
   * else is let in: overlapping writes are applied in the order in which they came.
   */
  admit(attempt: WriteAttempt): void {
    if (attempt.generation !== this.generation) throw new OwnerMoved(this.generation)
    const isFirst = attempt.attempt === 1 && attempt.settledBelow === 0
    if (isFirst && this.clients.size === 0) return
    const trace = this.clients.get(attempt.client)
    if (trace !== undefined && isLate(attempt, trace)) {
      throw new HitherError(
        'CONFLICT',
        `write ${attempt.number} of a client is over, or was sent again since`,
      )
    }
    if (!isFirst) this.note(attempt, trace ?? { settledBelow: 0, latest: new Map() })
  }

  private note({ client, number, attempt, settledBelow }: WriteAttempt, trace: Trace): void {
    this.clients.delete(client)
    this.clients.set(client, trace)
    forgetOldest(this.clients, CLIENTS_MAX)
    if (attempt > 1) trace.latest.set(number, attempt)
    if (settledBelow <= trace.settledBelow) return
    trace.settledBelow = settledBelow
    for (const each of trace.latest.keys()) if (each < settledBelow) trace.latest.delete(each)
  }
}

function isLate({ number, attempt }: WriteAttempt, { settledBelow, latest }: Trace): boolean {
  return number < settledBelow || attempt < (latest.get(number) ?? 0)
}
