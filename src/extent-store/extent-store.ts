/** One node's devices: see the methods. */
import type { Bitset } from '../base/bitset.ts'
import { HitherError } from '../base/errors.ts'
import type { EgroupId, Generation, NodeId, SlotIndex, Tier, VDiskId } from '../base/units.ts'
import type { BlockDevice } from '../platform/types.ts'
import type {
  AppendRequest,
  CopyInfo,
  CopyState,
  DeviceUsage,
  ExtentStoreOptions,
  FingerprintEntry,
  NewCopy,
  ScrubReport,
  SliceRead,
  SlotSummary,
  StoredSlice,
} from './types.ts'

export class ExtentStore {
  static async open(options: ExtentStoreOptions): Promise<ExtentStore> {
    return new ExtentStore(options.node, options.devices)
  }

  private constructor(node: NodeId, devices: readonly BlockDevice[]) {
    void node
    void devices
  }

  copies(): CopyInfo[] {
    throw landing()
  }

  info(_egroup: EgroupId): CopyInfo | undefined {
    throw landing()
  }

  async createCopy(_copy: NewCopy): Promise<void> {
    throw landing()
  }

  append(_request: AppendRequest): Promise<void> {
    throw landing()
  }

  syncCopy(_egroup: EgroupId): Promise<void> {
    throw landing()
  }

  fence(
    _egroup: EgroupId,
    _generation: Generation,
  ): Promise<{ readonly length: number; readonly state: CopyState }> {
    throw landing()
  }

  seal(_egroup: EgroupId, _generation: Generation, _length: number): Promise<void> {
    throw landing()
  }

  readSlots(_egroup: EgroupId, _slots: readonly SlotIndex[]): Promise<SliceRead[]> {
    throw landing()
  }

  readLog(_egroup: EgroupId, _offset: number, _length: number): Promise<Uint8Array> {
    throw landing()
  }

  slots(_egroup: EgroupId): Promise<SlotSummary[]> {
    throw landing()
  }

  fingerprints(_egroup: EgroupId): Promise<FingerprintEntry[]> {
    throw landing()
  }

  dropCopy(_egroup: EgroupId): Promise<void> {
    throw landing()
  }

  compact(_egroup: EgroupId, _live: Bitset): Promise<{ readonly freedBytes: number }> {
    throw landing()
  }

  importCopy(
    _copy: NewCopy & { readonly length: number },
    _chunks: AsyncIterable<Uint8Array>,
  ): Promise<void> {
    throw landing()
  }

  keepPartial(_egroup: EgroupId, _stream: VDiskId, _slices: readonly StoredSlice[]): Promise<boolean> {
    throw landing()
  }

  partialSlots(_egroup: EgroupId): Bitset | undefined {
    throw landing()
  }

  completePartial(_egroup: EgroupId, _generation: Generation): Promise<void> {
    throw landing()
  }

  repairSlot(_egroup: EgroupId, _slice: StoredSlice): Promise<void> {
    throw landing()
  }

  scrub(_egroup: EgroupId): Promise<ScrubReport> {
    throw landing()
  }

  moveTier(_egroup: EgroupId, _tier: Tier): Promise<{ readonly movedBytes: number }> {
    throw landing()
  }

  usage(): DeviceUsage[] {
    throw landing()
  }

  failDevice(_id: string): void {
    throw landing()
  }

  reformatDevice(_id: string): Promise<void> {
    throw landing()
  }

  close(): Promise<void> {
    throw landing()
  }
}

function landing(): HitherError {
  return new HitherError('INTERNAL', 'the extent store is being written')
}
