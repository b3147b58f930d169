/**
 * Copies that a record lists on this node, and that are not here. A copy is there before it is listed; but a commit that lists
 * one may be applied long after it was sent. When whoever sent it has died since, and this node has started anew and dropped what
 * nobody listed (cvm/reconcile.ts), nobody looks. So each node looks at what lists it: it leaves the record, and the rebuild makes
 * another copy. What is open belongs to its owner, or to whoever takes it over.
 */
import { asHitherError } from '../base/errors.ts'
import type { EgroupId } from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import type { CuratorContext } from './context.ts'

export class LostCopies {
  private readonly context: CuratorContext

  constructor(context: CuratorContext) {
    this.context = context
  }

  /** Looks at all records now, and at each that changes. Returns what ends that. */
  watch(): () => void {
    const { directory } = this.context
    const look = (egroup: EgroupId, record: EgroupRecord | undefined): void => {
      if (this.isLost(egroup, record)) void this.leave(egroup)
    }
    const end = directory.onChange(look)
    for (const [egroup, { value }] of directory.all()) look(egroup, value)
    return end
  }

  private isLost(egroup: EgroupId, record: EgroupRecord | undefined): boolean {
    const { store, stores } = this.context
    if (record?.state !== 'sealed' || !record.copies.some(({ node }) => node === stores.self)) return false
    return store.info(egroup)?.kind !== 'full'
  }

  /** The cached record may lag: the catalog has the last word. */
  private async leave(egroup: EgroupId): Promise<void> {
    const { directory, stores, onError, proceed } = this.context
    try {
      const entry = await directory.refresh(egroup)
      proceed()
      if (this.isLost(egroup, entry?.value)) await directory.leave(egroup, stores.self)
    } catch (cause) {
      // It is looked for again by the next scrub, and when this CVM starts.
      const error = asHitherError(cause)
      if (!error.retryable) onError(`leaving the record of egroup ${egroup}, which is not here`, error)
    }
  }
}
