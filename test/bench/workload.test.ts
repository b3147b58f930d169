/** The workload bench measures what it says: its matrix, its data, its places, and one tiny run of it. */
import { crc32, deflateSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { type DataKind, DataSource, POOL_BYTES } from '../../bench/shared/data.ts'
import { type BenchContext, Progress, parseOptions } from '../../bench/shared/options.ts'
import { median, takeTurns } from '../../bench/shared/turns.ts'
import { middleCells, sweptCells } from '../../bench/workload/cell.ts'
import { READ_4K_CACHED, runIoJob, WRITE_4K } from '../../bench/workload/io-jobs.ts'
import { Zipf } from '../../bench/workload/zipf.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

const BLOCK = 4_096
const context = (...argv: string[]): BenchContext => ({
  ...parseOptions(['workload', ...argv]),
  signal: new AbortController().signal,
  progress: new Progress(true),
})

describe('the matrix', () => {
  test('by default every value of every axis is met, one at a time', () => {
    const cells = sweptCells(context())
    const values = (axis: keyof (typeof cells)[number]) => new Set(cells.map((cell) => cell[axis]))
    expect(values('location')).toEqual(new Set(['memory:', 'file:']))
    expect(values('rf')).toEqual(new Set([1, 2, 3]))
    expect(values('services').size).toBe(4)
    expect(values('depth')).toEqual(new Set([1, 8, 32]))
    expect(values('data').size).toBe(6)
    expect(new Set(cells.map((cell) => JSON.stringify(cell))).size).toBe(cells.length)
  })

  test('axes that are given are crossed', () => {
    expect(sweptCells(context('--rf', '1,3', '--depth', '1,2', '--location', 'memory:'))).toHaveLength(4)
    expect(middleCells(context())).toHaveLength(2)
  })
})

describe('data', () => {
  const shrinks = (kind: DataKind): number => {
    const bytes = new DataSource(kind).take(1 << 20)
    return deflateSync(bytes, { level: 1 }).length / bytes.length
  }

  test('each kind is as reducible as its name says', () => {
    expect(shrinks('zeros')).toBeLessThan(0.01)
    expect(shrinks('random')).toBeGreaterThan(0.99)
    expect(shrinks('text')).toBeLessThan(0.5)
    expect(shrinks('binaries')).toBeLessThan(0.9)
  })

  test('no block of a round comes again in the next; repeats do within one', () => {
    const distinct = (kind: DataKind): number => {
      const source = new DataSource(kind)
      const seen = new Set<number>()
      for (let taken = 0; taken < 2 * POOL_BYTES; taken += 64 * BLOCK) {
        const bytes = source.take(64 * BLOCK)
        for (let at = 0; at < bytes.length; at += BLOCK) {
          seen.add(crc32(bytes.subarray(at, at + BLOCK)))
        }
      }
      return seen.size / ((2 * POOL_BYTES) / BLOCK)
    }
    expect(distinct('random')).toBe(1)
    expect(distinct('repeats')).toBeLessThan(0.55)
  })
})

test('zipf: every place is in range, and the most popular hundredth has about half of all visits', () => {
  const zipf = new Zipf(10_000, seededRandom(1))
  const visits = new Uint32Array(10_000)
  for (let i = 0; i < 50_000; i++) visits[zipf.next()]!++
  const popular = [...visits].sort((a, b) => b - a).slice(0, 100)
  const share = popular.reduce((sum, count) => sum + count, 0) / 50_000
  expect(share).toBeGreaterThan(0.45)
  expect(share).toBeLessThan(0.65)
})

test('turns alternate, and an abort ends them', async () => {
  const order: string[] = []
  const stop = new AbortController()
  const contender = (name: string) => ({
    name,
    bytes: 1,
    async round(): Promise<never> {
      order.push(name)
      if (order.length === 5) stop.abort()
      return undefined as never
    },
  })
  await takeTurns([contender('a'), contender('b')], 9, stop.signal, () => {})
  expect(order).toEqual(['a', 'b', 'a', 'b', 'a'])
  expect([median([3, 1, 2]), median([4, 1, 2, 3]), median([])]).toEqual([2, 2.5, Number.NaN])
})

test('a tiny run of two jobs has every figure', async () => {
  const cell = middleCells(context())[0]!
  for (const job of [WRITE_4K, { ...READ_4K_CACHED, diskBytes: 2 ** 20 }]) {
    const row = await runIoJob(job, { ...cell, depth: 4 }, 0.05, context())
    expect(row.iops).toBeGreaterThan(0)
    expect(row.p50Us).toBeLessThanOrEqual(row.maxUs)
    expect(row.cpuUsPerIo).toBeGreaterThan(0)
    if (job === WRITE_4K) expect(row.storedRatio).toBeGreaterThan(0)
    else expect(row.storedRatio).toBeNaN()
  }
})
