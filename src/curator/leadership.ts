/**
 * At most one Curator at work: the key `leader/curator`, under the lease of the CVM that works. It vanishes with its
 * holder, and is marked idle, not removed, at the end of the work: a claim that the catalog applies long after it was
 * made again must find that the key has changed. It saves double work and keeps two reclaims apart; nothing depends on it alone, since participants know the
 * run they take part in, and every change of the directory is a compare-and-set.
 */
import { codeOf } from '../base/errors.ts'
import type { Membership } from '../cluster/membership.ts'
import { decodeRecord, encodeRecord } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'
import { putOff } from './context.ts'

const LEADER_KEY = 'leader/curator'

interface LeaderRecord {
  readonly incarnation: string
  /** Its work is done: anybody may be the next. */
  readonly idle?: true
}

/** Attempts while the catalog does not answer; each takes as long as its client waits. */
const ATTEMPTS = 3

/**
 * Runs `work` as the leader; `CONFLICT` when another CVM is it. One call at a time. When the key cannot be marked at
 * the end, it goes with the lease, or with the next call of this CVM.
 */
export async function asLeader<T>(
  catalog: Catalog,
  membership: Membership,
  work: () => Promise<T>,
): Promise<T> {
  const { incarnation } = membership
  await heard(() => claim(catalog, incarnation))
  try {
    return await work()
  } finally {
    // What the work has done is done.
    await heard(() => release(catalog, incarnation)).catch(() => {})
  }
}

async function claim(catalog: Catalog, incarnation: string): Promise<void> {
  for (;;) {
    const entry = await catalog.get(LEADER_KEY)
    const leader = entry === undefined ? undefined : decodeRecord<LeaderRecord>(entry.value)
    if (leader !== undefined && !leader.idle) {
      if (leader.incarnation === incarnation) return
      throw putOff(`a Curator is at work already: ${leader.incarnation}`)
    }
    if (await put(catalog, entry?.revision ?? 0, { incarnation })) return
  }
}

async function release(catalog: Catalog, incarnation: string): Promise<void> {
  const entry = await catalog.get(LEADER_KEY)
  if (entry === undefined || decodeRecord<LeaderRecord>(entry.value).incarnation !== incarnation) return
  await put(catalog, entry.revision, { incarnation, idle: true })
}

async function put(catalog: Catalog, revision: number, record: LeaderRecord): Promise<boolean> {
  const { ok } = await catalog.commit({
    when: [{ key: LEADER_KEY, revision }],
    put: [{ key: LEADER_KEY, value: encodeRecord(record), lease: record.incarnation }],
  })
  return ok
}

/** Both steps bear to be repeated on top of an attempt that was applied unheard. */
async function heard(step: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await step()
    } catch (error) {
      if (codeOf(error) !== 'TIMEOUT' || attempt === ATTEMPTS) throw error
    }
  }
}
