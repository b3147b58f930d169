/**
 * A `StoragePath` over plain buffers: a test double for the door's protocol tests, nothing else. It keeps a trail of
 * calls, knows holes by 4 KiB blocks, and lets a test hold answers back or make them fail.
 */
import type {
  AllocationRun,
  StoragePath,
  VDisk,
  VDiskInfo,
  VDiskStats,
  WriteOptions,
} from '../../../src/api.ts'
import { HitherError } from '../../../src/base/errors.ts'
import { BLOCK_BYTES } from '../../../src/base/units.ts'

const DONE: Promise<void> = Promise.resolve()

/** What one vDisk holds, however many handles there are. */
export class MemoryDisk {
  readonly name: string
  readonly readOnly: boolean
  readonly vm: string | undefined
  readonly bytes: Buffer
  readonly allocated: Uint8Array
  /** Set by a test: called before each operation; what it returns is awaited, what it throws fails the operation. */
  before: ((operation: string, offset: number, length: number) => Promise<void> | undefined) | undefined
  /** Operations, newest last: `write 0+4096 fua`. Kept only while `trail` is set. */
  trail: string[] | undefined
  openHandles = 0

  constructor(name: string, size: number, options: { readOnly?: boolean; vm?: string } = {}) {
    this.name = name
    this.readOnly = options.readOnly ?? false
    this.vm = options.vm
    this.bytes = Buffer.alloc(size)
    this.allocated = new Uint8Array(Math.ceil(size / BLOCK_BYTES))
  }

  get info(): VDiskInfo {
    return {
      name: this.name,
      id: 1,
      size: this.bytes.length,
      container: 'default',
      vm: this.vm,
      home: 'node-1',
      owner: 'node-1',
      generation: 1,
      readOnly: this.readOnly,
    }
  }
}

export class MemoryPath implements StoragePath {
  readonly node = 'node-1'
  readonly disks: MemoryDisk[]

  constructor(...disks: MemoryDisk[]) {
    this.disks = disks
  }

  async listVDisks(): Promise<VDiskInfo[]> {
    return this.disks.map((disk) => disk.info)
  }

  async openVDisk(name: string): Promise<VDisk> {
    const disk = this.disks.find((one) => one.name === name)
    if (disk === undefined) throw new HitherError('NOT_FOUND', `there is no vDisk "${name}"`)
    return new MemoryVDisk(disk)
  }
}

class MemoryVDisk implements VDisk {
  readonly #disk: MemoryDisk

  constructor(disk: MemoryDisk) {
    this.#disk = disk
    disk.openHandles += 1
  }

  get name(): string {
    return this.#disk.name
  }

  get size(): number {
    return this.#disk.bytes.length
  }

  get readOnly(): boolean {
    return this.#disk.readOnly
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    const target = new Uint8Array(length)
    await this.readInto(offset, target)
    return target
  }

  readInto(offset: number, target: Uint8Array): Promise<void> {
    return this.#run('read', offset, target.length, undefined, () => {
      this.#disk.bytes.copy(target, 0, offset, offset + target.length)
    })
  }

  write(offset: number, source: Uint8Array, options?: WriteOptions): Promise<void> {
    return this.#run('write', offset, source.length, options, () => {
      this.#disk.bytes.set(source, offset)
      const first = Math.floor(offset / BLOCK_BYTES)
      this.#disk.allocated.fill(1, first, Math.ceil((offset + source.length) / BLOCK_BYTES))
    })
  }

  trim(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#run('trim', offset, length, options, () => this.#zero(offset, length))
  }

  writeZeroes(offset: number, length: number, options?: WriteOptions): Promise<void> {
    return this.#run('writeZeroes', offset, length, options, () => this.#zero(offset, length))
  }

  flush(): Promise<void> {
    return this.#run('flush', 0, 0, undefined, () => {})
  }

  async allocation(offset: number, length: number): Promise<AllocationRun[]> {
    await this.#run('allocation', offset, length, undefined, () => {})
    const runs: { offset: number; length: number; data: boolean }[] = []
    for (let at = offset; at < offset + length; ) {
      const end = Math.min(offset + length, (Math.floor(at / BLOCK_BYTES) + 1) * BLOCK_BYTES)
      const data = this.#disk.allocated[Math.floor(at / BLOCK_BYTES)] === 1
      const last = runs.at(-1)
      if (last?.data === data) last.length += end - at
      else runs.push({ offset: at, length: end - at, data })
      at = end
    }
    return runs
  }

  async resize(): Promise<void> {
    throw new HitherError('BAD_ARGUMENT', 'the memory disk of the door tests has a fixed size')
  }

  async snapshot(): Promise<never> {
    throw new HitherError('BAD_ARGUMENT', 'the memory disk of the door tests has no snapshots')
  }

  stats(): VDiskStats {
    return { reads: 0, writes: 0, readBytes: 0, writtenBytes: 0 }
  }

  async close(): Promise<void> {
    this.#disk.openHandles -= 1
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #run(
    operation: string,
    offset: number,
    length: number,
    options: WriteOptions | undefined,
    act: () => void,
  ): Promise<void> {
    const disk = this.#disk
    disk.trail?.push(`${operation} ${offset}+${length}${options?.fua ? ' fua' : ''}`)
    if (disk.before !== undefined) return this.#runHeld(operation, offset, length, act)
    act()
    return DONE
  }

  async #runHeld(operation: string, offset: number, length: number, act: () => void): Promise<void> {
    await this.#disk.before?.(operation, offset, length)
    act()
  }

  #zero(offset: number, length: number): void {
    const disk = this.#disk
    disk.bytes.fill(0, offset, offset + length)
    const first = Math.ceil(offset / BLOCK_BYTES)
    const end = Math.floor((offset + length) / BLOCK_BYTES)
    if (end > first) disk.allocated.fill(0, first, end)
  }
}
