/**
 * What a running cluster of four nodes costs while nobody asks anything of it: share of one core, and how often it wakes
 * up. Leases have to be renewed and looked at, so it wakes a few times a second; nothing may poll faster than that.
 */
import { createHook } from 'node:async_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { MiB, openCluster } from '../../src/index.ts'
import { scratchFolder } from '../shared/scratch.ts'

export interface IdleCost {
  /** CPU time ÷ time: 0.005 is half a percent of one core. */
  readonly cpuShare: number
  readonly timersPerSecond: number
  readonly immediatesPerSecond: number
}

const SETTLE_MS = 1_500

/** Runs two clusters one after the other: counting wake-ups costs CPU, so CPU is measured without. */
export async function measureIdle(
  location: string,
  seconds: number,
  dir: string | undefined,
  signal: AbortSignal,
): Promise<IdleCost> {
  let cpuShare = Number.NaN
  await withIdleCluster(location, dir, async () => {
    const cpu = process.cpuUsage()
    const from = performance.now()
    await pause(seconds * 1_000, signal)
    const used = process.cpuUsage(cpu)
    cpuShare = (used.user + used.system) / 1_000 / (performance.now() - from)
  })
  const wakeUps = countWakeUps()
  let counted = { timers: 0, immediates: 0 }
  try {
    await withIdleCluster(location, dir, async () => {
      const before = { ...wakeUps.counts }
      await pause(seconds * 1_000, signal)
      // One of the timers was this function's own.
      counted = {
        timers: Math.max(0, wakeUps.counts.timers - before.timers - 1),
        immediates: wakeUps.counts.immediates - before.immediates,
      }
    })
  } finally {
    wakeUps.stop()
  }
  return {
    cpuShare,
    timersPerSecond: counted.timers / seconds,
    immediatesPerSecond: counted.immediates / seconds,
  }
}

async function withIdleCluster(
  location: string,
  dir: string | undefined,
  measure: () => Promise<void>,
): Promise<void> {
  await using scratch = await scratchFolder(dir)
  const where = location === 'file:' ? `file:${scratch.path}` : location
  // Curator and all other background work as they are by default.
  await using cluster = await openCluster(where, { nodes: 4, rf: 2, ssdBytes: 1_024 * MiB, hddBytes: 0 })
  await using disk = await cluster.createVDisk('disk', { size: 64 * MiB })
  for (let at = 0; at < 4 * MiB; at += MiB) await disk.write(at, new Uint8Array(MiB).fill(at / MiB + 1))
  await sleep(SETTLE_MS)
  globalThis.gc?.()
  await measure()
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await sleep(ms, undefined, { signal }).catch(() => undefined)
}

/** Counts timers and immediates whose callbacks run, of those made from now on. */
function countWakeUps(): { readonly counts: { timers: number; immediates: number }; stop(): void } {
  const counts = { timers: 0, immediates: 0 }
  const kinds = new Map<number, 'timers' | 'immediates'>()
  const hook = createHook({
    init(id, type) {
      if (type === 'Timeout') kinds.set(id, 'timers')
      else if (type === 'Immediate') kinds.set(id, 'immediates')
    },
    before(id) {
      const kind = kinds.get(id)
      if (kind !== undefined) counts[kind]++
    },
    destroy(id) {
      kinds.delete(id)
    },
  }).enable()
  return { counts, stop: () => void hook.disable() }
}
