/** Runs `work` on each item, `places` at a time; rejects with the first error, after what was under way has ended. */
export async function atOnce<T>(
  items: Iterable<T>,
  places: number,
  work: (item: T) => Promise<void>,
): Promise<void> {
  const iterator = items[Symbol.iterator]()
  let failure: { readonly error: unknown } | undefined
  const worker = async () => {
    while (failure === undefined) {
      const next = iterator.next()
      if (next.done === true) return
      try {
        await work(next.value)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: places }, worker))
  if (failure !== undefined) throw failure.error
}

/**
 * Bulk jobs of a cluster of so many nodes that may run together. Each job works two nodes or more, so half of the nodes
 * are left to guests at any time; and the more nodes there are, the faster they are done together.
 */
export function bulkJobsAtOnce(nodes: number): number {
  return Math.max(1, Math.floor(nodes / 4))
}

/**
 * The same of pulls, half as many as there are nodes: one reads at its source first, and then writes at its target, so it
 * works one node at a time.
 */
export function pullsAtOnce(nodes: number): number {
  return Math.max(1, Math.ceil(nodes / 2))
}
