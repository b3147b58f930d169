/**
 * Drain: takes everything off a node, so that it can be removed. Run by another CVM than the node's.
 *
 *   1. Judge: without the node, the members that are up can hold RF copies, in as many blocks as now (up to RF), and
 *      have the space. Else `UNSAFE`, and nothing has changed.
 *   2. The node's record says `draining`: it gets no new copies.
 *   3. VMs and vDisks that are at home there get another home; the vDisks that it owns are handed over.
 *   4. Copies: open egroups with a copy there are sealed by their owners, sealed ones rebuilt elsewhere, until no record
 *      lists the node. An egroup that was being opened meanwhile may bring it back: then once more.
 * A drain that fails later makes the node a member again, with the copies that it still has; what was moved stays moved.
 * A crash of the leader leaves it `draining`: draining it again goes on.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import { changeRecord } from '../cluster/change-record.ts'
import {
  type ContainerRecord,
  decodeRecord,
  keys,
  type NodeRecord,
  type OwnerRecord,
  type VDiskRecord,
  type VmRecord,
} from '../cluster/records.ts'
import type { CatalogEntry } from '../platform/types.ts'
import { METHOD } from '../replication/methods.ts'
import { atOnce } from './at-once.ts'
import type { CuratorContext } from './context.ts'
import { type Member, refusal } from './drain-check.ts'
import { Pace } from './pace.ts'
import type { Rebuild, RebuildResult } from './rebuild.ts'
import { ownerOf } from './seal-streams.ts'

const HAND_OVERS_AT_ONCE = 4
const HAND_OVER_TIMEOUT_MS = 60_000
/** Scans over the directory; each but the last moved something. */
const PASSES_MAX = 20
/** Attempts to make the node a member again, and the time between them: longer than a catalog takes to elect a leader. */
const GIVE_UP_ATTEMPTS = 10
const GIVE_UP_RETRY_MS = 1_000

export class Drain {
  private readonly context: CuratorContext
  private readonly rebuild: Rebuild

  constructor(context: CuratorContext, rebuild: Rebuild) {
    this.context = context
    this.rebuild = rebuild
  }

  /** `NOT_FOUND`, `UNSAFE`, or what kept its vDisks or copies from moving. */
  async run(node: NodeId): Promise<void> {
    await this.check(node)
    try {
      await this.setState(node, 'draining')
      await this.moveHomes(node)
      await this.handOver(node)
      await this.moveCopies(node)
    } catch (error) {
      await this.giveUp(node)
      throw error
    }
  }

  /** The way back. It puts the record also when it is right: a change to `draining` may still be under way unheard. */
  private async giveUp(node: NodeId): Promise<void> {
    const { platform, onError, proceed } = this.context
    for (let attempt = 1; ; attempt++) {
      try {
        const back = (record: NodeRecord): NodeRecord => ({ ...record, state: 'member' })
        return await this.change<NodeRecord>(await this.nodeEntry(node), back)
      } catch (error) {
        if (codeOf(error) !== 'TIMEOUT' || attempt === GIVE_UP_ATTEMPTS) {
          onError(`${node} stays draining`, error)
          return
        }
      }
      try {
        proceed()
        await platform.clock.sleep(GIVE_UP_RETRY_MS)
      } catch {
        return
      }
    }
  }

  /** Step 1. */
  private async check(node: NodeId): Promise<void> {
    const { membership, directory, platform, space } = this.context
    await this.nodeEntry(node)
    await directory.catchUp()
    const containers = await platform.catalog.list('container/')
    let rf = Math.max(1, ...containers.map(({ value }) => decodeRecord<ContainerRecord>(value).rf))
    let bytes = 0
    for (const [, { value }] of directory.all()) {
      rf = Math.max(rf, value.rf)
      if (value.copies.some((copy) => copy.node === node)) bytes += value.length
    }
    const free = new Map(space.candidates(new Set([node])).nodes.map((each) => [each.node, each.freeBytes]))
    const members: Member[] = membership.members().map((member) => ({
      node: member.node,
      block: member.block,
      up: member.state === 'member' && membership.isAlive(member.node),
      freeBytes: free.get(member.node) ?? 0,
    }))
    const reason = refusal({ node, rf, bytes, members })
    if (reason !== undefined) throw new HitherError('UNSAFE', `${node} cannot be removed: ${reason}`)
  }

  private async setState(node: NodeId, state: NodeRecord['state']): Promise<void> {
    await this.change<NodeRecord>(await this.nodeEntry(node), (record) =>
      record.state === state ? undefined : { ...record, state },
    )
  }

