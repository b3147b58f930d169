/**
 * Random histories with power losses, against a model. What the store has promised is there after the crash; what was
 * under way is there or not, whole; a slot never reads wrong. Power goes off between operations or in the middle of
 * one; of what was not synced, any mixture of sectors comes through.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'
import { codeOf } from '../../src/base/errors.ts'
import { MiB, type Tier } from '../../src/base/units.ts'
import { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { chunksOf, isRight, memoryDevice, NODE, randomOf, STREAM, storedOf, Writer } from './harness.ts'

/** What may be true of one egroup on this node. */
interface Model {
  readonly writer: Writer
  kind: 'open' | 'sealed' | 'partial'
  /** Open: the log is at least this long after a crash. */
  syncedLength: number
  /** Slots that must be right; partial copies: that may be there. */
  readonly live: Set<number>
  generation: number
  /** An operation was cut short: the copy may as well be … */
  maybe: 'absent' | 'sealed' | undefined
}

type Command =
  | { readonly type: 'create'; readonly tier: Tier }
  | {
      readonly type: 'append'
      readonly at: number
      readonly blocks: readonly number[]
      readonly sync: boolean
    }
  | { readonly type: 'sync' | 'drop' | 'move' | 'complete' | 'reimport'; readonly at: number }
  | { readonly type: 'seal'; readonly at: number; readonly back: number }
  | { readonly type: 'fence'; readonly at: number }
  | { readonly type: 'compact'; readonly at: number; readonly keep: number }
  | { readonly type: 'keep'; readonly egroup: number; readonly slots: readonly number[] }
  | { readonly type: 'crash'; readonly seed: number }
  | { readonly type: 'powerOff'; readonly after: number; readonly device: number }

const at = fc.nat(5)
const blocks = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 })
const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('create'), tier: fc.constantFrom<Tier>('ssd', 'hdd') }),
  },
  { weight: 10, arbitrary: fc.record({ type: fc.constant('append'), at, blocks, sync: fc.boolean() }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constantFrom('sync', 'drop', 'move', 'complete', 'reimport'), at }),
  },
  { weight: 3, arbitrary: fc.record({ type: fc.constant('seal'), at, back: fc.nat(2) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('fence'), at }) },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant('compact'), at, keep: fc.integer({ min: 1, max: 4 }) }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      type: fc.constant('keep'),
      egroup: fc.integer({ min: 501, max: 503 }),
      slots: fc.array(fc.nat(60), { minLength: 1, maxLength: 8 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('crash'), seed: fc.nat() }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('powerOff'), after: fc.nat(12), device: fc.nat(1) }),
  },
) as fc.Arbitrary<Command>

class History {
  readonly #media: readonly MemoryDevice[]
  #devices: CrashDevice[] = []
  #store!: ExtentStore
  readonly #models = new Map<number, Model>()
  #nextEgroup = 1

  constructor() {
    this.#media = [memoryDevice(20 * MiB, 'ssd'), memoryDevice(20 * MiB, 'hdd')]
  }

