/**
 * The records of the directory, packed: some 55 bytes for each egroup instead of 360 as objects in a map (measured). A cluster
 * of 10 TiB has millions of egroups, and every CVM keeps them all (directory.ts).
 *
 * A record lies in a row of columns, which it keeps for as long as it is there; key → row is a hash table of heads and chains.
 * Rows of removed records are used again. A record that does not fit (a field of a later version, more copies than four) is
 * kept as it is. Records are made anew for each look, so they must not be compared by identity.
 */
import type { EgroupId, NodeId, VDiskId } from '../base/units.ts'
import { type EgroupRecord, egroupOfKey, keys } from '../cluster/records.ts'
import type { RecordEntries, Versioned } from '../cluster/records-view.ts'

const ROWS_FIRST = 64
/** How much larger the columns get when they are full: large tables have little memory to spare. */
const GROWTH = 1.125
/** Copies that a row has room for: RF, and one on its way. */
const COPIES_MAX = 4
const NODES_MAX = 0x7fff
const U32_MAX = 0xffff_ffff
/** Bytes of a row in all columns but `#movedAt`. */
const ROW_BYTES = 5 * 4 + 8 + 2 + COPIES_MAX * 2 + 4
const FIELDS = 7

/** Bits of `#meta`. */
const SEALED = 1
const RF_SHIFT = 1
const RF_MAX = 7
const COPIES_SHIFT = 4

export class EgroupTable implements RecordEntries<EgroupRecord> {
  /** 0: the row is free. */
  #egroups = new Uint32Array(ROWS_FIRST)
  #streams = new Uint32Array(ROWS_FIRST)
  #orders = new Uint32Array(ROWS_FIRST)
  #lengths = new Uint32Array(ROWS_FIRST)
  #generations = new Uint32Array(ROWS_FIRST)
  #revisions = new Float64Array(ROWS_FIRST)
  #meta = new Uint16Array(ROWS_FIRST)
  /** Number of the node << 1, and 1 for HDD. */
  #copies = new Uint16Array(ROWS_FIRST * COPIES_MAX)
  /** NaN: never. Made when the first record has it. */
  #movedAt: Float64Array | undefined
  /** Next row with the same head, plus 1. */
  #chains = new Uint32Array(ROWS_FIRST)
  /** First row of each head, plus 1; a power of two of them. */
  #heads = new Uint32Array(ROWS_FIRST)
  /** Rows that were ever used, and those of them that are free. */
  #used = 0
  readonly #free: number[] = []
  readonly #nodes: NodeId[] = []
  readonly #nodeNumbers = new Map<NodeId, number>()
  /** What does not fit. */
  readonly #odd = new Map<EgroupId, Versioned<EgroupRecord>>()

  get size(): number {
    return this.#used - this.#free.length + this.#odd.size
  }

  /** Memory of the columns and of the hash table. */
  get sizeBytes(): number {
    return this.#egroups.length * ROW_BYTES + (this.#movedAt?.byteLength ?? 0) + this.#heads.byteLength
  }

  get(key: string): Versioned<EgroupRecord> | undefined {
    return this.of(egroupOfKey(key))
  }

  /** As `get`, without a key in between: it is asked on the path of reads. */
  of(egroup: EgroupId): Versioned<EgroupRecord> | undefined {
    const row = this.#find(egroup)
    return row < 0 ? this.#odd.get(egroup) : this.#at(row)
  }

  /** The stream of the egroup, without the rest of its record. */
  streamOf(egroup: EgroupId): VDiskId | undefined {
    const row = this.#find(egroup)
    return row < 0 ? this.#odd.get(egroup)?.value.stream : this.#streams[row]
  }

  set(key: string, entry: Versioned<EgroupRecord>): void {
    const egroup = egroupOfKey(key)
    if (!this.#fits(egroup, entry.value)) {
      this.delete(key)
      this.#odd.set(egroup, entry)
      return
    }
    this.#odd.delete(egroup)
    const found = this.#find(egroup)
    this.#write(found < 0 ? this.#take(egroup) : found, entry)
  }

  delete(key: string): void {
    const egroup = egroupOfKey(key)
    this.#odd.delete(egroup)
    const row = this.#find(egroup)
    if (row < 0) return
    this.#unlink(egroup, row)
    this.#egroups[row] = 0
    this.#free.push(row)
  }

  *entries(): IterableIterator<[string, Versioned<EgroupRecord>]> {
    for (const [egroup, entry] of this.all()) yield [keys.egroup(egroup), entry]
  }

  /** In no order. What comes or goes meanwhile may be in it or not; all else is, once. */
  *all(): IterableIterator<[EgroupId, Versioned<EgroupRecord>]> {
    for (let row = 0; row < this.#used; row++) {
      const egroup = this.#egroups[row]!
      if (egroup !== 0) yield [egroup, this.#at(row)]
    }
    yield* this.#odd
  }

  #fits(egroup: EgroupId, record: EgroupRecord): boolean {
    const { stream, order, state, length, generation, rf, copies, movedAt } = record
    if (!isU32(egroup) || egroup === 0 || !isU32(stream) || !isU32(order)) return false
    if (!isU32(length) || !isU32(generation) || !isU32(rf) || rf > RF_MAX) return false
    if (state !== 'open' && state !== 'sealed') return false
    if (movedAt !== undefined && !Number.isFinite(movedAt)) return false
    if (Object.keys(record).length !== FIELDS + Number(movedAt !== undefined)) return false
    return (
      Array.isArray(copies) &&
      copies.length <= COPIES_MAX &&
      copies.every(
        (copy) => Object.keys(copy).length === 2 && isTier(copy.tier) && this.#numberOf(copy.node) >= 0,
      )
    )
  }

