/** What the leader of a reclaim and its participants tell each other. Headers are JSON; sets of slots are bodies. */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import type { EgroupId, VDiskId } from '../base/units.ts'
import type { ReplayPosition } from '../cluster/records.ts'
import type { CopyInfo } from '../extent-store/types.ts'
import type { TreeRoot } from './mark.ts'

/** Names one run. A participant that has begun another one answers `CONFLICT`. */
export interface RunHeader {
  readonly run: string
}

export interface MarkHeader extends RunHeader {
  readonly vdisk: VDiskId
  /** Checkpoint the vDisk and mark its own root too. */
  readonly own: boolean
  /** Roots of snapshots. */
  readonly roots: readonly TreeRoot[]
}

export interface MarkAnswer {
  /** Where a replay would start after the checkpoint; with `own` only. */
  readonly replay?: ReplayPosition
}

export interface ForgetHeader extends RunHeader {
  readonly watermark: EgroupId
}

/** A full, sealed copy as its node sees it. */
export interface HeldCopy {
  readonly slotCount: number
  /** Log bytes. */
  readonly length: number
  /** Device bytes. */
  readonly allocatedBytes: number
}

const COPY_BYTES = 16

export function encodeInventory(copies: readonly CopyInfo[]): Uint8Array {
  const sealed = copies.filter((copy) => copy.kind === 'full' && copy.state === 'sealed')
  const writer = new ByteWriter(4 + sealed.length * COPY_BYTES).u32(sealed.length)
  for (const { egroup, slotCount, length, allocatedBytes } of sealed) {
    writer.u32(egroup).u32(slotCount).u32(length).u32(allocatedBytes)
  }
  return writer.view()
}

/** Throws `PROTOCOL_ERROR` when the bytes are not what `encodeInventory` wrote. */
export function decodeInventory(bytes: Uint8Array): Map<EgroupId, HeldCopy> {
  const reader = new ByteReader(bytes)
  const copies = new Map<EgroupId, HeldCopy>()
  const count = reader.count(COPY_BYTES)
  for (let i = 0; i < count; i++) {
    const egroup = reader.u32()
    copies.set(egroup, { slotCount: reader.u32(), length: reader.u32(), allocatedBytes: reader.u32() })
  }
  reader.end()
  return copies
}
