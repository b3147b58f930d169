/** Values on the command line are read as people mean them, and refused with a sentence that helps. */
import { InvalidArgumentError } from 'commander'
import { describe, expect, it } from 'vitest'
import { parseChoice, parseCount, parseDuration, parseSize } from '../../src/cli/parse.ts'

describe('parseSize', () => {
  it.each([
    ['0', 0],
    ['4096', 4_096],
    ['4096B', 4_096],
    ['1k', 1_024],
    ['512MiB', 536_870_912],
    ['10G', 10_737_418_240],
    ['10GiB', 10_737_418_240],
    ['10gib', 10_737_418_240],
    ['10 GiB', 10_737_418_240],
    ['1.5KiB', 1_536],
    ['64TiB', 70_368_744_177_664],
  ])('%s', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  it.each([
    '',
    '-1',
    'ten',
    '10XiB',
    '1.3',
    '0.0001KiB',
    '1e9',
    '9999999TiB',
    '10GiBs',
    '0x10',
  ])('refuses %j', (text) => {
    expect(() => parseSize(text)).toThrow(InvalidArgumentError)
  })

  it('refuses a decimal unit and names the binary one', () => {
    expect(() => parseSize('10GB')).toThrow('write 10GiB')
    expect(() => parseSize('5mb')).toThrow('write 5MiB')
  })
})

describe('parseDuration', () => {
  it.each([
    ['0', 0],
    ['500ms', 500],
    ['30s', 30_000],
    ['1.5s', 1_500],
    ['2m', 120_000],
    ['1h', 3_600_000],
  ])('%s', (text, ms) => {
    expect(parseDuration(text)).toBe(ms)
  })

  it.each(['30', '', 's', '-1s', '1d', '30 s', '1.s'])('refuses %j', (text) => {
    expect(() => parseDuration(text)).toThrow('with its unit')
  })
})

describe('parseCount and parseChoice', () => {
  it('take what is in bounds and nothing else', () => {
    const parse = parseCount(1, 64)
    expect(parse('1')).toBe(1)
    expect(parse('64')).toBe(64)
    for (const bad of ['0', '65', '1.5', '-1', 'x', '', '1e1'])
      expect(() => parse(bad)).toThrow('from 1 to 64')
  })

  it('keep numbers numbers and name the choices', () => {
    expect(parseChoice([1, 2, 3])('2')).toBe(2)
    expect(parseChoice(['sync', 'flush'])('flush')).toBe('flush')
    expect(() => parseChoice(['sync', 'flush'])('never')).toThrow('sync, flush')
  })
})
