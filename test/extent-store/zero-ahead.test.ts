/**
 * Zeros ahead of a log of small durable frames. Guards: they come before the frames do, on space that was never used, and
 * on no other medium; and however late they come, they never lie over anything that somebody wrote.
 */
import { describe, expect, test } from 'vitest'
import { isZero } from '../../src/base/bytes.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import type { ExtentStore } from '../../src/extent-store/extent-store.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import { allSlots, isRight, memoryDevice, openStore, STREAM, Writer } from './harness.ts'

interface Write {
  readonly from: number
  readonly to: number
  readonly isZeros: boolean
}

/** Memory that says it is sparse, notes durable writes, holds zeros back on demand, and checks that no two writes overlap. */
class SparseDevice {
  readonly device: BlockDevice
  readonly durable: Write[] = []
  #held: Promise<void> | undefined
  #release: (() => void) | undefined
  readonly #underWay = new Set<Write>()

  constructor(isSparse = true) {
    const inner = memoryDevice(64 * MiB)
    this.device = {
      ...{ id: inner.id, tier: inner.tier, size: inner.size, sectorSize: inner.sectorSize, isSparse },
      read: (offset, target) => inner.read(offset, target),
      write: (offset, parts) => this.#run(offset, parts, () => inner.write(offset, parts)),
      writeDurably: (offset, parts) => {
        const isZeros = [parts].flat().every((part) => isZero(part, 0, part.length))
        const work = async (): Promise<void> => {
          if (isZeros) await this.#held
          await inner.writeDurably(offset, parts)
        }
        return this.#run(offset, parts, work, (write) => this.durable.push({ ...write, isZeros }))
      },
      sync: () => inner.sync(),
      trim: (offset, length) => inner.trim(offset, length),
      close: () => inner.close(),
    }
  }

  get zeros(): Write[] {
    return this.durable.filter((write) => write.isZeros)
  }

  get frames(): Write[] {
    return this.durable.filter((write) => !write.isZeros)
  }

  hold(): void {
    this.#held = new Promise((resolve) => {
      this.#release = resolve
    })
  }

  release(): void {
    this.#release?.()
    this.#held = undefined
  }

  async #run(
    offset: number,
    parts: Uint8Array | readonly Uint8Array[],
    work: () => Promise<void>,
    note?: (write: Omit<Write, 'isZeros'>) => void,
  ): Promise<void> {
    const length = [parts].flat().reduce((sum, part) => sum + part.length, 0)
    const write = { from: offset, to: offset + length, isZeros: false }
    for (const other of this.#underWay) {
      if (other.from < write.to && write.from < other.to) throw new Error('two writes overlap')
    }
    note?.(write)
    this.#underWay.add(write)
    try {
      await work()
    } finally {
      this.#underWay.delete(write)
    }
  }
}

async function smallFrames(store: ExtentStore, writer: Writer, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    await writer.append(store, [1])
    // Zeros are written meanwhile.
    await new Promise((resolve) => setImmediate(resolve))
  }
}

async function begin(store: ExtentStore, egroup: number): Promise<Writer> {
  await store.createCopy({ egroup, stream: STREAM, generation: 1, tier: 'ssd' })
  return new Writer(egroup)
}

async function readsBack(store: ExtentStore, writer: Writer): Promise<boolean> {
  const reads = await store.readSlots(writer.egroup, allSlots(writer))
  return reads.length > 0 && reads.every((read) => isRight(writer.egroup, read))
}

describe('zeros ahead of a log', () => {
  test('small frames find zeros that were written before them, and everything reads back', async () => {
    const sparse = new SparseDevice()
    const store = await openStore(sparse.device)
    const writer = await begin(store, 5)
    await smallFrames(store, writer, 300)
    expect(sparse.zeros.length).toBeGreaterThan(2)
    const covered = (frame: Write): boolean => {
      const before = sparse.durable.slice(0, sparse.durable.indexOf(frame))
      return before.some((zeros) => zeros.isZeros && zeros.from <= frame.from && frame.to <= zeros.to)
    }
    // All but those that came before the first zeros, and those that lie across the border of two steps.
    const late = sparse.frames.filter((frame) => frame.from >= sparse.zeros[0]!.from)
    expect(late.length).toBeGreaterThan(150)
    expect(late.filter(covered).length).toBeGreaterThan(late.length * 0.9)
    expect(await readsBack(store, writer)).toBe(true)
    expect(await readsBack(await openStore(sparse.device), writer)).toBe(true)
  })

  test('large frames, space that was used before, and other media get none', async () => {
    const large = new SparseDevice()
    const store = await openStore(large.device)
    const writer = await begin(store, 5)
    for (let i = 0; i < 40; i++) await writer.append(store, [8, 8, 8, 8, 8, 8])
    expect(large.zeros).toEqual([])

    const used = new SparseDevice()
    const usedStore = await openStore(used.device)
    const first = await begin(usedStore, 5)
    await first.append(usedStore, [1])
    await usedStore.dropCopy(5)
    await smallFrames(usedStore, await begin(usedStore, 6), 100)
    expect(used.zeros).toEqual([])

    const other = new SparseDevice(false)
    const otherStore = await openStore(other.device)
    await smallFrames(otherStore, await begin(otherStore, 5), 100)
    expect(other.zeros).toEqual([])
  })

  test('an append that comes to zeros under way waits for them', async () => {
    const sparse = new SparseDevice()
    const store = await openStore(sparse.device)
    const writer = await begin(store, 5)
    sparse.hold()
    await smallFrames(store, writer, 8)
    const [zeros] = sparse.zeros
    expect(zeros).toBeDefined()
    let ended = false
    const rest = smallFrames(store, writer, 200).then(() => {
      ended = true
    })
    await new Promise((resolve) => setTimeout(resolve, 100))
    expect(ended).toBe(false)
    // As far as it could get.
    expect(Math.max(...sparse.frames.map((frame) => frame.to))).toBeGreaterThan(zeros!.from - 16 * KiB)
    sparse.release()
    await rest
    expect(await readsBack(store, writer)).toBe(true)
  })

  test('a seal waits for zeros under way, and its index is not lost under them', async () => {
    const sparse = new SparseDevice()
    const store = await openStore(sparse.device)
    const writer = await begin(store, 5)
    sparse.hold()
    await smallFrames(store, writer, 20)
    expect(sparse.zeros.length).toBe(1)
    let sealed = false
    const sealing = store.seal(5, 1, writer.offset).then(() => {
      sealed = true
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(sealed).toBe(false)
    sparse.release()
    await sealing
    expect(await readsBack(await openStore(sparse.device), writer)).toBe(true)
  })

  test('a dropped copy gives its units back only when no zeros are on their way to them', async () => {
    const sparse = new SparseDevice()
    const store = await openStore(sparse.device)
    sparse.hold()
    await smallFrames(store, await begin(store, 5), 20)
    expect(sparse.zeros.length).toBe(1)
    await store.dropCopy(5)
    const next = await begin(store, 6)
    for (let i = 0; i < 12; i++) await next.append(store, [8, 8, 8, 8, 8, 8])
    sparse.release()
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(await readsBack(store, next)).toBe(true)
  })
})
