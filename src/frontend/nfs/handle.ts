/**
 * File handles: the same bytes for a file on every CVM, for as long as it exists, through restarts and failover.
 *
 *     version(1) = 1   zero(3)   container(4)   file id(8)   birth(8)
 *
 * A handle proves nothing: its holder may do what the address and the credentials of each call allow.
 */
import type { FileId } from '../../api.ts'
import { NfsError } from './status.ts'
import { NFS3ERR_BADHANDLE } from './wire.ts'

export const HANDLE_BYTES = 24
const VERSION_WORD = 0x0100_0000
const TWO_32 = 0x1_0000_0000
const TWO_21 = 0x20_0000

export interface Handle {
  /** `FileSystem.id`. */
  readonly container: number
  readonly file: FileId
  readonly birth: number
}

export function encodeHandle(container: number, file: FileId, birth: number): Buffer {
  const bytes = Buffer.allocUnsafe(HANDLE_BYTES)
  bytes.writeUInt32BE(VERSION_WORD, 0)
  bytes.writeUInt32BE(container, 4)
  writeU53(bytes, file, 8)
  writeU53(bytes, birth, 16)
  return bytes
}

/** Throws `NfsError` (NFS3ERR_BADHANDLE) for what this version never gave out. */
export function decodeHandle(bytes: Buffer): Handle {
  if (bytes.length !== HANDLE_BYTES || bytes.readUInt32BE(0) !== VERSION_WORD) {
    throw new NfsError(NFS3ERR_BADHANDLE)
  }
  const handle = { container: bytes.readUInt32BE(4), file: readU53(bytes, 8), birth: readU53(bytes, 16) }
  if (handle.file === 0) throw new NfsError(NFS3ERR_BADHANDLE)
  return handle
}

function writeU53(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(value / TWO_32), at)
  bytes.writeUInt32BE(value % TWO_32, at + 4)
}

function readU53(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32BE(at)
  if (high >= TWO_21) throw new NfsError(NFS3ERR_BADHANDLE)
  return high * TWO_32 + bytes.readUInt32BE(at + 4)
}
