/**
 * Block traces in memory, and the three formats they are read from:
 *
 *   vscsi  VMware vscsiStats, version 1: 32-byte little-endian records `u32 serial, u32 bytes, u32 segments,
 *          u16 command, u16 version, u64 sector, u64 µs`
 *   lis    ARC: a line `start count ignored serial`, in sectors; reads only, no times (taken as 1 ms apart)
 *   fiu    tab-separated, after a header: `row, ns, pid, process, sector, sectors, W|R, major, minor, md5`
 *
 * A request is the 4 KiB blocks it touches; times count from the first request. Bad input throws `BAD_ARGUMENT` that
 * names the record or line.
 */
import { HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, SECTOR_BYTES } from '../base/units.ts'

export const TRACE_FORMATS = ['vscsi', 'lis', 'fiu'] as const
export type TraceFormat = (typeof TRACE_FORMATS)[number]

/** Requests in order, by column. */
export interface Trace {
  readonly length: number
  /** First block. */
  readonly start: Float64Array
  /** Blocks, at least 1. */
  readonly count: Uint32Array
  /** 1 for a write. */
  readonly write: Uint8Array
  /** Milliseconds since the first request. */
  readonly timeMs: Float64Array
}

const SECTORS_PER_BLOCK = BLOCK_BYTES / SECTOR_BYTES
/** A request larger than this is not one of a disk: the file is of another format, or damaged. */
const SECTORS_MAX = 2 ** 21
const SECTOR_LIMIT = 2 ** 45

const VSCSI_RECORD_BYTES = 32
const VSCSI_READS: ReadonlySet<number> = new Set([0x08, 0x28, 0x88, 0xa8])
const VSCSI_WRITES: ReadonlySet<number> = new Set([0x0a, 0x2a, 0x8a, 0xaa])
const LIS_STEP_MS = 1

/** The format that the name of a file tells, if it does. A trailing `.gz` does not count. */
export function formatOfName(name: string): TraceFormat | undefined {
  const base = name.toLowerCase().replace(/\.gz$/, '')
  if (base.endsWith('.vscsi')) return 'vscsi'
  if (base.endsWith('.lis')) return 'lis'
  return base.includes('fiu') ? 'fiu' : undefined
}

export function parseTrace(bytes: Uint8Array, format: TraceFormat): Trace {
  const builder = new TraceBuilder()
  if (format === 'vscsi') parseVscsi(bytes, builder)
  else if (format === 'lis') parseLis(bytes, builder)
  else parseFiu(bytes, builder)
  if (builder.length === 0)
    throw new HitherError('BAD_ARGUMENT', `there are no ${format} requests in the file`)
  return builder.build()
}

class TraceBuilder {
  #start = new Float64Array(1 << 16)
  #count = new Uint32Array(1 << 16)
  #write = new Uint8Array(1 << 16)
  #timeMs = new Float64Array(1 << 16)
  length = 0

  /** `where` names the record in an error. */
  add(sector: number, sectors: number, write: boolean, timeMs: number, where: string): void {
    const wrong = !Number.isFinite(timeMs) || !(sector >= 0 && sector < SECTOR_LIMIT)
    if (wrong || !(sectors >= 0 && sectors <= SECTORS_MAX)) {
      throw new HitherError(
        'BAD_ARGUMENT',
        `${where}: not a request (sector ${sector}, ${sectors} sectors, time ${timeMs} ms); is the format right?`,
      )
    }
    if (this.length === this.#start.length) this.#grow()
    const first = Math.floor(sector / SECTORS_PER_BLOCK)
    const last = Math.floor((sector + Math.max(1, sectors) - 1) / SECTORS_PER_BLOCK)
    this.#start[this.length] = first
    this.#count[this.length] = last - first + 1
    this.#write[this.length] = write ? 1 : 0
    this.#timeMs[this.length] = timeMs
    this.length++
  }

  build(): Trace {
    const { length } = this
    const timeMs = this.#timeMs.subarray(0, length)
    const first = timeMs[0]!
    for (let i = 0; i < length; i++) timeMs[i]! -= first
    return {
      length,
      start: this.#start.subarray(0, length),
      count: this.#count.subarray(0, length),
      write: this.#write.subarray(0, length),
      timeMs,
    }
  }

  #grow(): void {
    const room = this.#start.length * 2
    const start = new Float64Array(room)
    const count = new Uint32Array(room)
    const write = new Uint8Array(room)
    const timeMs = new Float64Array(room)
    start.set(this.#start)
    count.set(this.#count)
    write.set(this.#write)
    timeMs.set(this.#timeMs)
    this.#start = start
    this.#count = count
    this.#write = write
    this.#timeMs = timeMs
  }
}

function parseVscsi(bytes: Uint8Array, builder: TraceBuilder): void {
  if (bytes.length % VSCSI_RECORD_BYTES !== 0) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `a vscsi trace is made of ${VSCSI_RECORD_BYTES}-byte records, but ${bytes.length % VSCSI_RECORD_BYTES} bytes are left over: the file is cut off, or of another format`,
    )
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const u64 = (at: number) => view.getUint32(at, true) + view.getUint32(at + 4, true) * 2 ** 32
  for (let at = 0; at < bytes.length; at += VSCSI_RECORD_BYTES) {
    const command = view.getUint16(at + 12, true) & 0xff
    const write = VSCSI_WRITES.has(command)
    const where = `record ${at / VSCSI_RECORD_BYTES + 1}`
    if (!write && !VSCSI_READS.has(command)) {
      throw new HitherError(
        'BAD_ARGUMENT',
        `${where}: SCSI command 0x${command.toString(16)} is neither a read nor a write`,
      )
    }
    const sectors = view.getUint32(at + 4, true) / SECTOR_BYTES
    builder.add(u64(at + 16), Math.ceil(sectors), write, u64(at + 24) / 1_000, where)
  }
}

function parseLis(bytes: Uint8Array, builder: TraceBuilder): void {
  forEachLine(bytes, (line, number) => {
    const [start, count] = line.trim().split(/\s+/)
    builder.add(numberOf(start), numberOf(count), false, builder.length * LIS_STEP_MS, `line ${number}`)
  })
}

function parseFiu(bytes: Uint8Array, builder: TraceBuilder): void {
  let first: number | undefined
  forEachLine(bytes, (line, number) => {
    const [row, time, , , sector, sectors, kind] = line.split('\t')
    if (number === 1 && row === '') return
    if (kind !== 'W' && kind !== 'R') {
      throw new HitherError(
        'BAD_ARGUMENT',
        `line ${number}: the 7th column must be W or R, not "${kind ?? ''}"`,
      )
    }
    const timeMs = numberOf(time) / 1e6
    first ??= timeMs
    builder.add(numberOf(sector), numberOf(sectors), kind === 'W', timeMs - first, `line ${number}`)
  })
}

function numberOf(text: string | undefined): number {
  return text === undefined || text === '' ? Number.NaN : Number(text)
}

/** Calls `line` with each line that is not empty, and its number from 1. */
function forEachLine(bytes: Uint8Array, line: (text: string, number: number) => void): void {
  const decoder = new TextDecoder('latin1')
  let number = 0
  for (let from = 0; from < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, from)
    const to = newline < 0 ? bytes.length : newline
    number++
    if (to > from) line(decoder.decode(bytes.subarray(from, to)), number)
    from = to + 1
  }
}
