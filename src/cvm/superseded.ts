/**
 * Which bytes of a write that is still under way have been written by others since it began. A write that is not answered
 * is sent again, and its first attempt may have been carried out all the same: were all of it applied once more, it would
 * come back over a later write that was acknowledged in between, and that reads have seen. What a write acknowledged in the
 * meantime covers may stay as it is: the two were under way together, so the one that is sent again counts as the earlier.
 *
 * That holds only if the others are not on their way at the same moment. So what is sent again goes alone: it waits for the
 * writes to its bytes that were sent before (of two that are sent again, the later one waits), and those that begin wait
 * for it. While every write is answered, nobody waits, and all that is done is noted.
 *
 * The ranges of acknowledged writes are only noted (two numbers each); who was overlapped is worked out when a write is
 * sent again, or when many notes have gathered.
 */

/** Bytes, half open. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/** Notes kept before they are worked out for all that is under way. */
const NOTES_MAX = 1024

/** A write under way. */
export class Flight {
  readonly range: ByteRange
  readonly number: number
  /** How often it was sent. */
  attempts = 0
  over = false
  /** Those that wait until it is over, or is sent again. */
  private waiting: Array<() => void> = []
  /** Notes before this one have been worked out. */
  seen: number
  /** What is still this write's to apply, in order, apart. */
  left: ByteRange[]

  constructor(range: ByteRange, number: number, seen: number) {
    this.range = range
    this.number = number
    this.seen = seen
    this.left = [range]
  }

  changed(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve))
  }

  tell(): void {
    if (this.waiting.length === 0) return
    for (const wake of this.waiting.splice(0)) wake()
  }
}

export class Superseded {
  private readonly underWay = new Set<Flight>()
  private readonly starts: number[] = []
  private readonly ends: number[] = []
  /** Number of the first note kept. */
  private first = 0
  /** Writes under way that were sent again. */
  private again = 0

  /** Number of the oldest write under way. */
  get oldest(): number | undefined {
    for (const { number } of this.underWay) return number
    return undefined
  }

  /** @param number higher than that of any write before */
  begin(range: ByteRange, number: number): Flight {
    const flight = new Flight(range, number, this.first + this.starts.length)
    this.underWay.add(flight)
    return flight
  }

  /** The flight is about to be sent for the first time: something to wait for first, if so. Ask again afterwards. */
  before(flight: Flight): Promise<void> | undefined {
    if (this.again === 0) return undefined
    return this.overlapping(flight, (other) => other.attempts > 1)
  }

  /** The flight is about to be sent again: something to wait for first, if so. Ask again afterwards. */
  beforeAgain(flight: Flight): Promise<void> | undefined {
    return this.overlapping(
      flight,
      (other) => other.attempts === 1 || (other.attempts > 1 && other.number < flight.number),
    )
  }

  sent(flight: Flight): void {
    flight.attempts++
    if (flight.attempts !== 2) return
    this.again++
    flight.tell()
  }

  /** The write is over. `done`: it was acknowledged. */
  end(flight: Flight, done: boolean): void {
    this.underWay.delete(flight)
    flight.over = true
    if (flight.attempts > 1) this.again--
    flight.tell()
    if (this.underWay.size === 0) {
      this.forget()
      return
    }
    if (!done) return
    this.starts.push(flight.range.start)
    this.ends.push(flight.range.end)
    if (this.starts.length < NOTES_MAX) return
    for (const each of this.underWay) this.workOut(each)
    this.forget()
  }

  /** What of the write nobody has written since it began. */
  leftOf(flight: Flight): readonly ByteRange[] {
    this.workOut(flight)
    return flight.left
  }

  private overlapping(flight: Flight, counts: (other: Flight) => boolean): Promise<void> | undefined {
    const { start, end } = flight.range
    for (const other of this.underWay) {
      if (other === flight || !counts(other)) continue
      if (other.range.start < end && start < other.range.end) return other.changed()
    }
    return undefined
  }

  private workOut(flight: Flight): void {
    const { start, end } = flight.range
    for (let at = flight.seen - this.first; at < this.starts.length; at++) {
      if (this.starts[at]! < end && start < this.ends[at]!) {
        flight.left = without(flight.left, this.starts[at]!, this.ends[at]!)
      }
    }
    flight.seen = this.first + this.starts.length
  }

  private forget(): void {
    this.first += this.starts.length
    this.starts.length = 0
    this.ends.length = 0
  }
}

function without(ranges: readonly ByteRange[], start: number, end: number): ByteRange[] {
  const left: ByteRange[] = []
  for (const range of ranges) {
    if (range.start < start) left.push({ start: range.start, end: Math.min(range.end, start) })
    if (end < range.end) left.push({ start: Math.max(range.start, end), end: range.end })
  }
  return left
}
