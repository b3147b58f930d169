/**
 * Tells the peers' candidate indexes what this CVM has stored, so that data is deduplicated across the cluster.
 *
 * Only what is durable is told, 16 bytes a block, in batches, as a one-way hint: a lost message costs a missed
 * duplicate. A message that arrives late could bring back a slot that reclaim has just swept; the index refuses
 * egroups below its watermark for that reason (dedupe/candidate-index.ts).
 */
import type { NodeId } from '../base/units.ts'
import type { Membership } from '../cluster/membership.ts'
import type { CandidateIndex } from '../dedupe/candidate-index.ts'
import type { Clock } from '../platform/types.ts'
import { METHOD } from '../replication/methods.ts'
import type { RpcEndpoint } from '../replication/rpc.ts'

const ENTRY_WORDS = 4
const BATCH_ENTRIES = 2048
const DELAY_MS = 50
const TIMEOUT_MS = 2_000

export class FingerprintGossip {
  private readonly rpc: RpcEndpoint
  private readonly membership: Membership
  private readonly clock: Clock
  private readonly words = new Uint32Array(BATCH_ENTRIES * ENTRY_WORDS)
  private entries = 0
  private cancel: (() => void) | undefined

  constructor(rpc: RpcEndpoint, membership: Membership, clock: Clock, candidates: CandidateIndex) {
    this.rpc = rpc
    this.membership = membership
    this.clock = clock
    rpc.handleBorrowed(METHOD.fingerprints, async (_header, body) => {
      const count = Math.floor(body.length / (ENTRY_WORDS * 4))
      const view = new DataView(body.buffer, body.byteOffset, body.byteLength)
      for (let i = 0; i < count; i++) candidates.touch(view.getUint32(i * ENTRY_WORDS * 4, true))
      for (let i = 0; i < count; i++) {
        const at = i * ENTRY_WORDS * 4
        candidates.insertRemote(
          view.getUint32(at, true),
          view.getUint32(at + 4, true),
          view.getUint32(at + 8, true),
          view.getUint32(at + 12, true),
        )
      }
      return {}
    })
  }

  add(hi: number, lo: number, egroup: number, ref: number): void {
    const at = this.entries * ENTRY_WORDS
    this.words[at] = hi
    this.words[at + 1] = lo
    this.words[at + 2] = egroup
    this.words[at + 3] = ref
    this.entries++
    if (this.entries === BATCH_ENTRIES) this.flush()
    else this.cancel ??= this.clock.after(DELAY_MS, () => this.flush())
  }

  /** Sends what has gathered. */
  flush(): void {
    this.cancel?.()
    this.cancel = undefined
    if (this.entries === 0) return
    const body = [new Uint8Array(this.words.buffer, 0, this.entries * ENTRY_WORDS * 4)]
    this.entries = 0
    for (const member of this.membership.aliveMembers()) {
      if (member.node !== this.membership.self) this.tell(member.node, body)
    }
  }

  close(): void {
    this.cancel?.()
    this.entries = 0
  }

  private tell(node: NodeId, body: readonly Uint8Array[]): void {
    this.rpc.call(node, METHOD.fingerprints, undefined, body, TIMEOUT_MS).catch(() => {})
  }
}
