/**
 * Which value a write carries. A value must never come twice to one cell, in its disk, the disk's ancestors or their
 * clones: else a read could not tell which write it saw. It should come often to different blocks, so that dedupe
 * has work. So each block counts its writes, for a whole family of clones together, and the value is that count with
 * a salt by block: half of the blocks share a few salts.
 */
import { HitherError } from '../../base/errors.ts'
import { BLOCK_CELLS } from './contents.ts'

const SALT_BITS = 12
/** Even salts that half of the blocks share; the other half draws an odd one of 2^(SALT_BITS − 1). */
const SHARED_SALTS = 4
const MOST_WRITES = 2 ** (32 - SALT_BITS) - 1

export class ValueSource {
  readonly #writes = new Map<number, number>()

  /** A value that no cell of the blocks touched by this range ever had. */
  next(firstCell: number, count: number): number {
    const firstBlock = Math.floor(firstCell / BLOCK_CELLS)
    const lastBlock = Math.floor((firstCell + count - 1) / BLOCK_CELLS)
    let writes = 0
    for (let block = firstBlock; block <= lastBlock; block++) {
      writes = Math.max(writes, this.#writes.get(block) ?? 0)
    }
    if (++writes > MOST_WRITES) {
      throw new HitherError(
        'OUT_OF_RANGE',
        `Block ${firstBlock} was written ${MOST_WRITES} times: its values are used up.`,
      )
    }
    for (let block = firstBlock; block <= lastBlock; block++) this.#writes.set(block, writes)
    return writes * 2 ** SALT_BITS + saltOf(firstBlock)
  }
}

function saltOf(block: number): number {
  const hash = Math.imul(block ^ (block >>> 15), 0x9e3779b1) >>> 12
  if ((hash & 1) === 0) return ((hash >>> 1) % SHARED_SALTS) * 2
  return ((hash >>> 1) % 2 ** (SALT_BITS - 1)) * 2 + 1
}
