/**
 * Who calls: AUTH_NONE says nothing, AUTH_SYS says what the client's kernel believes (RFC 5531, appendix A). Neither
 * proves anything; who may come at all is decided by address.
 */
import {
  AUTH_BADCRED,
  AUTH_BADVERF,
  AUTH_BYTES_MAX,
  AUTH_NONE,
  AUTH_REJECTEDCRED,
  AUTH_SHORT,
  AUTH_SYS,
  type CallHeader,
} from './message.ts'
import { XdrError, XdrReader } from './xdr.ts'

const MACHINE_NAME_BYTES_MAX = 255
const GROUPS_MAX = 16

export interface User {
  readonly uid: number
  readonly gid: number
  readonly groups: readonly number[]
}

export interface Credentials {
  /** As the client calls itself; a view of the message, empty with AUTH_NONE. */
  readonly machine: Uint8Array
  /** `undefined` with AUTH_NONE. */
  readonly user: User | undefined
}

const ANONYMOUS: Credentials = { machine: new Uint8Array(0), user: undefined }

/** The credentials of a call, or the auth_stat with which it is refused. */
export function readCredentials(call: CallHeader): Credentials | number {
  if (call.verifierBytes > AUTH_BYTES_MAX) return AUTH_BADVERF
  if (call.credential.length > AUTH_BYTES_MAX) return AUTH_BADCRED
  if (call.flavor === AUTH_NONE) return ANONYMOUS
  // A shorthand that this server never gave out: the client shall say it in full.
  if (call.flavor === AUTH_SHORT) return AUTH_REJECTEDCRED
  if (call.flavor !== AUTH_SYS) return AUTH_BADCRED
  try {
    return readAuthSys(new XdrReader(call.credential))
  } catch (error) {
    if (error instanceof XdrError) return AUTH_BADCRED
    throw error
  }
}

function readAuthSys(body: XdrReader): Credentials {
  body.u32() // stamp: any number
  const machine = body.opaque(MACHINE_NAME_BYTES_MAX)
  const uid = body.u32()
  const gid = body.u32()
  const count = body.u32()
  if (count > GROUPS_MAX) throw new XdrError(`${count} groups, at most ${GROUPS_MAX} are allowed`)
  const groups: number[] = []
  for (let i = 0; i < count; i += 1) groups.push(body.u32())
  body.end()
  return { machine, user: { uid, gid, groups } }
}
