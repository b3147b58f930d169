/**
 * ONC RPC version 2 messages (RFC 5531): the header of a call is read, the headers of answers are written.
 *
 *     call     xid CALL 2 program version procedure credential verifier arguments
 *     answer   xid REPLY MSG_ACCEPTED verifier status results
 *     denial   xid REPLY MSG_DENIED reason …
 *     credential, verifier   flavor(4) length(4, at most 400) bytes
 */
import { XdrError, type XdrReader, type XdrWriter } from './xdr.ts'

export const RPC_VERSION = 2
const CALL = 0
const REPLY = 1
const MSG_ACCEPTED = 0
const MSG_DENIED = 1
const RPC_MISMATCH = 0
const AUTH_ERROR = 1

export const SUCCESS = 0
export const PROG_UNAVAIL = 1
export const PROG_MISMATCH = 2
export const PROC_UNAVAIL = 3
export const GARBAGE_ARGS = 4
export const SYSTEM_ERR = 5

/** Why credentials were refused (auth_stat). */
export const AUTH_BADCRED = 1
export const AUTH_REJECTEDCRED = 2
export const AUTH_BADVERF = 3

export const AUTH_NONE = 0
export const AUTH_SYS = 1
export const AUTH_SHORT = 2
/** Longest body of a credential or verifier. */
export const AUTH_BYTES_MAX = 400

/** The header of a call, as it came: nothing is judged but that it is one. */
export interface CallHeader {
  readonly xid: number
  readonly rpcVersion: number
  readonly program: number
  readonly version: number
  readonly procedure: number
  readonly flavor: number
  /** A view of the message. */
  readonly credential: Buffer
  readonly verifierBytes: number
}

/**
 * Reads the header, and leaves `message` at the arguments. Throws `XdrError` for what is no call. Of an unknown RPC
 * version nothing but xid and version is read: the rest may look different.
 */
export function readCall(message: XdrReader): CallHeader {
  const xid = message.u32()
  if (message.u32() !== CALL) throw new XdrError('a message to a server must be a call')
  const rpcVersion = message.u32()
  if (rpcVersion !== RPC_VERSION) {
    return { ...NOTHING, xid, rpcVersion }
  }
  const program = message.u32()
  const version = message.u32()
  const procedure = message.u32()
  const flavor = message.u32()
  const credential = message.opaque(message.remaining)
  message.u32()
  const verifierBytes = message.opaque(message.remaining).length
  return { xid, rpcVersion, program, version, procedure, flavor, credential, verifierBytes }
}

const NOTHING = {
  program: 0,
  version: 0,
  procedure: 0,
  flavor: AUTH_NONE,
  credential: Buffer.alloc(0),
  verifierBytes: 0,
}

/** The call was accepted; with `SUCCESS` its results follow. */
export function writeAccepted(out: XdrWriter, xid: number, status: number): void {
  out.u32(xid)
  out.u32(REPLY)
  out.u32(MSG_ACCEPTED)
  out.u32(AUTH_NONE)
  out.u32(0)
  out.u32(status)
}

/** The program is there, in versions `low` to `high` only. */
export function writeProgramMismatch(out: XdrWriter, xid: number, low: number, high: number): void {
  writeAccepted(out, xid, PROG_MISMATCH)
  out.u32(low)
  out.u32(high)
}

/** This server speaks version 2 of RPC only. */
export function writeRpcMismatch(out: XdrWriter, xid: number): void {
  out.u32(xid)
  out.u32(REPLY)
  out.u32(MSG_DENIED)
  out.u32(RPC_MISMATCH)
  out.u32(RPC_VERSION)
  out.u32(RPC_VERSION)
}

/** `why` is an auth_stat. */
export function writeAuthError(out: XdrWriter, xid: number, why: number): void {
  out.u32(xid)
  out.u32(REPLY)
  out.u32(MSG_DENIED)
  out.u32(AUTH_ERROR)
  out.u32(why)
}
