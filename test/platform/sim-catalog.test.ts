/** The loop, the clocks and the catalog of the simulated world: contracts of the seams, faults, equal runs. */
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { type CatalogHistoryEntry, SimCatalog } from '../../src/platform/sim/sim-catalog.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import type { Catalog, CatalogResult } from '../../src/platform/types.ts'
import { runCatalogTests } from '../conformance/catalog-suite.ts'
import { runClockTests } from '../conformance/clock-suite.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { bytesOf, textOf } from '../conformance/network-suite.ts'

describe('SimLoop', () => {
  it('runs events in order of time, then of scheduling, and not those cancelled', async () => {
    const loop = new SimLoop()
    const ran: string[] = []
    for (const [ms, name] of [
      [5, 'late'],
      [1, 'first'],
      [1, 'second'],
      [0, 'now'],
    ] as const) {
      loop.after(ms, () => ran.push(`${name}@${loop.now}`))
    }
    const cancel = loop.after(2, () => ran.push('cancelled'))
    loop.after(1, cancel)
    await loop.sleep(10)
    expect(ran).toEqual(['now@0', 'first@1', 'second@1', 'late@5'])
  })

  it('lets async code run to its next wait before time goes on', async () => {
    const loop = new SimLoop()
    const ran: string[] = []
    loop.after(1, () => {
      void (async () => {
        for (let step = 0; step < 100; step++) await undefined
        ran.push('a hundred steps')
      })()
    })
    loop.after(1, () => ran.push('next event'))
    await loop.sleep(2)
    expect(ran).toEqual(['a hundred steps', 'next event'])
  })

  it('keeps the order of any number of events', async () => {
    const loop = new SimLoop()
    const random = seededRandom(3)
    const planned = Array.from({ length: 2000 }, (_, order) => ({ ms: random.below(300), order }))
    const ran: typeof planned = []
    for (const event of planned) loop.after(event.ms, () => ran.push(event))
    await loop.sleep(300)
    expect(ran).toEqual([...planned].sort((a, b) => a.ms - b.ms || a.order - b.order))
  })

  it('has one hash for equal runs, and another for others', async () => {
    const run = async (delay: number, noted: number): Promise<string> => {
      const loop = new SimLoop()
      loop.after(delay, () => loop.note(noted))
      await loop.sleep(10)
      return loop.hash
    }
    expect(await run(1, 7)).toBe(await run(1, 7))
    expect(await run(2, 7)).not.toBe(await run(1, 7))
    expect(await run(1, 8)).not.toBe(await run(1, 7))
  })

  it('runs nothing after its end', async () => {
    const loop = new SimLoop()
    let ran = false
    loop.after(0, () => {
      ran = true
    })
    loop.stop()
    loop.after(0, () => {
      ran = true
    })
    await new Promise((resolve) => setTimeout(resolve, 5))
    expect(ran).toBe(false)
  })
})

runClockTests('simulated', async () => {
  const loop = new SimLoop()
  return { clock: new SimClock(loop), pass: (ms) => loop.sleep(ms) }
})

runClockTests('simulated, 1 % fast', async () => {
  const loop = new SimLoop()
  const clock = new SimClock(loop)
  clock.drift(10_000)
  return { clock, pass: (ms) => loop.sleep(ms) }
})

/** More than a watch may lag, and an answer to it take, with the timing of a default `SimCatalog`. */
const SETTLE_MS = 40

runCatalogTests('simulated', async () => {
  const loop = new SimLoop()
  const catalog = new SimCatalog(loop, seededRandom(5))
  return {
    catalog: catalog.client('node-1'),
    pass: (ms) => loop.sleep(ms + SETTLE_MS),
    restart: async () => {
      catalog.restart()
      return catalog.client('node-1')
    },
  }
})

interface World {
  readonly loop: SimLoop
  readonly catalog: SimCatalog
  readonly a: Catalog
  readonly b: Catalog
  readonly history: CatalogHistoryEntry[]
}

function worldOf(seed = 1): World {
  const loop = new SimLoop()
  const catalog = new SimCatalog(loop, seededRandom(seed))
  const history: CatalogHistoryEntry[] = []
  catalog.history = (change) => history.push(change)
  return { loop, catalog, a: catalog.client('a'), b: catalog.client('b'), history }
}

function put(catalog: Catalog, key: string, value = '', lease?: string): Promise<CatalogResult> {
  return catalog.commit({ put: [{ key, value: bytesOf(value), ...(lease === undefined ? {} : { lease }) }] })
}

