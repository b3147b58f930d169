/**
 * Sizes and times as a plan writes them and a report shows them. Reports need fractions of a millisecond, because
 * most answers of an SSD take less than one.
 */
import { GiB, KiB, MiB, TiB } from '../../base/units.ts'

const SIZE = /^(\d+(?:\.\d+)?)\s*(b|kib|mib|gib|tib)$/i
const SIZE_UNITS: Readonly<Record<string, number>> = { b: 1, kib: KiB, mib: MiB, gib: GiB, tib: TiB }
const DURATION = /^(\d+(?:\.\d+)?)\s*(us|ms|s|m|h)$/
const DURATION_UNITS: Readonly<Record<string, number>> = {
  us: 0.001,
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
}

/** Bytes of `64 GiB`, `4KiB`, `512 B`; `undefined` when it is none. */
export function sizeOf(text: string): number | undefined {
  const [, digits, unit] = SIZE.exec(text.trim()) ?? []
  if (digits === undefined || unit === undefined) return undefined
  const bytes = Number(digits) * SIZE_UNITS[unit.toLowerCase()]!
  return Number.isSafeInteger(bytes) ? bytes : undefined
}

/** Milliseconds of `30s`, `2 m`, `80us`; `undefined` when it is none. */
export function durationOf(text: string): number | undefined {
  const [, digits, unit] = DURATION.exec(text.trim()) ?? []
  if (digits === undefined || unit === undefined) return undefined
  return Number(digits) * DURATION_UNITS[unit]!
}

/** `0.14 ms`, `12 ms`, `3.2 s`, `2 min 5 s`. */
export function showMs(ms: number): string {
  if (ms < 9.995) return `${trimmed(ms, 2)} ms`
  if (ms < 999.5) return `${Math.round(ms)} ms`
  if (ms < 59_950) return `${trimmed(ms / 1_000, 1)} s`
  const seconds = Math.round(ms / 1_000)
  const rest = seconds % 60
  return `${Math.floor(seconds / 60)} min${rest === 0 ? '' : ` ${rest} s`}`
}

/** `12,345`. */
export function showCount(count: number): string {
  return count.toLocaleString('en-US')
}

function trimmed(value: number, digits: number): string {
  const text = value.toFixed(digits)
  return text.includes('.') ? text.replace(/\.?0+$/, '') : text
}