  async open(): Promise<void> {
    this.#devices = this.#media.map((medium) => new CrashDevice(medium))
    this.#store = await ExtentStore.open({ node: NODE, devices: this.#devices, slotIndexBytes: 4000 })
    expect(this.#store.usage().map((usage) => usage.failed)).toEqual([false, false])
  }

  async run(command: Command): Promise<void> {
    switch (command.type) {
      case 'crash':
        return this.#crash(command.seed)
      case 'powerOff':
        this.#devices[command.device]!.powerOffAfter(command.after)
        return
      default:
        try {
          await this.#operate(command)
        } catch (error) {
          // With the power off everything fails; the crash that follows says what is left.
          if (codeOf(error) !== 'DEVICE_FAILED' && codeOf(error) !== 'COPY_MISSING') throw error
          await this.#crash(1)
        }
    }
  }

  async #operate(command: Exclude<Command, { type: 'crash' | 'powerOff' }>): Promise<void> {
    const store = this.#store
    if (command.type === 'create') return this.#create(command.tier)
    if (command.type === 'keep') return this.#keep(command.egroup, command.slots)
    const kind = { append: 'open', sync: 'open', seal: 'open', complete: 'partial' }[command.type as string]
    const fitting = [...this.#models.entries()].filter(
      ([, model]) => kind === undefined || model.kind === kind,
    )
    const chosen = fitting[command.at % Math.max(fitting.length, 1)]
    if (chosen === undefined) return
    const [egroup, model] = chosen
    switch (command.type) {
      case 'append': {
        const { writer } = model
        if (writer.slots > 40) return
        for (let i = 0; i < command.blocks.length; i++) model.live.add(writer.slots + i)
        await writer.append(store, command.blocks, { sync: command.sync, generation: model.generation })
        if (command.sync) model.syncedLength = writer.offset
        return
      }
      case 'sync':
        await store.syncCopy(egroup)
        model.syncedLength = model.writer.offset
        return
      case 'fence':
        if (model.kind === 'partial') return
        model.generation++
        expect((await store.fence(egroup, model.generation)).length).toBe(store.info(egroup)!.length)
        model.syncedLength = Math.max(model.syncedLength, model.writer.offset)
        return
      case 'seal': {
        const { writer } = model
        const ends = writer.ends
        const length = Math.max(model.syncedLength, ends[Math.max(ends.length - 1 - command.back, 0)]!)
        model.maybe = 'sealed'
        this.#cut(model, length)
        await store.seal(egroup, model.generation, length)
        model.maybe = undefined
        model.kind = 'sealed'
        return
      }
      case 'drop':
        model.maybe = 'absent'
        await store.dropCopy(egroup)
        this.#models.delete(egroup)
        return
      case 'move':
        if (model.kind !== 'sealed') return
        await store.moveTier(egroup, store.info(egroup)!.tier === 'ssd' ? 'hdd' : 'ssd')
        return
      case 'compact': {
        if (model.kind !== 'sealed') return
        const keep = new Bitset()
        for (const slot of model.live) if (slot % command.keep === 0) keep.set(slot)
        for (const slot of [...model.live]) if (!keep.has(slot)) model.live.delete(slot)
        await store.compact(egroup, keep)
        return
      }
      case 'reimport': {
        if (model.kind !== 'sealed') return
        const { length } = store.info(egroup)!
        const log = await store.readLog(egroup, 0, length)
        const copy = { egroup, stream: STREAM, generation: model.generation, tier: 'ssd' as const, length }
        await store.importCopy(copy, chunksOf(log))
        return
      }
      case 'complete': {
        const held = store.partialSlots(egroup)!
        model.live.clear()
        held.forEach((slot) => {
          model.live.add(slot)
        })
        try {
          model.maybe = 'sealed'
          model.generation = 1
          await store.completePartial(egroup, 1)
          model.maybe = undefined
          model.kind = 'sealed'
        } catch (error) {
          // A crash tore it earlier: it is damaged, and must be dropped.
          if (codeOf(error) !== 'CHECKSUM_MISMATCH') throw error
          model.maybe = 'absent'
          await store.dropCopy(egroup)
          this.#models.delete(egroup)
        }
      }
    }
  }

