/**
 * Changes that were answered with "later" (NFS3ERR_JUKEBOX), and may have been done all the same: storage failed before
 * it could tell. Clients ask again then with another xid (Linux after 5 s), and must not hear that the name is taken, or
 * gone. So the next call that is the same but for its xid goes out under the key of the first: if that was done, it is
 * answered as it would have been.
 *
 * Two calls that are the same may also be of two users of one client. Then one of them is answered as the first would have
 * been, and the other finds what that has left: as if one had come after the other. Copies of the one that took the key
 * of the first have it, too.
 */
import type { RequestKey } from '../../api.ts'
import { forgetOldest } from '../../base/oldest.ts'
import type { Call } from './rpc/program.ts'
import { keyText } from './rpc/request-key.ts'

/** Some times what Linux waits (NFS_JUKEBOX_RETRY_TIME, 5 s). Who comes later means another call. Milliseconds. */
const KEPT_MS = 30_000
const KEPT_MAX = 4_096

interface Deferred {
  readonly key: RequestKey
  readonly at: number
}

export class DeferredCalls {
  readonly #now: () => number
  /** By what they have in common with their repetition. */
  readonly #calls = new Map<string, Deferred>()
  /** By the key of the repetition that took theirs. */
  readonly #taken = new Map<string, Deferred>()

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number) {
    this.#now = now
  }

  /** The key under which the call goes out: its own, or that of the same call before it. */
  keyOf(call: Call): RequestKey | undefined {
    const { key } = call
    if (key === undefined || this.#calls.size + this.#taken.size === 0) return key
    const own = keyText(key)
    const taken = this.#recent(this.#taken.get(own))
    if (taken !== undefined) return taken.key
    const name = keyText(call.withoutXid())
    const deferred = this.#recent(this.#calls.get(name))
    if (deferred === undefined || keyText(deferred.key) === own) return key
    this.#calls.delete(name)
    this.#taken.set(own, { key: deferred.key, at: this.#now() })
    forgetOldest(this.#taken, KEPT_MAX)
    return deferred.key
  }

  /** The call went out under this key, and what became of it is not known. */
  put(call: Call, key: RequestKey): void {
    const name = keyText(call.withoutXid())
    this.#calls.delete(name)
    this.#calls.set(name, { key, at: this.#now() })
    forgetOldest(this.#calls, KEPT_MAX)
  }

  #recent(deferred: Deferred | undefined): Deferred | undefined {
    return deferred !== undefined && this.#now() - deferred.at <= KEPT_MS ? deferred : undefined
  }
}
