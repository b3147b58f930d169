/**
 * The history of one cell, judged as an atomic register by the zones of Gibbons and Korach ("Testing shared
 * memories", 1997). All operations that wrote or read one value form its zone: from the first finish to the last
 * start among them. When the finish comes first the register held the value all that time (a forward zone), else the
 * whole zone fits into any one moment between (a backward zone). With each value written once, a history is
 * linearizable exactly when no read ended before its write began, no two forward zones overlap, and no backward zone
 * lies inside a forward one.
 *
 * Zeros may be written many times. A read of zeros then belongs to one of the zero-writes that allow it; while
 * several do it is kept aside, and the history is in order as long as some assignment of these reads is.
 *
 * Whatever is forgotten (`prune`) only makes the judgement milder, and only where no ordinary history shows it.
 */

/** A moment that has not come: the finish of a write that has none. */
export const NEVER = Number.POSITIVE_INFINITY
/** The value of a clone's cell before its first write, while nobody has read which of the parent's it is. */
export const INHERITED = -1

/** Reads of zeros kept aside for a cell; above it the oldest is let pass. */
const MOST_OPEN_READS = 8
/** Zones up to which those are kept that tell the reads kept aside from later ones. */
const MOST_WITNESSES = 24
/** Assignments of reads to zero-writes tried before the history is let pass. */
const MOST_TRIES = 4_000
/** Values remembered by name after they can no longer be read, for the message. */
const MOST_GONE = 8

export type WriteOutcome = 'pending' | 'acked' | 'unknown' | 'refused'

export interface Interval {
  readonly start: number
  readonly end: number
}

export class Zone {
  value: number
  /** When its write began. */
  readonly start: number
  /** When its write was acknowledged. */
  end = NEVER
  outcome: WriteOutcome = 'pending'
  /** First finish among the write and the reads of it. */
  first = NEVER
  /** Last start among the write and the reads of it. */
  last: number
  reads = 0

  constructor(value: number, start: number) {
    this.value = value
    this.start = start
    this.last = start
  }
}

/** Why a read cannot be: the rule that it breaks, in a word and in a clause. */
export interface Fault {
  readonly kind: 'nowhere' | 'early' | 'stale' | 'inversion' | 'refused'
  readonly why: string
}

export class CellHistory {
  readonly zones: Zone[] = []
  /** Reads of zeros that more than one zero-write explains. */
  #openReads: Interval[] = []
  readonly #gone: Array<{ readonly value: number; readonly why: string }> = []

  /** `initial`: what the cell holds before its first write. */
  constructor(initial: number) {
    const zone = new Zone(initial, -1)
    zone.end = 0
    zone.first = 0
    zone.outcome = 'acked'
    this.zones.push(zone)
  }

  begin(value: number, start: number): Zone {
    const zone = new Zone(value, start)
    this.zones.push(zone)
    return zone
  }

  acknowledge(zone: Zone, end: number): void {
    zone.outcome = 'acked'
    zone.end = end
    if (end < zone.first) zone.first = end
  }

  /** The write had no effect. A fault when some read saw it. */
  refuse(zone: Zone): Fault | undefined {
    zone.outcome = 'refused'
    this.#forgetAt(this.zones.indexOf(zone), 'was refused')
    const why = `the write of ${nameOf(zone.value)} begun at ${zone.start} was refused, but a read had seen it`
    if (zone.reads > 0) return { kind: 'refused', why }
    return zone.value === 0 && !this.#openReadsFit() ? { kind: 'refused', why } : undefined
  }

  /** The zone of the value that a clone's cell had from its parent, while that value is not known. */
  get inherited(): Zone | undefined {
    return this.zones.find((zone) => zone.value === INHERITED)
  }

