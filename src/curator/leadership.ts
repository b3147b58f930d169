/**
 * At most one Curator at work: the key `leader/curator`, under the lease of the CVM that works. It vanishes with its
 * holder. It saves double work and keeps two reclaims apart; nothing depends on it alone, since participants know the
 * run they take part in, and every change of the directory is a compare-and-set.
 */
import type { Membership } from '../cluster/membership.ts'
import { decodeRecord, encodeRecord } from '../cluster/records.ts'
import type { Catalog } from '../platform/types.ts'
import { putOff } from './context.ts'

const LEADER_KEY = 'leader/curator'

interface LeaderRecord {
  readonly incarnation: string
}

/** Runs `work` as the leader; `CONFLICT` when another CVM is it. One call at a time. */
export async function asLeader<T>(
  catalog: Catalog,
  membership: Membership,
  work: () => Promise<T>,
): Promise<T> {
  const { incarnation } = membership
  const record: LeaderRecord = { incarnation }
  const { ok } = await catalog.commit({
    when: [{ key: LEADER_KEY, revision: 0 }],
    put: [{ key: LEADER_KEY, value: encodeRecord(record), lease: incarnation }],
  })
  if (!ok) {
    const entry = await catalog.get(LEADER_KEY)
    const holder = entry === undefined ? 'another CVM' : decodeRecord<LeaderRecord>(entry.value).incarnation
    if (holder !== incarnation) throw putOff(`a Curator is at work already: ${holder}`)
  }
  try {
    return await work()
  } finally {
    const entry = await catalog.get(LEADER_KEY)
    if (entry !== undefined && decodeRecord<LeaderRecord>(entry.value).incarnation === incarnation) {
      await catalog.commit({
        when: [{ key: LEADER_KEY, revision: entry.revision }],
        remove: [LEADER_KEY],
      })
    }
  }
}
