/**
 * Calls that change names and attributes: the door decides whether the caller may, the file system does it, once.
 *
 * The file system knows a call that comes again by its key; the door does not, and what it decides by may have changed
 * since: the call itself may have changed it (a file that was moved into a sticky directory is not the caller's to
 * replace). So a call that the door refuses is put to the file system all the same, as forbidden: when it was done
 * before it is answered as it was then, and else it stays refused, also when a late copy of it comes that would be
 * allowed by then.
 */
import type { FileCall, RequestKey } from '../../../api.ts'
import { codeOf } from '../../../base/errors.ts'
import type { Call } from '../rpc/program.ts'
import type { NfsService } from '../service.ts'
import { isDeferral, isRefusal } from '../status.ts'

/**
 * Runs `check`, which throws what the call is to be refused with, and then `change`, with what that returned. When it is
 * refused `change` gets no result of the check: the file system will not look at the rest.
 */
export async function checkedChange<C, T>(
  service: NfsService,
  call: Call,
  check: () => Promise<C>,
  change: (how: FileCall, checked: C | undefined) => Promise<T>,
): Promise<T> {
  const key = service.deferred.keyOf(call)
  try {
    return await changeUnder(key, check, change)
  } catch (error) {
    if (key !== undefined && isDeferral(error)) service.deferred.put(call, key)
    throw error
  }
}

async function changeUnder<C, T>(
  key: RequestKey | undefined,
  check: () => Promise<C>,
  change: (how: FileCall, checked: C | undefined) => Promise<T>,
): Promise<T> {
  const how = key === undefined ? {} : { key }
  let checked: C
  try {
    checked = await check()
  } catch (refusal) {
    if (!isRefusal(refusal)) throw refusal
    try {
      return await change({ ...how, forbidden: true }, undefined)
    } catch (error) {
      throw codeOf(error) === 'FORBIDDEN' ? refusal : error
    }
  }
  return change(how, checked)
}
