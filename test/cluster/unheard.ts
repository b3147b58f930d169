/** A catalog whose commits are lost as a test likes: before they are applied, or their answer after; or late. */
import { HitherError } from '../../src/base/errors.ts'
import type { Catalog, CatalogResult, CatalogTransaction } from '../../src/platform/types.ts'

/** `late`: given up on like a lost request, and applied when the test says so. */
export type Loss = 'request' | 'answer' | 'late'

export class UnheardCatalog {
  readonly catalog: Catalog
  /** What happens to the next commits that touch `key`, one after the other. */
  readonly losses: Loss[] = []
  /** Commits that got through, heard of or not. */
  applied = 0
  private readonly late: Array<() => Promise<CatalogResult>> = []

  /** Losses befall commits that put or remove a key with this prefix. */
  constructor(inner: Catalog, prefix: string) {
    const touches = ({ put = [], remove = [] }: CatalogTransaction): boolean =>
      [...put.map(({ key }) => key), ...remove].some((key) => key.startsWith(prefix))
    this.catalog = {
      get: (key) => inner.get(key),
      list: (listed) => inner.list(listed),
      watch: (watched, onChange) => inner.watch(watched, onChange),
      grantLease: (id, ttlMs) => inner.grantLease(id, ttlMs),
      keepLease: (id) => inner.keepLease(id),
      revokeLease: (id) => inner.revokeLease(id),
      commit: async (transaction): Promise<CatalogResult> => {
        const loss = touches(transaction) ? this.losses.shift() : undefined
        if (loss === 'late') this.late.push(() => inner.commit(transaction))
        if (loss === 'request' || loss === 'late') throw timeout()
        const result = await inner.commit(transaction)
        if (result.ok && touches(transaction)) this.applied++
        if (loss === 'answer') throw timeout()
        return result
      },
    }
  }

  /** The late commits arrive, in the order in which they were made. Returns whether each was applied. */
  async arrive(): Promise<boolean[]> {
    const applied: boolean[] = []
    for (const commit of this.late.splice(0)) applied.push((await commit()).ok)
    return applied
  }
}

function timeout(): HitherError {
  return new HitherError('TIMEOUT', 'the catalog did not answer')
}
