/** What each operation promises, one by one, on healthy devices. */
import { describe, expect, test } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { EGROUP_BYTES, KiB, MiB } from '../../src/base/units.ts'
import { UNIT_BYTES } from '../../src/extent-store/placement.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import {
  allSlots,
  codeFrom,
  damageSlot,
  fill,
  isRight,
  lengthOf,
  memoryDevice,
  openStore,
  STREAM,
  setOf,
  storedOf,
  Writer,
} from './harness.ts'

const FRAMES = [[1, 2], [8, 8, 8, 4], [1], [3, 5, 7]]

describe('append and read', () => {
  test('every slot of an open, a sealed and a reopened copy reads back, in the order asked for', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    const writer = await fill(store, 5, FRAMES)
    const shuffled = [9, 0, 3, 3, 8, 1, 2, 7, 4, 6, 5]
    for (const reopen of [false, false, true, true]) {
      const now = reopen ? await openStore(device) : store
      const reads = await now.readSlots(5, shuffled)
      expect(reads.map((read) => (read.status === 'ok' ? read.slice.slot : read.status))).toEqual(shuffled)
      for (const read of reads) expect(isRight(5, read)).toBe(true)
      expect(now.info(5)).toMatchObject({
        length: writer.offset,
        slotCount: 10,
        kind: 'full',
        stream: STREAM,
      })
      await now.seal(5, 1, writer.offset)
    }
  })

  test('a slot that was never written is missing; an egroup that is not here is COPY_MISSING', async () => {
    const store = await openStore(memoryDevice())
    await fill(store, 5, FRAMES)
    expect(await store.readSlots(5, [10])).toEqual([{ status: 'missing', slot: 10 }])
    expect(await codeFrom(store.readSlots(6, [0]))).toBe('COPY_MISSING')
    expect(await codeFrom(store.seal(6, 1, 0))).toBe('COPY_MISSING')
    expect(await codeFrom(store.append({ egroup: 6, generation: 1, offset: 0, parts: [], sync: true }))).toBe(
      'COPY_MISSING',
    )
  })

  test('slots side by side cost one device read', async () => {
    let reads = 0
    const inner = memoryDevice()
    const counting = Object.create(inner, {
      read: {
        value: (offset: number, target: Uint8Array) => {
          reads++
          return inner.read(offset, target)
        },
      },
      write: { value: (offset: number, parts: Uint8Array[]) => inner.write(offset, parts) },
      writeDurably: {
        value: (offset: number, parts: Uint8Array[]) => inner.writeDurably(offset, parts),
      },
      sync: { value: () => inner.sync() },
    }) as BlockDevice
    const store = await openStore(counting)
    const writer = await fill(store, 5, [[1, 1, 1, 1, 1, 1, 1, 1]])
    reads = 0
    expect((await store.readSlots(5, allSlots(writer))).every((read) => isRight(5, read))).toBe(true)
    expect(reads).toBe(1)
  })

  test('what was read of scattered slots stays as it was while others are read', async () => {
    const store = await openStore(memoryDevice())
    const writer = await fill(
      store,
      5,
      Array.from({ length: 8 }, () => [1, 2, 1, 2, 1, 2, 1, 2]),
    )
    const scattered = (first: number): number[] => allSlots(writer).filter((slot) => slot % 5 === first)
    const [one, two, three] = await Promise.all(
      [0, 1, 2].map((first) => store.readSlots(5, scattered(first))),
    )
    const later = await store.readSlots(5, scattered(3))
    for (const read of [...one!, ...two!, ...three!, ...later]) expect(isRight(5, read)).toBe(true)
    const buffers = new Set(one!.map((read) => read.status === 'ok' && read.slice.bytes.buffer.byteLength))
    expect([...buffers]).toEqual([64 * KiB])
  })

  test('appends out of place are refused, and change nothing', async () => {
    const store = await openStore(memoryDevice())
    const writer = await fill(store, 5, FRAMES)
    const parts = writer.frame([1])
    const at = (changes: object) =>
      codeFrom(
        store.append({ egroup: 5, generation: 1, offset: writer.offset, parts, sync: false, ...changes }),
      )
    expect(await at({ offset: writer.offset - 512 })).toBe('OFFSET_MISMATCH')
    expect(await at({ generation: 0 })).toBe('STALE_GENERATION')
    expect(await at({ parts: [parts[0]!] })).toBe('OUT_OF_RANGE')
    expect(await at({ parts: [new Uint8Array(512)] })).toBe('CHECKSUM_MISMATCH')
    const other = new Writer(6)
    other.offset = writer.offset
    expect(await at({ parts: other.frame([1]) })).toBe('BAD_ARGUMENT')
    const repeated = new Writer(5)
    repeated.offset = writer.offset
    expect(await at({ parts: repeated.frame([1]) })).toBe('BAD_ARGUMENT')
    expect(store.info(5)!.length).toBe(writer.offset)
    expect(await at({ parts: writer.frame([1]) })).toBeUndefined()
  })

  test('a frame in any number of parts is taken', async () => {
    const store = await openStore(memoryDevice())
    await store.createCopy({ egroup: 5, stream: STREAM, generation: 1, tier: 'ssd' })
    const whole = Buffer.concat(new Writer(5).frame([1, 2, 3]))
    const parts = Array.from({ length: Math.ceil(whole.length / 37) }, (_, i) =>
      whole.subarray(i * 37, (i + 1) * 37),
    )
    await store.append({ egroup: 5, generation: 1, offset: 0, parts, sync: true })
    expect((await store.readSlots(5, [0, 1, 2])).every((read) => isRight(5, read))).toBe(true)
  })

  test('appends to one copy run in the order of the calls', async () => {
    const store = await openStore(memoryDevice())
    await store.createCopy({ egroup: 5, stream: STREAM, generation: 1, tier: 'ssd' })
    const writers = Array.from({ length: 20 }, () => new Writer(5))
    let offset = 0
    const appends = writers.map((writer, i) => {
      writer.offset = offset
      writer.slots = i
      const parts = writer.frame([(i % 8) + 1])
      offset += lengthOf(parts)
      return store.append({ egroup: 5, generation: 1, offset: writer.offset, parts, sync: true })
    })
    await Promise.all(appends)
    expect(store.info(5)!.length).toBe(offset)
    expect((await store.readSlots(5, [...writers.keys()])).every((read) => isRight(5, read))).toBe(true)
  })

  test('an egroup takes EGROUP_BYTES and no more', async () => {
    const store = await openStore(memoryDevice())
    const writer = await fill(store, 6, [])
    const blocks = new Array(16).fill(8)
    await expect(
      (async () => {
        for (;;) await writer.append(store, blocks, { sync: false })
      })(),
    ).rejects.toMatchObject({ code: 'OUT_OF_RANGE' })
    expect(writer.offset).toBeGreaterThan(EGROUP_BYTES - MiB)
    await store.seal(6, 1, writer.offset)
    expect((await store.readSlots(6, allSlots(writer))).every((read) => isRight(6, read))).toBe(true)
  })

  test('the raw log is the frames, and fingerprints are those of the blocks', async () => {
    const store = await openStore(memoryDevice())
    await store.createCopy({ egroup: 5, stream: STREAM, generation: 1, tier: 'ssd' })
    const writer = new Writer(5)
    const frames: Uint8Array[] = []
    for (const blocks of FRAMES) {
      frames.push(new Uint8Array(Buffer.concat(writer.frame(blocks))))
      await writer.append(store, blocks)
    }
    const log = await store.readLog(5, 0, writer.offset)
    expect(Buffer.compare(log, Buffer.concat(frames))).toBe(0)
    expect(await codeFrom(store.readLog(5, 0, writer.offset + 1))).toBe('OUT_OF_RANGE')
    const fingerprints = await store.fingerprints(5)
    expect(fingerprints.map(({ slot, sub }) => [slot, sub])).toEqual(
      writer.blocksOf.flatMap((blocks, slot) => Array.from({ length: blocks }, (_, sub) => [slot, sub])),
    )
    expect((await store.slots(5)).map(({ slot }) => slot)).toEqual(allSlots(writer))
  })
})

