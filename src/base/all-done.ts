/** Resolves when all have; rejects with the first error when all have settled: nothing of it is under way any more then. */
export async function allDone(work: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(work)) {
    if (result.status === 'rejected') throw result.reason
  }
}
