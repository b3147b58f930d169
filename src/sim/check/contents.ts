/**
 * What the simulated VMs write, so that every byte that comes back tells which write it is from. The unit is a cell
 * of 512 bytes; its bytes follow from its value (a u32; 0 is zeros) and from its place: equal values have equal bytes
 * at the same place of any block of any disk, so equal blocks dedupe, while the cells of one block differ from each
 * other, so a block is no more compressible than its family says and a cell that slipped within its block is noticed.
 */
import { HitherError } from '../../base/errors.ts'

/** Bytes of a cell: the smallest sector that any device of the simulation has. */
export const CELL = 512
/** Cells of a 4 KiB block. */
export const BLOCK_CELLS = 8

/** An odd value's bytes repeat only after so many cells (32 KiB: the longest slice), an even one's in every block. */
const LONG_CELLS = 64
/** Bytes between two stamps of the value in a cell. A torn or mixed cell shows within this distance. */
const STAMP_EVERY = 128
/** Bytes of a pattern table: the longest run (`LONG_CELLS` cells) fits at any of `STARTS` places. */
const TABLE = 128 * 1024
const STARTS = (TABLE - LONG_CELLS * CELL) / 4

const WORDS = 'the extent group moves to where its virtual machine runs and every copy of it stays the same '

/** By value: text (compresses about 3:1), half random (2:1), random twice (not at all). */
const TABLES = [textTable(), halfRandomTable(), randomTable(0x51ed270b), randomTable(0x2c1b3c6d)] as const

const ZEROS = Buffer.alloc(CELL)
const expected = Buffer.alloc(CELL)

/** Fills `target` from `offset` with what the cell `cell` of a disk holds when its value is `value`. */
export function fillCell(target: Uint8Array, offset: number, value: number, cell: number): void {
  if (value === 0) {
    target.fill(0, offset, offset + CELL)
    return
  }
  const mixed = mix(value)
  const place = value & 1 ? cell % LONG_CELLS : cell % BLOCK_CELLS
  const from = ((mixed >>> 2) % STARTS) * 4 + place * CELL
  TABLES[mixed & 3]!.copy(target, offset, from, from + CELL)
  for (let at = offset; at < offset + CELL; at += STAMP_EVERY) {
    target[at] = value
    target[at + 1] = value >>> 8
    target[at + 2] = value >>> 16
    target[at + 3] = value >>> 24
  }
}

/** The source of a write of `value` to the `count` cells from `firstCell`. */
export function cellBytes(firstCell: number, count: number, value: number): Uint8Array {
  if (!(value >= 0 && value <= 0xffffffff && Number.isInteger(value))) {
    throw new HitherError('BAD_ARGUMENT', `A cell's value is an integer in 0…2^32−1, not ${value}.`)
  }
  const bytes = new Uint8Array(count * CELL)
  for (let i = 0; i < count; i++) fillCell(bytes, i * CELL, value, firstCell + i)
  return bytes
}

/** The value of the cell `cell` whose bytes start at `offset`, or −1 when they are not exactly those of any value. */
export function readCell(bytes: Uint8Array, offset: number, cell: number): number {
  const value =
    (bytes[offset]! | (bytes[offset + 1]! << 8) | (bytes[offset + 2]! << 16) | (bytes[offset + 3]! << 24)) >>>
    0
  if (value === 0) return sameCell(ZEROS, bytes, offset) ? 0 : -1
  fillCell(expected, 0, value, cell)
  return sameCell(expected, bytes, offset) ? value : -1
}

function sameCell(wanted: Buffer, bytes: Uint8Array, offset: number): boolean {
  return offset + CELL <= bytes.length && wanted.compare(bytes, offset, offset + CELL) === 0
}

/** The finalizer of MurmurHash3. */
function mix(value: number): number {
  let mixed = value ^ (value >>> 16)
  mixed = Math.imul(mixed, 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

function randomTable(seed: number): Buffer {
  const table = Buffer.alloc(TABLE)
  for (let i = 0; i < TABLE; i += 4) table.writeUInt32LE(mix(seed + i), i)
  return table
}

/** 32 bytes of random, then 32 of one byte, and so on. */
function halfRandomTable(): Buffer {
  const table = randomTable(0x1b56c4e9)
  for (let at = 32; at < TABLE; at += 64) table.fill(mix(at) & 0xff, at, at + 32)
  return table
}

/** Words in an order that does not repeat. */
function textTable(): Buffer {
  const words = WORDS.trim().split(' ')
  const table = Buffer.alloc(TABLE)
  let at = 0
  for (let i = 0; at < TABLE; i++) at += table.write(`${words[mix(i) % words.length]!} `, at)
  return table
}
