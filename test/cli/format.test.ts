/** Numbers, tables and the progress line read well at every magnitude and width. */

import { PassThrough } from 'node:stream'
import pc from 'picocolors'
import { describe, expect, it } from 'vitest'
import { formatBytes } from '../../src/base/format-bytes.ts'
import { formatDuration, formatPairs, formatRatio, formatTable } from '../../src/cli/format.ts'
import { formatProgress, ProgressBar, RateMeter } from '../../src/cli/progress.ts'

const plain = pc.createColors(false)
const MiB = 1_048_576

describe('formats', () => {
  it.each([
    [0, '0 B'],
    [512, '512 B'],
    [1_023, '1023 B'],
    [1_024, '1 KiB'],
    [1_536, '1.5 KiB'],
    [MiB - 1, '1 MiB'],
    [10 * 1_024 * MiB, '10 GiB'],
    [2 ** 53, '8 PiB'],
  ])('%d bytes', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })

  it.each([
    [0.4, '0 ms'],
    [340, '340 ms'],
    [999.6, '1 s'],
    [4_120, '4.1 s'],
    [59_999, '1 min'],
    [125_000, '2 min 5 s'],
    [12_000_000, '3 h 20 min'],
    [7_200_000, '2 h'],
  ])('%d ms', (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })

  it('does not claim 100 % of something that is less', () => {
    expect(formatRatio(0.99999)).toBe('99.9 %')
    expect(formatRatio(1)).toBe('100 %')
    expect(formatRatio(0.976)).toBe('97.6 %')
  })

  it('aligns columns by what is seen, not by colour codes, and leaves no space at the end', () => {
    const colors = pc.createColors(true)
    const rows = [
      ['a', { text: 'down', paint: colors.red }, '1'],
      ['longer', 'up', '200'],
    ]
    const columns = [{ title: 'NAME' }, { title: 'CVM' }, { title: 'N', align: 'right' as const }]
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colour codes are control characters
    const seen = formatTable(columns, rows, colors).replace(/\x1b\[\d+m/g, '')
    expect(seen).toBe('NAME    CVM     N\na       down    1\nlonger  up    200')
    expect(formatTable([{ title: 'A' }, { title: 'B' }], [['x', 'y']], plain)).toBe('A  B\nx  y')
  })

  it('leaves out pairs that have no value', () => {
    const pairs = [
      ['disk', 'a'],
      ['vm', undefined],
      ['container', 'default'],
    ] as const
    expect(formatPairs(pairs, plain)).toBe('disk       a\ncontainer  default')
  })
})

describe('progress', () => {
  const state = { label: 'vm1', doneBytes: 128 * MiB, totalBytes: 512 * MiB, bytesPerSecond: 64 * MiB }

  it('shows share, bytes, rate and time left', () => {
    const line = formatProgress(state, 100)
    expect(line).toBe(
      `vm1  [${'='.repeat(7)}${' '.repeat(23)}]  25 %  128 MiB of 512 MiB  64 MiB/s  6 s left`,
    )
  })

  it('never fills the last column, so that a terminal does not wrap', () => {
    for (let columns = 10; columns < 140; columns += 1) {
      expect(formatProgress(state, columns).length).toBeLessThan(columns)
      expect(formatProgress({ ...state, totalBytes: undefined }, columns).length).toBeLessThan(columns)
    }
  })

  it('says no time left when it knows none', () => {
    expect(formatProgress({ ...state, bytesPerSecond: 0 }, 100)).not.toContain('left')
    expect(formatProgress({ ...state, doneBytes: 512 * MiB }, 100)).not.toContain('left')
    expect(formatProgress({ ...state, totalBytes: undefined }, 100)).toBe('vm1  128 MiB  64 MiB/s')
  })

  it('follows the rate of the last seconds', () => {
    const meter = new RateMeter()
    for (let second = 0; second <= 10; second += 1) meter.add(second * 1_000, second * 100)
    for (let second = 11; second <= 20; second += 1) meter.add(second * 1_000, 1_000 + (second - 10) * 10)
    expect(meter.bytesPerSecond()).toBe(10)
    expect(new RateMeter().bytesPerSecond()).toBe(0)
  })

  it('draws on a terminal only', () => {
    for (const [isTTY, drawn] of [
      [true, true],
      [false, false],
    ]) {
      const output = Object.assign(new PassThrough(), { isTTY: isTTY! })
      const bar = new ProgressBar(output, { label: 'x', totalBytes: 10, shown: true })
      bar.clear()
      expect(output.read() !== null).toBe(drawn)
    }
  })
})
