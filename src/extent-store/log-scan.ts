/**
 * Walks the frames of a copy's log, in memory or on the device, from the start, for as long as they are valid: each
 * must name this egroup and stand at the offset that it names.
 *
 * The walk never skips a damaged frame to look for the next one: the payload of a damaged frame is a guest's bytes,
 * and bytes can be made to look like a frame.
 */
import type { EgroupId } from '../base/units.ts'
import { KiB } from '../base/units.ts'
import { BULK_STEP_BYTES, type Rest } from '../platform/bulk-work.ts'
import { HEADER_BYTES } from './frame-format.ts'
import { headBytesAt, type ParsedFrame, parseFrame, parseHead } from './frame-reader.ts'

/** Reads from `offset` of the log to fill `target`. */
export type LogReader = (offset: number, target: Uint8Array) => Promise<void>
/** Gets each valid frame; `false` ends the walk in front of it. The frame may be used only during the call. */
export type FrameVisitor = (frame: ParsedFrame) => boolean

/** How much is read ahead. Whole frames: the log is read through. Heads: payloads are mostly skipped. */
const FRAMES_WINDOW_BYTES = BULK_STEP_BYTES
const HEADS_WINDOW_BYTES = 32 * KiB

/**
 * Walks whole frames in memory, in steps with a rest between them. Resolves with the log offset at which the walk ended:
 * `end`, or the first bad frame.
 */
export async function walkFrames(
  log: Uint8Array,
  egroup: EgroupId,
  end: number,
  visit: FrameVisitor,
  rest: Rest,
): Promise<number> {
  let at = 0
  for (;;) {
    // A frame is not cut, and may be longer.
    const stop = Math.min(at + BULK_STEP_BYTES, end)
    at = walkStep(log, egroup, at, stop, end, visit)
    if (at < stop || at === end) return at
    await rest()
  }
}

/** Walks the frames that begin before `stop`. */
function walkStep(
  log: Uint8Array,
  egroup: EgroupId,
  from: number,
  stop: number,
  end: number,
  visit: FrameVisitor,
): number {
  let at = from
  while (at < stop) {
    const frame = parseFrame(log, at)
    if (frame === undefined || frame.egroup !== egroup || frame.offset !== at) break
    if (at + frame.frameBytes > end || !visit(frame)) break
    at += frame.frameBytes
  }
  return at
}

/**
 * As `walkFrames`, over a log on the device; the visitor may use the payload. Rejects when a read fails. What is read
 * goes to `memory`, which is the walk's until it settles; a frame that is longer gets a buffer of its own. With
 * `rest` there is one before each further read.
 */
export function scanFrames(
  read: LogReader,
  egroup: EgroupId,
  end: number,
  visit: FrameVisitor,
  memory: Uint8Array,
  rest?: Rest,
): Promise<number> {
  return scan(read, egroup, end, visit, FRAMES_WINDOW_BYTES, memory, rest)
}

/** As `scanFrames`, but reads header and tables only: the visitor must not use the payload. */
export function scanHeads(
  read: LogReader,
  egroup: EgroupId,
  end: number,
  visit: FrameVisitor,
): Promise<number> {
  return scan(read, egroup, end, visit, HEADS_WINDOW_BYTES, undefined, undefined)
}

async function scan(
  read: LogReader,
  egroup: EgroupId,
  end: number,
  visit: FrameVisitor,
  windowBytes: number,
  memory: Uint8Array | undefined,
  rest: Rest | undefined,
): Promise<number> {
  const wholeFrames = memory !== undefined
  let window: Uint8Array = new Uint8Array(0)
  let windowAt = 0
  /** Has `bytes` of the log at `at` in the window; `false` when the log is too short for that. */
  const load = async (at: number, bytes: number): Promise<boolean> => {
    if (at + bytes > end) return false
    if (at >= windowAt && at + bytes <= windowAt + window.length) return true
    const length = Math.min(Math.max(windowBytes, bytes), end - at)
    window =
      memory !== undefined && length <= memory.length ? memory.subarray(0, length) : new Uint8Array(length)
    if (windowAt < at) await rest?.()
    windowAt = at
    await read(at, window)
    return true
  }
  let at = 0
  while (await load(at, HEADER_BYTES)) {
    const headBytes = headBytesAt(window, at - windowAt)
    if (headBytes === 0 || !(await load(at, headBytes))) break
    const head = parseHead(window, at - windowAt)
    if (head === undefined || head.egroup !== egroup || head.offset !== at) break
    if (at + head.frameBytes > end) break
    let frame: ParsedFrame | undefined = head
    if (wholeFrames) {
      await load(at, head.frameBytes)
      frame = parseFrame(window, at - windowAt)
    }
    if (frame === undefined || !visit(frame)) break
    at += frame.frameBytes
  }
  return at
}
