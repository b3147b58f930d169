/** What every `Clock` promises: `runClockTests('name', setup)`. */
import { describe, expect, it } from 'vitest'
import type { Clock } from '../../src/platform/types.ts'

export interface ClockUnderTest {
  readonly clock: Clock
  /** Lets `ms` of its time pass; more may pass in the real world. */
  pass(ms: number): Promise<void>
}

export function runClockTests(name: string, setup: () => Promise<ClockUnderTest>): void {
  describe(`Clock: ${name}`, () => {
    it('never goes back', async () => {
      const { clock, pass } = await setup()
      let last = clock.now()
      for (let round = 0; round < 5; round++) {
        await pass(1)
        expect(clock.now()).toBeGreaterThanOrEqual(last)
        last = clock.now()
      }
    })

    it('tells a time of day in milliseconds since 1970', async () => {
      const { clock } = await setup()
      expect(clock.wall()).toBeGreaterThan(Date.UTC(2000, 0))
    })

    it('never fires early, and fires in the order in which timers come due', async () => {
      const { clock, pass } = await setup()
      const fired: number[] = []
      const start = clock.now()
      const early: number[] = []
      for (const ms of [30, 5, 12, 0, 20.5]) {
        clock.after(ms, () => {
          fired.push(ms)
          if (clock.now() - start < ms) early.push(ms)
        })
      }
      expect(fired).toEqual([])
      await pass(60)
      expect(fired).toEqual([0, 5, 12, 20.5, 30])
      expect(early).toEqual([])
    })

    it('does not fire what was cancelled', async () => {
      const { clock, pass } = await setup()
      let fired = false
      const cancel = clock.after(5, () => {
        fired = true
      })
      cancel()
      cancel()
      await pass(20)
      expect(fired).toBe(false)
    })

    it('does not fire timers of more than 2^31 ms now', async () => {
      const { clock, pass } = await setup()
      let fired = false
      const cancel = clock.after(2 ** 33, () => {
        fired = true
      })
      await pass(10)
      cancel()
      expect(fired).toBe(false)
    })

    it('sleeps at least as long as told', async () => {
      const { clock, pass } = await setup()
      const start = clock.now()
      let slept = 0
      const sleep = clock.sleep(10).then(() => {
        slept = clock.now() - start
      })
      await pass(30)
      await sleep
      expect(slept).toBeGreaterThanOrEqual(10)
    })

    it('ends a sleep with the reason of its signal, before or after it began', async () => {
      const { clock, pass } = await setup()
      const controller = new AbortController()
      const reason = new Error('enough')
      const outcome = clock.sleep(10_000, controller.signal).catch((error) => error)
      await pass(1)
      controller.abort(reason)
      expect(await outcome).toBe(reason)
      expect(await clock.sleep(10_000, controller.signal).catch((error) => error)).toBe(reason)
    })

    it('leaves nothing on a signal that outlives the sleep', async () => {
      const { clock, pass } = await setup()
      const controller = new AbortController()
      let listeners = 0
      const { signal } = controller
      const add = signal.addEventListener.bind(signal)
      const remove = signal.removeEventListener.bind(signal)
      signal.addEventListener = (...given: Parameters<typeof add>) => {
        listeners += 1
        add(...given)
      }
      signal.removeEventListener = (...given: Parameters<typeof remove>) => {
        listeners -= 1
        remove(...given)
      }
      const sleep = clock.sleep(1, signal)
      await pass(10)
      await sleep
      expect(listeners).toBe(0)
    })
  })
}
