/**
 * Rotten bytes on devices. Guards: while another copy lives, reads are right, the bad copy is repaired and counted; with
 * both copies of a block rotten a read says CHECKSUM_MISMATCH, and never gives wrong bytes.
 */
import { mkdtemp, open, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HitherError, KiB, MiB, openCluster } from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

const DISK_BYTES = 6 * MiB
const SETTINGS = {
  nodes: 3,
  rf: 2,
  ssdBytes: 64 * MiB,
  hddBytes: 0,
  curatorIntervalMs: 0,
  cacheBytes: 0,
  holdDownMs: 0,
} as const

function noise(seed: number, length: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

async function flip(path: string, offset: number): Promise<void> {
  const file = await open(path, 'r+')
  const byte = Buffer.alloc(1)
  await file.read(byte, 0, 1, offset)
  byte[0] = byte[0]! ^ 0x5a
  await file.write(byte, 0, 1, offset)
  await file.close()
}

async function withData(work: (folder: string, bytes: Uint8Array) => Promise<void>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'hither-rot-'))
  try {
    const bytes = noise(5, DISK_BYTES)
    const cluster = await openCluster(`file:${folder}`, SETTINGS)
    const disk = await cluster.createVDisk('d', { size: DISK_BYTES, node: 'node-1' })
    for (let at = 0; at < DISK_BYTES; at += 256 * KiB)
      await disk.write(at, bytes.subarray(at, at + 256 * KiB))
    await cluster.close()
    await work(folder, bytes)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

test('any rotten bytes of one node: reads are right, and the copies are whole again after a scrub', async () => {
  // Offsets over what is in use: tables, frame heads, slices, padding, and free space behind.
  const offsets = fc.array(fc.nat({ max: 12 * MiB }), { minLength: 1, maxLength: 12 })
  await fc.assert(
    fc.asyncProperty(offsets, fc.constantFrom('node-1', 'node-2', 'node-3'), (flips, node) =>
      withData(async (folder, bytes) => {
        for (const offset of flips) await flip(join(folder, node, 'ssd0'), offset)
        const cluster = await openCluster(`file:${folder}`, SETTINGS)
        try {
          const disk = await cluster.openVDisk('d')
          expect(Buffer.compare(await disk.read(0, DISK_BYTES), bytes)).toBe(0)
          await cluster.runCurator()
          const report = await cluster.runCurator()
          expect(report.incomplete).toBeUndefined()
          expect(cluster.stats().underReplicatedBytes).toBe(0)
          // Every copy is right by itself now: whichever node is away, the others have it all.
          await cluster.failCvm('node-1')
          expect(Buffer.compare(await disk.read(0, DISK_BYTES), bytes)).toBe(0)
        } finally {
          await cluster.close()
        }
      }),
    ),
    { numRuns: Number(process.env['HITHER_ROT_RUNS'] ?? 6), endOnFailure: true },
  )
}, 300_000)

test('both copies rotten: CHECKSUM_MISMATCH for what is lost, right bytes for the rest, counted', async () => {
  await withData(async (folder, bytes) => {
    // The data area behind the tables, on every node: a byte of every 64 KiB, the same in both copies.
    for (const node of ['node-1', 'node-2', 'node-3']) {
      for (let at = 3 * MiB; at < 12 * MiB; at += 64 * KiB)
        await flip(join(folder, node, 'ssd0'), at + 40_000)
    }
    const cluster = await openCluster(`file:${folder}`, { ...SETTINGS, ioDeadlineMs: 3000 })
    try {
      const disk = await cluster.openVDisk('d').catch((error: unknown) => error)
      let lost = 0
      let wrong = 0
      if (!(disk instanceof Error)) {
        const open = disk as Awaited<ReturnType<typeof cluster.openVDisk>>
        for (let at = 0; at < DISK_BYTES; at += 256 * KiB) {
          const found = await open.read(at, 256 * KiB).catch((error: unknown) => error)
          if (found instanceof HitherError) {
            expect(['CHECKSUM_MISMATCH', 'DATA_UNAVAILABLE']).toContain(found.code)
            lost++
          } else if (Buffer.compare(found as Uint8Array, bytes.subarray(at, at + 256 * KiB)) !== 0) wrong++
        }
      }
      expect(wrong).toBe(0)
      expect(lost).toBeGreaterThan(0)
      expect(cluster.stats().corruptSlices).toBeGreaterThan(0)
    } finally {
      await cluster.close()
    }
  })
}, 120_000)
