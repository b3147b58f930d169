/**
 * One table of a plan, read key by key. Every refusal is a `BAD_SETTING` that names the key and says what would be
 * right; a key that nobody asked for is refused too, because a misspelt setting that is ignored gives a wrong answer.
 */
import { HitherError } from '../../base/errors.ts'
import { MiB, type NodeId } from '../../base/units.ts'
import { durationOf, sizeOf } from './quantities.ts'

/** The smallest device that a cluster takes (embedded/settings.ts). */
export const DEVICE_BYTES_MIN = 64 * MiB

export type Fields = Readonly<Record<string, unknown>>

export class Section {
  /** How messages call it: `cluster`, `vm[2]` (counted from 1). */
  readonly name: string
  readonly #fields: Fields
  readonly #known = new Set<string>()

  constructor(name: string, fields: Fields) {
    this.name = name
    this.#fields = fields
  }

  has(key: string): boolean {
    return this.#take(key) !== undefined
  }

  text(key: string): string | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'string' || value.trim() === '') throw this.bad(key, 'is a text that is not empty')
    return value
  }

  requiredText(key: string): string {
    return this.#required(key, this.text(key))
  }

  /** One of `node-1` … `node-N`. */
  node(key: string, nodes: number): NodeId | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const number = Number(/^node-([1-9]\d*)$/.exec(String(value))?.[1])
    if (!(number <= nodes)) throw this.bad(key, `is one of node-1 … node-${nodes}`)
    return String(value)
  }

  requiredNode(key: string, nodes: number): NodeId {
    return this.#required(key, this.node(key, nodes))
  }

  /** Bytes, from `min` up. A bare number is bytes. */
  size(key: string, min: number): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const bytes = typeof value === 'string' ? sizeOf(value) : value
    if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes < min) {
      throw this.bad(key, `is a size like "64 MiB", at least ${min} bytes`)
    }
    return bytes
  }

  /** Milliseconds, from `min` up. A bare number is refused, except 0: nobody knows its unit. */
  duration(key: string, min = 0): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const ms = value === 0 ? 0 : typeof value === 'string' ? durationOf(value) : undefined
    if (ms === undefined || ms < min) {
      throw this.bad(key, `is a time with its unit, like "500ms", "30s", "5m", at least ${min} ms`)
    }
    return ms
  }

  requiredDuration(key: string): number {
    return this.#required(key, this.duration(key))
  }

  whole(key: string, min: number, max: number): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max) {
      throw this.bad(key, `is a whole number from ${min} to ${max}`)
    }
    return value
  }

  /** A number from `min` to `max`. */
  number(key: string, min: number, max: number): number | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    if (typeof value !== 'number' || !(value >= min && value <= max)) {
      throw this.bad(key, `is a number from ${min} to ${max}`)
    }
    return value
  }

  flag(key: string): boolean | undefined {
    const value = this.#take(key)
    if (value === undefined || typeof value === 'boolean') return value
    throw this.bad(key, 'is true or false')
  }

  choice<const T extends string>(key: string, choices: readonly T[]): T | undefined {
    const value = this.#take(key)
    if (value === undefined) return undefined
    const choice = choices.find((one) => one === value)
    if (choice === undefined) throw this.bad(key, `is one of ${choices.join(', ')}`)
    return choice
  }

  requiredChoice<const T extends string>(key: string, choices: readonly T[]): T {
    return this.#required(key, this.choice(key, choices), `; it is one of ${choices.join(', ')}`)
  }

  /** A table inside this one; an empty one when it is not there. */
  section(key: string): Section {
    const value = this.#take(key) ?? {}
    const name = this.name === '' ? key : `${this.name}.${key}`
    if (!isTable(value)) throw this.bad(key, `is a table: write [${name}]`)
    return new Section(name, value)
  }

  /** An array of tables, numbered from 1. */
  sections(key: string): Section[] {
    const value = this.#take(key) ?? []
    if (!Array.isArray(value) || !value.every(isTable)) throw this.bad(key, `is a list: write [[${key}]]`)
    return value.map((fields: Fields, at) => new Section(`${key}[${at + 1}]`, fields))
  }

  /** Refuses what was never asked for. */
  finish(): void {
    for (const key of Object.keys(this.#fields)) {
      if (this.#known.has(key)) continue
      throw this.#error(key, `is no setting; here are ${[...this.#known].join(', ')}`)
    }
  }

  /** `rule` reads on after the name of the key. */
  bad(key: string, rule: string): HitherError {
    return this.#error(key, `${rule}, not ${show(this.#fields[key])}`)
  }

  /** For settings that are right alone and wrong together. */
  clash(key: string, rule: string): HitherError {
    return this.#error(key, rule)
  }

  #error(key: string, text: string): HitherError {
    return new HitherError('BAD_SETTING', `${this.name === '' ? key : `${this.name}.${key}`} ${text}`)
  }

  #take(key: string): unknown {
    this.#known.add(key)
    return Object.hasOwn(this.#fields, key) ? this.#fields[key] : undefined
  }

  #required<T>(key: string, value: T | undefined, hint = ''): T {
    if (value === undefined) throw this.#error(key, `is missing${hint}`)
    return value
  }
}

function isTable(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}

function show(value: unknown): string {
  return typeof value === 'bigint' ? String(value) : JSON.stringify(value)
}
