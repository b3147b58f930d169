/**
 * KvLog after power loss and after damage.
 *
 * Power loss at any write or sync, with any subset of the un-synced sectors lost: the table is exactly what was
 * acknowledged, or that and a prefix of what was not. Damage of any sector: the table is either what was acknowledged,
 * or refuses to open; never something else, and never an older state.
 */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { KiB, MiB, SECTOR_BYTES } from '../../src/base/units.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { type Change, KvLog } from '../../src/platform/kv-log.ts'
import { batchSectors, recordBytes } from '../../src/platform/kv-log-format.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { memoryDevice } from './setup.ts'

const RANGE = { offset: 0, length: 64 * KiB }
const HEADERS_BYTES = 8 * KiB
const AREA_BYTES = (RANGE.length - HEADERS_BYTES) / 2

type State = Readonly<Record<string, string>>
type Step = ReadonlyArray<readonly [key: string, valueBytes: number | undefined]>

const step: fc.Arbitrary<Step> = fc.array(
  fc.tuple(
    fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
    fc.oneof(fc.nat(60), fc.nat(2500), fc.constant(undefined)),
  ),
  { minLength: 1, maxLength: 3 },
)

describe('KvLog after a crash', () => {
  it('is what was acknowledged, or that and a prefix of the rest, wherever the power went off', async () => {
    const life = fc.record({
      steps: fc.array(step, { minLength: 1, maxLength: 25 }),
      /** How many commits are on their way at a time. */
      depth: fc.integer({ min: 1, max: 4 }),
      operations: fc.nat(70),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 1, maxLength: 3 }), async (lives) => {
        const medium = memoryDevice(RANGE.length)
        let possible: State[] = [{}]
        for (const { steps, depth, operations, seed } of lives) {
          const device = new CrashDevice(medium)
          device.powerOffAfter(operations)
          possible = await live(device, steps, depth, possible)
          await device.crash(seededRandom(seed))
        }
        const after = contents(await KvLog.open(medium, RANGE))
        expect(possible).toContainEqual(after)
      }),
      { numRuns: 80 },
    )
  })

  it('is so too when it crashes again and again soon after it opened, over what torn batches left', async () => {
    const large = fc.tuple(fc.constantFrom('a', 'b'), fc.integer({ min: 600, max: 2500 }))
    const life = fc.record({
      steps: fc.array(
        large.map((each) => [each]),
        { minLength: 1, maxLength: 2 },
      ),
      operations: fc.integer({ min: 2, max: 5 }),
      seed: fc.nat(),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(life, { minLength: 5, maxLength: 20 }), async (lives) => {
        const medium = memoryDevice(RANGE.length)
        await KvLog.open(medium, RANGE)
        let possible: State[] = [{}]
        for (const { steps, operations, seed } of lives) {
          const device = new CrashDevice(medium)
          device.powerOffAfter(operations)
          possible = await live(device, steps, 3, possible)
          await device.crash(seededRandom(seed))
        }
        expect(possible).toContainEqual(contents(await KvLog.open(medium, RANGE)))
      }),
      { numRuns: 50 },
    )
  })

  it('takes no sector of a switch that a crash cut short for one of the next try', async () => {
    // Larger than what is zeroed ahead at a time, so that such sectors stay where a shorter snapshot does not reach.
    const range = { offset: 0, length: 8 * MiB }
    const secondArea = HEADERS_BYTES + (range.length - HEADERS_BYTES) / 2
    for (const writesIntoSwitch of [1, 6, 12]) {
      const medium = memoryDevice(range.length)
      const device = new CrashDevice(medium)
      let log = await KvLog.open(device, range)
      const write = device.write.bind(device)
      let into = 0
      device.write = (offset, parts) => {
        if (offset >= secondArea) into += 1
        if (into === writesIntoSwitch) device.powerOffAfter(1)
        return write(offset, parts)
      }
      let round = 0
      while ((await codeOfFailure(log.commit([change(`k${round % 13}`, 200_000)]))) === undefined) round += 1
      // Everything comes through: the worst case here.
      await device.crash({ u32: () => 0, below: (bound) => bound - 2 })

      log = await KvLog.open(medium, range)
      expect(log.size).toBe(13)
      await log.commit(Array.from({ length: 12 }, (_, index) => change(`k${index + 1}`, undefined)))
      for (let again = 0; again < 3; again++) {
        await log.commit([change('k0', 150_000 + again)])
        log = await KvLog.open(medium, range)
        expect(contents(log)).toEqual({ k0: described('k0', 150_000 + again) })
      }
    }
  })

  it('is what was acknowledged when the power goes off at any operation of a life with many switches', async () => {
    const steps: Step[] = Array.from({ length: 40 }, (_, index) => [[`k${index % 9}`, 1500 + index]])
    for (let operations = 0; operations < 170; operations += 2) {
      const medium = memoryDevice(RANGE.length)
      const device = new CrashDevice(medium)
      device.powerOffAfter(operations)
      const possible = await live(device, steps, 1, [{}])
      await device.crash(seededRandom(operations))
      expect(possible).toContainEqual(contents(await KvLog.open(medium, RANGE)))
    }
  })
})

