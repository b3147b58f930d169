/**
 * Calls that must not run twice, while they run: a client that lost its connection sends them again on the next one, and
 * the first may still wait for storage then. The second gets the first one's answer. (What has ended before it
 * came again is the file system's to know, by the same key, or for WRITE the door's: answered-writes.ts.)
 */
import type { RequestKey } from '../../../api.ts'
import type { WriteResults } from './program.ts'
import { keyText } from './request-key.ts'

interface Running {
  readonly answer: Promise<WriteResults>
  /** Of the connections that sent it: whether they are still there. */
  readonly senders: Array<() => boolean>
}

/** Starts a call. It may ask whether somebody still waits for the answer. */
type Run = (isAwaited: () => boolean) => WriteResults | Promise<WriteResults>

export class CallsUnderWay {
  readonly #running = new Map<string, Running>()

  /** Runs `run`, unless the same call runs already: then its answer is this one's, too. */
  join(key: RequestKey, isThere: () => boolean, run: Run): Promise<WriteResults> {
    const name = keyText(key)
    const running = this.#running.get(name)
    if (running !== undefined) {
      running.senders.push(isThere)
      return running.answer
    }
    const senders = [isThere]
    const answer = start(run, () => senders.some((one) => one())).finally(() => this.#running.delete(name))
    this.#running.set(name, { answer, senders })
    return answer
  }
}

async function start(run: Run, isAwaited: () => boolean): Promise<WriteResults> {
  return run(isAwaited)
}