describe('fence and seal', () => {
  test('a fenced copy refuses the old owner, also after a restart, and takes the new one', async () => {
    const device = memoryDevice()
    let store = await openStore(device)
    const writer = await fill(store, 5, FRAMES)
    expect(await store.fence(5, 3)).toEqual({ length: writer.offset, state: 'open' })
    expect(await codeFrom(writer.append(store, [1]))).toBe('STALE_GENERATION')
    store = await openStore(device)
    expect(await codeFrom(writer.append(store, [1]))).toBe('STALE_GENERATION')
    expect(await codeFrom(store.fence(5, 2))).toBe('STALE_GENERATION')
    expect(await codeFrom(store.seal(5, 2, writer.offset))).toBe('STALE_GENERATION')
    await writer.append(store, [1], { generation: 3 })
    await store.seal(5, 3, writer.offset)
    expect(await store.fence(5, 4)).toEqual({ length: writer.offset, state: 'sealed' })
  })

  test('a seal cuts what was not acknowledged, gives the room back, and can be said twice', async () => {
    const device = memoryDevice()
    let store = await openStore(device)
    const writer = await fill(store, 5, FRAMES)
    const [, , second] = writer.ends
    expect(await codeFrom(store.seal(5, 1, second! + 512))).toBe('OFFSET_MISMATCH')
    expect(await codeFrom(store.seal(5, 1, writer.offset + 512))).toBe('OFFSET_MISMATCH')
    expect(store.info(5)!.allocatedBytes).toBe(EGROUP_BYTES)
    await store.seal(5, 1, second!)
    await store.seal(5, 1, second!)
    expect(await codeFrom(store.seal(5, 1, writer.offset))).toBe('OFFSET_MISMATCH')
    expect(await codeFrom(writer.append(store, [1]))).toBe('COPY_SEALED')
    for (let round = 0; round < 2; round++) {
      const info = store.info(5)!
      expect(info).toMatchObject({ state: 'sealed', length: second, slotCount: 6 })
      expect(info.allocatedBytes).toBeLessThan(second! + 2 * UNIT_BYTES)
      expect(store.usage()[0]!.usedBytes).toBe(info.allocatedBytes)
      expect((await store.readSlots(5, [5, 6])).map((read) => read.status)).toEqual(['ok', 'missing'])
      store = await openStore(device)
    }
  })

  test('an egroup without frames can be sealed', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    await fill(store, 5, [])
    await store.seal(5, 1, 0)
    expect(await (await openStore(device)).readSlots(5, [0])).toEqual([{ status: 'missing', slot: 0 }])
  })
})

