/** What is special about files: opening, shared syncs, durable writes, and failures of the operating system. */
import * as fs from 'node:fs'
import { mkdtemp, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { KiB, MiB } from '../../src/base/units.ts'
import { FileDevice } from '../../src/platform/real/file-device.ts'
import { codeOfFailure, expectBytes, pattern } from '../conformance/device-suite.ts'

type Settle = (error: Error | null, count?: number) => void

/** Stands between the device and the operating system; each test sets what it needs. */
const os = vi.hoisted(() => ({
  syncs: 0,
  holdSyncs: false,
  held: [] as Array<() => void>,
  syncError: undefined as Error | undefined,
  writeError: undefined as Error | undefined,
  /** Descriptors opened with `O_DSYNC`; the writes through them; and the error of the next ones, one each. */
  durableFds: new Set<number>(),
  durableWrites: 0,
  durableErrors: [] as Error[],
  /** Those of them that are opened with `O_DIRECT`, too; and the same of those. */
  directFds: new Set<number>(),
  directWrites: 0,
  directErrors: [] as Error[],
  directReads: 0,
  /** Most bytes that one call moves. */
  shortest: Number.POSITIVE_INFINITY,
}))

vi.mock('node:fs', async (original) => {
  const real = await original<typeof import('node:fs')>()
  return {
    ...real,
    open(path: string, flags: number, ...rest: unknown[]) {
      const settle = rest.pop() as (error: Error | null, fd: number) => void
      real.open(path, flags, rest[0] as number | undefined, (error, fd) => {
        os.durableFds.delete(fd)
        os.directFds.delete(fd)
        if (error === null && (flags & real.constants.O_DIRECT) !== 0) os.directFds.add(fd)
        else if (error === null && (flags & real.constants.O_DSYNC) !== 0) os.durableFds.add(fd)
        settle(error, fd)
      })
    },
    fdatasync(fd: number, settle: Settle) {
      os.syncs += 1
      const go = (): void => (os.syncError ? settle(os.syncError) : real.fdatasync(fd, settle))
      if (os.holdSyncs) os.held.push(go)
      else go()
    },
    read(fd: number, target: Uint8Array, offset: number, length: number, position: number, settle: Settle) {
      const error = os.directFds.has(fd) ? os.directErrors.shift() : undefined
      if (os.directFds.has(fd)) os.directReads += 1
      if (error) settle(error)
      else real.read(fd, target, offset, Math.min(length, os.shortest), position, settle)
    },
    write(fd: number, source: Uint8Array, offset: number, length: number, position: number, settle: Settle) {
      const isDirect = os.directFds.has(fd)
      const errors = isDirect ? os.directErrors : os.durableFds.has(fd) ? os.durableErrors : []
      const error = errors.shift()
      if (isDirect) os.directWrites += 1
      if (os.durableFds.has(fd)) os.durableWrites += 1
      if (os.writeError ?? error) settle(os.writeError ?? error!)
      else real.write(fd, source, offset, Math.min(length, os.shortest), position, settle)
    },
    writev(fd: number, parts: Uint8Array[], position: number, settle: Settle) {
      if (os.shortest === Number.POSITIVE_INFINITY) real.writev(fd, parts, position, settle)
      else real.writev(fd, [Buffer.concat(parts).subarray(0, os.shortest)], position, settle)
    },
  }
})

/** Whether the file system of temporary files takes direct IO. */
function hasDirectIo(): boolean {
  if (process.platform !== 'linux') return false
  const folder = fs.mkdtempSync(join(tmpdir(), 'hither-direct-'))
  try {
    const flags = fs.constants.O_RDWR | fs.constants.O_CREAT | fs.constants.O_DIRECT
    fs.closeSync(fs.openSync(join(folder, 'file'), flags))
    return true
  } catch {
    return false
  } finally {
    fs.rmSync(folder, { recursive: true })
  }
}

describe('FileDevice', () => {
  let folder: string
  let path: string
  const options = { id: 'node-1.ssd0', tier: 'ssd' } as const

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'hither-file-device-'))
    path = join(folder, 'ssd0')
    Object.assign(os, { syncs: 0, holdSyncs: false, held: [], syncError: undefined, writeError: undefined })
    Object.assign(os, {
      durableWrites: 0,
      durableErrors: [],
      directWrites: 0,
      directReads: 0,
      directErrors: [],
    })
    os.shortest = Number.POSITIVE_INFINITY
  })
  afterEach(() => rm(folder, { recursive: true }))
  const create = (): Promise<FileDevice> => FileDevice.open(path, { ...options, size: 4 * MiB, create: true })
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  it('creates a sparse file of the full size, and opens it again with what is in it', async () => {
    const device = await create()
    expect(device.size).toBe(4 * MiB)
    expect(device.isNew).toBe(true)
    await device.write(1 * MiB, pattern(100, 1))
    await device.close()
    const { size, blocks } = await stat(path)
    expect(size).toBe(4 * MiB)
    expect(blocks * 512).toBeLessThan(1 * MiB)
    const again = await create()
    expect(again.isNew).toBe(false)
    const target = new Uint8Array(100)
    await again.read(1 * MiB, target)
    expectBytes(target, pattern(100, 1))
    await again.close()
  })

  it('opens a file whose creation a crash cut short', async () => {
    await writeFile(path, '')
    const device = await create()
    expect(device.size).toBe(4 * MiB)
    await device.close()
  })

  it('refuses what is not a device', async () => {
    expect(await codeOfFailure(FileDevice.open(path, options))).toBe('BAD_LOCATION')
    expect(await codeOfFailure(FileDevice.open(folder, options))).toBe('BAD_LOCATION')
    expect(await codeOfFailure(FileDevice.open('/dev/null', options))).toBe('BAD_LOCATION')
    expect(await codeOfFailure(FileDevice.open(path, { ...options, create: true }))).toBe('BAD_SETTING')
    await (await create()).close()
    expect(await codeOfFailure(FileDevice.open(path, { ...options, size: 8 * MiB }))).toBe('BAD_SETTING')
  })

  it('reads zeros where the file is shorter than the device', async () => {
    const device = await create()
    await device.write(0, pattern(1000, 1))
    await truncate(path, 1000)
    const target = new Uint8Array(3000).fill(0xee)
    await device.read(0, target)
    expectBytes(target.subarray(0, 1000), pattern(1000, 1))
    expectBytes(target.subarray(1000), new Uint8Array(2000))
    await device.close()
  })

  it('carries on after short reads and writes', async () => {
    const device = await create()
    os.shortest = 333
    await device.write(0, pattern(1000, 2))
    await device.write(1000, [pattern(10, 3), new Uint8Array(0), pattern(990, 4), pattern(1, 5)])
    const target = new Uint8Array(2001)
    await device.read(0, target)
    expectBytes(target, Buffer.concat([pattern(1000, 2), pattern(10, 3), pattern(990, 4), pattern(1, 5)]))
    await device.close()
  })

  it('shares one fdatasync among all who ask in one turn, and asks for none when nothing is new', async () => {
    const device = await create()
    await Promise.all(Array.from({ length: 20 }, () => device.sync()))
    expect(os.syncs).toBe(1)
    await device.sync()
    expect(os.syncs).toBe(1)
    await device.write(0, pattern(10, 1))
    await device.sync()
    expect(os.syncs).toBe(2)
    await device.close()
  })

  it('makes who asks during a fdatasync wait for the next', async () => {
    const device = await create()
    os.holdSyncs = true
    const done: string[] = []
    const first = device.sync().then(() => done.push('first'))
    await turn()
    await device.write(0, pattern(10, 1))
    const second = Promise.all([device.sync(), device.sync()]).then(() => done.push('second'))
    await turn()
    expect(os.syncs).toBe(1)
    os.held.shift()!()
    await first
    await turn()
    expect([done, os.syncs]).toEqual([['first'], 2])
    os.held.shift()!()
    await second
    await device.close()
  })

  it('is dead after a failed fdatasync, although the next one would succeed', async () => {
    const device = await create()
    os.syncError = Object.assign(new Error('EIO: i/o error'), { code: 'EIO' })
    os.holdSyncs = true
    await device.write(0, pattern(10, 1))
    const first = codeOfFailure(device.sync())
    await turn()
    const second = codeOfFailure(device.sync())
    os.held.shift()!()
    os.syncError = undefined
    os.holdSyncs = false
    expect(await first).toBe('DEVICE_FAILED')
    expect(await second).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.sync())).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.write(0, pattern(10, 1)))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
    expect(os.syncs).toBe(1)
    await device.close()
  })

  it.runIf(process.platform === 'linux')('writes durably in one call', async () => {
    const device = await create()
    await device.sync()
    await device.writeDurably(0, pattern(10, 1))
    await device.writeDurably(10, [pattern(10, 2)])
    expect([os.durableWrites, os.syncs]).toEqual([2, 1])
    // Nothing is left to make durable.
    await device.sync()
    expect(os.syncs).toBe(1)
    await device.close()
  })

  it.runIf(process.platform === 'linux')(
    'writes more than two at a time with a shared fdatasync',
    async () => {
      const device = await create()
      const bytes = Array.from({ length: 10 }, (_, index) => pattern(100, index))
      await Promise.all(bytes.map((each, index) => device.writeDurably(index * 100, each)))
      expect(os.durableWrites).toBe(2)
      expect(os.syncs).toBeGreaterThanOrEqual(1)
      expect(os.syncs).toBeLessThan(8)
      const target = new Uint8Array(1000)
      await device.read(0, target)
      expectBytes(target, Buffer.concat(bytes))
      await device.close()
    },
  )

  it('writes and syncs where O_DSYNC does not reach the medium', async () => {
    const platform = Object.getOwnPropertyDescriptor(process, 'platform')!
    Object.defineProperty(process, 'platform', { value: 'darwin' })
    const device = await create().finally(() => Object.defineProperty(process, 'platform', platform))
    await device.sync()
    await device.writeDurably(0, pattern(10, 1))
    expect([os.durableWrites, os.syncs]).toEqual([0, 2])
    await device.close()
  })

  it.runIf(process.platform === 'linux')(
    'is dead after a failed durable write, as after a failed sync',
    async () => {
      const device = await create()
      os.durableErrors.push(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
      expect(await codeOfFailure(device.writeDurably(0, pattern(10, 1)))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.writeDurably(0, pattern(10, 1)))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.write(0, pattern(10, 1)))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.sync())).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.read(0, new Uint8Array(1)))).toBe('DEVICE_FAILED')
      expect(os.syncs).toBe(0)
      await device.close()
    },
  )

  it.runIf(process.platform === 'linux')('asks in two steps whose ENOSPC a durable write met', async () => {
    const full = Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' })
    const device = await create()
    // Of the write, the second time, too.
    os.writeError = full
    expect(await codeOfFailure(device.writeDurably(0, pattern(10, 1)))).toBe('DEVICE_FULL')
    os.writeError = undefined
    // Of the write, but there is room again.
    os.durableErrors.push(full)
    await device.writeDurably(0, pattern(10, 2))
    expect(os.syncs).toBe(1)
    const target = new Uint8Array(10)
    await device.read(0, target)
    expectBytes(target, pattern(10, 2))
    // Of a page that could not be written back: the other descriptor is told, too.
    os.durableErrors.push(full)
    os.syncError = full
    expect(await codeOfFailure(device.writeDurably(0, pattern(10, 3)))).toBe('DEVICE_FAILED')
    expect(await codeOfFailure(device.write(0, pattern(10, 3)))).toBe('DEVICE_FAILED')
    await device.close()
  })

  describe.runIf(hasDirectIo())('large durable writes', () => {
    const large = pattern(64 * KiB + 512, 1)
    const readBack = async (device: FileDevice, offset: number, length: number): Promise<Uint8Array> => {
      const target = new Uint8Array(length)
      await device.read(offset, target)
      return target
    }

    it('go past the page cache, if they are whole sectors and not too long', async () => {
      const device = await create()
      await device.writeDurably(512, [
        large.subarray(0, 100),
        large.subarray(100, 41_000),
        large.subarray(41_000),
      ])
      expect([os.directWrites, os.durableWrites]).toEqual([1, 0])
      expectBytes(await readBack(device, 512, large.length), large)
      await device.writeDurably(700, large)
      await device.writeDurably(512, large.subarray(1))
      await device.writeDurably(512, large.subarray(0, 16 * KiB))
      await device.writeDurably(512, pattern(2 * MiB, 3))
      expect(os.directWrites).toBe(1)
      expectBytes(await readBack(device, 512, 2 * MiB), pattern(2 * MiB, 3))
      await device.close()
    })

    it('leave what small ones will follow on in the page cache', async () => {
      const device = await create()
      await device.writeDurably(512, large, 'rewritten')
      expect([os.directWrites, os.durableWrites]).toEqual([0, 1])
      await device.close()
    })

    it.each(['EINVAL', 'EOPNOTSUPP'])('go on through it when the file system says %s', async (code) => {
      const device = await create()
      os.directErrors.push(Object.assign(new Error(code), { code }))
      await device.writeDurably(512, large)
      await device.writeDurably(1 * MiB, large)
      expect([os.directWrites, os.durableWrites]).toEqual([1, 2])
      expectBytes(await readBack(device, 512, large.length), large)
      expectBytes(await readBack(device, 1 * MiB, large.length), large)
      await device.close()
    })

    it('fail as others do', async () => {
      const device = await create()
      os.directErrors.push(Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' }))
      await device.writeDurably(512, large)
      expect([os.directWrites, os.syncs]).toEqual([1, 1])
      expectBytes(await readBack(device, 512, large.length), large)
      os.directErrors.push(Object.assign(new Error('EIO: i/o error'), { code: 'EIO' }))
      expect(await codeOfFailure(device.writeDurably(512, large))).toBe('DEVICE_FAILED')
      expect(await codeOfFailure(device.write(0, pattern(10, 1)))).toBe('DEVICE_FAILED')
      await device.close()
    })

    it('are finished when the operating system takes a part of them at a time', async () => {
      const device = await create()
      os.shortest = 10 * KiB
      await device.writeDurably(512, large)
      os.shortest = Number.POSITIVE_INFINITY
      expect(os.directWrites).toBe(7)
      expectBytes(await readBack(device, 512, large.length), large)
      await device.close()
    })

    it('find no memory beyond a few at a time, and are written all the same', async () => {
      const devices = await Promise.all(
        Array.from({ length: 9 }, (_, index) =>
          FileDevice.open(`${path}-${index}`, { ...options, size: 4 * MiB, create: true }),
        ),
      )
      const each = Array.from({ length: 18 }, (_, index) => pattern(32 * KiB, index))
      await Promise.all(each.map((bytes, index) => devices[index % 9]!.writeDurably(index * 64 * KiB, bytes)))
      expect(os.directWrites + os.durableWrites).toBe(18)
      expect(os.directWrites).toBe(16)
      for (const [index, bytes] of each.entries()) {
        expectBytes(await readBack(devices[index % 9]!, index * 64 * KiB, bytes.length), bytes)
      }
      for (const device of devices) await device.close()
    })

    it('leave the page cache alone, and so do large reads of what is read once', async () => {
      const device = await create()
      await device.writeDurably(512, large)
      const target = new Uint8Array(large.length)
      await device.read(512, target, 'once')
      expect(os.directReads).toBe(1)
      expectBytes(target, large)
      // What is in the page cache only is seen, too.
      const newer = pattern(large.length, 9)
      await device.write(512, newer)
      await device.read(512, target, 'once')
      expect(os.directReads).toBe(2)
      expectBytes(target, newer)
      // Not these.
      await device.read(512, target)
      await device.read(513, target, 'once')
      await device.read(512, target.subarray(0, 16 * KiB), 'once')
      expect(os.directReads).toBe(2)
      await device.close()
    })

    it.each([
      ['that come short', 10 * KiB, undefined, [1, 2]],
      ['that the file system does not take', undefined, 'EINVAL', [1, 1]],
    ])('read as ever after direct reads %s', async (_, shortest, code, counts) => {
      const device = await create()
      await device.writeDurably(512, large)
      os.shortest = shortest ?? Number.POSITIVE_INFINITY
      if (code !== undefined) os.directErrors.push(Object.assign(new Error(code), { code }))
      const target = new Uint8Array(large.length)
      await device.read(512, target, 'once')
      const first = os.directReads
      expectBytes(target, large)
      await device.read(512, target, 'once')
      expect([first, os.directReads]).toEqual(counts)
      expectBytes(target, large)
      await device.close()
    })

    it('tell of a bad sector, though the page cache may know what was there', async () => {
      const device = await create()
      await device.write(512, large)
      os.directErrors.push(Object.assign(new Error('EIO'), { code: 'EIO' }))
      expect(await codeOfFailure(device.read(512, new Uint8Array(large.length), 'once'))).toBe(
        'DEVICE_FAILED',
      )
      await device.close()
    })

    it('are seen by readers beside smaller ones that share their pages', async () => {
      const sizes = fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 40 })
      await fc.assert(
        fc.asyncProperty(sizes, fc.boolean(), async (sectors, readsMeanwhile) => {
          const device = await create()
          let end = 0
          const reads: Promise<void>[] = []
          for (const [index, count] of sectors.entries()) {
            const bytes = pattern(count * 512, index)
            const at = end
            const writing = device.writeDurably(at, bytes)
            // The pages of its neighbours come into the cache meanwhile.
            if (readsMeanwhile) reads.push(device.read(Math.max(0, at - 4 * KiB), new Uint8Array(16 * KiB)))
            await writing
            end += bytes.length
            expectBytes(await readBack(device, at, bytes.length), bytes)
          }
          await Promise.all(reads)
          expectBytes(
            await readBack(device, 0, end),
            Buffer.concat(sectors.map((count, index) => pattern(count * 512, index))),
          )
          await device.close()
          await rm(path)
        }),
        { numRuns: 30 },
      )
    })
  })

  it.each([
    ['ENOSPC', 'DEVICE_FULL'],
    ['EIO', 'DEVICE_FAILED'],
  ])('tells %s of a write as %s, and goes on', async (code, told) => {
    const device = await create()
    os.writeError = Object.assign(new Error(code), { code })
    expect(await codeOfFailure(device.write(0, pattern(10, 1)))).toBe(told)
    os.writeError = undefined
    await device.write(0, pattern(10, 1))
    await device.sync()
    await device.close()
  })

  it('waits at close for the IO under way', async () => {
    const device = await create()
    const writes = Array.from({ length: 10 }, (_, index) => device.write(index * 4096, pattern(4096, index)))
    const sync = device.sync()
    const durable = Array.from({ length: 4 }, (_, index) =>
      device.writeDurably(4096 * (10 + index), pattern(10, 1)),
    )
    await device.close()
    await Promise.all([...writes, sync, ...durable])
    expectBytes(fs.readFileSync(path).subarray(9 * 4096, 10 * 4096), pattern(4096, 9))
  })
})
