/**
 * The name of a call that is the same when the call is sent again, over whichever connection to whichever door: hash of
 * the client's address without its port (which changes with the connection), its machine name, xid, procedure and
 * arguments. The xid alone would not do: clients begin anywhere, and two on one machine know nothing of each other.
 */
import type { RequestKey } from '../../../api.ts'
import { hash64, hashOut } from '../../../base/hash.ts'

const NUMBERS_BYTES = 20

export function requestKey(
  client: string,
  machine: Uint8Array,
  call: { readonly xid: number; readonly program: number; readonly procedure: number },
  args: Uint8Array,
): RequestKey {
  hash64(args, 0, args.length)
  const numbers = Buffer.alloc(NUMBERS_BYTES)
  numbers.writeUInt32BE(call.xid, 0)
  numbers.writeUInt32BE(call.program, 4)
  numbers.writeUInt32BE(call.procedure, 8)
  numbers.writeUInt32BE(hashOut[0]!, 12)
  numbers.writeUInt32BE(hashOut[1]!, 16)
  // Lengths keep the parts apart: numbers have a fixed one, an address has no NUL.
  const name = Buffer.concat([numbers, Buffer.from(`${client}\0`, 'latin1'), machine])
  hash64(name, 0, name.length)
  return { high: hashOut[0]!, low: hashOut[1]! }
}

/** A key as one of a map. */
export function keyText({ high, low }: RequestKey): string {
  return `${high}:${low}`
}
