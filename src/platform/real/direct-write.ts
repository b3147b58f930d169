/**
 * Large durable writes past the page cache: `O_DIRECT` beside `O_DSYNC`, on Linux (docs/decisions/0009-past-the-page-cache.md).
 *
 * What goes through the page cache is copied into pages that have to be found first, written back from there, and stays
 * until somebody needs the memory. Past it, a write takes 0.7 to 0.8 of the time and half the CPU from 36 KiB on; small
 * ones gain nothing.
 *
 * The kernel takes the bytes from memory that starts at a multiple of what the disk asks for, 512 as a rule (open(2)).
 * Node has no call for such memory, but that of a WebAssembly instance is mapped in whole pages: so a write is put
 * together in a stage of such memory. Where this does not work (a file system without `O_DIRECT`, a disk that asks for
 * more) the kernel says `EINVAL` before it writes anything, and the caller writes as ever.
 */
import { constants, open as fsOpen } from 'node:fs'
import { KiB, SECTOR_BYTES } from '../../base/units.ts'
import { WebAssembly } from '../../base/web-assembly.ts'
import { type Settle, writeFully } from './file-io.ts'

/** Shorter writes are no faster this way. Bytes. */
export const DIRECT_BYTES_MIN = 32 * KiB

const WASM_PAGE_BYTES = 64 * KiB
/** A frame of 1 MiB with its tables. */
const STAGE_PAGES = 17
export const DIRECT_BYTES_MAX = STAGE_PAGES * WASM_PAGE_BYTES
/** Of the whole process; a write that finds none goes through the page cache. */
const STAGES_MAX = 8

const idleStages: Uint8Array[] = []
let stages = 0

/** A descriptor for direct durable writes to what is at `path`; `undefined` where there are none. */
export function openDirect(path: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    fsOpen(path, constants.O_RDWR | constants.O_DSYNC | constants.O_DIRECT, (error, fd) => {
      resolve(error ? undefined : fd)
    })
  })
}

/** Whether such a write gains by it, and may be done. */
export function isForDirect(offset: number, length: number): boolean {
  return (
    length >= DIRECT_BYTES_MIN &&
    length <= DIRECT_BYTES_MAX &&
    offset % SECTOR_BYTES === 0 &&
    length % SECTOR_BYTES === 0
  )
}

/**
 * Writes the parts, one after the other, from `position`; they are read before the call returns. The range is one that
 * `isForDirect`. `false`: there is no memory for it now, and `settle` is not called.
 */
export function writeDirect(
  fd: number,
  position: number,
  parts: Uint8Array | readonly Uint8Array[],
  settle: Settle,
): boolean {
  const stage = idleStages.pop() ?? newStage()
  if (stage === undefined) return false
  let length = 0
  for (const part of parts instanceof Uint8Array ? [parts] : parts) {
    stage.set(part, length)
    length += part.length
  }
  writeFully(fd, position, stage.subarray(0, length), (error) => {
    idleStages.push(stage)
    settle(error)
  })
  return true
}

function newStage(): Uint8Array | undefined {
  if (stages === STAGES_MAX || WebAssembly === undefined) return undefined
  try {
    const memory = new WebAssembly.Memory({ initial: STAGE_PAGES, maximum: STAGE_PAGES })
    stages++
    return new Uint8Array(memory.buffer)
  } catch {
    // It takes address space, which may be limited: then these are all.
    stages = STAGES_MAX
    return undefined
  }
}