  /** Whether some zero-write of this history explains a read of zeros. */
  explainsZero(read: Interval): boolean {
    return this.zones.some((zone) => zone.value === 0 && this.#allows(zone, read))
  }

  /** Takes a read into the history, or says why it cannot be. */
  observe(value: number, read: Interval): Fault | undefined {
    if (value === 0) return this.#observeZero(read)
    const zone = this.zones.find((candidate) => candidate.value === value)
    if (zone === undefined) return this.#faultOfMissing(value)
    if (read.end < zone.start) return { kind: 'early', why: `its write began only at ${zone.start}` }
    const rival = this.#join(zone, read)
    if (rival !== undefined) return faultOf(rival, read)
    if (this.#openReads.length > 0 && !this.#openReadsFit()) {
      return {
        kind: 'inversion',
        why: 'no order of the writes explains it together with the earlier reads of zeros',
      }
    }
    return undefined
  }

  /**
   * Forgets the zones that nobody can read any more: neither an operation that starts at `oldest` or later, nor one
   * of `pinned` (the snapshots that have not shown yet what they hold).
   */
  prune(oldest: number, pinned: readonly Interval[]): void {
    // All are judged before any goes: what rules one out may go itself.
    const dead: number[] = []
    const future = { start: oldest, end: NEVER }
    for (let i = this.zones.length - 1; i >= 0; i--) {
      const zone = this.zones[i]!
      if (zone.outcome === 'pending' || zone.first >= oldest || zone.last >= oldest) continue
      if (zone.value === 0 && this.#openReads.some((read) => this.#allows(zone, read))) continue
      if (this.zones.length <= MOST_WITNESSES && this.#openReads.some((read) => read.end < zone.last))
        continue
      if (this.#allows(zone, future) || pinned.some((read) => this.#allows(zone, read))) continue
      dead.push(i)
    }
    for (const index of dead) this.#forgetAt(index, 'was overwritten long ago')
  }

  /** The history in words, oldest write first. Moments are ticks of the disk's operation clock. */
  tell(): string {
    const parts = this.zones.map((zone) => {
      const begun =
        zone.start < 0
          ? `at first ${nameOf(zone.value)}`
          : `write of ${nameOf(zone.value)} begun at ${zone.start}, ${endOf(zone)}`
      return zone.reads === 0
        ? begun
        : `${begun}, seen by reads (first finish ${zone.first}, last start ${zone.last})`
    })
    for (const { value, why } of this.#gone) parts.push(`${nameOf(value)} ${why}`)
    for (const read of this.#openReads) parts.push(`zeros read from ${read.start} to ${read.end}`)
    return parts.join('; ')
  }

  #observeZero(read: Interval): Fault | undefined {
    const candidates = this.#candidates(read)
    if (candidates.length === 0) {
      const rival = this.zones.find((zone) => zone.value !== 0 && zone.end < read.start)
      return rival === undefined
        ? { kind: 'inversion', why: 'no write of zeros explains it' }
        : faultOf(rival, read)
    }
    this.#openReads.push(read)
    if (!this.#openReadsFit()) {
      return {
        kind: 'inversion',
        why: 'no order of the zero-writes explains it together with the earlier reads of zeros',
      }
    }
    if (this.#openReads.length > MOST_OPEN_READS) this.#openReads.shift()
    return undefined
  }

  /** Settles the reads that only one zero-write explains, and says whether the others can be explained together. */
  #openReadsFit(): boolean {
    for (let again = true; again; ) {
      again = false
      const open: Interval[] = []
      for (const read of this.#openReads) {
        const candidates = this.#candidates(read)
        const only = candidates[0]
        if (only === undefined) return false
        if (candidates.some((zone) => zone.first <= read.end && zone.last >= read.start)) continue
        if (candidates.length === 1) {
          this.#join(only, read)
          again = true
        } else open.push(read)
      }
      this.#openReads = open
    }
    return this.#openReads.length === 0 || this.#assign(0, { left: MOST_TRIES })
  }

  /** Whether the open reads from index `from` on can be given to zero-writes. Leaves the zones as they were. */
  #assign(from: number, tries: { left: number }): boolean {
    const read = this.#openReads[from]
    if (read === undefined) return true
    for (const zone of this.#candidates(read)) {
      if (tries.left-- <= 0) return true
      const { first, last, reads } = zone
      this.#join(zone, read)
      const fits = this.#assign(from + 1, tries)
      zone.first = first
      zone.last = last
      zone.reads = reads
      if (fits) return true
    }
    return false
  }

  #candidates(read: Interval): Zone[] {
    return this.zones.filter((zone) => zone.value === 0 && this.#allows(zone, read))
  }

  #allows(zone: Zone, read: Interval): boolean {
    if (read.end < zone.start) return false
    return this.#rivalOf(zone, Math.min(zone.first, read.end), Math.max(zone.last, read.start)) === undefined
  }

  /** Makes the read part of the zone; the zone that this collides with, if any. */
  #join(zone: Zone, read: Interval): Zone | undefined {
    zone.reads++
    if (read.end < zone.first) zone.first = read.end
    if (read.start > zone.last) zone.last = read.start
    return this.#rivalOf(zone, zone.first, zone.last)
  }

  /**
   * Another zone that could not be beside `zone` if that went from `first` to `last`: some operation of it ended before one of
   * `zone` started, and the other way round. That is the rule for two forward zones
   * and for a backward one inside a forward one alike; for two backward ones it never holds.
   */
  #rivalOf(zone: Zone, first: number, last: number): Zone | undefined {
    for (const other of this.zones) {
      if (first < other.last && other.first < last && other !== zone) return other
    }
    return undefined
  }

  #faultOfMissing(value: number): Fault {
    const gone = this.#gone.find((candidate) => candidate.value === value)
    if (gone === undefined) return { kind: 'nowhere', why: 'nobody wrote it to this cell' }
    return { kind: gone.why === 'was refused' ? 'refused' : 'stale', why: `it ${gone.why}` }
  }

  #forgetAt(index: number, why: string): void {
    const zone = this.zones.splice(index, 1)[0]!
    this.#gone.push({ value: zone.value, why })
    if (this.#gone.length > MOST_GONE) this.#gone.shift()
  }
}

function faultOf(rival: Zone, read: Interval): Fault {
  if (rival.end < read.start) {
    return {
      kind: 'stale',
      why: `the write of ${nameOf(rival.value)} was acknowledged at ${rival.end}, before the read began`,
    }
  }
  return { kind: 'inversion', why: `${nameOf(rival.value)} is newer and had been read before` }
}

function endOf(zone: Zone): string {
  if (zone.outcome === 'acked') return `acknowledged at ${zone.end}`
  return zone.outcome === 'unknown' ? 'its outcome unknown' : zone.outcome
}

export function nameOf(value: number): string {
  if (value === INHERITED) return "the parent's value"
  return value === 0 ? 'zeros' : `value ${value}`
}
