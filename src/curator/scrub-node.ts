/**
 * Scrub, on the node that holds the copies: reads everything, and puts right what is bad, from other nodes' copies.
 *
 *   slots damaged          read from another copy (which verifies them), written back one by one.
 *   frame heads damaged    which slots there are is not sure: the whole copy is pulled again, and takes the place of
 *                          the damaged one only when it has come whole and verified.
 *   listed, but not there  pulled again; without a source this node leaves the record, if another copy remains in it.
 *   listed as sealed, open it missed the seal: sealed now; too short for that, it is pulled again.
 * A copy that nobody can help with stays as it is: what is good in it may be the last there is.
 *
 * The leader asks step by step, in order of ids, so that it sets the pace and a restart on either side costs one step.
 */
import { asHitherError } from '../base/errors.ts'
import type { EgroupId, NodeId, SlotIndex } from '../base/units.ts'
import { isSealedOn } from '../cluster/egroup-copies.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import { METHOD } from '../replication/methods.ts'
import type { CuratorContext } from './context.ts'

export interface ScrubStepHeader {
  /** Copies of egroups behind this one; 0 starts a new pass. */
  readonly after: EgroupId
  /** Ends the step when so many bytes were read. */
  readonly budgetBytes: number
}

export interface ScrubStepAnswer {
  readonly checkedBytes: number
  readonly repairedSlices: number
  /** Where the next step starts; absent when the pass is complete. */
  readonly next?: EgroupId
}

export class ScrubNode {
  private readonly context: CuratorContext
  /** Egroups of the pass under way, ascending, and how far it has come. */
  private pass: EgroupId[] = []
  private position = 0

  /** Answers from now on. */
  constructor(context: CuratorContext) {
    this.context = context
    context.rpc.handle(METHOD.scrubStep, async (header: ScrubStepHeader) => ({
      header: await this.step(header),
    }))
  }

  private async step({ after, budgetBytes }: ScrubStepHeader): Promise<ScrubStepAnswer> {
    this.seek(after)
    const total = { checkedBytes: 0, repairedSlices: 0 }
    let last = after
    while (this.position < this.pass.length && total.checkedBytes < budgetBytes) {
      this.context.proceed()
      last = this.pass[this.position++]!
      await this.scrubCopy(last, total)
      await this.context.platform.clock.turn()
    }
    return this.position < this.pass.length ? { ...total, next: last } : total
  }

  /** A step that does not go on where the last one ended starts over from the directory. */
  private seek(after: EgroupId): void {
    if (after !== 0 && this.pass[this.position - 1] === after) return
    const { directory, stores } = this.context
    this.pass = []
    for (const [egroup, { value }] of directory.all()) {
      if (egroup > after && isSealedOn(value, stores.self)) this.pass.push(egroup)
    }
    this.pass.sort((a, b) => a - b)
    this.position = 0
  }

  private async scrubCopy(
    egroup: EgroupId,
    total: { checkedBytes: number; repairedSlices: number },
  ): Promise<void> {
    const { store, directory, stores } = this.context
    const record = directory.record(egroup)
    if (record === undefined || !isSealedOn(record, stores.self)) return
    if (!(await this.isSealedHere(egroup, record))) {
      await this.pullAgain(egroup, record)
      return
    }
    let report: Awaited<ReturnType<typeof store.scrub>>
    try {
      report = await store.scrub(egroup)
    } catch {
      // It has moved away since.
      return
    }
    total.checkedBytes += report.checkedBytes
    if (report.corruptSlots.length === 0 && !report.damaged) return
    this.noteCorrupt(egroup, Math.max(1, report.corruptSlots.length))
    const repaired = report.damaged
      ? (await this.pullAgain(egroup, record))
        ? Math.max(1, report.corruptSlots.length)
        : 0
      : await this.repairSlots(egroup, record, report.corruptSlots)
    this.noteRepaired(egroup, repaired)
    total.repairedSlices += repaired
  }

  /** A copy that is open still is sealed as the directory says. */
  private async isSealedHere(egroup: EgroupId, record: EgroupRecord): Promise<boolean> {
    const { store } = this.context
    const info = store.info(egroup)
    if (info?.kind !== 'full') return false
    if (info.state === 'sealed') return true
    try {
      await store.seal(egroup, Math.max(info.generation, record.generation), record.length)
      return true
    } catch {
      return false
    }
  }

  private async repairSlots(
    egroup: EgroupId,
    record: EgroupRecord,
    slots: readonly SlotIndex[],
  ): Promise<number> {
    const { store, stores } = this.context
    const bad = new Set(slots)
    for (const node of this.others(record)) {
      if (bad.size === 0) break
      try {
        for (const read of await stores.of(node).readSlots(egroup, [...bad])) {
          if (read.status !== 'ok') continue
          await store.repairSlot(egroup, read.slice)
          bad.delete(read.slice.slot)
        }
      } catch {
        // Another copy may have what this one could not give.
      }
    }
    return slots.length - bad.size
  }

  /** Replaces this node's copy, or makes it. `false`: no other copy could be had. */
  private async pullAgain(egroup: EgroupId, stale: EgroupRecord): Promise<boolean> {
    const { store, stores, directory, counters } = this.context
    const self = stores.self
    const record = (await directory.refresh(egroup))?.value
    if (record === undefined || !isSealedOn(record, self)) return false
    const info = store.info(egroup)
    const copy = record.copies.find((each) => each.node === self)!
    const generation = Math.max(record.generation, info?.generation ?? 0)
    const sources = await this.sealedElsewhere(egroup, record)
    // An open copy that is too short does not give way to an import; it has nothing that the others lack.
    if (info?.state === 'open' && info.kind === 'full' && sources.length > 0) await store.dropCopy(egroup)
    for (const from of sources) {
      try {
        const request = { egroup, stream: stale.stream, generation, tier: copy.tier, from }
        const { bytes } = await stores.of(self).pull(request)
        counters.backgroundBytes += bytes
        return true
      } catch {
        // The next source.
      }
    }
    if (store.info(egroup) === undefined) await this.leave(egroup)
    return false
  }

  private async sealedElsewhere(egroup: EgroupId, record: EgroupRecord): Promise<NodeId[]> {
    const { stores } = this.context
    const found: NodeId[] = []
    for (const node of this.others(record)) {
      const info = await stores
        .of(node)
        .copyInfo(egroup)
        .catch(() => undefined)
      if (info?.kind === 'full' && info.state === 'sealed') found.push(node)
    }
    return found
  }

  private async leave(egroup: EgroupId): Promise<void> {
    const { directory, stores } = this.context
    try {
      await directory.leave(egroup, stores.self)
    } catch (error) {
      this.context.onError(`giving up the lost copy of egroup ${egroup}`, asHitherError(error))
    }
  }

  private others(record: EgroupRecord): NodeId[] {
    const { membership, stores } = this.context
    return record.copies
      .map((copy) => copy.node)
      .filter((node) => node !== stores.self && membership.isAlive(node))
  }

  private noteCorrupt(egroup: EgroupId, slices: number): void {
    this.context.counters.corruptSlices += slices
    this.context.emit({ type: 'copy-corrupt', egroup, node: this.context.stores.self })
  }

  private noteRepaired(egroup: EgroupId, slices: number): void {
    if (slices === 0) return
    this.context.counters.repairedSlices += slices
    this.context.emit({ type: 'copy-repaired', egroup, node: this.context.stores.self, slices })
  }
}
