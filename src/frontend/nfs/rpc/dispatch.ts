/** From a record to the procedure that it calls, prepared, or to the answer that refuses it. Nothing has run yet. */
import { type Credentials, readCredentials } from './credentials.ts'
import {
  type CallHeader,
  GARBAGE_ARGS,
  PROC_UNAVAIL,
  PROG_UNAVAIL,
  RPC_VERSION,
  readCall,
  writeAccepted,
  writeAuthError,
  writeProgramMismatch,
  writeRpcMismatch,
} from './message.ts'
import type { Prepared, Program } from './program.ts'
import { XdrError, XdrReader, type XdrWriter } from './xdr.ts'

export interface Accepted {
  readonly header: CallHeader
  readonly credentials: Credentials
  /** The arguments, a view of the record. */
  readonly args: Buffer
  readonly prepared: Prepared
}

/** Writes a whole answer that refuses the call. */
export type Refusal = (out: XdrWriter) => void

/** Throws `XdrError` when the record is no call at all: then there is nobody to answer. */
export function dispatch(record: Buffer, programs: readonly Program[]): Accepted | Refusal {
  const reader = new XdrReader(record)
  const header = readCall(reader)
  const { xid } = header
  if (header.rpcVersion !== RPC_VERSION) return (out) => writeRpcMismatch(out, xid)
  const credentials = readCredentials(header)
  if (typeof credentials === 'number') return (out) => writeAuthError(out, xid, credentials)
  const program = programs.find((one) => one.number === header.program)
  if (program === undefined) return (out) => writeAccepted(out, xid, PROG_UNAVAIL)
  if (program.version !== header.version) {
    return (out) => writeProgramMismatch(out, xid, program.version, program.version)
  }
  const procedure = program.procedures[header.procedure]
  if (procedure === undefined) return (out) => writeAccepted(out, xid, PROC_UNAVAIL)
  const args = record.subarray(reader.at)
  try {
    const prepared = procedure(reader)
    reader.end()
    return { header, credentials, args, prepared }
  } catch (error) {
    if (error instanceof XdrError) return (out) => writeAccepted(out, xid, GARBAGE_ARGS)
    throw error
  }
}
