/**
 * Values of options and arguments, from text. Each parser throws commander's `InvalidArgumentError` with a sentence
 * that says what would be right; commander adds which option it was.
 */
import { InvalidArgumentError } from 'commander'
import { GiB, KiB, MiB, TiB } from '../base/units.ts'

const SIZE = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i
const SIZE_UNITS: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: KiB,
  kib: KiB,
  m: MiB,
  mib: MiB,
  g: GiB,
  gib: GiB,
  t: TiB,
  tib: TiB,
}
const SIZE_HELP = 'A size is bytes or a number with KiB, MiB, GiB or TiB: 4096, 512MiB, 10GiB, 1.5TiB.'

/** Bytes. `10GiB` and `10G` are the same; decimal units are refused, because they would be read as binary ones. */
export function parseSize(text: string): number {
  const [, digits, suffix] = SIZE.exec(text.trim()) ?? []
  if (digits === undefined || suffix === undefined) throw new InvalidArgumentError(SIZE_HELP)
  const unit = suffix.toLowerCase()
  if (/^[kmgt]b$/.test(unit)) {
    throw new InvalidArgumentError(`Sizes are binary here: write ${digits}${unit[0]!.toUpperCase()}iB.`)
  }
  const factor = SIZE_UNITS[unit]
  if (factor === undefined) throw new InvalidArgumentError(SIZE_HELP)
  const bytes = Number(digits) * factor
  if (!Number.isSafeInteger(bytes)) {
    throw new InvalidArgumentError('A size is a whole number of bytes, less than 8 PiB.')
  }
  return bytes
}

const DURATION = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/
const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 }

/** Milliseconds. A bare number is refused, except 0: nobody knows its unit. */
export function parseDuration(text: string): number {
  if (text === '0') return 0
  const [, digits, unit] = DURATION.exec(text) ?? []
  const ms = Math.round(Number(digits) * (DURATION_UNITS[unit ?? ''] ?? Number.NaN))
  if (!Number.isSafeInteger(ms)) {
    throw new InvalidArgumentError('A duration is a number with its unit: 500ms, 30s, 5m, 1h, or 0.')
  }
  return ms
}

/** A parser of whole numbers from `min` to `max`. */
export function parseCount(min: number, max: number): (text: string) => number {
  return (text) => {
    const count = /^\d+$/.test(text) ? Number(text) : Number.NaN
    if (!(count >= min && count <= max)) {
      throw new InvalidArgumentError(`It must be a whole number from ${min} to ${max}.`)
    }
    return count
  }
}

/** A parser that knows all the words it takes; numbers stay numbers. */
export function parseChoice<const T extends string | number>(choices: readonly T[]): (text: string) => T {
  return (text) => {
    const choice = choices.find((one) => String(one) === text)
    if (choice === undefined) throw new InvalidArgumentError(`It must be one of ${choices.join(', ')}.`)
    return choice
  }
}