describe('create and drop', () => {
  test('drop gives everything back, durably; saying it again does nothing', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    await fill(store, 5, FRAMES)
    await store.dropCopy(5)
    await store.dropCopy(5)
    expect(store.usage()[0]!.usedBytes).toBe(0)
    expect((await openStore(device)).copies()).toEqual([])
  })

  test('creating again is harmless while it is empty, and refused after', async () => {
    const store = await openStore(memoryDevice())
    const writer = await fill(store, 5, [])
    const again = { egroup: 5, stream: STREAM, generation: 1, tier: 'ssd' as const }
    await store.createCopy(again)
    await writer.append(store, [1])
    expect(await codeFrom(store.createCopy(again))).toBe('ALREADY_EXISTS')
  })

  test('a full tier hands over to the other, and both full is NO_SPACE', async () => {
    const store = await openStore(memoryDevice(16 * MiB, 'ssd'), memoryDevice(16 * MiB, 'hdd'))
    const tiers: string[] = []
    let code: string | undefined
    for (let egroup = 1; code === undefined; egroup++) {
      code = await codeFrom(store.createCopy({ egroup, stream: STREAM, generation: 1, tier: 'ssd' }))
      if (code === undefined) tiers.push(store.info(egroup)!.tier)
    }
    expect(code).toBe('NO_SPACE')
    expect(tiers).toEqual(['ssd', 'ssd', 'hdd', 'hdd'])
  })
})