  #write(row: number, { value, revision }: Versioned<EgroupRecord>): void {
    const { copies } = value
    this.#streams[row] = value.stream
    this.#orders[row] = value.order
    this.#lengths[row] = value.length
    this.#generations[row] = value.generation
    this.#revisions[row] = revision
    const state = value.state === 'sealed' ? SEALED : 0
    this.#meta[row] = state | (value.rf << RF_SHIFT) | (copies.length << COPIES_SHIFT)
    for (let i = 0; i < copies.length; i++) {
      const { node, tier } = copies[i]!
      this.#copies[row * COPIES_MAX + i] = (this.#numberOf(node) << 1) | Number(tier === 'hdd')
    }
    if (value.movedAt !== undefined) {
      this.#movedAt ??= new Float64Array(this.#egroups.length).fill(Number.NaN)
    }
    if (this.#movedAt !== undefined) this.#movedAt[row] = value.movedAt ?? Number.NaN
  }

  #at(row: number): Versioned<EgroupRecord> {
    const meta = this.#meta[row]!
    const movedAt = this.#movedAt?.[row] ?? Number.NaN
    const copies = Array.from({ length: meta >> COPIES_SHIFT }, (_, i) => {
      const copy = this.#copies[row * COPIES_MAX + i]!
      return { node: this.#nodes[copy >> 1]!, tier: (copy & 1) === 1 ? 'hdd' : 'ssd' } as const
    })
    const value: EgroupRecord = {
      stream: this.#streams[row]!,
      order: this.#orders[row]!,
      state: (meta & SEALED) === 0 ? 'open' : 'sealed',
      length: this.#lengths[row]!,
      generation: this.#generations[row]!,
      rf: (meta >> RF_SHIFT) & RF_MAX,
      copies,
      ...(Number.isNaN(movedAt) ? {} : { movedAt }),
    }
    return { value, revision: this.#revisions[row]! }
  }

  /** Small numbers for the names of nodes; −1: there are too many. */
  #numberOf(node: NodeId): number {
    const known = this.#nodeNumbers.get(node)
    if (known !== undefined) return known
    if (typeof node !== 'string' || this.#nodes.length > NODES_MAX) return -1
    this.#nodeNumbers.set(node, this.#nodes.length)
    return this.#nodes.push(node) - 1
  }

  #find(egroup: EgroupId): number {
    let next = this.#heads[this.#headOf(egroup)]!
    while (next !== 0 && this.#egroups[next - 1] !== egroup) next = this.#chains[next - 1]!
    return next - 1
  }

  #take(egroup: EgroupId): number {
    if (this.#free.length === 0 && this.#used === this.#egroups.length) this.#grow()
    const row = this.#free.pop() ?? this.#used++
    this.#egroups[row] = egroup
    this.#link(row)
    return row
  }

  #link(row: number): void {
    const head = this.#headOf(this.#egroups[row]!)
    this.#chains[row] = this.#heads[head]!
    this.#heads[head] = row + 1
  }

  #unlink(egroup: EgroupId, row: number): void {
    const head = this.#headOf(egroup)
    if (this.#heads[head] === row + 1) {
      this.#heads[head] = this.#chains[row]!
      return
    }
    let at = this.#heads[head]! - 1
    while (this.#chains[at] !== row + 1) at = this.#chains[at]! - 1
    this.#chains[at] = this.#chains[row]!
  }

  /** Ids are given out in order, so their low bits are spread well. */
  #headOf(egroup: EgroupId): number {
    return egroup & (this.#heads.length - 1)
  }

  #grow(): void {
    const rows = Math.ceil(this.#egroups.length * GROWTH)
    this.#egroups = grown(this.#egroups, new Uint32Array(rows))
    this.#streams = grown(this.#streams, new Uint32Array(rows))
    this.#orders = grown(this.#orders, new Uint32Array(rows))
    this.#lengths = grown(this.#lengths, new Uint32Array(rows))
    this.#generations = grown(this.#generations, new Uint32Array(rows))
    this.#revisions = grown(this.#revisions, new Float64Array(rows))
    this.#meta = grown(this.#meta, new Uint16Array(rows))
    this.#copies = grown(this.#copies, new Uint16Array(rows * COPIES_MAX))
    if (this.#movedAt !== undefined) {
      this.#movedAt = grown(this.#movedAt, new Float64Array(rows).fill(Number.NaN))
    }
    this.#chains = grown(this.#chains, new Uint32Array(rows))
    // Two rows a head, or fewer.
    if (rows <= this.#heads.length * 2) return
    this.#heads = new Uint32Array(this.#heads.length * 2)
    for (let row = 0; row < this.#used; row++) if (this.#egroups[row] !== 0) this.#link(row)
  }
}

function grown<T extends Uint16Array | Uint32Array | Float64Array>(from: T, to: T): T {
  to.set(from)
  return to
}

function isU32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= U32_MAX
}

function isTier(tier: string): boolean {
  return tier === 'ssd' || tier === 'hdd'
}