function watched(catalog: Catalog): string[] {
  const seen: string[] = []
  catalog.watch('', (changes) => seen.push(...changes.map(nameOf)))
  return seen
}

function nameOf({ key, value }: { key: string; value: Uint8Array | undefined }): string {
  return value ? `${key}=${textOf(value)}` : `${key} gone`
}

describe('SimCatalog', () => {
  it('takes time, more at times, and tells its watches later still, in order', async () => {
    const { loop, a, b, history } = worldOf()
    const took: number[] = []
    const told: Array<{ revision: number; late: number }> = []
    b.watch('', (changes) => {
      for (const { revision } of changes) {
        told.push({ revision, late: loop.now - history[revision - 1]!.atMs })
      }
    })
    for (let round = 0; round < 1000; round++) {
      const start = loop.now
      await put(a, 'k')
      took.push(loop.now - start)
    }
    await loop.sleep(SETTLE_MS)
    took.sort((left, right) => left - right)
    expect(took[0]).toBeGreaterThanOrEqual(0.5)
    expect(took[500]).toBeGreaterThan(0.8)
    expect(took[500]).toBeLessThan(2)
    expect(took[998]).toBeGreaterThan(5)
    expect(took[999]).toBeLessThanOrEqual(20)
    expect(told.map(({ revision }) => revision)).toEqual(Array.from({ length: 1000 }, (_, at) => at + 1))
    const lags = told.map(({ late }) => late)
    expect(Math.min(...lags)).toBeGreaterThanOrEqual(0.19)
    expect(Math.max(...lags)).toBeGreaterThan(15)
    expect(Math.max(...lags)).toBeLessThanOrEqual(20.01)
  })

  it('asks again when a request or an answer of a read or of a lease is lost, in time', async () => {
    const { loop, catalog, a } = worldOf()
    await put(a, 'k', 'v')
    catalog.faults.requestLoss = 0.3
    catalog.faults.answerLoss = 0.3
    const start = loop.now
    // 8 attempts in 2,000 ms, each of which fails with 0.51: one call in 220 gives up.
    const calls = Array.from({ length: 40 }, (_, at) => a.grantLease(`L${at}`, 60_000).then(() => a.get('k')))
    const outcomes = await Promise.allSettled(calls)
    expect(outcomes.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThanOrEqual(37)
    expect(loop.now - start).toBeGreaterThan(250)
  })

  it('gives up on a read after its time', async () => {
    const { loop, catalog, a } = worldOf()
    catalog.faults.requestLoss = 1
    expect(await codeOfFailure(a.get('k'))).toBe('TIMEOUT')
    expect(loop.now).toBe(2000)
    expect(await codeOfFailure(a.list(''))).toBe('TIMEOUT')
    expect(await codeOfFailure(a.keepLease('L'))).toBe('TIMEOUT')
  })

  it('sends a commit once: unanswered, it may have been applied or not', async () => {
    const { catalog, a, history } = worldOf()
    catalog.faults.answerLoss = 1
    expect(await codeOfFailure(put(a, 'heard', 'x'))).toBe('TIMEOUT')
    catalog.faults.answerLoss = 0
    catalog.faults.requestLoss = 1
    expect(await codeOfFailure(put(a, 'lost', 'x'))).toBe('TIMEOUT')
    catalog.faults.requestLoss = 0
    expect((await a.list('')).map(nameOf)).toEqual(['heard=x'])
    expect(history.map(nameOf)).toEqual(['heard=x'])
  })

  it('holds up a client that is cut off, and only it; then its calls and watches go on in order', async () => {
    const { loop, catalog, a, b } = worldOf()
    const seen = watched(a)
    catalog.faults.isolate('a')
    const own = [put(a, 'own', '1'), put(a, 'own', '2')]
    const read = a.get('k2')
    for (let at = 0; at < 5; at++) await put(b, `k${at}`, `${at}`)
    await loop.sleep(1000)
    expect(seen).toEqual([])
    expect(await b.get('own')).toBeUndefined()
    catalog.faults.heal('a')
    expect((await Promise.all(own)).map(({ revision }) => revision)).toEqual([6, 7])
    expect(textOf((await read)!.value)).toBe('2')
    await loop.sleep(SETTLE_MS)
    expect(seen).toEqual(['k0=0', 'k1=1', 'k2=2', 'k3=3', 'k4=4', 'own=1', 'own=2'])
  })

  it('cuts off what is on its way, and lets go of nothing when cut off again at once', async () => {
    const { loop, catalog, a, b } = worldOf()
    const seen = watched(a)
    const commit = put(a, 'k', 'x')
    catalog.faults.isolate('a')
    await loop.sleep(100)
    catalog.faults.heal('a')
    catalog.faults.isolate('a')
    await loop.sleep(100)
    expect(await b.get('k')).toBeUndefined()
    expect(seen).toEqual([])
    catalog.faults.heal('a')
    expect((await commit).ok).toBe(true)
  })

  it('may apply a commit after its client gave up, when that was cut off', async () => {
    for (const lateArrival of [0, 1]) {
      const { loop, catalog, a, history } = worldOf()
      catalog.faults.lateArrival = lateArrival
      catalog.faults.isolate('a')
      expect(await codeOfFailure(put(a, 'late', 'x'))).toBe('TIMEOUT')
      expect(history).toEqual([])
      catalog.faults.heal('a')
      await loop.sleep(SETTLE_MS)
      expect(history.map(nameOf)).toEqual(lateArrival === 1 ? ['late=x'] : [])
    }
  })

  it('ends a lease at its time by the loop, although its holder is cut off', async () => {
    const { loop, catalog, a, b, history } = worldOf()
    await a.grantLease('L', 1000)
    await put(a, 'k', 'x', 'L')
    expect(await a.keepLease('L')).toBe(true)
    const renewed = loop.now
    catalog.faults.isolate('a')
    await loop.sleep(990)
    expect(await b.get('k')).toBeDefined()
    await loop.sleep(100)
    expect(await b.get('k')).toBeUndefined()
    expect(history.map(nameOf)).toEqual(['k=x', 'k gone'])
    expect(history[1]!.atMs).toBeLessThanOrEqual(renewed + 1000)
    expect(history[1]!.atMs).toBeGreaterThan(renewed + 980)
  })

  it('stands still while it is down, and gives each lease its whole time afterwards', async () => {
    const { loop, catalog, a, b, history } = worldOf()
    await a.grantLease('L', 1000)
    await put(a, 'k', 'x', 'L')
    catalog.faults.down = true
    expect(await codeOfFailure(b.get('k'))).toBe('TIMEOUT')
    expect(await codeOfFailure(put(b, 'never', 'x'))).toBe('TIMEOUT')
    expect(history).toHaveLength(1)
    catalog.faults.lateArrival = 0
    catalog.faults.down = false
    const up = loop.now
    expect(await b.get('k')).toBeDefined()
    await loop.sleep(1000)
    expect(history.map(nameOf)).toEqual(['k=x', 'k gone'])
    expect(history[1]!.atMs).toBe(up + 1000)
  })

  it('ends all leases at a restart, tells it, keeps the rest, and loses the answers on their way', async () => {
    const { loop, catalog, a, b } = worldOf()
    await put(a, 'stays', '1')
    for (const id of ['L', 'M']) {
      await a.grantLease(id, 60_000)
      await put(a, `under ${id}`, 'x', id)
    }
    await loop.sleep(SETTLE_MS)
    const seen = watched(b)
    const unheard = put(a, 'applied', 'x')
    const read = a.get('stays')
    while (catalog.get('applied') === undefined) await loop.sleep(0.05)
    catalog.restart()
    await loop.sleep(SETTLE_MS)
    expect(seen).toEqual(['applied=x', 'under L gone', 'under M gone'])
    expect(textOf((await read)!.value)).toBe('1')
    expect(await a.keepLease('L')).toBe(false)
    expect(await codeOfFailure(unheard)).toBe('TIMEOUT')
    expect((await a.list('')).map(nameOf)).toEqual(['applied=x', 'stays=1'])
  })

  it('does the same twice from one seed, and something else from another', async () => {
    const run = async (seed: number): Promise<string> => {
      const { loop, catalog, a, b } = worldOf(seed)
      catalog.faults.requestLoss = 0.1
      catalog.faults.answerLoss = 0.1
      watched(a)
      for (let round = 0; round < 50; round++) {
        await Promise.allSettled([put(a, 'k', `${round}`), b.get('k'), put(b, 'k', 'b')])
        if (round === 20) catalog.restart()
      }
      return `${loop.hash} ${loop.fired} ${catalog.revision}`
    }
    expect(await run(11)).toBe(await run(11))
    expect(await run(12)).not.toBe(await run(11))
  })

  it('leaves a mark of every applied transaction in the hash of the loop', async () => {
    const run = async (revision: number): Promise<string> => {
      const { loop, a } = worldOf()
      await a.commit({ when: [{ key: 'k', revision }] })
      return loop.hash
    }
    const [applied, refused] = [await run(0), await run(7)]
    expect(refused).toBe(await run(8))
    expect(applied).not.toBe(refused)
  })
})
