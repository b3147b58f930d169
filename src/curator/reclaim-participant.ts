/**
 * A CVM's part in a reclaim that some leader runs; reclaim.ts has the whole argument.
 *
 *   begin    from here on every candidate that a write looks at is noted. Deleted vDisks apply nothing any more, and
 *            no activation that could bring back old candidates is under way, when it is answered. News for the peers
 *            is sent. The answer lists the copies that this node holds.
 *   mark     checkpoint one vDisk that this CVM owns, and mark what its roots refer to.
 *   forget   no candidate names a dead slot any more, nor will news bring one back; answers what was noted.
 *   end      nothing is noted any more; also when the leader is gone.
 */
import { HitherError } from '../base/errors.ts'
import type { NodeId } from '../base/units.ts'
import { keys } from '../cluster/records.ts'
import { METHOD } from '../replication/methods.ts'
import type { CuratorContext } from './context.ts'
import { markTree } from './mark.ts'
import {
  encodeInventory,
  type ForgetHeader,
  type MarkAnswer,
  type MarkHeader,
  type RunHeader,
} from './reclaim-wire.ts'
import { encodeSlotSets, SlotSets } from './slot-sets.ts'
import type { Unlisted } from './unlisted.ts'

export class ReclaimParticipant {
  private readonly context: CuratorContext
  private readonly unlisted: Unlisted
  private running: { readonly run: string; readonly leader: NodeId } | undefined

  /** Answers from now on. */
  constructor(context: CuratorContext, unlisted: Unlisted) {
    this.context = context
    this.unlisted = unlisted
    const { rpc, membership } = context
    rpc.handle(METHOD.beginReclaim, async ({ run }: RunHeader, _body, from) => ({
      body: [await this.begin(run, from)],
    }))
    rpc.handle(METHOD.markRoots, async (header: MarkHeader) => this.mark(header))
    rpc.handle(METHOD.forgetSlots, async (header: ForgetHeader, body) => ({
      body: [await this.forget(header, SlotSets.decode(body))],
    }))
    rpc.handle(METHOD.endReclaim, async ({ run }: RunHeader) => {
      if (this.running?.run === run) this.end()
      return {}
    })
    membership.onChange(({ node, alive }) => {
      if (!alive && this.running?.leader === node) this.end()
    })
  }

  private async begin(run: string, leader: NodeId): Promise<Uint8Array> {
    const { notes, streams, gossip, store, platform, ids } = this.context
    this.running = { run, leader }
    notes.begin()
    await this.unlisted.look()
    // News of egroups below the watermark are refused after this run: open no more of those than are open now.
    ids.startNewRange()
    for (const vdisk of [...streams.ids()]) {
      if ((await platform.catalog.get(keys.vdisk(vdisk))) === undefined) streams.drop(vdisk)
    }
    await streams.activationsEnded()
    gossip.flush()
    this.assertRuns(run)
    return encodeInventory(store.copies())
  }

  /** The leader waits for it, and so does whatever it would find dead: it is over soon, but for the walk of a large map. */
  private async mark({ run, vdisk, own, roots }: MarkHeader) {
    this.assertRuns(run)
    const { reader, bulk, streams } = this.context
    const root = own ? await streams.checkpoint(vdisk) : undefined
    const marks = new SlotSets()
    const deps = { reader, rest: bulk.begin('hurried'), proceed: () => this.assertRuns(run) }
    if (root !== undefined) await markTree(root, marks, deps)
    for (const tree of roots) await markTree(tree, marks, deps)
    const header: MarkAnswer = root === undefined ? {} : { replay: root.replay }
    return { header, body: [marks.encode()] }
  }

  private async forget({ run, watermark }: ForgetHeader, live: SlotSets): Promise<Uint8Array> {
    this.assertRuns(run)
    const { candidates, notes, gossip, bulk } = this.context
    candidates.setWatermark(watermark)
    const rest = bulk.begin('hurried')
    for (let segment = 0; segment < candidates.segments; segment++) {
      candidates.forgetInSegment(segment, (egroup, ref) => live.get(egroup)?.has(ref >>> 3) === false)
      await rest()
    }
    // From here to the answer in one turn: what was noted is complete, since no lookup can find a dead slot any more.
    this.assertRuns(run)
    gossip.flush()
    return encodeSlotSets(notes.noted!)
  }

  private end(): void {
    this.running = undefined
    this.context.notes.end()
  }

  private assertRuns(run: string): void {
    this.context.proceed()
    if (this.running?.run === run) return
    throw new HitherError('CONFLICT', `the reclaim ${run} does not run here any more`)
  }
}
