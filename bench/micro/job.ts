/**
 * What a micro benchmark is: one small piece of the engine, called over and over with inputs from a fixed seed.
 *
 * Every call answers a number that depends on the work it did. `npm run bench` folds the numbers into a sink, so that
 * nothing is optimised away; `npm test` runs a few calls of each job and compares the folded hash with the one in
 * test/bench/micro.test.ts, so that a bench cannot rot, and cannot measure the wrong thing unseen. Answers must
 * therefore not depend on time, nor on how well LZ4 did: two correct compressors give the same number.
 */

export interface MicroJob {
  /** Two or three words; unique. */
  readonly name: string
  /** Builds what the job works on, the same every time. */
  setUp(): MicroCase | Promise<MicroCase>
}

export interface MicroCase {
  /** User bytes that one call goes through; left out when bytes mean nothing to it. */
  readonly bytesPerCall?: number
  /** Operations in one call: the table says time per operation. */
  readonly operationsPerCall: number
  /** Call number `i`, from 0. Pending answers are awaited before the next call. */
  run(i: number): number | Promise<number>
  close?(): Promise<void>
}

/** Folds one answer into a hash of 32 bits. */
export function fold(hash: number, answer: number): number {
  let mixed = Math.imul((hash ^ (answer | 0)) + 0x7f4a_7c15, 0x9e37_79b1)
  mixed ^= mixed >>> 15
  return Math.imul(mixed, 0x85eb_ca6b) >>> 0
}

/** Runs the first `calls` calls of a fresh case; the hash of their answers, as eight hex digits. */
export async function hashOfCalls(job: MicroJob, calls: number): Promise<string> {
  const made = await job.setUp()
  try {
    let hash = 0
    for (let i = 0; i < calls; i++) hash = fold(hash, await made.run(i))
    return hash.toString(16).padStart(8, '0')
  } finally {
    await made.close?.()
  }
}