  async #create(tier: Tier): Promise<void> {
    const egroup = this.#nextEgroup++
    const model: Model = {
      writer: new Writer(egroup),
      kind: 'open',
      syncedLength: 0,
      live: new Set(),
      generation: 1,
      maybe: 'absent',
    }
    this.#models.set(egroup, model)
    try {
      await this.#store.createCopy({ egroup, stream: STREAM, generation: 1, tier })
      model.maybe = undefined
    } catch (error) {
      if (codeOf(error) !== 'NO_SPACE') throw error
      this.#models.delete(egroup)
    }
  }

  async #keep(egroup: number, slots: readonly number[]): Promise<void> {
    let model = this.#models.get(egroup)
    if (model === undefined) {
      model = {
        writer: new Writer(egroup),
        kind: 'partial',
        syncedLength: 0,
        live: new Set(),
        generation: 0,
        maybe: undefined,
      }
      this.#models.set(egroup, model)
    }
    if (model.kind === 'partial') for (const slot of slots) model.live.add(slot)
    const kept = await this.#store.keepPartial(
      egroup,
      STREAM,
      slots.map((slot) => storedOf(egroup, slot, 2)),
    )
    if (this.#store.usage().some((usage) => usage.failed)) return this.#crash(2)
    if (this.#store.info(egroup) === undefined) this.#models.delete(egroup)
    else if (kept && model.kind === 'partial') {
      for (const slot of slots) expect(this.#store.partialSlots(egroup)!.has(slot)).toBe(true)
    }
  }

  /** What lies behind `length` is no longer promised, and the next append goes there. */
  #cut(model: Model, length: number): void {
    const { writer } = model
    writer.cut(length)
    for (const slot of [...model.live]) if (slot >= writer.slots) model.live.delete(slot)
  }

  async #crash(seed: number): Promise<void> {
    const random = randomOf(seed + 1)
    for (const device of this.#devices) await device.crash(random)
    await this.open()
    const found = new Set(this.#store.copies().map(({ egroup }) => egroup))
    for (const egroup of found) expect(this.#models.has(egroup)).toBe(true)
    for (const [egroup, model] of [...this.#models]) {
      const info = this.#store.info(egroup)
      if (info === undefined) {
        expect(model.maybe === 'absent' || model.kind === 'partial').toBe(true)
        this.#models.delete(egroup)
        continue
      }
      if (model.maybe === 'sealed' && info.state === 'sealed') model.kind = 'sealed'
      model.maybe = undefined
      expect(info.kind === 'partial').toBe(model.kind === 'partial')
      if (model.kind === 'open') {
        expect(info.state).toBe('open')
        expect(info.length).toBeGreaterThanOrEqual(model.syncedLength)
        this.#adoptLength(model, info.length)
      } else if (model.kind === 'sealed') {
        expect(info.state).toBe('sealed')
      }
      expect(info.generation).toBeLessThanOrEqual(Math.max(model.generation, 1))
      model.generation = Math.max(info.generation, model.kind === 'partial' ? 0 : 1)
    }
  }

  /** After a crash an open copy may hold more than was acknowledged: a frame whose append or cut was cut short. */
  #adoptLength(model: Model, length: number): void {
    if (length > model.writer.offset) {
      model.maybe = 'absent'
      return
    }
    this.#cut(model, length)
  }

  /** Every slot that is promised is right, no slot is wrong, and the space adds up. */
  async check(): Promise<void> {
    for (const [egroup, model] of this.#models) {
      if (this.#store.info(egroup) === undefined) continue
      const slots = Array.from({ length: 64 }, (_, slot) => slot)
      for (const read of await this.#store.readSlots(egroup, slots)) {
        if (read.status === 'ok') expect(isRight(egroup, read)).toBe(true)
        else if (model.kind !== 'partial') expect(model.live.has(read.slot)).toBe(false)
      }
    }
    const used = this.#store.usage().reduce((sum, usage) => sum + usage.usedBytes, 0)
    expect(used).toBe(this.#store.copies().reduce((sum, copy) => sum + copy.allocatedBytes, 0))
  }

  /** Egroups whose log ran ahead of the model are sealed or dropped by a real owner; here they are dropped. */
  async settle(): Promise<void> {
    for (const [egroup, model] of [...this.#models]) {
      if (model.kind !== 'open' || model.maybe !== 'absent') continue
      await this.#store.dropCopy(egroup)
      this.#models.delete(egroup)
    }
  }

  async finish(): Promise<void> {
    await this.#crash(7)
    await this.check()
  }
}

type Operation = (store: ExtentStore, writer: Writer) => Promise<unknown>

type Prepared = 'open' | 'unsynced' | 'sealed' | 'partial'

/** Slots 0 … 19 of egroup 1 live here, in a copy of the kind that the operation is for. */
const OPERATIONS: ReadonlyArray<readonly [string, Prepared, Operation]> = [
  ['seal', 'open', (store, writer) => store.seal(1, 1, writer.offset)],
  ['seal of what was not synced', 'unsynced', (store, writer) => store.seal(1, 1, writer.offset)],
  ['fence', 'open', (store) => store.fence(1, 2)],
  ['compact', 'sealed', (store) => store.compact(1, firstSlots(LIVE))],
  ['moveTier', 'sealed', (store) => store.moveTier(1, 'hdd')],
  [
    'importCopy',
    'sealed',
    async (store, writer) => {
      const log = await store.readLog(1, 0, writer.offset)
      const copy = { egroup: 1, stream: STREAM, generation: 1, tier: 'ssd' as const, length: writer.offset }
      await store.importCopy(copy, chunksOf(log))
    },
  ],
  ['repairSlot', 'sealed', (store) => store.repairSlot(1, storedOf(1, 30, 1))],
  ['completePartial', 'partial', (store) => store.completePartial(1, 1)],
]
const LIVE = 20

function firstSlots(count: number): Bitset {
  const set = new Bitset()
  for (let slot = 0; slot < count; slot++) set.set(slot)
  return set
}

describe('power goes off at each step of', () => {
  test.each(OPERATIONS)('%s: the copy stays whole, and the operation can be done again', async (...row) => {
    const [, kind, operation] = row
    for (let step = 0, finished = false; !finished; step++) {
      for (let seed = 0; seed < 4; seed++) {
        const media = [memoryDevice(16 * MiB, 'ssd'), memoryDevice(16 * MiB, 'hdd')]
        const devices = media.map((medium) => new CrashDevice(medium))
        const store = await ExtentStore.open({ node: NODE, devices })
        const writer = await prepare(store, kind)
        // Both devices lose power with the same step of their own: an operation on one of them ends there.
        for (const device of devices) device.powerOffAfter(step)
        finished = await operation(store, writer).then(
          () => true,
          () => false,
        )
        for (const device of devices) await device.crash(randomOf(seed + 1))
        const after = await ExtentStore.open({ node: NODE, devices: media })
        // Nothing of these was promised, until the operation is done.
        if (kind === 'unsynced' && after.info(1)!.state === 'open') continue
        if (kind === 'partial' && after.info(1)?.kind !== 'full') continue
        await checkLive(after)
        await operation(after, writer)
        await checkLive(after)
      }
    }
  })

  async function prepare(store: ExtentStore, kind: Prepared): Promise<Writer> {
    // The first change of a table also syncs for reasons of its own, and would hide a sync that is missing.
    for (const tier of ['ssd', 'hdd'] as const) {
      await store.createCopy({ egroup: 9, stream: STREAM, generation: 1, tier })
      await store.dropCopy(9)
    }
    const writer = new Writer(1)
    if (kind === 'partial') {
      for (let slot = 0; slot < LIVE; slot += 5) {
        const slices = Array.from({ length: 5 }, (_, i) => storedOf(1, slot + i, 2))
        await store.keepPartial(1, STREAM, slices)
      }
    } else {
      await store.createCopy({ egroup: 1, stream: STREAM, generation: 1, tier: 'ssd' })
      for (let i = 0; i < 10; i++) await writer.append(store, [4, 8, 2, 8], { sync: kind !== 'unsynced' })
      if (kind === 'sealed') await store.seal(1, 1, writer.offset)
    }
    return writer
  }

  async function checkLive(store: ExtentStore): Promise<void> {
    const reads = await store.readSlots(
      1,
      Array.from({ length: LIVE }, (_, slot) => slot),
    )
    expect(reads.every((read) => isRight(1, read))).toBe(true)
    expect(store.copies().length).toBe(1)
    const used = store.usage().reduce((sum, usage) => sum + usage.usedBytes, 0)
    expect(used).toBe(store.info(1)!.allocatedBytes)
    expect(await store.scrub(1)).toMatchObject({ corruptSlots: [], damaged: false })
  }
})

describe('at any time', () => {
  test('a random history keeps its promises', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 40 }), async (commands) => {
        const history = new History()
        await history.open()
        for (const each of commands) {
          await history.run(each)
          await history.settle().catch(ignorePowerOff)
          await history.check().catch(ignorePowerOff)
        }
        await history.finish()
      }),
      { numRuns: 60 },
    )
  })
})

function ignorePowerOff(error: unknown): void {
  if (codeOf(error) !== 'DEVICE_FAILED') throw error
}
