/**
 * Brings vDisks home: a vDisk whose home node (its VM's) is not its owner is handed over once that node has been
 * healthy for the hold-down time, at once when its VM was moved there by hand. Driven by events and one timer, no
 * polling: settled means still. A vDisk whose hand-over failed is not served here any more, and may still be this CVM's:
 * it is tried again until somebody else owns it, since an idle one would not come back by itself.
 */
import { codeOf, type ErrorCode } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import { keys, type VDiskRecord, type VmRecord } from '../cluster/records.ts'
import type { RecordsView } from '../cluster/records-view.ts'
import type { Clock } from '../platform/types.ts'
import type { Ownership } from './ownership.ts'

const RETRY_MS = 1_000

export class Homing {
  private readonly ownership: Ownership
  private readonly membership: Membership
  private readonly vms: RecordsView<VmRecord>
  private readonly clock: Clock
  private readonly holdDownMs: number
  private readonly onError: (where: string, error: unknown) => void
  private cancel: (() => void) | undefined
  private closed = false
  private running = false
  /** vDisks whose hand-over failed. */
  private readonly left = new Map<VDiskId, VDiskRecord>()

  constructor(
    deps: {
      readonly ownership: Ownership
      readonly membership: Membership
      readonly vms: RecordsView<VmRecord>
      readonly clock: Clock
      readonly onError: (where: string, error: unknown) => void
    },
    holdDownMs: number,
  ) {
    this.ownership = deps.ownership
    this.membership = deps.membership
    this.vms = deps.vms
    this.clock = deps.clock
    this.onError = deps.onError
    this.holdDownMs = holdDownMs
    this.membership.onChange(() => this.look())
  }

  /** Looks at once, and again when the next hold-down ends. */
  look(): void {
    if (this.closed) return
    this.cancel?.()
    this.cancel = this.clock.after(0, () => void this.bringHome())
  }

  close(): void {
    this.closed = true
    this.cancel?.()
  }

  /** What is served here, and what may be. */
  private mine(): VDiskRecord[] {
    const served = [...this.ownership.owned()].map((vdisk) => vdisk.info)
    for (const { id } of served) this.left.delete(id)
    return [...served, ...this.left.values()]
  }

  private async bringHome(): Promise<void> {
    if (this.running || this.closed) return
    this.running = true
    let nextLookMs = Number.POSITIVE_INFINITY
    try {
      for (const vdisk of this.mine()) {
        const home = homeOf(vdisk, this.vms)
        if (home === this.membership.self || !this.membership.isAlive(home)) continue
        if (this.membership.member(home)?.state !== 'member') continue
        const leftMs = this.holdDownMs - this.membership.aliveForMs(home)
        if (leftMs > 0) {
          nextLookMs = Math.min(nextLookMs, leftMs)
          continue
        }
        try {
          await this.ownership.handOver(vdisk.id, home)
          this.left.delete(vdisk.id)
        } catch (error) {
          nextLookMs = Math.min(nextLookMs, RETRY_MS)
          const code = codeOf(error)
          if (isElsewhere(code)) this.left.delete(vdisk.id)
          else this.left.set(vdisk.id, vdisk)
          if (code !== 'CVM_DOWN' && !isElsewhere(code)) {
            this.onError(`return of vDisk ${vdisk.name} to ${home}`, error)
          }
        }
        if (this.closed) return
      }
    } finally {
      this.running = false
    }
    if (nextLookMs < Number.POSITIVE_INFINITY && !this.closed) {
      this.cancel?.()
      this.cancel = this.clock.after(nextLookMs + 1, () => void this.bringHome())
    }
  }
}

/** Somebody else owns the vDisk, or nobody, since it was deleted. */
function isElsewhere(code: ErrorCode | undefined): boolean {
  return code === 'NOT_OWNER' || code === 'STALE_GENERATION' || code === 'NOT_FOUND'
}

/** Where a vDisk should be served: where its VM runs, else where it was created. */
export function homeOf(record: VDiskRecord, vms: RecordsView<VmRecord>): NodeId {
  const vm = record.vm === undefined ? undefined : vms.value(keys.vm(record.vm))
  return vm?.node ?? record.node
}
