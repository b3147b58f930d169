/**
 * Guests go before bulk work. Guards: it rests in proportion to its work while there are guests, all of it on one thread
 * together; what is in a hurry rests less; it goes on at once, but for a turn of the event loop, when they are gone; no rest is long.
 */
import { beforeEach, expect, test } from 'vitest'
import { bulkWork, GuestActivity } from '../../src/platform/bulk-work.ts'
import type { Clock } from '../../src/platform/types.ts'

let now: number
let slept: number[]
let turns: number
let guests: GuestActivity
let isShort: boolean

/** Time stands still while somebody sleeps, so that sleeps overlap. */
const clock = {
  now: () => now,
  sleep: async (ms: number) => void slept.push(ms),
  turn: async () => void turns++,
} as Partial<Clock> as Clock

beforeEach(() => {
  now = 1_000
  slept = []
  turns = 0
  guests = new GuestActivity()
  isShort = false
})

test('without guests there is a turn of the event loop between two steps, and no rest', async () => {
  const bulk = bulkWork(clock, guests, () => isShort)
  const rest = bulk.begin()
  now += 5
  await rest()
  expect(bulk.hasGuests).toBe(false)
  expect([slept, turns]).toEqual([[], 1])
})

test('with guests it rests nine times as long as it worked, from the end of the last rest on', async () => {
  guests.ios++
  const bulk = bulkWork(clock, guests, () => isShort)
  const rest = bulk.begin()
  now += 2
  await rest()
  expect(bulk.hasGuests).toBe(true)
  now += 18
  const again = bulk.begin()
  now += 1
  await again()
  expect(slept).toEqual([18, 9])
})

test('a rest is at most 50 ms, however long the step took', async () => {
  guests.ios++
  const rest = bulkWork(clock, guests, () => isShort).begin()
  now += 80
  await rest()
  expect(slept).toEqual([50])
})

test('what works on one thread rests together: twice the work, twice the rest', async () => {
  guests.ios++
  const one = bulkWork(clock, guests, () => isShort).begin()
  const other = bulkWork(clock, guests, () => isShort).begin()
  now += 1
  await Promise.all([one(), other()])
  expect(slept).toEqual([9, 18])
})

test('guests that have done nothing for 100 ms are gone', async () => {
  guests.ios++
  const bulk = bulkWork(clock, guests, () => isShort)
  expect(bulk.hasGuests).toBe(true)
  now += 99
  expect(bulk.hasGuests).toBe(true)
  now += 1
  expect(bulk.hasGuests).toBe(false)
  guests.ios++
  expect(bulk.hasGuests).toBe(true)
})

test('what somebody waits for rests as long as it worked, and so does all while space is short', async () => {
  guests.ios++
  const bulk = bulkWork(clock, guests, () => isShort)
  const hurried = bulk.begin('hurried')
  now += 3
  await hurried()
  now += 100
  guests.ios++
  isShort = true
  const rest = bulk.begin()
  now += 2
  await rest()
  expect(slept).toEqual([3, 2])
})

test('nothing rests while a write waits for space', async () => {
  guests.ios++
  guests.waitingForSpace++
  const bulk = bulkWork(clock, guests, () => isShort)
  const rest = bulk.begin()
  now += 5
  await rest()
  expect([bulk.hasGuests, slept, turns]).toEqual([false, [], 1])
  guests.waitingForSpace--
  expect(bulk.hasGuests).toBe(true)
})