  /** Step 3, first half: homes go round the other nodes; a vDisk that is served elsewhere is at home there from now on. */
  private async moveHomes(node: NodeId): Promise<void> {
    const { catalog } = this.context.platform
    const others = this.others(node)
    let turn = 0
    const next = () => others[turn++ % others.length]!
    for (const entry of await catalog.list('vm/')) {
      await this.change<VmRecord>(entry, (vm) => (vm.node === node ? { ...vm, node: next() } : undefined))
    }
    for (const entry of await catalog.list('vdisk/')) {
      const { id, node: home } = decodeRecord<VDiskRecord>(entry.value)
      if (home !== node) continue
      const owner = await ownerOf(catalog, id)
      const to = owner !== undefined && others.includes(owner) ? owner : next()
      await this.change<VDiskRecord>(entry, (record) =>
        record.node === node ? { ...record, node: to } : undefined,
      )
    }
  }

  /** Step 3, second half. A node that is down is taken over from by its successor. */
  private async handOver(node: NodeId): Promise<void> {
    const { membership, platform, rpc } = this.context
    if (!membership.isAlive(node)) return
    const [owners, vdisks, vms] = await Promise.all([
      platform.catalog.list('owner/'),
      platform.catalog.list('vdisk/'),
      platform.catalog.list('vm/'),
    ])
    const vmHome = new Map(
      vms.map(({ value }) => decodeRecord<VmRecord>(value)).map((vm) => [vm.name, vm.node]),
    )
    const home = new Map<VDiskId, NodeId>()
    for (const { value } of vdisks) {
      const record = decodeRecord<VDiskRecord>(value)
      home.set(record.id, (record.vm === undefined ? undefined : vmHome.get(record.vm)) ?? record.node)
    }
    const others = this.others(node)
    await atOnce(owners, HAND_OVERS_AT_ONCE, async ({ key, value }) => {
      if (decodeRecord<OwnerRecord>(value).node !== node) return
      const vdisk = Number(key.slice(key.lastIndexOf('/') + 1))
      const wanted = home.get(vdisk)
      const to = wanted !== undefined && others.includes(wanted) ? wanted : others[vdisk % others.length]!
      try {
        await rpc.call(node, METHOD.handOver, { vdisk, to }, [], HAND_OVER_TIMEOUT_MS)
      } catch (error) {
        // It was deleted, or somebody else has moved it.
        if ((await ownerOf(platform.catalog, vdisk)) !== node) return
        throw error
      }
    })
  }

  /** Step 4. */
  private async moveCopies(node: NodeId): Promise<void> {
    const { directory, membership, platform } = this.context
    const counts = (other: NodeId) => other !== node && membership.isAlive(other)
    const pace = new Pace(platform.clock, platform.guests, Number.POSITIVE_INFINITY)
    let last: RebuildResult | undefined
    for (let pass = 0; pass < PASSES_MAX; pass++) {
      await directory.catchUp()
      if (!this.isListed(node)) return
      if (last !== undefined && last.egroups === 0 && last.short > 0) break
      last = await this.rebuild.run(counts, pace)
      await this.dropEmpty(node)
    }
    throw new HitherError(
      'DATA_UNAVAILABLE',
      `${node} still holds copies of ${last?.short ?? 0} egroups that no other node could take; try again`,
    )
  }

  private isListed(node: NodeId): boolean {
    for (const [, { value }] of this.context.directory.all()) {
      if (value.copies.some((copy) => copy.node === node)) return true
    }
    return false
  }

  /** A sealed egroup without a byte needs no copies. */
  private async dropEmpty(node: NodeId): Promise<void> {
    const { directory } = this.context
    for (const [egroup, { value, revision }] of [...directory.all()]) {
      if (value.state !== 'sealed' || value.length > 0) continue
      if (value.copies.some((copy) => copy.node === node)) await directory.remove(egroup, revision)
    }
  }

  private others(node: NodeId): NodeId[] {
    return this.context.membership
      .aliveMembers()
      .filter((member) => member.node !== node && member.state === 'member')
      .map((member) => member.node)
  }

  private async nodeEntry(node: NodeId): Promise<CatalogEntry> {
    const entry = await this.context.platform.catalog.get(keys.node(node))
    if (entry === undefined) throw new HitherError('NOT_FOUND', `there is no node ${node}`)
    return entry
  }

  /** Changes a record that is there, as `changeRecord` does; `undefined` leaves it as it is. */
  private async change<T>(entry: CatalogEntry, change: (record: T) => T | undefined): Promise<void> {
    const { catalog } = this.context.platform
    await changeRecord<T>(
      catalog,
      entry.key,
      (record) => (record === undefined ? undefined : (change(record) ?? record)),
      entry,
    )
  }
}
