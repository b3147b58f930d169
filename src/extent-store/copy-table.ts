/**
 * The copy table of one device: which copies it holds, in what state, and in which units. One small record per copy,
 * in a KvLog, so every change is atomic, durable when its promise resolves, and shares its sync with others.
 *
 * Everything about units follows from this table: a unit is used when an entry names it. So the order is always
 * data first, then the entry; and for giving up, the entry first, then the units.
 */
import { ByteReader, ByteWriter } from '../base/bytes.ts'
import { codeOf } from '../base/errors.ts'
import type { EgroupId, Generation, VDiskId } from '../base/units.ts'
import { KvLog } from '../platform/kv-log.ts'
import type { BlockDevice } from '../platform/types.ts'
import type { DeviceLayout } from './device-layout.ts'
import type { CopyKind, CopyState } from './types.ts'
import type { Extent } from './unit-allocator.ts'

const ENTRY_VERSION = 1
const KEY_PREFIX = 'copy/'
const EXTENT_BYTES = 8

const KINDS: readonly CopyKind[] = ['full', 'partial']
const STATES: readonly CopyState[] = ['open', 'sealed']

/** What is durable of one copy. */
export interface CopyEntry {
  readonly egroup: EgroupId
  readonly stream: VDiskId
  readonly kind: CopyKind
  readonly state: CopyState
  /** Fence: appends of a lower generation are refused. */
  readonly generation: Generation
  /** Sealed: bytes of log. Open and partial: what was known to be there when the entry was written; a floor. */
  readonly length: number
  readonly slotCount: number
  /** Grows with every entry that the node writes: the higher one wins when two disagree after damage or a crash. */
  readonly serial: number
  /** Log offset of the index block behind the log; `indexBytes` 0: there is none. */
  readonly indexOffset: number
  readonly indexBytes: number
  readonly extents: readonly Extent[]
}

export class CopyTable {
  readonly #log: KvLog

  private constructor(log: KvLog) {
    this.#log = log
  }

  static async open(device: BlockDevice, layout: DeviceLayout): Promise<CopyTable> {
    return new CopyTable(await KvLog.open(device, { offset: layout.tableOffset, length: layout.tableBytes }))
  }

  /** All entries that can be decoded. */
  entries(): CopyEntry[] {
    const entries: CopyEntry[] = []
    for (const [, value] of this.#log.entries(KEY_PREFIX)) {
      const entry = decodeEntry(value)
      if (entry !== undefined) entries.push(entry)
    }
    return entries
  }

  /** Adds or replaces the entry of this egroup. Durable when it resolves; takes effect in the order of calls. */
  put(entry: CopyEntry): Promise<void> {
    return this.#log.commit([{ key: KEY_PREFIX + entry.egroup, value: encodeEntry(entry) }])
  }

  /** Removes the entry of this egroup, if any. Durable when it resolves. */
  remove(egroup: EgroupId): Promise<void> {
    return this.#log.commit([{ key: KEY_PREFIX + egroup, value: undefined }])
  }

  /** Waits for changes under way; later ones are refused. */
  close(): Promise<void> {
    return this.#log.close()
  }
}

export function encodeEntry(entry: CopyEntry): Uint8Array {
  const writer = new ByteWriter(48 + entry.extents.length * EXTENT_BYTES)
    .u16(ENTRY_VERSION)
    .u8(KINDS.indexOf(entry.kind))
    .u8(STATES.indexOf(entry.state))
    .u32(entry.egroup)
    .u32(entry.stream)
    .u32(entry.generation)
    .u32(entry.length)
    .u32(entry.slotCount)
    .u53(entry.serial)
    .u32(entry.indexOffset)
    .u32(entry.indexBytes)
    .u32(entry.extents.length)
  for (const extent of entry.extents) writer.u32(extent.start).u32(extent.count)
  return writer.toBytes()
}

/** `undefined` when the bytes are no entry of this version: the copy counts as lost. */
export function decodeEntry(bytes: Uint8Array): CopyEntry | undefined {
  try {
    const reader = new ByteReader(bytes)
    if (reader.u16() !== ENTRY_VERSION) return undefined
    const kind = KINDS[reader.u8()]
    const state = STATES[reader.u8()]
    if (kind === undefined || state === undefined) return undefined
    const fields = {
      egroup: reader.u32(),
      stream: reader.u32(),
      generation: reader.u32(),
      length: reader.u32(),
      slotCount: reader.u32(),
      serial: reader.u53(),
      indexOffset: reader.u32(),
      indexBytes: reader.u32(),
    }
    const extents: Extent[] = []
    const extentCount = reader.count(EXTENT_BYTES)
    for (let i = 0; i < extentCount; i++) extents.push({ start: reader.u32(), count: reader.u32() })
    reader.end()
    return { kind, state, ...fields, extents }
  } catch (error) {
    if (codeOf(error) === 'PROTOCOL_ERROR') return undefined
    throw error
  }
}
