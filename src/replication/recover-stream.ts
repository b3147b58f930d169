/**
 * Takeover of a stream, before it is replayed (DESIGN §2, Takeover steps 2 and 3). The caller has already made itself
 * owner with a higher generation (step 1).
 *
 * For every open egroup of the stream, in log order:
 *   1. fence: each reachable copy refuses lower generations from here on, durably, and tells its valid length;
 *   2. the longest valid prefix wins. Every acknowledged frame is on every listed copy, so any one reachable copy
 *      has them all; a longer copy merely has frames that were never acknowledged, which may be kept;
 *   3. the missing tail is copied to the shorter ones (a prefix of the same bytes: one writer per generation);
 *   4. the directory seals it at that length with the copies that have it. Copies that are unreachable, or cannot be
 *      sealed, are dropped from the directory: when they come back they are garbage, and the rebuild restores RF from
 *      the others.
 * A crash in between repeats the whole: every step is idempotent, and the next taker has a higher generation.
 *
 * No reachable copy: `DATA_UNAVAILABLE` (retryable), and nothing is changed. An egroup is listed only once all its copies
 * are there, durably, and its owner may have appended to it from then on. So when every node that is listed answers that
 * it has no copy, what was acknowledged may be gone with their devices: `CHECKSUM_MISMATCH`, and nothing is changed. An
 * egroup that is only short, or empty, has copies that say so.
 */
import { codeOf, HitherError } from '../base/errors.ts'
import {
  EGROUP_BYTES,
  type EgroupId,
  type Generation,
  MiB,
  type NodeId,
  type VDiskId,
} from '../base/units.ts'
import type { EgroupRecord } from '../cluster/records.ts'
import { parseFrame } from '../extent-store/frame-reader.ts'
import type { Directory } from './directory.ts'
import type { NodeStores } from './node-store.ts'
import type { OwnerGuard } from './owner-guard.ts'

const TAIL_CHUNK_BYTES = 1 * MiB

export interface RecoveredEgroup {
  readonly egroup: EgroupId
  readonly record: EgroupRecord
}

export interface RecoverDeps {
  readonly stores: NodeStores
  readonly directory: Directory
  /** The vDisk was deleted: what is lost of its own log is not missed. Default: it is. */
  readonly isDeleted?: boolean
}

/** Returns the stream's egroups in log order, all sealed. */
export async function recoverStream(
  stream: VDiskId,
  generation: Generation,
  guard: OwnerGuard,
  deps: RecoverDeps,
): Promise<RecoveredEgroup[]> {
  const found = await deps.directory.ofStream(stream)
  return Promise.all(
    found.map(async ({ egroup, entry }) => {
      if (entry.value.state === 'sealed') return { egroup, record: entry.value }
      return { egroup, record: await sealOpenEgroup(egroup, entry.value, generation, guard, deps) }
    }),
  )
}

async function sealOpenEgroup(
  egroup: EgroupId,
  record: EgroupRecord,
  generation: Generation,
  guard: OwnerGuard,
  deps: RecoverDeps,
): Promise<EgroupRecord> {
  const nodes = record.copies.map((copy) => copy.node)
  const fenced = await Promise.allSettled(nodes.map((node) => deps.stores.of(node).fence(egroup, generation)))
  const lengths = new Map<NodeId, number>()
  let missing = 0
  for (const [i, result] of fenced.entries()) {
    if (result.status === 'fulfilled') lengths.set(nodes[i]!, result.value.length)
    else if (codeOf(result.reason) === 'STALE_GENERATION') throw result.reason
    else if (codeOf(result.reason) === 'COPY_MISSING') missing++
  }
  if (lengths.size === 0 && missing < nodes.length) {
    throw new HitherError('DATA_UNAVAILABLE', `no copy of egroup ${egroup}, which is open, can be reached`)
  }
  if (lengths.size === 0 && deps.isDeleted !== true) {
    throw new HitherError(
      'CHECKSUM_MISMATCH',
      `every copy of egroup ${egroup}, which was open, is lost (${nodes.join(', ')}): acknowledged writes may be missing`,
    )
  }
  const length = Math.min(EGROUP_BYTES, Math.max(0, ...lengths.values()))
  const longest = [...lengths].find(([, own]) => own === length)?.[0]
  const good: NodeId[] = []
  const failures: unknown[] = []
  await Promise.all(
    [...lengths].map(async ([node, own]) => {
      try {
        if (own < length) await copyTail(egroup, generation, longest!, node, own, length, deps.stores)
        await deps.stores.of(node).seal(egroup, generation, length)
        good.push(node)
      } catch (error) {
        failures.push(error)
      }
    }),
  )
  if (good.length === 0 && failures.length > 0) throw unsealed(egroup, failures)
  const sealed = await deps.directory.update(
    egroup,
    (current) => ({
      ...current,
      state: 'sealed',
      length,
      generation,
      copies: current.copies.filter((copy) => good.includes(copy.node)),
    }),
    guard,
  )
  if (sealed === undefined) throw new HitherError('INTERNAL', `egroup ${egroup} vanished during takeover`)
  return sealed
}

/** Why no copy could be sealed. What only lacks room for a moment may be tried again. */
function unsealed(egroup: EgroupId, failures: readonly unknown[]): unknown {
  const isFull = (error: unknown): boolean => codeOf(error) === 'DEVICE_FULL' || codeOf(error) === 'NO_SPACE'
  const other = failures.find((error) => !isFull(error))
  if (other !== undefined) return other
  return new HitherError('DATA_UNAVAILABLE', `no node has room to seal egroup ${egroup}`, {
    cause: failures[0],
  })
}

async function copyTail(
  egroup: EgroupId,
  generation: Generation,
  from: NodeId,
  to: NodeId,
  start: number,
  end: number,
  stores: NodeStores,
): Promise<void> {
  // The tail is appended frame by frame: a copy checks each one as it would a writer's.
  const tail = new Uint8Array(end - start)
  for (let at = start; at < end; at += TAIL_CHUNK_BYTES) {
    const chunk = await stores.of(from).readLog(egroup, at, Math.min(TAIL_CHUNK_BYTES, end - at))
    tail.set(chunk, at - start)
  }
  let at = 0
  while (at < tail.length) {
    const frameBytes = parseFrame(tail, at)?.frameBytes
    if (frameBytes === undefined) {
      throw new HitherError(
        'DEVICE_CORRUPT',
        `the tail of egroup ${egroup} on ${from} is not a row of frames`,
      )
    }
    const parts = [tail.subarray(at, at + frameBytes)]
    await stores.of(to).append({ egroup, generation, offset: start + at, parts, sync: false })
    at += frameBytes
  }
}
