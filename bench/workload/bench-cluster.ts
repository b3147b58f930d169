/**
 * The cluster that one job runs on: four nodes, new and empty, gone afterwards. Background work is off unless a job asks
 * for it, so that a job measures what it names.
 */
import { readFileSync } from 'node:fs'
import { type Cluster, type ClusterSettings, MiB, openCluster, type VDisk } from '../../src/index.ts'
import { DataSource } from '../shared/data.ts'
import type { Services } from '../shared/options.ts'
import { type Scratch, scratchFolder } from '../shared/scratch.ts'
import type { Cell } from './cell.ts'

const FILL_BYTES = 64 * 1024
const SEED = 1
/** A machine so busy that a CVM cannot renew its lease in time would measure takeovers. */
const LEASE_MS = 60_000

export class BenchCluster implements AsyncDisposable {
  readonly cluster: Cluster
  readonly cell: Pick<Cell, 'location' | 'rf' | 'services' | 'data'>
  readonly source: DataSource
  readonly #scratch: Scratch | undefined

  private constructor(cluster: Cluster, cell: BenchCluster['cell'], scratch: Scratch | undefined) {
    this.cluster = cluster
    this.cell = cell
    this.source = new DataSource(cell.data)
    this.#scratch = scratch
  }

  /** @param dir parent of the files of a `file:` cluster */
  static async open(
    cell: BenchCluster['cell'],
    dir: string | undefined,
    settings: ClusterSettings = {},
  ): Promise<BenchCluster> {
    const scratch = cell.location === 'file:' ? await scratchFolder(dir) : undefined
    const cluster = await openCluster(
      scratch === undefined ? cell.location : `file:${scratch.path}`,
      {
        nodes: 4,
        rf: cell.rf,
        ssdBytes: 4_096 * MiB,
        hddBytes: 0,
        curatorIntervalMs: 0,
        leaseTtlMs: LEASE_MS,
        ...settings,
      },
      { seed: SEED },
    )
    const bench = new BenchCluster(cluster, cell, scratch)
    await bench.container(cell.services)
    return bench
  }

  /** Makes the container of these services, and answers its name. */
  async container(services: Services): Promise<string> {
    await this.cluster.createContainer(services, {
      rf: this.cell.rf,
      compression: services === 'compression' || services === 'both',
      dedupe: services === 'dedupe' || services === 'both',
    })
    return services
  }

  /** A disk on node-1, of the VM `vm`. */
  disk(name: string, size: number, container: string = this.cell.services): Promise<VDisk> {
    return this.cluster.createVDisk(name, { size, container, vm: 'vm', node: this.cluster.nodes[0]! })
  }

  /** Writes all of the disk's first `bytes`, `writeBytes` at a time. */
  async fill(disk: VDisk, bytes: number, writeBytes: number = FILL_BYTES): Promise<void> {
    let next = 0
    const worker = async (): Promise<void> => {
      while (next < bytes) {
        const at = next
        next += writeBytes
        await disk.write(at, this.source.take(writeBytes))
      }
    }
    await Promise.all(Array.from({ length: 4 }, worker))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster.close()
    await this.#scratch?.[Symbol.asyncDispose]()
  }
}

/** For what has no answer. */
export const SPACE_UNKNOWN = { storedRatio: Number.NaN, amplification: Number.NaN } as const

/** What was written and stored between two looks at a cluster. */
export class SpaceMeter {
  readonly #bench: BenchCluster
  readonly #written: number
  readonly #stored: number
  readonly #device: number | undefined

  constructor(bench: BenchCluster) {
    this.#bench = bench
    const { written, storedBytes } = bench.cluster.stats()
    this.#written = written.bytes
    this.#stored = storedBytes
    this.#device = deviceWriteBytes(bench)
  }

  /**
   * Stored bytes of one copy ÷ written bytes, and bytes that went to devices (all copies, with frames, map pages, tables and
   * zeroing ahead; over memory only what is in egroups) ÷ written bytes. NaN when nothing was written.
   */
  read(): { storedRatio: number; amplification: number } {
    const { written, storedBytes } = this.#bench.cluster.stats()
    const bytes = written.bytes - this.#written
    if (bytes === 0) return SPACE_UNKNOWN
    const stored = storedBytes - this.#stored
    const device = deviceWriteBytes(this.#bench)
    return {
      storedRatio: stored / this.#bench.cell.rf / bytes,
      amplification: (device === undefined ? stored : device - this.#device!) / bytes,
    }
  }
}

/** Bytes that this process sent towards disks, where the kernel counts them. */
function deviceWriteBytes(bench: BenchCluster): number | undefined {
  if (bench.cell.location !== 'file:') return undefined
  try {
    const line = /^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))
    return line === null ? undefined : Number(line[1])
  } catch {
    return undefined
  }
}
