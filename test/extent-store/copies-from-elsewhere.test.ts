/** What copies that come from other nodes promise, whole and partial ones. */
import { describe, expect, test } from 'vitest'
import { KiB, MiB } from '../../src/base/units.ts'
import { UNIT_BYTES } from '../../src/extent-store/placement.ts'
import {
  allSlots,
  chunksOf,
  codeFrom,
  damageSlot,
  fill,
  isRight,
  memoryDevice,
  openStore,
  STREAM,
  setOf,
  storedOf,
  Writer,
} from './harness.ts'

const FRAMES = [[1, 2], [8, 8, 8, 4], [1], [3, 5, 7]]

describe('import', () => {
  const target = { egroup: 4, stream: STREAM, generation: 1, tier: 'ssd' as const }

  test('a log from elsewhere becomes a sealed, durable copy; also of a compacted one', async () => {
    const source = await openStore(memoryDevice())
    const writer = await fill(source, 4, Array(8).fill([8, 1, 2, 8]))
    await source.seal(4, 1, writer.offset)
    for (const live of [allSlots(writer), [3, 7, 31]]) {
      await source.compact(4, setOf(live))
      const { length } = source.info(4)!
      const log = await source.readLog(4, 0, length)
      const device = memoryDevice()
      const store = await openStore(device)
      await store.importCopy({ ...target, length }, chunksOf(log, 1000))
      for (const each of [store, await openStore(device)]) {
        expect(each.info(4)).toMatchObject({ state: 'sealed', kind: 'full', length, slotCount: live.length })
        expect((await each.readSlots(4, live)).every((read) => isRight(4, read))).toBe(true)
      }
    }
  })

  test('what is damaged, short, long, or of another egroup is refused and leaves no trace', async () => {
    const source = await openStore(memoryDevice())
    const writer = await fill(source, 4, FRAMES)
    const length = writer.offset
    const log = await source.readLog(4, 0, length)
    const device = memoryDevice()
    const store = await openStore(device)
    const damaged = log.slice()
    damaged[length - 3000]! ^= 1
    const tries: Array<[string, Promise<void>]> = [
      ['CHECKSUM_MISMATCH', store.importCopy({ ...target, length }, chunksOf(damaged))],
      ['BAD_ARGUMENT', store.importCopy({ ...target, length: length + 512 }, chunksOf(log))],
      ['BAD_ARGUMENT', store.importCopy({ ...target, length: length - 512 }, chunksOf(log))],
      ['CHECKSUM_MISMATCH', store.importCopy({ ...target, egroup: 5, length }, chunksOf(log))],
      ['BAD_ARGUMENT', store.importCopy({ ...target, length: 2 ** 40 }, chunksOf(log))],
    ]
    for (const [code, work] of tries) expect(await codeFrom(work)).toBe(code)
    expect(store.copies()).toEqual([])
    expect(store.usage()[0]!.usedBytes).toBe(0)
  })

  test('replaces a partial and a damaged copy, but neither an open nor a fenced one', async () => {
    const source = await openStore(memoryDevice())
    const writer = await fill(source, 4, FRAMES)
    const length = writer.offset
    const log = await source.readLog(4, 0, length)
    const store = await openStore(memoryDevice())
    await store.keepPartial(4, STREAM, [storedOf(4, 0, 1)])
    await store.importCopy({ ...target, length }, chunksOf(log))
    await store.importCopy({ ...target, length }, chunksOf(log))
    expect(store.usage()[0]!.usedBytes).toBe(store.info(4)!.allocatedBytes)
    expect(await codeFrom(source.importCopy({ ...target, length }, chunksOf(log)))).toBe('ALREADY_EXISTS')
    await store.fence(4, 2)
    expect(await codeFrom(store.importCopy({ ...target, length }, chunksOf(log)))).toBe('STALE_GENERATION')
  })
})