describe('compaction', () => {
  test('keeps ids, slots and bytes, loses the dead, frees the room; fingerprints of the live stay', async () => {
    const device = memoryDevice()
    let store = await openStore(device)
    const writer = await fill(
      store,
      4,
      Array.from({ length: 12 }, () => [8, 1, 8, 4, 2]),
    )
    await store.seal(4, 1, writer.offset)
    const live = allSlots(writer).filter((slot) => slot % 10 === 3 || slot === 59)
    const before = store.info(4)!
    const { freedBytes } = await store.compact(4, setOf(live))
    for (let round = 0; round < 2; round++) {
      const after = store.info(4)!
      expect(before.allocatedBytes - after.allocatedBytes).toBe(freedBytes)
      expect(freedBytes).toBeGreaterThan(before.allocatedBytes / 2)
      expect(after).toMatchObject({ state: 'sealed', slotCount: live.length, generation: 1 })
      expect(store.usage()[0]!.usedBytes).toBe(after.allocatedBytes)
      const reads = await store.readSlots(4, allSlots(writer))
      for (const [slot, read] of reads.entries()) {
        if (live.includes(slot)) expect(isRight(4, read)).toBe(true)
        else expect(read).toEqual({ status: 'missing', slot })
      }
      expect(new Set((await store.fingerprints(4)).map(({ slot }) => slot))).toEqual(new Set(live))
      store = await openStore(device)
    }
    expect(await store.compact(4, setOf(live))).toEqual({ freedBytes: 0 })
  })

  test('works on a device that is full for writers', async () => {
    const store = await openStore(memoryDevice(16 * MiB))
    const writers: Writer[] = []
    for (let egroup = 2; ; egroup += 2) {
      try {
        writers.push(await fill(store, egroup, Array(28).fill([8, 8, 8, 8])))
        const writer = writers.at(-1)!
        await store.seal(egroup, 1, writer.offset)
      } catch (error) {
        expect(codeOf(error)).toBe('NO_SPACE')
        break
      }
    }
    expect(writers.length).toBeGreaterThan(1)
    for (const writer of writers) {
      const { freedBytes } = await store.compact(writer.egroup, setOf([1, 50]))
      expect(freedBytes).toBeGreaterThan(MiB)
      const reads = await store.readSlots(writer.egroup, [1, 50])
      expect(reads.every((read) => isRight(writer.egroup, read))).toBe(true)
    }
    await fill(store, 1001, FRAMES)
  })

  test('readers under way keep their units until they are done', async () => {
    const inner = memoryDevice()
    let gate: Promise<void> | undefined
    const gated = Object.create(inner, {
      read: {
        value: async (offset: number, target: Uint8Array) => {
          await gate
          return inner.read(offset, target)
        },
      },
      write: { value: (offset: number, parts: Uint8Array[]) => inner.write(offset, parts) },
      writeDurably: {
        value: (offset: number, parts: Uint8Array[]) => inner.writeDurably(offset, parts),
      },
      sync: { value: () => inner.sync() },
    }) as BlockDevice
    const store = await openStore(gated)
    const writer = await fill(store, 4, Array(6).fill([8, 8, 8, 8]))
    let open = (): void => {}
    const closeGate = (): void => {
      gate = new Promise((resolve) => {
        open = resolve
      })
    }
    closeGate()
    const early = store.readSlots(4, allSlots(writer))
    const openNow = open
    gate = undefined
    await store.seal(4, 1, writer.offset)
    closeGate()
    const late = store.readSlots(4, allSlots(writer))
    const openLate = open
    gate = undefined
    await store.compact(4, setOf([1]))
    await store.dropCopy(4)
    expect(store.usage()[0]!.usedBytes).toBeGreaterThan(0)
    for (let egroup = 10; egroup < 14; egroup++) await fill(store, egroup, Array(6).fill([8, 8, 8, 8]))
    openNow()
    openLate()
    for (const reads of [await early, await late]) {
      expect(reads.every((read) => isRight(4, read))).toBe(true)
    }
    for (let egroup = 10; egroup < 14; egroup++) await store.dropCopy(egroup)
    expect(store.usage()[0]!.usedBytes).toBe(0)
  })

  test('an open copy is not compacted; a damaged live slot stops it and changes nothing', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    const writer = await fill(store, 4, Array(10).fill([8, 8, 8, 8]))
    expect(await codeFrom(store.compact(4, setOf([0])))).toBe('CONFLICT')
    await store.seal(4, 1, writer.offset)
    await damageSlot(device, 4, 0)
    expect(await codeFrom(store.compact(4, setOf([0])))).toBe('CHECKSUM_MISMATCH')
    expect((await store.readSlots(4, [0, 1])).map((read) => read.status)).toEqual(['corrupt', 'ok'])
    await store.compact(4, setOf([1]))
    expect(isRight(4, (await store.readSlots(4, [1]))[0])).toBe(true)
  })
})

