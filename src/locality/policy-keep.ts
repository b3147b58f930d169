/** What crossed the wire stays; nothing is fetched ahead. The floor of wire bytes, and no help at a first read. */
import { isNearlyHeld, KEEP_ONLY, type LocalityPolicy } from './policy.ts'

export function createKeepPolicy(): LocalityPolicy {
  return {
    name: 'keep',
    onRead: () => KEEP_ONLY,
    onPrefetched: () => undefined,
    shouldComplete: isNearlyHeld,
    forget: () => undefined,
  }
}
