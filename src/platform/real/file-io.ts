/**
 * Whole reads and writes on a file descriptor: what `fs` leaves to its callers (short reads and writes, end of file,
 * the limit of 1,024 buffers a call). Callbacks, not `FileHandle`: at depth they do three times the IO of promises.
 */
import { fdatasync as fsFdatasync, read as fsRead, write as fsWrite, writev as fsWritev } from 'node:fs'

/** Linux's IOV_MAX. */
const PARTS_MAX = 1024
/** Linux moves at most 2 GiB − 4 KiB a call, and Node refuses more. */
const CALL_BYTES_MAX = 1024 * 1024 * 1024

export type Settle = (error: Error | null) => void

/** Fills `target` from `position`; what lies beyond the end of the file reads as zeros. */
export function readFully(fd: number, position: number, target: Uint8Array, settle: Settle): void {
  let done = 0
  const next = (): void => {
    const length = Math.min(target.length - done, CALL_BYTES_MAX)
    fsRead(fd, target, done, length, position + done, (error, count) => {
      if (error) return settle(error)
      done += count
      if (count === 0) target.fill(0, done)
      if (count === 0 || done >= target.length) settle(null)
      else next()
    })
  }
  next()
}

/** Writes the parts, one after the other, from `position`. */
export function writeParts(
  fd: number,
  position: number,
  parts: Uint8Array | readonly Uint8Array[],
  settle: Settle,
): void {
  if (parts instanceof Uint8Array) writeFully(fd, position, parts, settle)
  else if (parts.length === 1) writeFully(fd, position, parts[0]!, settle)
  else writevFully(fd, position, parts, settle)
}

/** Writes all of `source` at `position`. */
export function writeFully(fd: number, position: number, source: Uint8Array, settle: Settle): void {
  let done = 0
  const next = (): void => {
    const length = Math.min(source.length - done, CALL_BYTES_MAX)
    fsWrite(fd, source, done, length, position + done, (error, count) => {
      if (error) return settle(error)
      done += count
      if (done >= source.length) settle(null)
      else if (count === 0) settle(noProgress())
      else next()
    })
  }
  next()
}

/** One `writev` per 1,024 parts. */
function writevFully(fd: number, position: number, parts: readonly Uint8Array[], settle: Settle): void {
  let part = 0
  /** Bytes of `parts[part]` already written: not zero only after a short write. */
  let within = 0
  let at = position
  const next = (): void => {
    if (part === parts.length) {
      settle(null)
      return
    }
    const batch = parts.slice(part, part + PARTS_MAX)
    if (within > 0) batch[0] = batch[0]!.subarray(within)
    fsWritev(fd, batch, at, (error, count) => {
      if (error) return settle(error)
      if (count === 0 && batch.some((each) => each.length > 0)) return settle(noProgress())
      at += count
      let left = count + within
      while (part < parts.length && left >= parts[part]!.length) left -= parts[part++]!.length
      within = left
      next()
    })
  }
  next()
}

export function dataSync(fd: number, settle: Settle): void {
  fsFdatasync(fd, settle)
}

function noProgress(): Error {
  return Object.assign(new Error('the operating system wrote nothing'), { code: 'EIO' })
}
