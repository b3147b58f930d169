/**
 * At most one Curator at work: the key `leader/curator`, under the lease of the CVM that works. It vanishes with its
 * holder. It saves double work and keeps two reclaims apart; nothing depends on it alone, since participants know the
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
}

/** Attempts while the catalog does not answer; each takes as long as its client waits. */
const ATTEMPTS = 3

/**
 * Runs `work` as the leader; `CONFLICT` when another CVM is it. One call at a time. When the key cannot be taken away at
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
  const record: LeaderRecord = { incarnation }
  const { ok } = await catalog.commit({
    when: [{ key: LEADER_KEY, revision: 0 }],
    put: [{ key: LEADER_KEY, value: encodeRecord(record), lease: incarnation }],
  })
  if (ok) return
  const entry = await catalog.get(LEADER_KEY)
  const holder = entry === undefined ? 'another CVM' : decodeRecord<LeaderRecord>(entry.value).incarnation
  if (holder !== incarnation) throw putOff(`a Curator is at work already: ${holder}`)
}

async function release(catalog: Catalog, incarnation: string): Promise<void> {
  const entry = await catalog.get(LEADER_KEY)
  if (entry === undefined || decodeRecord<LeaderRecord>(entry.value).incarnation !== incarnation) return
  await catalog.commit({
    when: [{ key: LEADER_KEY, revision: entry.revision }],
    remove: [LEADER_KEY],
  })
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
