/**
 * What an RPC program is to the server: tables of procedures. A call goes in two steps, so that nothing has happened yet
 * when its arguments turn out to be garbage, and so that the memory for its answer is known before it is taken:
 * 1. the procedure reads its arguments and returns a `Prepared` call; `XdrError` here is answered with GARBAGE_ARGS;
 * 2. when there is room, `run` does the work and returns how to write the results.
 */
import type { RequestKey } from '../../../api.ts'
import type { Credentials } from './credentials.ts'
import type { XdrReader, XdrWriter } from './xdr.ts'

/** A call, and who sent it. */
export interface Call {
  readonly procedure: number
  readonly credentials: Credentials
  /** Address of the client, without port; IPv4 in its usual form also on an IPv6 socket. */
  readonly client: string
  /** Same for the same call sent again. Set when the prepared call has `once`. */
  readonly key: RequestKey | undefined
  /** A name that it has in common with the same call under another xid. While it runs, and for calls with a key. */
  readonly withoutXid: () => RequestKey
  /** Some client that sent it is still there. */
  readonly isAwaited: () => boolean
}

/** Bytes that end an answer, uncopied. They lie in `pooled`, a pool buffer, which goes back when they are sent. */
export interface Payload {
  readonly bytes: Buffer
  readonly pooled: Buffer
}

/** Writes the results of a call, at once and all of them; a payload follows them. Must not throw. */
export type WriteResults = (out: XdrWriter) => Payload | undefined

export interface Prepared {
  /** Most bytes that the results have; what is small need not be exact. */
  readonly resultBytes?: number
  /** Two runs of the same call would differ from one: a call that is sent again joins the one under way. */
  readonly once?: boolean
  /** A rejection is answered with SYSTEM_ERR. */
  run(call: Call): WriteResults | Promise<WriteResults>
}

/** Reads a procedure's arguments, all of them: the server checks that none are left. Views of them stay valid. */
export type Procedure = (args: XdrReader) => Prepared

export interface Program {
  readonly number: number
  readonly version: number
  /** By number. */
  readonly procedures: readonly Procedure[]
}

/** Procedure 0 of every program: does nothing. */
export const nullProcedure: Procedure = () => ({ run: () => () => undefined })
