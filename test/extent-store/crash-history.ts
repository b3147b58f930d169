/**
 * A random history of one extent store with power losses, against a model of what the store has promised. On any pair
 * of media that can lose their power (crash-suite.ts).
 */
import fc from 'fast-check'
import { expect } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'
import { codeOf, HitherError } from '../../src/base/errors.ts'
import type { Tier } from '../../src/base/units.ts'
import { ExtentStore } from '../../src/extent-store/extent-store.ts'
import type { CopyInfo } from '../../src/extent-store/types.ts'
import { type CrashMedium, type Life, openAll } from './crash-media.ts'
import { chunksOf, isRight, NODE, STREAM, storedOf, Writer } from './harness.ts'

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

export type Command =
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
  | { readonly type: 'crash' }
  | { readonly type: 'powerOff'; readonly after: number; readonly device: number }

const at = fc.nat(5)
const blocks = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 5 })
export const command: fc.Arbitrary<Command> = fc.oneof(
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
  { weight: 2, arbitrary: fc.record({ type: fc.constant('crash') }) },
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('powerOff'), after: fc.nat(12), device: fc.nat(1) }),
  },
) as fc.Arbitrary<Command>

export class History {
  readonly #media: readonly CrashMedium[]
  #lives: readonly Life[] = []
  #store!: ExtentStore
  readonly #models = new Map<number, Model>()
  #nextEgroup = 1

  /** Both media blank. */
  constructor(media: readonly CrashMedium[]) {
    this.#media = media
  }

  async open(): Promise<void> {
    this.#lives = await openAll(this.#media)
    const devices = this.#lives.map((life) => life.device)
    this.#store = await ExtentStore.open({ node: NODE, devices, slotIndexBytes: 4000 })
    expect(this.#store.usage().map((usage) => usage.failed)).toEqual([false, false])
  }

  async run(command: Command): Promise<void> {
    switch (command.type) {
      case 'crash':
        return this.#crash()
      case 'powerOff':
        this.#lives[command.device]!.powerOffAfter(command.after)
        return
      default:
        try {
          await this.#operate(command)
        } catch (error) {
          // With the power off everything fails; the crash that follows says what is left.
          if (codeOf(error) !== 'DEVICE_FAILED' && codeOf(error) !== 'COPY_MISSING') throw error
          await this.#crash()
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
        expect((await store.fence(egroup, model.generation)).length).toBe(this.#infoOf(egroup).length)
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
        await store.moveTier(egroup, this.#infoOf(egroup).tier === 'ssd' ? 'hdd' : 'ssd')
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
        const { length } = this.#infoOf(egroup)
        const log = await store.readLog(egroup, 0, length)
        const copy = { egroup, stream: STREAM, generation: model.generation, tier: 'ssd' as const, length }
        await store.importCopy(copy, chunksOf(log))
        return
      }
      case 'complete': {
        const held = store.partialSlots(egroup)
        if (held === undefined) throw this.#lost(egroup)
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

  #infoOf(egroup: number): CopyInfo {
    const info = this.#store.info(egroup)
    if (info === undefined) throw this.#lost(egroup)
    return info
  }

  /** A copy is gone between two crashes only when its device went out of service: in the background, with the power off. */
  #lost(egroup: number): HitherError {
    expect(this.#store.usage().some((usage) => usage.failed)).toBe(true)
    return new HitherError('COPY_MISSING', `the device of egroup ${egroup} has no power`)
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
    if (this.#store.usage().some((usage) => usage.failed)) return this.#crash()
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

  async #crash(): Promise<void> {
    for (const life of this.#lives) await life.powerLoss()
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
    await this.#crash()
    await this.check()
  }
}
