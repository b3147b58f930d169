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
