import { describe, expect, it } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { formatOfName, parseTrace, type TraceFormat } from '../../src/replay/trace.ts'

const text = (lines: string) => new TextEncoder().encode(lines)

function vscsi(records: ReadonlyArray<{ bytes: number; command: number; sector: number; us: number }>) {
  const bytes = new Uint8Array(records.length * 32)
  const view = new DataView(bytes.buffer)
  records.forEach((record, i) => {
    view.setUint32(i * 32 + 4, record.bytes, true)
    view.setUint16(i * 32 + 12, record.command, true)
    view.setUint16(i * 32 + 14, 256, true)
    view.setBigUint64(i * 32 + 16, BigInt(record.sector), true)
    view.setBigUint64(i * 32 + 24, BigInt(record.us), true)
  })
  return bytes
}

const columns = (bytes: Uint8Array, format: TraceFormat) => {
  const trace = parseTrace(bytes, format)
  return Array.from({ length: trace.length }, (_, i) => [
    trace.write[i] === 1 ? 'W' : 'R',
    trace.start[i],
    trace.count[i],
    trace.timeMs[i],
  ])
}

describe('parseTrace', () => {
  it('reads vscsi: a request is the 4 KiB blocks it touches, times count from the first', () => {
    const bytes = vscsi([
      { bytes: 4_096, command: 0x28, sector: 16, us: 5_000_000 },
      { bytes: 65_536, command: 0x2a, sector: 63, us: 5_001_500 },
      { bytes: 512, command: 0x28, sector: 2 ** 34 + 7, us: 5_002_000 },
    ])
    expect(columns(bytes, 'vscsi')).toEqual([
      ['R', 2, 1, 0],
      ['W', 7, 17, 1.5],
      ['R', 2 ** 31, 1, 2],
    ])
  })

  it('reads lis, one request a millisecond, and fiu without its header', () => {
    expect(columns(text('8 16 0 1\n20 1 0 2\n\n'), 'lis')).toEqual([
      ['R', 1, 2, 0],
      ['R', 2, 1, 1],
    ])
    const fiu =
      '\t0\t1\t2\t3\t4\t5\t6\t7\t8\n0\t1000000\t7\tnfs d\t16\t8\tW\t6\t0\tabc\n1\t3000000\t7\tx\t0\t8\tR\t6\t0\tabc\n'
    expect(columns(text(fiu), 'fiu')).toEqual([
      ['W', 2, 1, 0],
      ['R', 0, 1, 2],
    ])
  })

  it.each([
    ['vscsi', vscsi([]), /no vscsi requests/],
    ['vscsi', new Uint8Array(33), /cut off/],
    ['vscsi', vscsi([{ bytes: 512, command: 0x12, sector: 0, us: 0 }]), /record 1: SCSI command 0x12/],
    ['lis', text('1 1 0 1\nnonsense\n'), /line 2: not a request/],
    ['lis', text('-8 1 0 1\n'), /line 1/],
    ['lis', text('8 99999999 0 1\n'), /line 1/],
    ['fiu', text('0\t1\t2\tx\t8\t8\tQ\t6\t0\tabc\n'), /line 1: the 7th column must be W or R/],
    ['fiu', text('garbage\n'), /line 1/],
  ] as const)('refuses a bad %s file, and says where', (format, bytes, message) => {
    const parse = () => parseTrace(bytes, format)
    expect(parse).toThrow(HitherError)
    expect(parse).toThrow(message)
  })

  it('grows past its first columns', () => {
    const lines = Array.from({ length: 70_000 }, (_, i) => `${i * 8} 8 0 ${i}\n`).join('')
    const trace = parseTrace(text(lines), 'lis')
    expect(trace.length).toBe(70_000)
    expect([trace.start[69_999], trace.timeMs[69_999]]).toEqual([69_999, 69_999])
  })

  it('knows the format by the name', () => {
    expect(['a.vscsi.gz', 'B.LIS', 'fiu-x.tsv.gz', 'a.bin'].map(formatOfName)).toEqual([
      'vscsi',
      'lis',
      'fiu',
      undefined,
    ])
  })
})
