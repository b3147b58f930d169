/**
 * Moves of data behind the guests' backs: settled means still, and never faster than they may.
 *
 * - An egroup that was moved stays where it is for the hold time: no second move within it, to and fro or otherwise. Seen
 *   in the catalog's history (`movedAt`). Not judged in runs whose clocks jump: the hold time goes by wall clocks.
 * - The moves of a CVM one after the other take at least the time that their bytes have at the mover's rate, and a
 *   background rebuild that of its own. A rebuild that somebody asked for goes as fast as it can.
 */
import type { ClusterEvent } from '../../api.ts'
import { decodeRecord, type EgroupRecord } from '../../cluster/records.ts'
import { BACKGROUND_BYTES_PER_SECOND } from '../../curator/curator.ts'
import type { Cvm } from '../../cvm/cvm.ts'
import { HOLD_MS } from '../../locality/marks.ts'
import { MOVER_BYTES_PER_SECOND } from '../../locality/mover.ts'
import type { SimCluster } from '../cluster.ts'

/** Two clocks that drift by 1,000 ppm apart differ by so much at the end of the longest run. */
const DRIFT_MS = 20_000
/** Clocks drift, and sleeps end at a turn of the loop. */
const SLACK = 1.01
const SLACK_MS = 1

export class MoveCheck {
  private readonly sim: SimCluster
  private readonly judgesHold: boolean
  /** Somebody asked for a scan, or to remove a node, and it is not done. */
  private readonly isAsked: () => boolean
  private readonly onViolation: (what: string) => void
  private readonly movedAt = new Map<string, { stamp: number | undefined; at: number }>()
  /** Lives of CVMs that a violation was told of. */
  private readonly told = new WeakSet<Cvm>()

  constructor(
    sim: SimCluster,
    judgesHold: boolean,
    isAsked: () => boolean,
    onViolation: (what: string) => void,
  ) {
    this.sim = sim
    this.judgesHold = judgesHold
    this.isAsked = isAsked
    this.onViolation = onViolation
  }

  /** Told of every change of the catalog, in order. */
  changed(key: string, value: Uint8Array | undefined): void {
    if (!this.judgesHold || !key.startsWith('egroup/')) return
    if (value === undefined) {
      this.movedAt.delete(key)
      return
    }
    // A view of the catalog asks for the newest news by a record of its own, which is empty.
    const stamp = decodeRecord<EgroupRecord | null>(value)?.movedAt
    if (stamp === undefined) return
    const before = this.movedAt.get(key)
    if (before?.stamp === stamp) return
    const { now } = this.sim.loop
    if (before !== undefined && now - before.at < HOLD_MS - DRIFT_MS)
      this.onViolation(
        `moves: ${key} was moved again after ${(now - before.at).toFixed(0)} ms; it has to stay for ${HOLD_MS} ms`,
      )
    this.movedAt.set(key, { stamp, at: now })
  }

  /** How much each CVM has carried by this moment. */
  look(): void {
    for (const node of this.sim.cluster.nodes) {
      const cvm = this.sim.cvm(node)
      if (cvm === undefined || this.told.has(cvm)) continue
      const { bytes, ms } = cvm.mover.load
      if (!isTooFast(bytes, ms, MOVER_BYTES_PER_SECOND)) continue
      this.told.add(cvm)
      this.onViolation(`moves: ${node} carried ${bytes} bytes in ${ms.toFixed(1)} ms, beyond its budget`)
    }
  }

  event(event: ClusterEvent): void {
    if (event.type !== 'rebuilt' || this.isAsked()) return
    const { bytes, tookMs } = event
    if (isTooFast(bytes, tookMs, BACKGROUND_BYTES_PER_SECOND))
      this.onViolation(`moves: a background rebuild of ${bytes} bytes took ${tookMs} ms, beyond its budget`)
  }
}

function isTooFast(bytes: number, ms: number, bytesPerSecond: number): boolean {
  return bytes > ((ms + SLACK_MS) / 1000) * bytesPerSecond * SLACK
}
