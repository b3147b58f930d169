/** Pure: whether a cluster can do without a node. */
import { EGROUP_BYTES, MiB, type NodeId } from '../base/units.ts'

export interface Member {
  readonly node: NodeId
  readonly block: string
  /** Alive, and takes copies. */
  readonly up: boolean
  /** Until it refuses user writes. */
  readonly freeBytes: number
}

export interface DrainRequest {
  readonly node: NodeId
  /** Most copies that anything in the cluster wants. */
  readonly rf: number
  /** Log bytes of the copies that have to move. */
  readonly bytes: number
  readonly members: readonly Member[]
}

/** Why the node cannot go, or `undefined` when it can. */
export function refusal({ node, rf, bytes, members }: DrainRequest): string | undefined {
  const rest = members.filter((member) => member.node !== node && member.up)
  if (rest.length < rf) {
    return `${rest.length} other nodes are up, and ${rf} copies need as many nodes`
  }
  const blocks = (of: readonly Member[]) => new Set(of.map((member) => member.block)).size
  const spanned = Math.min(rf, blocks(members))
  if (blocks(rest) < spanned) {
    return `the other nodes are in ${blocks(rest)} blocks, and copies are kept in ${spanned}`
  }
  const freeBytes = rest
    .map((member) => member.freeBytes)
    .filter((free) => free >= EGROUP_BYTES)
    .reduce((sum, free) => sum + free, 0)
  if (freeBytes < bytes) {
    return `it holds ${toMiB(bytes)} MiB, and the other nodes have room for ${toMiB(freeBytes)} MiB`
  }
  return undefined
}

function toMiB(bytes: number): number {
  return Math.ceil(bytes / MiB)
}
