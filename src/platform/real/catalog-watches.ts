/**
 * Who wants to hear of which keys. Changes are told one microtask after they became visible, all of them together and
 * in order: never from inside the call that caused them. A watcher that throws keeps nobody else from hearing.
 */
import type { CatalogChange } from '../types.ts'

interface Watch {
  readonly prefix: string
  readonly onChange: (changes: readonly CatalogChange[]) => void
  untold: CatalogChange[]
}

export class CatalogWatches {
  readonly #watches = new Set<Watch>()

  /** Tells `onChange` of changes under `prefix` from now on. Returns what ends that, also for those not yet told. */
  add(prefix: string, onChange: (changes: readonly CatalogChange[]) => void): () => void {
    const watch: Watch = { prefix, onChange, untold: [] }
    this.#watches.add(watch)
    return () => this.#watches.delete(watch)
  }

  tell(changes: readonly CatalogChange[]): void {
    for (const watch of this.#watches) {
      const wanted = changes.filter(({ key }) => key.startsWith(watch.prefix))
      if (wanted.length === 0) continue
      if (watch.untold.length === 0) queueMicrotask(() => this.#deliver(watch))
      watch.untold.push(...wanted)
    }
  }

  end(): void {
    this.#watches.clear()
  }

  #deliver(watch: Watch): void {
    const changes = watch.untold
    watch.untold = []
    if (this.#watches.has(watch)) watch.onChange(changes)
  }
}
