/** A choice among equals. */
import type { Random } from '../../platform/types.ts'

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[random.below(from.length)]!
}
