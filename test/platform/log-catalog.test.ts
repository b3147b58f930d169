/** What is special about LogCatalog: crashes, damage, full devices, revisions that never repeat, speed of lists. */
import { describe, expect, it } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { CrashDevice } from '../../src/platform/faults/crash-device.ts'
import { FaultDevice } from '../../src/platform/faults/fault-device.ts'
import { LogCatalog } from '../../src/platform/real/log-catalog.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { WallClock } from '../../src/platform/real/wall-clock.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { bytesOf, textOf } from '../conformance/network-suite.ts'
import { memoryDevice } from './setup.ts'

const clock = new WallClock()

describe('LogCatalog', () => {
  it('gives out no revision twice over crashes at any moment, lease keys included', async () => {
    const medium = memoryDevice(128 * KiB)
    let highest = 0
    let told = 0
    for (let life = 0; life < 30; life++) {
      const device = new CrashDevice(medium)
      device.powerOffAfter(life)
      try {
        const catalog = await LogCatalog.open(device, clock)
        await catalog.grantLease('L', 60_000)
        for (let count = 0; count < 20; count++) {
          const lease = count % 3 === 0 ? {} : { lease: 'L' }
          const { revision } = await catalog.commit({
            put: [{ key: `${count}`, value: bytesOf('x'), ...lease }],
          })
          expect(revision).toBeGreaterThan(highest)
          highest = revision
          told += 1
        }
        await catalog.close()
      } catch (error) {
        if (codeOf(error) !== 'DEVICE_FAILED') throw error
      }
      await device.crash(seededRandom(life))
    }
    expect(told).toBeGreaterThan(100)
  })

  it('raises the bound of revisions in time: 250,000 of lease keys and a restart', async () => {
    const medium = memoryDevice()
    const catalog = await LogCatalog.open(medium, clock)
    await catalog.grantLease('L', 60_000)
    const value = bytesOf('x')
    let last = 0
    for (let round = 0; round < 250; round++) {
      const commits = Array.from({ length: 1000 }, () =>
        catalog.commit({ put: [{ key: 'a', value, lease: 'L' }] }),
      )
      last = (await commits.at(-1)!).revision
    }
    const again = await LogCatalog.open(medium, clock)
    expect((await again.commit({ put: [{ key: 'a', value }] })).revision).toBeGreaterThan(last)
  })

  it('keeps an acknowledged compare-and-set over a crash, and never half of a transaction', async () => {
    for (let operations = 8; operations < 40; operations++) {
      const medium = memoryDevice(128 * KiB)
      const device = new CrashDevice(medium)
      device.powerOffAfter(operations)
      const catalog = await LogCatalog.open(device, clock)
      let acknowledged = 0
      try {
        for (let count = 1; count < 50; count++) {
          const value = bytesOf(`${count}`)
          const put = [
            { key: 'left', value },
            { key: 'right', value },
          ]
          expect((await catalog.commit({ put })).ok).toBe(true)
          acknowledged = count
        }
      } catch (error) {
        if (codeOf(error) !== 'DEVICE_FAILED') throw error
      }
      await device.crash(seededRandom(operations))
      const after = await (await LogCatalog.open(medium, clock)).list('')
      const values = after.map(({ value }) => Number(textOf(value)))
      expect([acknowledged, acknowledged + 1]).toContain(values[0] ?? 0)
      expect(values[1]).toBe(values[0])
    }
  })

  it('refuses with DEVICE_FULL without a trace: the revision, the key and what follows are as if it had not been', async () => {
    const catalog = await LogCatalog.open(memoryDevice(64 * KiB), clock)
    const { revision } = await catalog.commit({ put: [{ key: 'a', value: bytesOf('small') }] })
    const big = catalog.commit({ put: [{ key: 'a', value: new Uint8Array(20 * KiB) }] })
    const next = catalog.commit({
      when: [{ key: 'a', revision }],
      put: [{ key: 'b', value: bytesOf('next') }],
    })
    expect(await codeOfFailure(big)).toBe('DEVICE_FULL')
    expect(await next).toEqual({ ok: true, revision: revision + 1 })
  })

  it('after a failed device: commits reject, reads go on, watches hear nothing of what was lost', async () => {
    const device = new FaultDevice(memoryDevice(), clock)
    const catalog = await LogCatalog.open(device, clock)
    await catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
    let heard = 0
    catalog.watch('', () => {
      heard += 1
    })
    device.failNow()
    const put = [{ key: 'a', value: bytesOf('2') }]
    expect(await codeOfFailure(catalog.commit({ put }))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(catalog.commit({ when: [{ key: 'a', revision: 99 }], put }))).toBe(
      'DEVICE_FAILED',
    )
    expect(textOf((await catalog.get('a'))!.value)).toBe('1')
    expect(heard).toBe(0)
  })

  it('does not look through a device that is new', async () => {
    const read = async (isNew: boolean): Promise<number> => {
      const device = memoryDevice(512 * MiB)
      const readHere = device.read.bind(device)
      let bytes = 0
      device.read = (offset, target) => {
        bytes += target.length
        return readHere(offset, target)
      }
      await (await LogCatalog.open(device, clock, isNew)).close()
      return bytes
    }
    expect(await read(false)).toBeGreaterThan(512 * MiB)
    expect(await read(true)).toBeLessThan(64 * MiB)
  })

  it('tells a damaged device as CATALOG_CORRUPT', async () => {
    const medium = memoryDevice()
    const catalog = await LogCatalog.open(medium, clock)
    await catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
    await catalog.close()
    await new FaultDevice(medium, clock).corrupt(8 * KiB + 100, 1)
    expect(await codeOfFailure(LogCatalog.open(medium, clock))).toBe('CATALOG_CORRUPT')
  })

  it('rejects with CLUSTER_CLOSED after close, which waits for commits under way', async () => {
    const catalog = await LogCatalog.open(memoryDevice(), clock)
    await catalog.grantLease('L', 60_000)
    const commit = catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
    await catalog.close()
    expect((await commit).ok).toBe(true)
    for (const call of [catalog.get('a'), catalog.list(''), catalog.commit({}), catalog.keepLease('L')]) {
      expect(await codeOfFailure(call)).toBe('CLUSTER_CLOSED')
    }
  })

  it('is fine with 30,000 keys: lists, gets and commits stay far below a millisecond a key', async () => {
    const medium = memoryDevice(64 * MiB)
    const catalog = await LogCatalog.open(medium, clock)
    const keyOf = (number: number): string => `egroup/${String(number).padStart(10, '0')}`
    const value = new Uint8Array(150)
    await Promise.all(
      Array.from({ length: 30_000 }, (_, number) =>
        catalog.commit({ put: [{ key: keyOf((number * 7919) % 30_000), value }] }),
      ),
    )
    const start = performance.now()
    for (let round = 0; round < 10; round++) expect((await catalog.list('egroup/')).length).toBe(30_000)
    for (let number = 0; number < 1000; number++)
      await catalog.commit({ put: [{ key: keyOf(number), value }] })
    expect(performance.now() - start).toBeLessThan(3000)
    const again = await LogCatalog.open(medium, clock)
    expect((await again.list('')).length).toBe(30_000)
  })

  it('spares leases when the process itself stood still, and ends them when only the holder did', async () => {
    const catalog = await LogCatalog.open(memoryDevice(4 * MiB), clock)
    await catalog.grantLease('L', 200)
    await catalog.commit({ put: [{ key: 'k', value: new Uint8Array(1), lease: 'L' }] })
    const until = performance.now() + 700
    while (performance.now() < until);
    // Its holder could not renew, and neither could anybody else.
    expect(await catalog.keepLease('L')).toBe(true)
    await clock.sleep(150)
    expect(await catalog.get('k')).toBeDefined()
    await clock.sleep(250)
    expect(await catalog.get('k')).toBeUndefined()
    expect(await catalog.keepLease('L')).toBe(false)
  })
})
