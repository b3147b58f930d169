/**
 * The record of what was answered to whom (the duplicate request cache of NFS servers, made durable): an operation that
 * must not run twice writes its answer in the same commit as its effect, under the key of the request. The last
 * `REPLIES_KEPT` answers are kept, as a ring in the table:
 *
 *     r/<place>    u32 key (high), u32 key (low), u53 number of the answer, then its bytes
 *
 * A request that comes again later than that runs again; so the ring must be longer than what all clients together can
 * have under way around a failover.
 */
import type { RequestKey } from '../api.ts'
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { Change } from '../platform/kv-log.ts'
import { REPLIES_KEPT } from './limits.ts'

export const REPLY_PREFIX = 'r/'

export class Replies {
  readonly #answers = new Map<string, Uint8Array>()
  /** Key of the answer at each place of the ring. */
  readonly #ring: (string | undefined)[] = new Array<string | undefined>(REPLIES_KEPT).fill(undefined)
  #next = 1

  get(key: string): Uint8Array | undefined {
    return this.#answers.get(key)
  }

  /** What to commit together with the effect. The answer is handed over. */
  add(key: RequestKey, answer: Uint8Array): Change {
    const number = this.#next
    this.#put(keyText(key), number, answer)
    const value = new ByteWriter(16 + answer.length).u32(key.high).u32(key.low).u53(number).bytes(answer)
    return { key: `${REPLY_PREFIX}${number % REPLIES_KEPT}`, value: value.toBytes() }
  }

  /** Takes in what the table holds, in any order. */
  load(value: Uint8Array): void {
    const reader = new ByteReader(value)
    const key = { high: reader.u32(), low: reader.u32() }
    const number = reader.u53()
    this.#put(keyText(key), number, reader.bytes(reader.remaining))
  }

  #put(key: string, number: number, answer: Uint8Array): void {
    const place = number % REPLIES_KEPT
    const old = this.#ring[place]
    if (old !== undefined) this.#answers.delete(old)
    this.#ring[place] = key
    this.#answers.set(key, answer)
    this.#next = Math.max(this.#next, number + 1)
  }
}

export function keyText(key: RequestKey): string {
  return `${key.high}:${key.low}`
}
