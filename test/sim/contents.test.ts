import { deflateRawSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { BLOCK_CELLS, CELL, cellBytes, fillCell, readCell } from '../../src/sim/check/contents.ts'

const VALUES = [1, 2, 3, 4, 255, 256, 4097, 65_536, 0x7fffffff, 0x80000000, 0xffffffff]

describe('the bytes of a cell', () => {
  it('give their value back, at any offset of a buffer', () => {
    for (const value of [0, ...VALUES]) {
      for (const offset of [0, 3, 512]) {
        const bytes = new Uint8Array(offset + CELL + 7).fill(0xaa)
        fillCell(bytes, offset, value, 77)
        expect(readCell(bytes, offset, 77)).toBe(value)
        expect(bytes.subarray(offset + CELL).every((byte) => byte === 0xaa)).toBe(true)
      }
    }
  })

  it('are of no value when any one byte of them differs', () => {
    for (const value of [0, ...VALUES]) {
      const bytes = cellBytes(5, 1, value)
      for (let at = 0; at < CELL; at++) {
        bytes[at]! ^= 0x10
        expect(readCell(bytes, 0, 5)).toBe(-1)
        bytes[at]! ^= 0x10
      }
    }
  })

  it('are of no value when two writes are mixed, even where both have the same pattern', () => {
    const mixed = cellBytes(0, 1, 9)
    mixed.set(cellBytes(0, 1, 11).subarray(CELL / 2), CELL / 2)
    expect(readCell(mixed, 0, 0)).toBe(-1)
  })

  it('are of no value in another place of the block', () => {
    for (const value of VALUES) expect(readCell(cellBytes(8, 1, value), 0, 9)).toBe(-1)
  })

  it('are of no value when the buffer ends within the cell', () => {
    expect(readCell(cellBytes(0, 1, 7).subarray(0, 500), 0, 0)).toBe(-1)
  })

  it('are equal in equal places of all blocks, for values that dedupe', () => {
    for (const value of [2, 4, 4096 * 9 + 2]) {
      expect(cellBytes(8 * 3, BLOCK_CELLS, value)).toEqual(cellBytes(8 * 1000, BLOCK_CELLS, value))
    }
    expect(cellBytes(0, BLOCK_CELLS, 5)).toEqual(cellBytes(64 * 9, BLOCK_CELLS, 5))
  })

  it('compress well, by half, or not at all, by value', () => {
    const ratios = Array.from(
      { length: 200 },
      (_, i) => deflateRawSync(cellBytes(0, 64, i * 2 + 1)).length / (64 * CELL),
    )
    expect(ratios.some((ratio) => ratio < 0.4)).toBe(true)
    expect(ratios.some((ratio) => ratio > 0.45 && ratio < 0.7)).toBe(true)
    expect(ratios.filter((ratio) => ratio > 0.98).length).toBeGreaterThan(50)
  })

  it('refuse what is no value', () => {
    for (const value of [-1, 1.5, 2 ** 32]) expect(() => cellBytes(0, 1, value)).toThrow('integer')
  })
})
