/**
 * Disks that one control connection has open for import or export.
 *
 * An import that created its disk owns that disk until `finish`: when the client says `abandon`, or just disappears
 * (killed, cable cut), the half-filled disk is removed. Only when the whole server dies in between does it stay.
 */
import type { Cluster, VDisk, VDiskOptions } from '../../api.ts'
import { codeOf, HitherError } from '../../base/errors.ts'
import { GiB } from '../../base/units.ts'
import { TRANSFER_BYTES_MAX, TRANSFERS_MAX } from './protocol.ts'

interface Transfer {
  readonly disk: VDisk
  /** The disk exists because of this transfer, and goes with it unless it is finished. */
  readonly created: boolean
  readonly writes: boolean
}

/** Longest range that one `runs` call asks about: bounds the work and the length of the answer. */
const RUNS_RANGE_BYTES_MAX = 1 * GiB

export class Transfers {
  readonly #cluster: Cluster
  readonly #open = new Map<number, Transfer>()
  #lastId = 0
  #opening = 0
  #closed = false

  constructor(cluster: Cluster) {
    this.#cluster = cluster
  }

  async import(
    name: string,
    options: VDiskOptions,
    { overwrite, growing }: { overwrite: boolean; growing: boolean },
  ): Promise<{ transfer: number; size: number; created: boolean }> {
    const transfer = await this.#start(async () => {
      if (!(await this.#exists(name))) {
        return { disk: await this.#cluster.createVDisk(name, options), created: true, writes: true }
      }
      const disk = await this.#cluster.openVDisk(name)
      try {
        if (!growing) refuseUnlessFits(disk, options.size)
        if (!overwrite) await refuseIfHoldsData(disk)
      } catch (error) {
        await disk.close()
        throw error
      }
      return { disk, created: false, writes: true }
    })
    const { disk, created } = this.#get(transfer)
    return { transfer, size: disk.size, created }
  }

  async export(name: string): Promise<{ transfer: number; size: number }> {
    const transfer = await this.#start(async () => ({
      disk: await this.#cluster.openVDisk(name),
      created: false,
      writes: false,
    }))
    return { transfer, size: this.#get(transfer).disk.size }
  }

  async runs(
    transfer: number,
    offset: number,
    length: number,
  ): Promise<Array<{ offset: number; length: number }>> {
    if (length > RUNS_RANGE_BYTES_MAX) {
      throw new HitherError('BAD_ARGUMENT', `"length" must be at most ${RUNS_RANGE_BYTES_MAX}`)
    }
    const runs = await this.#get(transfer).disk.allocation(offset, length)
    return runs.filter((run) => run.data).map((run) => ({ offset: run.offset, length: run.length }))
  }

  read(transfer: number, offset: number, length: number): Promise<Uint8Array> {
    if (length > TRANSFER_BYTES_MAX) {
      throw new HitherError('BAD_ARGUMENT', `"length" must be at most ${TRANSFER_BYTES_MAX}`)
    }
    return this.#get(transfer).disk.read(offset, length)
  }

  write(transfer: number, offset: number, source: Uint8Array): Promise<void> {
    return this.#get(transfer).disk.write(offset, source)
  }

  /** The range reads as zeros afterwards. */
  zero(transfer: number, offset: number, length: number): Promise<void> {
    return this.#get(transfer).disk.writeZeroes(offset, length)
  }

  async resize(transfer: number, size: number): Promise<void> {
    const { disk, created } = this.#get(transfer)
    if (!created) {
      throw new HitherError(
        'BAD_ARGUMENT',
        `disk ${disk.name} was there before; this transfer may not resize it`,
      )
    }
    await disk.resize(size)
  }

  async finish(transfer: number): Promise<void> {
    const { disk, writes } = this.#get(transfer)
    if (writes) await disk.flush()
    this.#open.delete(transfer)
    await disk.close()
  }

  abandon(transfer: number): Promise<{ removed: boolean }> {
    const { disk, created } = this.#get(transfer)
    this.#open.delete(transfer)
    return this.#discard(disk, created)
  }

  /** Abandons what is still open. */
  async close(): Promise<void> {
    this.#closed = true
    await Promise.allSettled([...this.#open.keys()].map((transfer) => this.abandon(transfer)))
  }

  async #start(open: () => Promise<Transfer>): Promise<number> {
    if (this.#open.size + this.#opening >= TRANSFERS_MAX) {
      throw new HitherError('BAD_ARGUMENT', `a connection has at most ${TRANSFERS_MAX} transfers open`)
    }
    this.#opening += 1
    try {
      const transfer = await open()
      if (this.#closed) {
        await this.#discard(transfer.disk, transfer.created)
        throw new HitherError('CANCELLED', 'the connection ended')
      }
      this.#lastId += 1
      this.#open.set(this.#lastId, transfer)
      return this.#lastId
    } finally {
      this.#opening -= 1
    }
  }

  async #discard(disk: VDisk, created: boolean): Promise<{ removed: boolean }> {
    await disk.close()
    if (created) await this.#cluster.deleteVDisk(disk.name)
    return { removed: created }
  }

  async #exists(name: string): Promise<boolean> {
    try {
      await this.#cluster.vdiskInfo(name)
      return true
    } catch (error) {
      if (codeOf(error) === 'NOT_FOUND') return false
      throw error
    }
  }

  #get(transfer: number): Transfer {
    const found = this.#open.get(transfer)
    if (found === undefined) {
      throw new HitherError('BAD_ARGUMENT', `there is no open transfer ${transfer} on this connection`)
    }
    return found
  }
}

function refuseUnlessFits(disk: VDisk, size: number): void {
  if (size <= disk.size) return
  throw new HitherError(
    'OUT_OF_RANGE',
    `the image needs ${size} bytes, but disk ${disk.name} has ${disk.size}; resize the disk first`,
  )
}

async function refuseIfHoldsData(disk: VDisk): Promise<void> {
  for (let offset = 0; offset < disk.size; offset += RUNS_RANGE_BYTES_MAX) {
    const length = Math.min(RUNS_RANGE_BYTES_MAX, disk.size - offset)
    const runs = await disk.allocation(offset, length)
    if (runs.some((run) => run.data)) {
      throw new HitherError('UNSAFE', `disk ${disk.name} holds data; say --overwrite to replace it`)
    }
  }
}
