/**
 * Replay: what was acknowledged after the last checkpoint is brought back into the map.
 *
 * The stream's egroups are all sealed when this runs (replication/recover-stream.ts). From the checkpoint's position
 * on, every frame is read in log order from any copy whose header and tables are whole, and its records are applied in
 * order. A record is absolute (these blocks read from there), so applying one twice is harmless. The slices are not
 * verified here: the copy's length was, when it was fenced; a slice that has rotted since is found, and repaired from
 * another copy, when it is read.
 *
 * A frame whose tables no reachable copy has whole stops the takeover with an error: acknowledged writes would be missing.
 */
import { HitherError } from '../base/errors.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK, type NodeId } from '../base/units.ts'
import type { EgroupRecord, ReplayPosition } from '../cluster/records.ts'
import { RECORD_HOLE } from '../extent-store/frame-format.ts'
import { type ParsedFrame, parseFrame } from '../extent-store/frame-reader.ts'
import { KIND_DATA } from '../extent-store/types.ts'
import type { NodeStores } from '../replication/node-store.ts'
import type { RecoveredEgroup } from '../replication/recover-stream.ts'
import type { PageMap } from './page-map.ts'

export interface ReplayDeps {
  readonly map: PageMap
  readonly stores: NodeStores
  readonly nearest: (record: EgroupRecord) => NodeId[]
  readonly onFingerprint: (hi: number, lo: number, egroup: number, ref: number) => void
  /** Called between egroups: throws when this CVM may not go on. */
  readonly proceed: () => void
}

/** Returns the number of frames that held records. */
export async function replayStream(
  egroups: readonly RecoveredEgroup[],
  from: ReplayPosition,
  deps: ReplayDeps,
): Promise<number> {
  let frames = 0
  for (const { egroup, record } of egroups) {
    if (record.order < from.order) continue
    const start = record.order === from.order ? from.offset : 0
    if (start < record.length) frames += await replayEgroup(egroup, record, start, deps)
    deps.proceed()
  }
  return frames
}

async function replayEgroup(
  egroup: number,
  record: EgroupRecord,
  start: number,
  deps: ReplayDeps,
): Promise<number> {
  let frames = 0
  let at = start
  const nodes = deps.nearest(record)
  let unreachable = nodes.length < record.copies.length
  // Another copy goes on where a bad one stopped: frames are the same bytes at the same offsets on all of them.
  for (const node of nodes) {
    let log: Uint8Array
    try {
      log = await deps.stores.of(node).readLog(egroup, at, record.length - at)
    } catch {
      // It may be whole, and answer the next time.
      unreachable = true
      continue
    }
    const base = at
    while (at < record.length) {
      const frame = parseFrame(log, at - base)
      if (frame === undefined) break
      await applyFrame(frame, deps)
      at += frame.frameBytes
      if (frame.recordCount > 0) frames++
    }
    if (at >= record.length) return frames
  }
  throw new HitherError(
    unreachable ? 'DATA_UNAVAILABLE' : 'CHECKSUM_MISMATCH',
    `the log of egroup ${egroup} cannot be read from offset ${at}: no reachable copy is whole there`,
  )
}

async function applyFrame(frame: ParsedFrame, deps: ReplayDeps): Promise<void> {
  const { map } = deps
  for (let i = 0; i < frame.recordCount; i++) {
    const start = frame.recordStart(i)
    const count = frame.recordCountOf(i)
    if (frame.recordType(i) === RECORD_HOLE) {
      await applyHole(map, start, count)
      continue
    }
    const pinned = map.pin(start, start + count)
    if (pinned !== undefined) await pinned
    map.setRun(start, count, frame.recordEgroup(i), (frame.recordSlot(i) << 3) | frame.recordSub(i))
    map.unpin(start, start + count)
  }
  if (frame.fingerprintCount === 0) return
  let next = 0
  for (let i = 0; i < frame.slotCount; i++) {
    if (frame.kind(i) !== KIND_DATA) continue
    const blocks = frame.rawBytes(i) / BLOCK_BYTES
    for (let sub = 0; sub < blocks; sub++, next++) {
      const ref = (frame.slot(i) << 3) | sub
      deps.onFingerprint(frame.fingerprintHi(next), frame.fingerprintLo(next), frame.egroup, ref)
    }
  }
}

async function applyHole(map: PageMap, start: number, count: number): Promise<void> {
  const end = start + count
  const lastVBlock = Math.ceil(end / BLOCKS_PER_VBLOCK)
  let vblock = Math.floor(start / BLOCKS_PER_VBLOCK)
  for (;;) {
    vblock = await map.nextAllocated(vblock, lastVBlock)
    if (vblock >= lastVBlock) return
    const from = Math.max(start, vblock * BLOCKS_PER_VBLOCK)
    const to = Math.min(end, (vblock + 1) * BLOCKS_PER_VBLOCK)
    const pinned = map.pin(from, to)
    if (pinned !== undefined) await pinned
    map.setRun(from, to - from, 0, 0)
    map.unpin(from, to)
    vblock++
  }
}
