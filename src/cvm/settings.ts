/** What a CVM is told at its start. Durations are milliseconds, sizes bytes. */
import type { ClusterEventBody, LocalityPolicyName } from '../api.ts'

export interface CvmSettings {
  readonly leaseTtlMs: number
  readonly holdDownMs: number
  readonly rebuildDelayMs: number
  readonly curatorIntervalMs: number
  readonly cacheBytes: number
  readonly mapBytes: number
  readonly localityPolicy: LocalityPolicyName
  /** A copy that does not acknowledge an append within this time is dropped. */
  readonly appendTimeoutMs: number
}

export type EmitEvent = (event: ClusterEventBody) => void

/** Share of a node's space beyond which it refuses user writes, before anything breaks. */
export const FULL_SHARE = 0.95
