/** Sets of slots by egroup: what a mark found, and what a sweep spares. A bit a slot, in memory and on the wire. */
import { Bitset } from '../base/bitset.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { EgroupId, SlotIndex } from '../base/units.ts'

export class SlotSets {
  private readonly sets = new Map<EgroupId, Bitset>()

  /** Adds a slot; `false` when it was there already. */
  add(egroup: EgroupId, slot: SlotIndex): boolean {
    let set = this.sets.get(egroup)
    if (set === undefined) {
      set = new Bitset()
      this.sets.set(egroup, set)
    }
    return set.set(slot)
  }

  get(egroup: EgroupId): Bitset | undefined {
    return this.sets.get(egroup)
  }

  /** Adds all of `slots`; a set that was not there becomes a copy. */
  addAll(egroup: EgroupId, slots: Bitset): void {
    let set = this.sets.get(egroup)
    if (set === undefined) {
      set = new Bitset()
      this.sets.set(egroup, set)
    }
    set.or(slots)
  }

  merge(other: SlotSets): void {
    for (const [egroup, slots] of other.sets) this.addAll(egroup, slots)
  }

  encode(): Uint8Array {
    return encodeSlotSets(this.sets)
  }

  /** Throws `PROTOCOL_ERROR` when the bytes are not what `encodeSlotSets` wrote. */
  static decode(bytes: Uint8Array): SlotSets {
    const sets = new SlotSets()
    const reader = new ByteReader(bytes)
    const count = reader.count(8)
    for (let i = 0; i < count; i++) sets.sets.set(reader.u32(), Bitset.fromBytes(reader.blob()))
    reader.end()
    return sets
  }
}

/** u32 count, then for each egroup: u32 egroup, blob of its bits. */
export function encodeSlotSets(sets: ReadonlyMap<EgroupId, Bitset>): Uint8Array {
  const writer = new ByteWriter(16 + sets.size * 160).u32(sets.size)
  for (const [egroup, slots] of sets) writer.u32(egroup).blob(slots.toBytes())
  return writer.view()
}
