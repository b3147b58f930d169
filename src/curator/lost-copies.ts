/**
 * Copies that a record lists on this node, and that are not here. A copy is there before it is listed; but a commit that lists
 * one may be applied long after it was sent. When whoever sent it has died since, and this node has started anew and dropped what
 * nobody listed (cvm/reconcile.ts), nobody looks. So each node looks at what lists it: it leaves the record, and the rebuild makes
 * another copy. What is open belongs to its owner, or to whoever takes it over; the last copy of a record is never given up.
 */
import { asHitherError } from '../base/errors.ts'
import type { EgroupId } from '../base/units.ts'
import { isSealedOn } from '../cluster/egroup-copies.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import { atOnce } from './at-once.ts'
import type { CuratorContext } from './context.ts'

/** Records of lost copies that are looked at in the catalog at a time, when this CVM starts. */
const LOOKS_AT_ONCE = 4

export class LostCopies {
  private readonly context: CuratorContext
  /** Records that this node is about to leave. */
  private readonly leaving = new Set<EgroupId>()

  constructor(context: CuratorContext) {
    this.context = context
  }

  /** Looks at all records now, and at each that changes. Returns what ends that. */
  watch(): () => void {
    const { directory } = this.context
    const end = directory.onChange((egroup, record) => {
      if (this.isLost(egroup, record)) void this.leave(egroup)
    })
    const lost: EgroupId[] = []
    for (const [egroup, { value }] of directory.all()) if (this.isLost(egroup, value)) lost.push(egroup)
    void atOnce(lost, LOOKS_AT_ONCE, (egroup) => this.leave(egroup))
    return end
  }

  private isLost(egroup: EgroupId, record: EgroupRecord | undefined): boolean {
    const { store, stores } = this.context
    if (record === undefined || record.copies.length < 2 || !isSealedOn(record, stores.self)) return false
    return store.info(egroup)?.kind !== 'full'
  }

  /** The cached record may lag: the catalog has the last word. Never rejects. */
  private async leave(egroup: EgroupId): Promise<void> {
    const { directory, stores, onError, proceed } = this.context
    if (this.leaving.has(egroup)) return
    this.leaving.add(egroup)
    try {
      await directory.refresh(egroup)
      proceed()
      await directory.leave(egroup, stores.self, (record) => this.isLost(egroup, record))
    } catch (cause) {
      // It is looked for again by the next scrub, and when this CVM starts.
      const error = asHitherError(cause)
      if (!error.retryable) onError(`leaving the record of egroup ${egroup}, which is not here`, error)
    } finally {
      this.leaving.delete(egroup)
    }
  }
}
