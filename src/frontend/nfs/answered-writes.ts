/**
 * The latest WRITEs of a door with their answers. A copy of a WRITE may be read long after another was answered: from a
 * connection that the client has left, or that stood still. It must not be applied then, over what the client has written
 * to the same bytes since; it is answered as the other was. (Calls that change names and attributes are known to the file
 * system, at every door.)
 */
import type { RequestKey } from '../../api.ts'
import { forgetOldest } from '../../base/oldest.ts'
import type { WriteResults } from './rpc/program.ts'
import { keyText } from './rpc/request-key.ts'

/** As long as Linux's nfsd keeps its answers (RC_EXPIRE): clients number their calls anew some time. Milliseconds. */
const KEPT_MS = 120_000
/** 0.9 KB each, measured. */
const KEPT_MAX = 4_096

interface Answered {
  readonly results: WriteResults
  readonly at: number
}

export class AnsweredWrites {
  readonly #now: () => number
  readonly #answers = new Map<string, Answered>()

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number) {
    this.#now = now
  }

  get(key: RequestKey): WriteResults | undefined {
    const answered = this.#answers.get(keyText(key))
    return answered !== undefined && this.#now() - answered.at <= KEPT_MS ? answered.results : undefined
  }

  /** `results` are kept: they must not hold on to the bytes that were written. */
  put(key: RequestKey, results: WriteResults): void {
    const name = keyText(key)
    this.#answers.delete(name)
    this.#answers.set(name, { results, at: this.#now() })
    forgetOldest(this.#answers, KEPT_MAX)
  }
}
