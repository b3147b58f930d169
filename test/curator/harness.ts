/** Real clusters in this process for the Curator's tests: small, in memory, with scans on request only. */
import {
  type Cluster,
  type ClusterEvent,
  type ClusterSettings,
  KiB,
  MiB,
  openCluster,
  type VDisk,
} from '../../src/index.ts'
import { seededRandom } from '../../src/platform/real/random.ts'

export async function openTestCluster(settings: ClusterSettings = {}): Promise<Cluster> {
  return openCluster(
    'memory:',
    {
      nodes: 4,
      ssdBytes: 256 * MiB,
      hddBytes: 0,
      curatorIntervalMs: 0,
      holdDownMs: 200,
      localityPolicy: 'never',
      ...settings,
    },
    { seed: 1 },
  )
}

/** Bytes that do not compress and do not repeat, the same for the same seed. */
export function randomBytes(length: number, seed: number): Uint8Array {
  const random = seededRandom(seed)
  const words = new Uint32Array(length / 4)
  for (let i = 0; i < words.length; i++) words[i] = random.u32()
  return new Uint8Array(words.buffer)
}

/** Writes in pieces of 1 MiB. */
export async function writeAll(disk: VDisk, offset: number, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length; at += MiB) {
    await disk.write(offset + at, bytes.subarray(at, Math.min(bytes.length, at + MiB)))
  }
}

export async function holds(disk: VDisk, offset: number, bytes: Uint8Array): Promise<boolean> {
  return Buffer.compare(await disk.read(offset, bytes.length), bytes) === 0
}

/** Bytes in use on all devices. */
export function usedBytes(cluster: Cluster): number {
  return Object.values(cluster.stats().nodes).reduce(
    (sum, node) => sum + node.ssd.usedBytes + node.hdd.usedBytes,
    0,
  )
}

/** Collects events from now on. */
export function recordEvents(cluster: Cluster): ClusterEvent[] {
  const events: ClusterEvent[] = []
  void (async () => {
    for await (const event of cluster.events()) events.push(event)
  })()
  return events
}

export async function until(condition: () => boolean, timeoutMs = 8_000): Promise<void> {
  const deadline = Date.now() + timeoutMs
  while (!condition()) {
    if (Date.now() > deadline) throw new Error('the condition did not come true in time')
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
}

/** A disk for `openTestCluster` whose data is overwritten in such a way that three quarters of its slices are dead. */
export async function overwriteMost(disk: VDisk, bytes: Uint8Array, seed: number): Promise<void> {
  for (let at = 0; at + 128 * KiB <= bytes.length; at += 128 * KiB) {
    const fresh = randomBytes(96 * KiB, seed + at)
    bytes.set(fresh, at)
    await disk.write(at, fresh)
  }
}
