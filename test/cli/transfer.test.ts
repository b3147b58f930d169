/**
 * Import and export move exactly the bytes, keep holes holes, and leave nothing half-done behind: not when interrupted,
 * not when the other side fails.
 */
import { createHash, randomBytes } from 'node:crypto'
import { open, readdir, readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { Readable } from 'node:stream'
import fc from 'fast-check'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { GiB, KiB, MiB } from '../../src/base/units.ts'
import { pipeline } from '../../src/cli/transfer/pipeline.ts'
import { segmentsOf } from '../../src/cli/transfer/zeros.ts'
import { Harness } from './harness.ts'

let harness: Harness
beforeEach(async () => {
  harness = await Harness.start()
})
afterEach(() => harness.stop())

/** 40 MiB and a bit, mostly holes: data at the start, across a chunk's bound, and in the last, odd bytes. */
const SPARSE_BYTES = 40 * MiB + 1_234
async function makeSparse(path: string): Promise<void> {
  const file = await open(path, 'w')
  await file.write(randomBytes(10 * KiB), 0, 10 * KiB, 0)
  await file.write(randomBytes(300 * KiB), 0, 300 * KiB, 9 * MiB - 100 * KiB)
  await file.write(randomBytes(34), 0, 34, SPARSE_BYTES - 34)
  await file.close()
}

async function digest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

describe('import and export', () => {
  it('a sparse image comes back identical, its holes moved by nobody', async () => {
    await makeSparse(harness.path('in.img'))
    const imported = await harness.json('disk', 'import', 'in.img', 'a', '--vm', 'vm1', '--node', 'node-2')
    const size = 40 * MiB + 1_536
    expect(imported).toMatchObject({ disk: 'a', size })
    expect((imported as { dataBytes: number }).dataBytes).toBeLessThan(400 * KiB)
    expect(harness.cluster.state('a').info).toMatchObject({ size, vm: 'vm1', owner: 'node-2' })
    expect(harness.cluster.state('a').pages.size).toBeLessThan(100)

    const exported = await harness.run(['disk', 'export', 'a', 'out.img'])
    expect(exported).toMatchObject({ code: 0, stderr: '' })
    expect(exported.stdout).toMatch(/^exported disk a: 40 MiB, .* of data in .* to out.img\n$/)
    const { size: bytes, blocks } = await stat(harness.path('out.img'))
    expect(bytes).toBe(size)
    expect(blocks * 512).toBeLessThan(400 * KiB)
    await truncate(harness.path('out.img'), SPARSE_BYTES)
    expect(await digest(harness.path('out.img'))).toBe(await digest(harness.path('in.img')))
    expect(harness.cluster.state('a').handles).toBe(0)
  })

  it('pipes work in both directions', async () => {
    const image = Buffer.concat([randomBytes(1_500_000), Buffer.alloc(3 * MiB), randomBytes(1_000)])
    const pieces = Array.from({ length: Math.ceil(image.length / 70_001) }, (_, at) =>
      image.subarray(at * 70_001, (at + 1) * 70_001),
    )
    const imported = await harness.run(['disk', 'import', '-', 'a'], { stdin: Readable.from(pieces) })
    expect(imported).toMatchObject({ code: 0, stderr: '' })
    const size = Math.ceil(image.length / 512) * 512
    expect(harness.cluster.state('a').info.size).toBe(size)

    const { code, stdoutBytes, stderr } = await harness.run(['disk', 'export', 'a', '-'])
    expect(code).toBe(0)
    expect(stderr).toContain('exported disk a')
    expect(stdoutBytes.length).toBe(size)
    expect(stdoutBytes.subarray(0, image.length).equals(image)).toBe(true)
  })

  it('a pipe larger than the first guess makes its disk grow', async () => {
    const zeros = Buffer.alloc(64 * MiB)
    async function* long() {
      for (let at = 0; at < 17; at += 1) yield zeros
      yield Buffer.from('end')
    }
    const outcome = await harness.run(['disk', 'import', '-', 'a'], { stdin: Readable.from(long()) })
    expect(outcome.code).toBe(0)
    expect(harness.cluster.state('a').info.size).toBe(17 * 64 * MiB + 512)
    expect(17 * 64 * MiB).toBeGreaterThan(GiB)
  })

  it('an image replaces all of a disk, but only of one that is empty or with --overwrite', async () => {
    await writeFile(harness.path('old.img'), randomBytes(5 * MiB))
    await writeFile(
      harness.path('new.img'),
      Buffer.concat([randomBytes(MiB), Buffer.alloc(MiB), randomBytes(100)]),
    )
    await harness.run(['disk', 'create', 'a', '--size', '8MiB'])
    expect((await harness.run(['disk', 'import', 'old.img', 'a'])).code).toBe(0)
    const refused = await harness.run(['disk', 'import', 'new.img', 'a'])
    expect(refused.code).toBe(5)
    expect(refused.stderr).toContain('--overwrite')
    expect((await harness.run(['disk', 'import', 'new.img', 'a', '--overwrite'])).code).toBe(0)

    await harness.run(['disk', 'export', 'a', 'out.img'])
    const whole = Buffer.alloc(8 * MiB)
    whole.set(await readFile(harness.path('new.img')))
    expect((await readFile(harness.path('out.img'))).equals(whole)).toBe(true)
  })

  it('an image that does not fit is refused before anything is written', async () => {
    await writeFile(harness.path('big.img'), randomBytes(2 * MiB))
    await harness.run(['disk', 'create', 'a', '--size', '1MiB'])
    const outcome = await harness.run(['disk', 'import', 'big.img', 'a'])
    expect(outcome.code).toBe(1)
    expect(outcome.stderr).toContain('resize the disk first')
    expect(harness.cluster.state('a').pages.size).toBe(0)
    expect((await harness.run(['disk', 'import', 'big.img', 'b', '--size', '1MiB'])).code).toBe(2)
    await writeFile(harness.path('empty.img'), '')
    expect((await harness.run(['disk', 'import', 'empty.img', 'b'])).code).toBe(2)
    expect(harness.cluster.disks.has('b')).toBe(false)
  })
})

describe('what does not come to its end leaves nothing behind', () => {
  it('an interrupted import removes the disk that it made, exit 130', async () => {
    await writeFile(harness.path('in.img'), randomBytes(20 * MiB))
    const stop = new AbortController()
    harness.cluster.beforeWrite = async () => stop.abort()
    const outcome = await harness.run(['disk', 'import', 'in.img', 'a'], { signal: stop.signal })
    expect(outcome.code).toBe(130)
    expect(outcome.stderr).toBe('hither: the import was interrupted; disk a was removed (CANCELLED)\n')
    expect(harness.cluster.disks.size).toBe(0)
  })

  it('an interrupted import from a pipe that is silent ends too', async () => {
    const stop = new AbortController()
    const stdin = new Readable({ read() {} })
    stdin.push(randomBytes(3 * MiB))
    harness.cluster.beforeWrite = async () => stop.abort()
    const outcome = await harness.run(['disk', 'import', '-', 'a'], { signal: stop.signal, stdin })
    expect(outcome.code).toBe(130)
    expect(harness.cluster.disks.size).toBe(0)
  })

  it('a failed write removes the disk that the import made, and is the error', async () => {
    await writeFile(harness.path('in.img'), randomBytes(20 * MiB))
    const { HitherError } = await import('../../src/base/errors.ts')
    let writes = 0
    harness.cluster.beforeWrite = async () => {
      writes += 1
      if (writes === 5) throw new HitherError('NO_SPACE', 'node-1 is full')
    }
    const outcome = await harness.run(['disk', 'import', 'in.img', 'a'])
    expect(outcome).toMatchObject({ code: 1, stderr: 'hither: node-1 is full (NO_SPACE)\n' })
    expect(harness.cluster.disks.size).toBe(0)
  })

  it('an import whose cluster goes away ends with exit 4, and the server removed the disk', async () => {
    await writeFile(harness.path('in.img'), randomBytes(20 * MiB))
    let stopped: Promise<void> | undefined
    harness.cluster.beforeWrite = async () => {
      stopped ??= harness.stopServer()
    }
    const outcome = await harness.run(['disk', 'import', 'in.img', 'a'])
    expect(outcome.code).toBe(4)
    await stopped
    expect(harness.cluster.disks.size).toBe(0)
  })

  it('a failed export keeps the file that was there, and no partial one', async () => {
    await writeFile(harness.path('in.img'), randomBytes(20 * MiB))
    await writeFile(harness.path('out.img'), 'precious')
    await harness.run(['disk', 'import', 'in.img', 'a'])
    const stop = new AbortController()
    const opened = harness.cluster.openVDisk.bind(harness.cluster)
    harness.cluster.openVDisk = async (name) => {
      const disk = await opened(name)
      const read = disk.read.bind(disk)
      disk.read = async (offset, length) => {
        if (offset > 5 * MiB) stop.abort()
        return read(offset, length)
      }
      return disk
    }
    const outcome = await harness.run(['disk', 'export', 'a', 'out.img'], { signal: stop.signal })
    expect(outcome.code).toBe(130)
    expect((await readdir(harness.folder)).sort()).toEqual(['hither-data', 'in.img', 'out.img'])
    expect(await readFile(harness.path('out.img'), 'utf8')).toBe('precious')
  })

  it('an export to a place that is not there is not found; a disk that is not there makes no file', async () => {
    await harness.run(['disk', 'create', 'a', '--size', '1MiB'])
    expect((await harness.run(['disk', 'export', 'a', 'no/such/place.img'])).code).toBe(3)
    expect((await harness.run(['disk', 'export', 'none', 'out.img'])).code).toBe(3)
    expect(await readdir(harness.folder)).toEqual(['hither-data'])
    expect((await harness.run(['disk', 'export', 'a', '-'], { terminal: true })).code).toBe(2)
  })
})

describe('zero detection', () => {
  it('segments cover everything in order, zeros are zero, long zeros are never in data', () => {
    const block = fc.constantFrom<'zero' | 'data' | 'last'>('zero', 'data', 'last')
    fc.assert(
      fc.property(
        fc.array(block, { maxLength: 40 }),
        fc.integer({ min: 0, max: 4_095 }),
        fc.constantFrom(4_096, 16_384),
        (blocks, cut, zeroBytesMin) => {
          const bytes = Buffer.alloc(Math.max(0, blocks.length * 4_096 - cut))
          blocks.forEach((kind, at) => {
            const where = kind === 'data' ? at * 4_096 : Math.min(bytes.length, at * 4_096 + 4_096) - 1
            if (kind !== 'zero' && where < bytes.length) bytes[where] = 1
          })
          let end = 0
          for (const segment of segmentsOf(bytes, zeroBytesMin)) {
            expect(segment.start).toBe(end)
            end = segment.end
            const part = bytes.subarray(segment.start, segment.end)
            if (segment.zero) expect(part.every((byte) => byte === 0)).toBe(true)
            else expect(part.includes(Buffer.alloc(zeroBytesMin + 8_192))).toBe(false)
          }
          expect(end).toBe(bytes.length)
        },
      ),
      { numRuns: 200 },
    )
  })
})

describe('pipeline', () => {
  it('finishes in order, never more than the window under way, and settles all before it fails', async () => {
    let underWay = 0
    let most = 0
    const finished: number[] = []
    async function* items() {
      for (let item = 0; item < 30; item += 1) yield item
    }
    const run = pipeline({
      source: items(),
      window: 4,
      signal: new AbortController().signal,
      start: async (item) => {
        underWay += 1
        most = Math.max(most, underWay)
        await new Promise((resolve) => setTimeout(resolve, (item * 7) % 5))
        underWay -= 1
        if (item === 20) throw new Error('twenty')
        return item * 2
      },
      finish: (result) => void finished.push(result),
    })
    await expect(run).rejects.toThrow('twenty')
    expect(finished).toEqual(Array.from({ length: 20 }, (_, item) => item * 2))
    expect(most).toBe(4)
    expect(underWay).toBe(0)
  })
})
