/**
 * Checked access to the parameters of a request. They come from outside, so nothing about their shape is believed; what
 * does not fit is a `BAD_ARGUMENT` that names the parameter.
 */
import { HitherError } from '../../base/errors.ts'

export class Params {
  readonly #source: Readonly<Record<string, unknown>>

  constructor(source: unknown) {
    if (source === undefined) {
      this.#source = {}
    } else if (typeof source === 'object' && source !== null && !Array.isArray(source)) {
      this.#source = source as Record<string, unknown>
    } else {
      throw new HitherError('BAD_ARGUMENT', '"params" must be an object')
    }
  }

  string(key: string): string {
    return this.optionalString(key) ?? missing(key)
  }

  optionalString(key: string): string | undefined {
    const value = this.#get(key)
    if (value === undefined || (typeof value === 'string' && value !== '')) return value
    throw new HitherError('BAD_ARGUMENT', `"${key}" must be a string that is not empty`)
  }

  /** A whole number from 0 to 2^53−1: sizes, offsets, counts. */
  number(key: string): number {
    return this.optionalNumber(key) ?? missing(key)
  }

  optionalNumber(key: string): number | undefined {
    const value = this.#get(key)
    if (value === undefined) return undefined
    if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number
    throw new HitherError('BAD_ARGUMENT', `"${key}" must be a whole number, not negative`)
  }

  /** `false` when missing. */
  boolean(key: string): boolean {
    return this.optionalBoolean(key) ?? false
  }

  optionalBoolean(key: string): boolean | undefined {
    const value = this.#get(key)
    if (value === undefined || typeof value === 'boolean') return value
    throw new HitherError('BAD_ARGUMENT', `"${key}" must be true or false`)
  }

  optionalOneOf<const T extends string | number>(key: string, choices: readonly T[]): T | undefined {
    const value = this.#get(key)
    if (value === undefined) return undefined
    const choice = choices.find((one) => one === value)
    if (choice !== undefined) return choice
    throw new HitherError('BAD_ARGUMENT', `"${key}" must be one of ${choices.join(', ')}`)
  }

  optionalStrings(key: string): string[] | undefined {
    const value = this.#get(key)
    if (value === undefined) return undefined
    if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value as string[]
    throw new HitherError('BAD_ARGUMENT', `"${key}" must be a list of strings`)
  }

  has(key: string): boolean {
    return this.#get(key) !== undefined
  }

  object(key: string): Params {
    return new Params(this.#get(key))
  }

  #get(key: string): unknown {
    if (!Object.hasOwn(this.#source, key)) return undefined
    return this.#source[key] ?? undefined
  }
}

function missing(key: string): never {
  throw new HitherError('BAD_ARGUMENT', `"${key}" is missing`)
}

/** The object without the properties that are `undefined`, which is what optional settings of the API want. */
export function given<T extends object>(source: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(source).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]?: Exclude<T[K], undefined>
  }
}
