/**
 * Seals egroups that a stream does not append to any more, behind the writer's back. One that could not be sealed while
 * the catalog did not answer is remembered: as long as it is open it is neither reclaimed nor rebuilt.
 */
import { codeOf } from '../base/errors.ts'
import type { EgroupId, Generation, NodeId } from '../base/units.ts'
import type { Directory } from './directory.ts'
import type { NodeStores } from './node-store.ts'
import type { OwnerGuard } from './owner-guard.ts'

export interface WrittenEgroup {
  readonly egroup: EgroupId
  readonly nodes: readonly NodeId[]
  /** Acknowledged by all copies. */
  offset: number
  /** Known to be in the directory; until then the commit that adds it may be under way, or lost. */
  listed: boolean
}

export class BackgroundSeals {
  private readonly generation: Generation
  private readonly guard: OwnerGuard
  private readonly deps: {
    readonly stores: NodeStores
    readonly directory: Directory
    readonly onError: (where: string, error: unknown) => void
  }
  private readonly running = new Set<Promise<void>>()
  private readonly left = new Set<WrittenEgroup>()

  constructor(generation: Generation, guard: OwnerGuard, deps: BackgroundSeals['deps']) {
    this.generation = generation
    this.guard = guard
    this.deps = deps
  }

  /** Seals `group` at its offset. */
  start(group: WrittenEgroup): void {
    const running = this.seal(group)
      .catch((error: unknown) => {
        this.failed(group, error)
        this.deps.onError(`seal of egroup ${group.egroup}`, error)
      })
      .finally(() => this.running.delete(running))
    this.running.add(running)
  }

  /** `group` is to be sealed with the next retry, unless it is another owner's business now. */
  failed(group: WrittenEgroup, error: unknown): void {
    if (codeOf(error) !== 'STALE_GENERATION') this.left.add(group)
  }

  /** Starts what failed once more. */
  retry(): void {
    const left = [...this.left]
    this.left.clear()
    for (const group of left) this.start(group)
  }

  /** Waits for seals under way, so that what was full is sealed in the directory. */
  async settled(): Promise<void> {
    while (this.running.size > 0) await Promise.all(this.running)
  }

  /** The directory has the truth; a copy that misses the call learns it when its node reconciles. */
  async sealCopies({ egroup, offset }: WrittenEgroup, nodes: readonly NodeId[]): Promise<void> {
    await Promise.allSettled(
      nodes.map((node) => this.deps.stores.of(node).seal(egroup, this.generation, offset)),
    )
  }

  private async seal(group: WrittenEgroup): Promise<void> {
    const found = await this.deps.directory.update(
      group.egroup,
      (record) =>
        record.state === 'sealed' ? undefined : { ...record, state: 'sealed', length: group.offset },
      this.guard,
    )
    if (found !== undefined) {
      group.listed = true
      await this.sealCopies(group, group.nodes)
    } else if (!group.listed) this.left.add(group)
  }
}