describe('KvLog after damage', () => {
  /** Two areas used, the second live with a snapshot and commits. The last commit overwrites, so that its loss shows. */
  const build = async (): Promise<{ medium: MemoryDevice; state: State }> => {
    const medium = memoryDevice(RANGE.length)
    const log = await KvLog.open(medium, RANGE)
    for (let round = 0; round < 30; round++) await log.commit([change(`k${round % 5}`, 1800 + round)])
    await log.commit([change('last', 30)])
    return { medium, state: contents(log) }
  }
  const flip = async (device: BlockDevice, offset: number, mask: number): Promise<void> => {
    const byte = new Uint8Array(1)
    await device.read(offset, byte)
    byte[0]! ^= mask
    await device.write(offset, byte)
  }

  it('of any byte: the acknowledged state or DEVICE_CORRUPT, never anything else', async () => {
    const { medium, state } = await build()
    let refused = 0
    let offsets = 0
    for (let offset = 0; offset < RANGE.length; offset += 97) {
      offsets += 1
      await flip(medium, offset, 1 << (offset % 8))
      try {
        expect(contents(await KvLog.open(medium, RANGE))).toEqual(state)
      } catch (error) {
        if (codeOf(error) !== 'DEVICE_CORRUPT') throw error
        refused += 1
      }
      await flip(medium, offset, 1 << (offset % 8))
    }
    // Some of the region holds nothing that counts: the old area, and free space.
    expect(refused).toBeGreaterThan(20)
    expect(refused).toBeLessThan(offsets)
  })

  it('of any sector turned to zeros, but for those of the last batch: the acknowledged state or DEVICE_CORRUPT', async () => {
    const { medium, state } = await build()
    const zeros = new Uint8Array(512)
    const { last: _, ...withoutLast } = state
    let lostLast = 0
    for (let offset = 0; offset < RANGE.length; offset += 512) {
      const before = new Uint8Array(512)
      await medium.read(offset, before)
      await medium.write(offset, zeros)
      const outcome = await KvLog.open(medium, RANGE).then(contents, (error) => codeOf(error))
      if (outcome !== 'DEVICE_CORRUPT') {
        if (JSON.stringify(outcome) === JSON.stringify(withoutLast)) lostLast += 1
        else expect(outcome).toEqual(state)
      }
      await medium.write(offset, before)
    }
    expect(lostLast).toBe(1)
  })

  it('of a commit of some MiB turned to zeros, with another behind it: DEVICE_CORRUPT', async () => {
    const range = { offset: 0, length: 64 * MiB }
    const medium = memoryDevice(range.length)
    const log = await KvLog.open(medium, range)
    const head = await written(log, 'small', 100)
    const large = await written(log, 'large', 4 * MiB)
    await written(log, 'last', 100)
    const area = HEADERS_BYTES
    await medium.write(area + head, new Uint8Array(large))
    expect(await codeOfFailure(KvLog.open(medium, range))).toBe('DEVICE_CORRUPT')
  })

  it.each([0, 1])('of the header of area %i, or of both: never the older state', async (slot) => {
    for (const damage of [new Uint8Array(512), new Uint8Array(512).fill(0xa5)]) {
      const { medium } = await build()
      await medium.write(slot * 4 * KiB, damage)
      expect(await codeOfFailure(KvLog.open(medium, RANGE))).toBe('DEVICE_CORRUPT')
    }
    const { medium } = await build()
    await medium.write(0, new Uint8Array(HEADERS_BYTES))
    expect(await codeOfFailure(KvLog.open(medium, RANGE))).toBe('DEVICE_CORRUPT')
  })

  it('of the snapshot: DEVICE_CORRUPT, although the older area is whole', async () => {
    const { medium } = await build()
    const headers = new Uint8Array(HEADERS_BYTES)
    await medium.read(0, headers)
    const live = headers[12]! > headers[4096 + 12]! ? 0 : 1
    for (const damage of [new Uint8Array(512), new Uint8Array(512).fill(1)]) {
      const at = HEADERS_BYTES + live * AREA_BYTES + 512
      const before = new Uint8Array(512)
      await medium.read(at, before)
      await medium.write(at, damage)
      expect(await codeOfFailure(KvLog.open(medium, RANGE))).toBe('DEVICE_CORRUPT')
      await medium.write(at, before)
    }
    await medium.write(HEADERS_BYTES + live * AREA_BYTES, new Uint8Array(AREA_BYTES))
    expect(await codeOfFailure(KvLog.open(medium, RANGE))).toBe('DEVICE_CORRUPT')
  })

  it('refuses a region with something else in it', async () => {
    const medium = memoryDevice(RANGE.length)
    await medium.write(100, new Uint8Array(1000).fill(7))
    expect(await codeOfFailure(KvLog.open(medium, RANGE))).toBe('FORMAT_UNKNOWN')
  })

  it('formats a blank region although an old file system left bytes further on', async () => {
    const medium = memoryDevice(RANGE.length)
    await medium.write(HEADERS_BYTES, new Uint8Array(RANGE.length - HEADERS_BYTES).fill(7))
    const log = await KvLog.open(medium, RANGE)
    expect(contents(await KvLog.open(medium, RANGE))).toEqual({})
    await log.commit([change('a', 700)])
    expect(Object.keys(contents(await KvLog.open(medium, RANGE)))).toEqual(['a'])
  })
})

