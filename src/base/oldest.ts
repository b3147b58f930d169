/** Maps that are bounded by forgetting what was put in first. */

/** Takes the entry that was put in first out of a map that has more than `max`; returns its value. */
export function forgetOldest<K, V>(map: Map<K, V>, max: number): V | undefined {
  if (map.size <= max) return undefined
  for (const [key, value] of map) {
    map.delete(key)
    return value
  }
  return undefined
}
