/** What goal 7 compares: a virtual disk of 4 KiB blocks kept in this process, and how a user would build one. */
import { type FileHandle, open } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { VDisk } from '../../src/index.ts'

export interface BlockStore {
  readonly name: string
  /** Resolves when durable. */
  put(offset: number, block: Uint8Array): Promise<unknown>
  get(offset: number, target: Uint8Array): Promise<unknown>
  close(): Promise<unknown>
}

export function hitherStore(name: string, disk: VDisk): BlockStore {
  return {
    name,
    put: (offset, block) => disk.write(offset, block),
    get: (offset, target) => disk.readInto(offset, target),
    close: () => disk.close(),
  }
}

/** The part of `lmdb` that is used. */
interface Lmdb {
  open(options: { path: string; encoding: 'binary'; compression: { threshold: number }; mapSize: number }): {
    put(key: number, value: Uint8Array): Promise<boolean>
    readonly flushed: Promise<unknown>
    get(key: number): Uint8Array | undefined
    close(): Promise<void>
  }
}

/** The part of `classic-level` that is used. */
interface ClassicLevelModule {
  readonly ClassicLevel: new (
    path: string,
    options: Readonly<Record<string, unknown>>,
  ) => {
    open(): Promise<void>
    put(key: Uint8Array, value: Uint8Array, options: { sync: boolean }): Promise<void>
    get(key: Uint8Array): Promise<Uint8Array | undefined>
    close(): Promise<void>
  }
}

const LMDB_MAP_BYTES = 8 * 2 ** 30
/** Twice the store, as hither's is at the least. */
const LEVEL_CACHE_BYTES = 64 * 2 ** 20

const rival = createRequire(join(import.meta.dirname, 'package.json'))

/** One value per IO, its own LZ4, batched writes; durable is `flushed`. */
export function lmdbStore(folder: string): BlockStore {
  const { open: openLmdb } = rival('lmdb') as Lmdb
  const db = openLmdb({
    path: join(folder, 'lmdb'),
    encoding: 'binary',
    compression: { threshold: 512 },
    mapSize: LMDB_MAP_BYTES,
  })
  return {
    name: 'lmdb',
    async put(offset, block) {
      await db.put(offset, block)
      await db.flushed
    },
    async get(offset, target) {
      target.set(must(db.get(offset)))
    },
    close: () => db.close(),
  }
}

/** One value per IO, Snappy, 16 KiB blocks; durable is `sync: true`. */
export async function levelStore(folder: string): Promise<BlockStore> {
  const { ClassicLevel } = rival('classic-level') as ClassicLevelModule
  const db = new ClassicLevel(join(folder, 'level'), {
    keyEncoding: 'view',
    valueEncoding: 'view',
    compression: true,
    cacheSize: LEVEL_CACHE_BYTES,
    writeBufferSize: 16 * 2 ** 20,
    blockSize: 16_384,
  })
  await db.open()
  // In the order of offsets, so that neighbours lie together.
  const keyOf = (offset: number): Uint8Array => {
    const key = Buffer.allocUnsafe(8)
    key.writeDoubleBE(offset)
    return key
  }
  return {
    name: 'classic-level',
    put: (offset, block) => db.put(keyOf(offset), block, { sync: true }),
    async get(offset, target) {
      target.set(must(await db.get(keyOf(offset))))
    },
    close: () => db.close(),
  }
}

/**
 * The limit of the disk, for writes only: all that waits is appended to one file, or to two at the same time as RF2 does, with
 * one `writev` and one `fdatasync` each.
 */
export class AppendStore implements BlockStore {
  readonly name: string
  readonly copies: number
  readonly #files: readonly FileHandle[]
  readonly #size: number
  #at = 0
  #waiting: Array<{ block: Uint8Array; resolve(): void; reject(error: unknown): void }> = []
  #running = false

  private constructor(files: readonly FileHandle[], size: number) {
    this.copies = files.length
    this.name = `append + fdatasync${files.length > 1 ? `, ${files.length} files` : ''}`
    this.#files = files
    this.#size = size
  }

  /**
   * @param size of each file
   * @param isFresh its space is not written beforehand: each append has the file system allocate
   */
  static async open(
    folder: string,
    size: number,
    { copies = 1, isFresh = false }: { readonly copies?: number; readonly isFresh?: boolean } = {},
  ): Promise<AppendStore> {
    const piece = new Uint8Array(2 ** 20).fill(1)
    const files: FileHandle[] = []
    for (let copy = 1; copy <= copies; copy++) {
      const file = await open(join(folder, `append-${copies}-${copy}`), 'w+')
      for (let at = 0; at < size && !isFresh; at += piece.length) await file.write(piece, 0, piece.length, at)
      await file.datasync()
      files.push(file)
    }
    return new AppendStore(files, size)
  }

  put(_offset: number, block: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ block, resolve, reject })
      if (this.#running) return
      this.#running = true
      queueMicrotask(() => void this.#run())
    })
  }

  get(): Promise<never> {
    return Promise.reject(new Error('a log alone cannot find anything'))
  }

  close(): Promise<unknown> {
    return Promise.all(this.#files.map((file) => file.close()))
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting
      this.#waiting = []
      const parts = group.map(({ block }) => block)
      const bytes = parts.reduce((sum, part) => sum + part.length, 0)
      if (this.#at + bytes > this.#size) this.#at = 0
      try {
        await Promise.all(this.#files.map((file) => appendTo(file, parts, this.#at)))
        this.#at += bytes
        for (const { resolve } of group) resolve()
      } catch (error) {
        for (const { reject } of group) reject(error)
      }
    }
    this.#running = false
  }
}

async function appendTo(file: FileHandle, parts: readonly Uint8Array[], at: number): Promise<void> {
  await file.writev(parts, at)
  await file.datasync()
}

function must(value: Uint8Array | undefined): Uint8Array {
  if (value === undefined) throw new Error('a block that was written is not there')
  return value
}