describe('repair and scrub', () => {
  test('a damaged slot is found, read as corrupt, repaired in place, and right again', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    const writer = await fill(store, 4, FRAMES)
    await store.seal(4, 1, writer.offset)
    expect(await store.scrub(4)).toEqual({ checkedBytes: writer.offset, corruptSlots: [], damaged: false })
    await damageSlot(device, 4, 2)
    expect(await store.scrub(4)).toMatchObject({ corruptSlots: [2], damaged: false })
    expect((await store.readSlots(4, [1, 2])).map((read) => read.status)).toEqual(['ok', 'corrupt'])
    const wrong = { ...storedOf(4, 2, 8), checksumLo: 1 }
    expect(await codeFrom(store.repairSlot(4, wrong))).toBe('CHECKSUM_MISMATCH')
    await store.repairSlot(4, storedOf(4, 2, 8))
    expect(isRight(4, (await store.readSlots(4, [2]))[0])).toBe(true)
    expect(await store.scrub(4)).toMatchObject({ corruptSlots: [], damaged: false })
  })

  test('a slot that is missing here, or has another length, is repaired by a rewrite', async () => {
    const device = memoryDevice()
    const store = await openStore(device)
    const writer = await fill(store, 4, FRAMES)
    await store.seal(4, 1, writer.offset)
    await store.repairSlot(4, storedOf(4, 2, 1))
    await store.repairSlot(4, storedOf(4, 77, 3))
    for (const each of [store, await openStore(device)]) {
      const reads = await each.readSlots(4, [...allSlots(writer), 77])
      expect(reads.every((read) => isRight(4, read))).toBe(true)
      expect(reads[2]).toMatchObject({ slice: { rawBytes: 4096 } })
    }
    expect(store.usage()[0]!.usedBytes).toBe(store.info(4)!.allocatedBytes)
  })

  test('a damaged head is `damaged`; a damaged index block is put right', async () => {
    const device = memoryDevice()
    let store = await openStore(device)
    const writer = await fill(store, 4, FRAMES)
    await store.seal(4, 1, writer.offset)
    const area = device.size - store.usage()[0]!.sizeBytes - ((device.size - 0) % UNIT_BYTES)
    const indexAt = area + writer.offset
    const before = new Uint8Array(512)
    await device.read(indexAt, before)
    await device.write(indexAt + 100, Uint8Array.of(before[100]! ^ 1))
    store = await openStore(device)
    expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
    expect(await store.scrub(4)).toMatchObject({ damaged: false })
    const after = new Uint8Array(512)
    await device.read(indexAt, after)
    expect(after).toEqual(before)

    const headAt = area + writer.ends[2]!
    await device.write(headAt, Uint8Array.of(0))
    store = await openStore(device)
    expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
    expect(await store.scrub(4)).toMatchObject({ damaged: true, corruptSlots: [] })
    expect(await codeFrom(store.compact(4, setOf([1])))).toBe('CHECKSUM_MISMATCH')
    await device.write(indexAt, Uint8Array.of(0))
    store = await openStore(device)
    const reads = await store.readSlots(4, allSlots(writer))
    expect(reads.map((read) => read.status)).toEqual([...Array(6).fill('ok'), ...Array(4).fill('corrupt')])
  })
})

describe('tiers', () => {
  test('a copy moves down and up again, whole, and leaves nothing behind', async () => {
    const ssd = memoryDevice(32 * MiB, 'ssd')
    const hdd = memoryDevice(32 * MiB, 'hdd')
    let store = await openStore(ssd, hdd)
    const writer = await fill(store, 4, FRAMES)
    expect(await codeFrom(store.moveTier(4, 'hdd'))).toBe('CONFLICT')
    await store.seal(4, 2, writer.offset)
    for (const tier of ['hdd', 'ssd', 'hdd'] as const) {
      expect(await store.moveTier(4, tier)).toEqual({ movedBytes: writer.offset })
      expect(await store.moveTier(4, tier)).toEqual({ movedBytes: 0 })
      store = await openStore(ssd, hdd)
      expect(store.info(4)).toMatchObject({ tier, generation: 2, state: 'sealed' })
      expect((await store.readSlots(4, allSlots(writer))).every((read) => isRight(4, read))).toBe(true)
      const used = store.usage().map((usage) => [usage.tier, usage.usedBytes > 0])
      expect(used).toEqual([
        ['ssd', tier === 'ssd'],
        ['hdd', tier === 'hdd'],
      ])
    }
  })
})
