/** The baseline: every remote read crosses the wire, every time. */
import { LET_GO, type LocalityPolicy } from './policy.ts'

export function createNeverPolicy(): LocalityPolicy {
  return {
    name: 'never',
    onRead: () => LET_GO,
    onPrefetched: () => undefined,
    shouldComplete: () => false,
    forget: () => undefined,
  }
}