describe('partial copies', () => {
  test('hold what they were given, grow in small steps, and are not lost by a clean restart', async () => {
    const device = memoryDevice()
    let store = await openStore(device)
    const slots = Array.from({ length: 60 }, (_, i) => 1000 - i * 3)
    for (const slot of slots) {
      expect(await store.keepPartial(4, STREAM, [storedOf(4, slot, 2), storedOf(4, slot, 2)])).toBe(true)
      const { allocatedBytes, length } = store.info(4)!
      expect(allocatedBytes - length).toBeLessThan(256 * KiB)
    }
    await store.close()
    for (let round = 0; round < 2; round++) {
      expect(store.info(4)).toMatchObject({ kind: 'partial', slotCount: 60 })
      expect([...slots].every((slot) => store.partialSlots(4)!.has(slot))).toBe(true)
      expect(store.partialSlots(4)!.count).toBe(60)
      if (round === 1) {
        expect((await store.readSlots(4, slots)).every((read) => isRight(4, read))).toBe(true)
        expect(await store.readSlots(4, [1])).toEqual([{ status: 'missing', slot: 1 }])
      }
      store = await openStore(device)
    }
    const before = store.info(4)!.length
    expect(
      await store.keepPartial(
        4,
        STREAM,
        slots.map((slot) => storedOf(4, slot, 2)),
      ),
    ).toBe(true)
    expect(store.info(4)!.length).toBe(before)
    await store.dropCopy(4)
    expect(store.usage()[0]!.usedBytes).toBe(0)
    expect(store.partialSlots(4)).toBeUndefined()
  })

  test('are on SSD only, and say so when it has no room', async () => {
    const store = await openStore(memoryDevice(16 * MiB, 'hdd'))
    expect(await store.keepPartial(4, STREAM, [storedOf(4, 0, 1)])).toBe(false)
    const ssd = await openStore(memoryDevice(16 * MiB))
    for (let egroup = 10; egroup < 12; egroup++) await fill(ssd, egroup, [])
    let kept = 0
    while (await ssd.keepPartial(4, STREAM, [storedOf(4, kept * 2, 8)])) kept++
    expect(kept).toBeGreaterThan(4)
    const reads = await ssd.readSlots(
      4,
      Array.from({ length: kept }, (_, i) => i * 2),
    )
    expect(reads.every((read) => isRight(4, read))).toBe(true)
  })

  test('are no copy for an owner', async () => {
    const store = await openStore(memoryDevice())
    await store.keepPartial(4, STREAM, [storedOf(4, 0, 1)])
    const writer = new Writer(4)
    expect(await codeFrom(writer.append(store, [1]))).toBe('COPY_MISSING')
    expect(await codeFrom(store.fence(4, 9))).toBe('COPY_MISSING')
    expect(await codeFrom(store.compact(4, setOf([])))).toBe('COPY_MISSING')
  })

  test('completed, it is a full copy: durable, importable by others, and refused when damaged', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    const slots = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    await store.keepPartial(
      4,
      STREAM,
      slots.slice(5).map((slot) => storedOf(4, slot, 8)),
    )
    await store.keepPartial(
      4,
      STREAM,
      slots.slice(0, 5).map((slot) => storedOf(4, slot, 8)),
    )
    await store.completePartial(4, 6)
    await store.completePartial(4, 6)
    expect(store.partialSlots(4)).toBeUndefined()
    const again = await openStore(device)
    expect(again.info(4)).toMatchObject({ kind: 'full', state: 'sealed', generation: 6, slotCount: 10 })
    expect(again.info(4)!.allocatedBytes).toBeLessThan(again.info(4)!.length + 2 * UNIT_BYTES)
    expect((await again.readSlots(4, slots)).every((read) => isRight(4, read))).toBe(true)
    const { length } = again.info(4)!
    const other = await openStore(memoryDevice())
    await other.importCopy(
      { egroup: 4, stream: STREAM, generation: 6, tier: 'ssd', length },
      chunksOf(await again.readLog(4, 0, length)),
    )
    expect((await other.readSlots(4, slots)).every((read) => isRight(4, read))).toBe(true)

    await store.keepPartial(6, STREAM, [storedOf(6, 0, 8)])
    await damageSlot(device, 6, 0)
    expect(await codeFrom(store.completePartial(6, 1))).toBe('CHECKSUM_MISMATCH')
    expect(store.info(6)!.kind).toBe('partial')
  })

  test('a node with a full copy needs no partial one', async () => {
    const store = await openStore(memoryDevice())
    await fill(store, 4, FRAMES)
    expect(await store.keepPartial(4, STREAM, [storedOf(4, 0, 1)])).toBe(true)
    expect(store.partialSlots(4)).toBeUndefined()
  })
})
