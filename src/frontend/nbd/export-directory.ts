/**
 * The exports of a door: every vDisk that its `StoragePath` lists, under its name. Names are looked up anew each time,
 * so that a vDisk can be had as soon as it exists.
 */
import type { StoragePath, VDisk, VDiskInfo } from '../../api.ts'
import { codeOf, type ErrorCode } from '../../base/errors.ts'
import { GiB, KiB, MiB, TiB } from '../../base/units.ts'
import {
  FLAG_CAN_MULTI_CONN,
  FLAG_HAS_FLAGS,
  FLAG_READ_ONLY,
  FLAG_SEND_CACHE,
  FLAG_SEND_DF,
  FLAG_SEND_FAST_ZERO,
  FLAG_SEND_FLUSH,
  FLAG_SEND_FUA,
  FLAG_SEND_TRIM,
  FLAG_SEND_WRITE_ZEROES,
} from './wire.ts'

/** What opening a file as a disk fails with when no file has the name. */
const IS_NO_FILE: ReadonlySet<ErrorCode | undefined> = new Set<ErrorCode>([
  'NOT_FOUND',
  'IS_DIRECTORY',
  'NOT_DIRECTORY',
  'NAME_TOO_LONG',
  'BAD_ARGUMENT',
])

export class ExportDirectory {
  readonly #path: StoragePath

  constructor(path: StoragePath) {
    this.#path = path
  }

  list(): Promise<VDiskInfo[]> {
    return this.#path.listVDisks()
  }

  /** The vDisk of this name; for the empty name the only one, if there is only one. `undefined` when there is none. */
  async find(name: string): Promise<VDiskInfo | undefined> {
    const all = await this.#path.listVDisks()
    if (name === '') return all.length === 1 ? all[0] : undefined
    const listed = all.find((info) => info.name === name)
    if (listed !== undefined || !name.includes('/') || !(await this.#becomesDisk(name))) return listed
    return (await this.#path.listVDisks()).find((info) => info.name === name)
  }

  /** A small file of an exported container is in no list of disks until it is opened as one. */
  async #becomesDisk(name: string): Promise<boolean> {
    try {
      await (await this.#path.openVDisk(name)).close()
      return true
    } catch (error) {
      if (IS_NO_FILE.has(codeOf(error))) return false
      throw error
    }
  }

  open(name: string): Promise<VDisk> {
    return this.#path.openVDisk(name)
  }
}

/** The transmission flags of an export. A flush or FUA on one connection holds for all: the vDisk has one cache. */
export function transmissionFlags(readOnly: boolean, structuredReplies: boolean): number {
  return (
    FLAG_HAS_FLAGS |
    FLAG_SEND_FLUSH |
    FLAG_SEND_FUA |
    FLAG_SEND_CACHE |
    FLAG_CAN_MULTI_CONN |
    (readOnly ? FLAG_READ_ONLY : FLAG_SEND_TRIM | FLAG_SEND_WRITE_ZEROES | FLAG_SEND_FAST_ZERO) |
    (structuredReplies ? FLAG_SEND_DF : 0)
  )
}

/** For people; it does not change while the vDisk stays what it is. */
export function describeExport(info: VDiskInfo): string {
  const vm = info.vm === undefined ? '' : ` of VM ${info.vm}`
  return `${info.readOnly ? 'read-only ' : ''}vDisk${vm}, ${formatBytes(info.size)}, container ${info.container}`
}

function formatBytes(bytes: number): string {
  for (const [unit, name] of UNITS) {
    if (bytes >= unit) return `${Number((bytes / unit).toFixed(1))} ${name}`
  }
  return `${bytes} bytes`
}

const UNITS: ReadonlyArray<readonly [number, string]> = [
  [TiB, 'TiB'],
  [GiB, 'GiB'],
  [MiB, 'MiB'],
  [KiB, 'KiB'],
]
