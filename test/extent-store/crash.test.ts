/**
 * The promises of the extent store through power losses, on three media: memory and real files behind the layer that
 * forgets un-synced writes, and the simulated medium. And the two ways to lose power are one model: they leave the same
 * outcomes.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { MiB, SECTOR_BYTES } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import type { BlockDevice } from '../../src/platform/types.ts'
import { type CrashMedium, fileMedium, type Life, memoryMedium, simMedium } from './crash-media.ts'
import { runCrashTests } from './crash-suite.ts'

runCrashTests('memory', memoryMedium, { histories: 60, stride: 1, perStep: 4, appends: 10 })
// Each life and each sync of a file costs a real flush.
runCrashTests('files', fileMedium, { histories: 6, stride: 3, perStep: 1, appends: 5 })
runCrashTests('simulated media', simMedium, { histories: 20, stride: 1, perStep: 1, appends: 5 })

/** Writes of whole sectors with one letter, over three sectors that hold `a`. */
type Script = (life: Life) => Promise<unknown>

/** Name, what is done before the power loss, and every content of the three sectors that may be left. */
const SCRIPTS: ReadonlyArray<readonly [string, Script, readonly string[]]> = [
  [
    'two un-synced writes that overlap',
    async ({ device }) => {
      await put(device, 0, 'bb')
      await put(device, 1, 'cc')
    },
    ['aaa', 'aac', 'aba', 'abc', 'aca', 'acc', 'baa', 'bac', 'bba', 'bbc', 'bca', 'bcc'],
  ],
  [
    'a synced write and an un-synced one over it',
    async ({ device }) => {
      await put(device, 0, 'bb')
      await device.sync()
      await put(device, 1, 'cc')
    },
    ['bba', 'bbc', 'bca', 'bcc'],
  ],
  [
    'an un-synced write that starts inside a sector',
    async ({ device }) => {
      await put(device, 0, 'bb')
      await device.write(2.5 * SECTOR_BYTES, new Uint8Array(SECTOR_BYTES / 2).fill('c'.charCodeAt(0)))
    },
    ['aaa', 'aaC', 'aba', 'abC', 'baa', 'baC', 'bba', 'bbC'],
  ],
  [
    'a write cut in the middle, over a synced one',
    async (life) => {
      await put(life.device, 0, 'bb')
      await life.device.sync()
      life.powerOffAfter(0)
      await expect(put(life.device, 1, 'cc')).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
    },
    ['bba', 'bbc', 'bca', 'bcc'],
  ],
  [
    'a sync cut in the middle',
    async (life) => {
      await put(life.device, 0, 'b')
      await put(life.device, 2, 'c')
      life.powerOffAfter(0)
      await expect(life.device.sync()).rejects.toMatchObject({ code: 'DEVICE_FAILED' })
    },
    ['aaa', 'aac', 'baa', 'bac'],
  ],
]

describe('a power loss leaves the same outcomes on a simulated medium as on a file behind the layer', () => {
  let media: CrashMedium[] = []
  afterEach(async () => {
    for (const medium of media) await medium.remove()
    media = []
  })

  test.each(SCRIPTS)('%s', async (_, script, possible) => {
    for (const [make, losses] of LOSSES) {
      const medium = await make({ tier: 'ssd', size: 1 * MiB }, seededRandom(1))
      media.push(medium)
      expect(await outcomes(medium, script, losses)).toEqual([...possible].sort())
    }
  })
})

/**
 * Losses for each script; the seed is fixed, so every run sees the same ones. The layer draws for each sector alike: the
 * rarest outcome comes in one of 12. The simulated medium draws for each write first whether it is lost, kept or torn:
 * there the rarest comes in one of 64.
 */
const LOSSES = [
  [fileMedium, 150],
  [simMedium, 500],
] as const

/** Everything that was seen after the script and a power loss, each once. */
async function outcomes(medium: CrashMedium, script: Script, losses: number): Promise<string[]> {
  const seen = new Set<string>()
  for (let loss = 0; loss < losses; loss++) {
    const life = await medium.open()
    await put(life.device, 0, 'aaa')
    await life.device.sync()
    await script(life)
    await life.powerLoss()
    seen.add(await look((await medium.open()).device))
  }
  return [...seen].sort()
}

async function put(device: BlockDevice, sector: number, letters: string): Promise<void> {
  await device.write(
    sector * SECTOR_BYTES,
    [...letters].map((letter) => new Uint8Array(SECTOR_BYTES).fill(letter.charCodeAt(0))),
  )
}

/** A letter for each of the three sectors; a capital where its first half is still `a`. */
async function look(device: BlockDevice): Promise<string> {
  const bytes = new Uint8Array(3 * SECTOR_BYTES)
  await device.read(0, bytes)
  let letters = ''
  for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
    const text = String.fromCharCode(...bytes.subarray(at, at + SECTOR_BYTES))
    const last = text.at(-1)!
    if (text === last.repeat(SECTOR_BYTES)) letters += last
    else if (text === 'a'.repeat(SECTOR_BYTES / 2) + last.repeat(SECTOR_BYTES / 2)) {
      letters += last.toUpperCase()
    } else letters += '?'
  }
  return letters
}
