/**
 * Calls that must not run twice, while they run: a client that lost its connection sends them again on the next one, and
 * the first may still wait for storage then. The second gets the first one's answer. (What has ended before it
 * came again is the file system's to know, by the same key.)
 *
 * This also keeps a write that was sent again, and was answered, from being applied once more at a later time.
 */
import type { RequestKey } from '../../../api.ts'
import type { WriteResults } from './program.ts'

export class CallsUnderWay {
  readonly #answers = new Map<string, Promise<WriteResults>>()

  /** Runs `run`, unless the same call runs already: then its answer is this one's, too. */
  join(key: RequestKey, run: () => WriteResults | Promise<WriteResults>): Promise<WriteResults> {
    const name = `${key.high}:${key.low}`
    const running = this.#answers.get(name)
    if (running !== undefined) return running
    const answer = start(run).finally(() => this.#answers.delete(name))
    this.#answers.set(name, answer)
    return answer
  }
}

async function start(run: () => WriteResults | Promise<WriteResults>): Promise<WriteResults> {
  return run()
}
