/**
 * Data of known reducibility. Each kind is 16 MiB made once per process, the same in every run on the same machine:
 *
 *   zeros    holes
 *   text     source text of the installed packages: LZ4 saves about half
 *   binaries machine code, pieces of the Node program that runs this: LZ4 saves about a third
 *   random   noise: nothing to save
 *   mixed    pieces of 64 KiB in turn: half binaries, a quarter text, an eighth noise, an eighth zeros. What disks of
 *            VMs hold, roughly
 *   repeats  `mixed`, of which every second 4 KiB block is one of 64: half of it is duplicates
 *
 * Apart from `repeats`, no block comes twice within the 16 MiB. A `DataSource` hands the pool out in pieces, round and
 * round, and makes each round's blocks differ from those of every round before.
 */
import { closeSync, openSync, readdirSync, readFileSync, readSync, realpathSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { isZero } from '../../src/base/bytes.ts'
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

export const DATA_KINDS = ['zeros', 'text', 'binaries', 'random', 'mixed', 'repeats'] as const
export type DataKind = (typeof DATA_KINDS)[number]

export const POOL_BYTES = 16 * MiB
const PIECE_BYTES = 64 * 1024
/** The 64 KiB pieces of `mixed`, in turn. */
const MIX = ['binaries', 'text', 'binaries', 'random', 'binaries', 'text', 'binaries', 'zeros'] as const

const made = new Map<DataKind, Uint8Array>()

/** The pool of a kind. Read only: it is shared by everyone in the process. */
export function dataPool(kind: DataKind): Uint8Array {
  let pool = made.get(kind)
  if (pool === undefined) {
    pool = makePool(kind)
    made.set(kind, pool)
  }
  return pool
}

/** An endless supply of one kind. Zeros stay zeros, and what is repeated stays repeated. */
export class DataSource {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  /** Blocks that get the number of the round; the others are zeros or repeats, and must not differ. */
  readonly #stamped: Uint8Array
  #next = 0
  #round = 1

  constructor(kind: DataKind) {
    this.#bytes = dataPool(kind).slice()
    this.#view = new DataView(this.#bytes.buffer)
    this.#stamped = new Uint8Array(POOL_BYTES / BLOCK_BYTES)
    for (let block = 0; block < this.#stamped.length; block++) {
      const at = block * BLOCK_BYTES
      const repeats = kind === 'repeats' && block % 2 === 1
      if (!repeats && !isZero(this.#bytes, at, BLOCK_BYTES)) this.#stamped[block] = 1
    }
  }

  /**
   * The next `bytes` (whole blocks, a divisor of 16 MiB). A view, which stays as it is until 16 MiB more have been
   * taken.
   */
  take(bytes: number): Uint8Array {
    if (this.#next + bytes > POOL_BYTES) {
      this.#next = 0
      this.#round++
    }
    const from = this.#next
    this.#next += bytes
    for (let at = from; at < this.#next; at += BLOCK_BYTES) {
      if (this.#stamped[at / BLOCK_BYTES] === 1) this.#view.setUint32(at, this.#round, true)
    }
    return this.#bytes.subarray(from, this.#next)
  }
}

function makePool(kind: DataKind): Uint8Array {
  switch (kind) {
    case 'zeros':
      return new Uint8Array(POOL_BYTES)
    case 'text':
      return textPool()
    case 'binaries':
      return binaryPool()
    case 'random':
      return randomPool()
    case 'mixed':
      return mixedPool()
    case 'repeats':
      return repeatsPool()
  }
}

function randomPool(): Uint8Array {
  const random = seededRandom(42)
  const words = new Uint32Array(POOL_BYTES / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

/** Pieces of the running program, evenly over its length. */
function binaryPool(): Uint8Array {
  const file = realpathSync(process.execPath)
  const pool = new Uint8Array(POOL_BYTES)
  const step = (statSync(file).size - PIECE_BYTES) / (POOL_BYTES / PIECE_BYTES)
  const handle = openSync(file, 'r')
  for (let at = 0; at < POOL_BYTES; at += PIECE_BYTES) {
    readSync(handle, pool, at, PIECE_BYTES, Math.floor((at / PIECE_BYTES) * step))
  }
  closeSync(handle)
  return pool
}

/** Sources beneath node_modules, in the order of their names; from the start again, made to differ, when too few. */
function textPool(): Uint8Array {
  const pool = new Uint8Array(POOL_BYTES)
  let at = 0
  const walk = (folder: string): void => {
    const entries = readdirSync(folder, { withFileTypes: true })
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      if (at === POOL_BYTES) return
      const path = join(folder, entry.name)
      if (entry.isDirectory()) walk(path)
      else if (/\.(js|mjs|cjs|ts|json|md)$/.test(entry.name)) {
        const text = readFileSync(path)
        const taken = text.subarray(0, Math.min(512 * 1024, POOL_BYTES - at))
        pool.set(taken, at)
        at += taken.length
      }
    }
  }
  walk(resolve(import.meta.dirname, '../../node_modules'))
  if (at === 0) throw new Error('there is no text beneath node_modules; run npm ci first')
  for (let from = 0; at < POOL_BYTES; from += BLOCK_BYTES) {
    const piece = pool.slice(from, Math.min(from + BLOCK_BYTES, from + POOL_BYTES - at))
    for (let i = 0; i < piece.length; i += 61) piece[i] = 97 + (at % 26)
    pool.set(piece, at)
    at += piece.length
  }
  return pool
}

function mixedPool(): Uint8Array {
  const pool = new Uint8Array(POOL_BYTES)
  const used = { binaries: 0, text: 0, random: 0, zeros: 0 }
  for (let at = 0, piece = 0; at < POOL_BYTES; at += PIECE_BYTES, piece++) {
    const kind = MIX[piece % MIX.length]!
    const from = used[kind]
    used[kind] += PIECE_BYTES
    pool.set(dataPool(kind).subarray(from, from + PIECE_BYTES), at)
  }
  return pool
}

function repeatsPool(): Uint8Array {
  const pool = dataPool('mixed').slice()
  for (let block = 1; block < POOL_BYTES / BLOCK_BYTES; block += 2) {
    const from = (Math.floor(block / 2) % 64) * BLOCK_BYTES
    pool.copyWithin(block * BLOCK_BYTES, from, from + BLOCK_BYTES)
  }
  return pool
}