/** Commits a value of so many bytes. Returns the bytes of the area that it takes. */
async function written(log: KvLog, key: string, bytes: number): Promise<number> {
  const changes = [change(key, bytes)]
  await log.commit(changes)
  return batchSectors(recordBytes(key, changes[0]!.value)) * SECTOR_BYTES
}

/**
 * Opens the table, which must be in one of the `possible` states, and commits the steps until the power goes off.
 * Returns the states that it may be in after that.
 */
async function live(
  device: CrashDevice,
  steps: readonly Step[],
  depth: number,
  possible: readonly State[],
): Promise<State[]> {
  let log: KvLog
  try {
    log = await KvLog.open(device, RANGE)
  } catch (error) {
    if (codeOf(error) !== 'DEVICE_FAILED') throw error
    return [...possible]
  }
  let acknowledged = contents(log)
  expect(possible).toContainEqual(acknowledged)
  for (let at = 0; at < steps.length; at += depth) {
    const states = [acknowledged]
    const admitted: Array<{ outcome: Promise<boolean>; state: State }> = []
    for (const each of steps.slice(at, at + depth)) {
      const changes = each.map(([key, bytes]) => change(key, bytes))
      if (log.refusal(changes)?.code === 'DEVICE_FULL') continue
      const state = applied(states.at(-1)!, each)
      states.push(state)
      admitted.push({
        outcome: log.commit(changes).then(
          () => true,
          () => false,
        ),
        state,
      })
    }
    for (const [index, { outcome, state }] of admitted.entries()) {
      if (!(await outcome)) return states.slice(index)
      acknowledged = state
    }
    expect(contents(log)).toEqual(acknowledged)
  }
  return [acknowledged]
}

function applied(state: State, changes: Step): State {
  const next: Record<string, string> = { ...state }
  for (const [key, bytes] of changes) {
    if (bytes === undefined) delete next[key]
    else next[key] = described(key, bytes)
  }
  return next
}

/** The value is made from the key and the length: different for each pair. */
function change(key: string, bytes: number | undefined): Change {
  if (bytes === undefined) return { key, value: undefined }
  return { key, value: new Uint8Array(bytes).fill(key.charCodeAt(key.length - 1) + bytes) }
}

function described(key: string, bytes: number): string {
  return bytes === 0 ? 'empty' : `${bytes} of ${(key.charCodeAt(key.length - 1) + bytes) & 0xff}`
}

function contents(log: KvLog): State {
  const state: Record<string, string> = {}
  for (const [key, value] of log.entries('')) {
    const first = value[0]
    const whole = value.every((byte) => byte === first)
    state[key] = value.length === 0 ? 'empty' : whole ? `${value.length} of ${first}` : 'mixed'
  }
  return state
}
