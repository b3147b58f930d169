/**
 * Several requests in flight, in order: while earlier items are still on their way, later ones are started, up to a
 * window; results are taken in the order of the items.
 */

/**
 * For each item: `start` it, and when its turn has come, `finish` it with what came out. At most `window` items are
 * started and not finished. Ends at the first failure or when `signal` fires, after everything under way has settled,
 * so that buffers of items are free then.
 */
export async function pipeline<T, R>(options: {
  source: AsyncIterable<T>
  window: number
  signal: AbortSignal
  start: (item: T) => Promise<R>
  finish: (result: R, item: T) => Promise<void> | void
}): Promise<void> {
  const { source, window, signal, start, finish } = options
  const underWay: Array<{ item: T; result: Promise<R> }> = []
  const finishFirst = async () => {
    const first = underWay[0]!
    const result = await first.result
    underWay.shift()
    await finish(result, first.item)
  }
  try {
    for await (const item of source) {
      signal.throwIfAborted()
      while (underWay.length >= window) await finishFirst()
      const result = start(item)
      // A failure is met when its turn comes; until then it is not unhandled.
      result.catch(() => {})
      underWay.push({ item, result })
    }
    while (underWay.length > 0) {
      await finishFirst()
      signal.throwIfAborted()
    }
  } finally {
    await Promise.allSettled(underWay.map(({ result }) => result))
  }
}
