/**
 * Scrub, seen by the leader: drives every node over its own copies, all nodes side by side. On request each gets a whole
 * pass at once. In the background a node gets one step a scan, and a new pass a day after the last one began, so that a
 * settled cluster reads a little and writes next to nothing: what is open when a pass begins is sealed, to be read, too.
 */
import type { EgroupId, NodeId } from '../base/units.ts'
import { MiB } from '../base/units.ts'
import { METHOD } from '../replication/methods.ts'
import type { CuratorContext } from './context.ts'
import type { ScrubStepAnswer, ScrubStepHeader } from './scrub-node.ts'
import { sealAllOpen } from './seal-streams.ts'

const STEP_BYTES = 64 * MiB
/** Beside guests a step is mostly rest, and the nodes of one thread rest for each other, too. */
const STEP_TIMEOUT_MS = 300_000
const PASS_MS = 24 * 60 * 60 * 1000

export interface ScrubResult {
  readonly scrubbedBytes: number
  readonly repairedSlices: number
  /** Nodes whose copies were not all checked. */
  readonly missed: readonly NodeId[]
}

interface NodePass {
  startedAt: number
  /** Where the next step starts; `undefined`: the pass is complete. */
  next: EgroupId | undefined
}

export class Scrub {
  private readonly context: CuratorContext
  private readonly passes = new Map<NodeId, NodePass>()

  constructor(context: CuratorContext) {
    this.context = context
  }

  /** A whole pass over every live node. */
  async all(): Promise<ScrubResult> {
    await sealAllOpen(this.context)
    return this.onEachNode(async (node, add) => {
      let after: EgroupId | undefined = 0
      while (after !== undefined) after = add(await this.step(node, after))
      this.passes.set(node, { startedAt: this.context.platform.clock.now(), next: undefined })
    })
  }

  /** One step for every live node that is due. */
  async some(): Promise<ScrubResult> {
    const now = this.context.platform.clock.now()
    const isDue = (pass: NodePass | undefined): boolean =>
      pass === undefined || (pass.next === undefined && now - pass.startedAt >= PASS_MS)
    const due = this.context.membership.aliveMembers().some(({ node }) => isDue(this.passes.get(node)))
    if (due) await sealAllOpen(this.context)
    return this.onEachNode(async (node, add) => {
      let pass = this.passes.get(node)
      if (pass === undefined || isDue(pass)) {
        pass = { startedAt: now, next: 0 }
        this.passes.set(node, pass)
      }
      if (pass.next !== undefined) pass.next = add(await this.step(node, pass.next))
    })
  }

  private async onEachNode(
    scrub: (node: NodeId, add: (answer: ScrubStepAnswer) => EgroupId | undefined) => Promise<void>,
  ): Promise<ScrubResult> {
    const result = { scrubbedBytes: 0, repairedSlices: 0 }
    const missed: NodeId[] = []
    const add = (answer: ScrubStepAnswer) => {
      result.scrubbedBytes += answer.checkedBytes
      result.repairedSlices += answer.repairedSlices
      return answer.next
    }
    await Promise.all(
      this.context.membership.aliveMembers().map(async ({ node }) => {
        try {
          await scrub(node, add)
        } catch {
          missed.push(node)
        }
      }),
    )
    return { ...result, missed }
  }

  private async step(node: NodeId, after: EgroupId): Promise<ScrubStepAnswer> {
    this.context.proceed()
    const header: ScrubStepHeader = { after, budgetBytes: STEP_BYTES }
    const answer = await this.context.rpc.call<ScrubStepAnswer>(
      node,
      METHOD.scrubStep,
      header,
      [],
      STEP_TIMEOUT_MS,
    )
    return answer.header
  }
}
