/**
 * Who may work on the data of a file: writes run beside each other once they are on their way, everything that moves, cuts
 * or zeroes bytes runs alone.
 */
import type { FileId } from '../api.ts'
import { KeyedMutex } from '../base/queue.ts'

export class FileTurns {
  readonly #locks = new KeyedMutex<FileId>()
  /** Writes under way that do not hold the lock any more. */
  readonly #writes = new Map<FileId, Set<Promise<void>>>()

  /** Runs `start` under the file's lock, and what it starts without it. Rejects as either does. */
  async write<T>(file: FileId, start: () => Promise<{ done: Promise<T> }>): Promise<T> {
    const { done } = await this.#locks.run(file, async () => {
      const started = await start()
      this.#note(file, started.done)
      return started
    })
    return done
  }

  /** Runs what no write to the file may run beside. */
  alone<T>(file: FileId, work: () => Promise<T>): Promise<T> {
    return this.#locks.run(file, async () => {
      await this.writesEnded(file)
      return work()
    })
  }

  /** Resolves when the writes that are on their way now have ended, well or not. */
  async writesEnded(file: FileId): Promise<void> {
    await Promise.all(this.#writes.get(file) ?? [])
  }

  #note(file: FileId, done: Promise<unknown>): void {
    const writes = this.#writes.get(file) ?? new Set()
    this.#writes.set(file, writes)
    const ended = done.then(
      () => {},
      () => {},
    )
    writes.add(ended)
    void ended.then(() => {
      writes.delete(ended)
      if (writes.size === 0 && this.#writes.get(file) === writes) this.#writes.delete(file)
    })
  }
}
