/** Decodes the data of options. Every length in it is the client's word, and is checked against what is there. */
import { STRING_BYTES_MAX } from './wire.ts'

/** Data of INFO and GO: `nameLength(4) name count(2) request(2)…`. */
export interface InfoRequest {
  readonly name: string
  readonly requests: ReadonlySet<number>
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT: `nameLength(4) name count(4) { queryLength(4) query }…`. */
export interface MetaContextRequest {
  readonly name: string
  readonly queries: readonly string[]
}

/** `undefined`: the data is malformed. */
export function decodeInfoRequest(data: Buffer): InfoRequest | undefined {
  const reader = new OptionReader(data)
  const name = reader.string()
  const count = reader.u16()
  const requests = new Set<number>()
  for (let i = 0; i < count && !reader.bad; i += 1) requests.add(reader.u16())
  return reader.complete ? { name, requests } : undefined
}

/** `undefined`: the data is malformed. */
export function decodeMetaContextRequest(data: Buffer): MetaContextRequest | undefined {
  const reader = new OptionReader(data)
  const name = reader.string()
  const count = reader.u32()
  const queries: string[] = []
  for (let i = 0; i < count && !reader.bad; i += 1) queries.push(reader.string())
  return reader.complete ? { name, queries } : undefined
}

/** A protocol string: UTF-8, no NUL, at most 4,096 bytes. `undefined` when it is not one. */
export function decodeString(bytes: Buffer): string | undefined {
  if (bytes.length > STRING_BYTES_MAX || bytes.includes(0)) return undefined
  try {
    return UTF8.decode(bytes)
  } catch {
    return undefined
  }
}

const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Reads on past the end as zero and remembers it, so that a decoder checks once. */
class OptionReader {
  readonly #data: Buffer
  #at = 0
  bad = false

  constructor(data: Buffer) {
    this.#data = data
  }

  /** Everything was well-formed, and nothing is left. */
  get complete(): boolean {
    return !this.bad && this.#at === this.#data.length
  }

  u16(): number {
    const at = this.#advance(2)
    return at < 0 ? 0 : this.#data.readUInt16BE(at)
  }

  u32(): number {
    const at = this.#advance(4)
    return at < 0 ? 0 : this.#data.readUInt32BE(at)
  }

  /** A length of 32 bits, then as many bytes of string. */
  string(): string {
    const length = this.u32()
    const at = this.#advance(length)
    const text = at < 0 ? undefined : decodeString(this.#data.subarray(at, at + length))
    if (text === undefined) this.bad = true
    return text ?? ''
  }

  #advance(bytes: number): number {
    const at = this.#at
    if (this.bad || at + bytes > this.#data.length) {
      this.bad = true
      return -1
    }
    this.#at = at + bytes
    return at
  }
}
