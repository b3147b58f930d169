/**
 * What an extent store must keep through a power loss, as a suite for any medium that can have one. What the store has
 * promised is there afterwards; what was under way is there or not, whole; a slot never reads wrong. Power goes off
 * between operations or in the middle of one; of what was not synced, any mixture of sectors comes through.
 */
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import { Bitset } from '../../src/base/bitset.ts'
import { codeOf } from '../../src/base/errors.ts'
import { MiB } from '../../src/base/units.ts'
import type { ExtentStore } from '../../src/extent-store/extent-store.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { command, History } from './crash-history.ts'
import { type CrashMedium, type MakeMedium, openAll } from './crash-media.ts'
import { chunksOf, isRight, openStore, STREAM, storedOf, Writer } from './harness.ts'

export interface CrashRuns {
  /** Random histories. */
  readonly histories: number
  /** Power goes off at step 0 of an operation, and at every so-many-th after it; 1 is all of them. */
  readonly stride: number
  /** Power losses at each of these steps, each with other sectors that come through. */
  readonly perStep: number
  /** Appends before the operation; a slow medium takes fewer. At least 5: they write the slots that are looked at. */
  readonly appends: number
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

export function runCrashTests(name: string, makeMedium: MakeMedium, runs: CrashRuns): void {
  describe(`power losses on ${name}`, () => {
    let media: readonly CrashMedium[] = []

    const blankMedia = async (size: number, seed: number): Promise<readonly CrashMedium[]> => {
      await removeMedia()
      const random = seededRandom(seed)
      media = [
        await makeMedium({ tier: 'ssd', size }, random),
        await makeMedium({ tier: 'hdd', size }, random),
      ]
      return media
    }
    const removeMedia = async (): Promise<void> => {
      for (const medium of media) await medium.remove()
      media = []
    }
    afterEach(removeMedia)

    test.each(
      OPERATIONS,
    )('in the middle of %s: the copy stays whole, and it can be done again', async (...row) => {
      const [, kind, operation] = row
      for (let step = 0, finished = false; !finished; step += runs.stride) {
        for (let seed = 0; seed < runs.perStep; seed++) {
          await blankMedia(16 * MiB, step * 100 + seed)
          const lives = await openAll(media)
          const store = await openStore(...lives.map((life) => life.device))
          const writer = await prepare(store, kind, runs.appends)
          // Both devices lose power with the same step of their own: an operation on one of them ends there.
          for (const life of lives) life.powerOffAfter(step)
          finished = await operation(store, writer).then(
            () => true,
            () => false,
          )
          for (const life of lives) await life.powerLoss()
          const after = await openStore(...(await openAll(media)).map((life) => life.device))
          // Nothing of these was promised, until the operation is done.
          if (kind === 'unsynced' && after.info(1)!.state === 'open') continue
          if (kind === 'partial' && after.info(1)?.kind !== 'full') continue
          await checkLive(after)
          await operation(after, writer)
          await checkLive(after)
        }
      }
    })

    test('a durable append makes the frames in front of it durable, too', async () => {
      for (let seed = 0; seed < 4 * runs.perStep + 4; seed++) {
        const lives = await openAll(await blankMedia(16 * MiB, seed))
        const store = await openStore(...lives.map((life) => life.device))
        const writer = await prepare(store, 'unsynced', runs.appends)
        await writer.append(store, [1])
        await writer.append(store, [2])
        for (const life of lives) await life.powerLoss()
        const after = await openStore(...(await openAll(media)).map((life) => life.device))
        expect(after.info(1)!.length).toBe(writer.offset)
      }
    })

    test('at any time: a random history keeps its promises', async () => {
      const commands = fc.array(command, { minLength: 5, maxLength: 40 })
      await fc.assert(
        fc.asyncProperty(fc.nat(), commands, async (seed, commands) => {
          const history = new History(await blankMedia(20 * MiB, seed))
          await history.open()
          for (const each of commands) {
            await history.run(each)
            await history.settle().catch(ignorePowerOff)
            await history.check().catch(ignorePowerOff)
          }
          await history.finish()
        }),
        { numRuns: runs.histories },
      )
    })
  })
}

async function prepare(store: ExtentStore, kind: Prepared, appends: number): Promise<Writer> {
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
    for (let i = 0; i < appends; i++) await writer.append(store, [4, 8, 2, 8], { sync: kind !== 'unsynced' })
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

function ignorePowerOff(error: unknown): void {
  if (codeOf(error) !== 'DEVICE_FAILED') throw error
}
