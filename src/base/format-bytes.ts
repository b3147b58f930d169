/** Numbers for people to read, as every part of the program writes them. */
import { KiB } from './units.ts'

const BYTE_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const

/** `512 B`, `1.5 KiB`, `10 GiB`: binary units, one decimal where it says something. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= KiB && unit < BYTE_UNITS.length - 1) {
    value /= KiB
    unit += 1
  }
  if (oneDecimal(value) === '1024' && unit < BYTE_UNITS.length - 1) return `1 ${BYTE_UNITS[unit + 1]}`
  return `${unit === 0 ? Math.round(value) : oneDecimal(value)} ${BYTE_UNITS[unit]}`
}

/** `1.5`, and `2` for 2.0. */
export function oneDecimal(value: number): string {
  return value.toFixed(1).replace(/\.0$/, '')
}
