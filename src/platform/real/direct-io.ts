/**
 * IO past the page cache: `O_DIRECT`, on Linux, for large durable writes and for what is read once
 * (docs/decisions/0009-past-the-page-cache.md).
 *
 * What goes through the page cache is copied into pages that have to be found first, and stays until somebody needs the
 * memory. Past it, a durable write takes 0.7 to 0.8 of the time and half the CPU from 36 KiB on; small ones gain
 * nothing. And bulk work that reads a log neither pushes out what guests read, nor has the kernel read ahead, which may be
 * megabytes that nobody wants.
 *
 * The kernel moves the bytes from and to memory that starts at a multiple of what the disk asks for, 512 as a rule
 * (open(2)). Node has no call for such memory, but that of a WebAssembly instance is mapped in whole pages: so the bytes
 * pass through a stage of such memory. Where this does not work (a file system without `O_DIRECT`, a disk that asks for
 * more) the kernel says `EINVAL` before it moves anything, and the caller goes on as ever.
 */
import { constants, open as fsOpen, read as fsRead } from 'node:fs'
import { KiB, SECTOR_BYTES } from '../../base/units.ts'
import { WebAssembly } from '../../base/web-assembly.ts'
import { type Settle, writeFully } from './file-io.ts'

/** Shorter writes are no faster this way. Bytes. */
const DIRECT_BYTES_MIN = 32 * KiB

const WASM_PAGE_BYTES = 64 * KiB
/** A frame of 1 MiB with its tables. */
const STAGE_PAGES = 17
const DIRECT_BYTES_MAX = STAGE_PAGES * WASM_PAGE_BYTES
/** Of the whole process; what finds none goes through the page cache. */
const STAGES_MAX = 16

const idleStages: Uint8Array[] = []
let stages = 0

/** A descriptor for direct IO with what is at `path`; `undefined` where there is none. */
export function openDirect(path: string, flags: number): Promise<number | undefined> {
  return new Promise((resolve) => {
    fsOpen(path, flags | constants.O_DIRECT, (error, fd) => resolve(error ? undefined : fd))
  })
}

/** Whether IO of this range gains by it, and may be done. */
export function isForDirect(offset: number, length: number): boolean {
  return (
    length >= DIRECT_BYTES_MIN &&
    length <= DIRECT_BYTES_MAX &&
    offset % SECTOR_BYTES === 0 &&
    length % SECTOR_BYTES === 0
  )
}

/**
 * Writes the parts, one after the other, from `position`. The range is one that `isForDirect`. `false`: there is no memory for it now, and `settle` is not called.
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

/**
 * Fills `target` from `position`. The range is one that `isForDirect`. `settle` hears whether the bytes came whole: without
 * an error they may have come short, and are to be read as ever. Returns `false` when there is no memory for it now; then `settle`
 * is not called.
 */
export function readDirect(
  fd: number,
  position: number,
  target: Uint8Array,
  settle: (whole: boolean, error: NodeJS.ErrnoException | null) => void,
): boolean {
  const stage = idleStages.pop() ?? newStage()
  if (stage === undefined) return false
  const { length } = target
  fsRead(fd, stage, 0, length, position, (error, count) => {
    const whole = !error && count === length
    if (whole) target.set(stage.subarray(0, length))
    idleStages.push(stage)
    settle(whole, error)
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
