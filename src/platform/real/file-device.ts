/**
 * A device in a file (sparse, of its full size from the start) or on a raw block device.
 *
 * Durability. `sync` is one `fdatasync`, shared: all who ask in one turn of the event loop share it, and who asks while
 * one runs waits for the next, since the running one may have missed their writes. When nothing was written since the
 * last one, nothing is done; the first after an open always is, because what a killed process wrote may still be only
 * in the page cache.
 *
 * A durable write is one system call, through a descriptor opened with `O_DSYNC`: one trip to the thread pool instead of
 * two, and no wait for the dirty pages of others. Of several at a time only the first two go this way; the others write
 * and share a sync, which is cheaper the more they are. So do all where there is no `O_DSYNC` that reaches the medium:
 * that of macOS leaves the bytes in the drive's cache. Large ones go past the page cache, if they may, as do
 * large reads of what is read once (direct-io.ts).
 *
 * Failure. After a failed `fdatasync` Linux marks the lost pages clean, and the next `fdatasync` succeeds: a success
 * after a failure means nothing. So a failed sync, or durable write, ends this device for good; every later call rejects.
 * The loss of a page is told once to each descriptor, to whichever call is the next to end there: so each carries one
 * `fdatasync` or durable write at a time, and none can take another's bad news away. ENOSPC of a write (a sparse file on
 * a full file system) is `DEVICE_FULL` and ends only that write; anything else is `DEVICE_FAILED`. A durable write cannot
 * tell whose ENOSPC it was, that of the write or of the sync: it is tried once more in two steps, which can.
 *
 * `trim` does nothing: Node has no way to punch a hole in a file (`fallocate`) or to discard (`ioctl`). The range reads
 * as before, which the contract allows, and the space is used again when the engine writes there again.
 */
import { constants, close as fsClose, fstat as fsFstat, open as fsOpen, fsync, ftruncate } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { HitherError } from '../../base/errors.ts'
import { SECTOR_BYTES, type Tier } from '../../base/units.ts'
import { partsLength, rangeError } from '../device-range.ts'
import type { BlockDevice, ReadUse, WriteUse } from '../types.ts'
import { isForDirect, openDirect, readDirect, writeDirect } from './direct-io.ts'
import { dataSync, readFully, writeParts } from './file-io.ts'

export interface FileDeviceOptions {
  readonly id: string
  readonly tier: Tier
  /**
   * Bytes. Needed to create a file; otherwise what is there tells, and a size that differs from it is refused with
   * `BAD_SETTING`.
   */
  readonly size?: number
  /** Makes the file when there is none, or it is empty. Default `false`: a missing file is `BAD_LOCATION`. */
  readonly create?: boolean
}

/**
 * Durable writes under way at a time through `O_DSYNC`. Measured, microseconds a write of 4 KiB (ext4, NVMe) by 1, 2, 4,
 * 8, 16 and 32 writers: a write and a shared sync 552, 494, 319, 157, 101, 67; at most two through `O_DSYNC` 391, 259,
 * 295, 162, 100, 66. With three, 4 writers take 241, but two, and a sync beside them, leave one of the four threads of
 * Node's pool to reads.
 */
const DURABLE_WRITES_MAX = 2

interface Medium {
  readonly fd: number
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  readonly isNew: boolean
}

/** Carries one durable write at a time. */
interface DurablePath {
  /** Opened with `O_DSYNC`. */
  readonly fd: number
  /** With `O_DIRECT`, too, where there is that. */
  readonly directFd: number | undefined
}

export class FileDevice implements BlockDevice {
  readonly id: string
  readonly tier: Tier
  readonly size: number
  readonly sectorSize: number
  readonly isSparse: boolean
  /** This call of `open` made it, or gave an empty file its size: there is nothing in it. */
  readonly isNew: boolean
  readonly #fd: number
  /** For durable writes in one call, none where that is of no use; and those of them that no write uses now. */
  readonly #durable: readonly DurablePath[]
  readonly #idleDurable: DurablePath[]
  /** For what is read once, where there is such a way. */
  readonly #directReadFd: number | undefined
  readonly #path: string
  /** Why every call rejects from now on: closed, or a sync or durable write failed. */
  #ended: HitherError | undefined
  #underWay = 0
  #onIdle: (() => void) | undefined
  #closing: Promise<void> | undefined
  /** Writes that have ended, and how many of them the last good sync is known to cover; −1: not even what was there. */
  #written = 0
  #synced = -1
  #syncFailure: HitherError | undefined
  #syncRunning = false
  /** The file system, or the disk, takes no direct IO of ours. */
  #refusesDirect = false
  /** The sync that has not started yet; all who ask now share it. */
  #nextSync: Promise<void> | undefined
  #startNextSync: (() => void) | undefined

  private constructor(
    path: string,
    options: FileDeviceOptions,
    medium: Medium,
    durable: readonly DurablePath[],
    directReadFd: number | undefined,
  ) {
    this.#path = path
    this.#fd = medium.fd
    this.#durable = durable
    this.#directReadFd = directReadFd
    this.#idleDurable = [...durable]
    this.id = options.id
    this.tier = options.tier
    this.size = medium.size
    this.sectorSize = medium.sectorSize
    this.isSparse = medium.isSparse
    this.isNew = medium.isNew
  }

  /**
   * Opens, or with `create` makes, the device. Rejects with `BAD_LOCATION` (not there, not allowed, not a file),
   * `BAD_SETTING` (size missing or not what is there), `DATA_IN_USE` (a block device that is mounted or open
   * elsewhere), `DEVICE_FULL`.
   */
  static async open(path: string, options: FileDeviceOptions): Promise<FileDevice> {
    const medium = await openMedium(path, options)
    const durable = await openDurable(path, options, medium.fd)
    const directReadFd = process.platform === 'linux' ? await openDirect(path, constants.O_RDONLY) : undefined
    return new FileDevice(path, options, medium, durable, directReadFd)
  }

  read(offset: number, target: Uint8Array, use?: ReadUse): Promise<void> {
    const { length } = target
    const refusal = this.#ended ?? rangeError(this, offset, length)
    if (refusal) return Promise.reject(refusal)
    if (length === 0) return Promise.resolve()
    this.#underWay += 1
    return new Promise((resolve, reject) => {
      const settle = (error: Error | null): void => {
        this.#endIo()
        if (error) reject(this.#failure('read', error))
        else resolve()
      }
      const readAsEver = (): void => readFully(this.#fd, offset, target, settle)
      const settleDirect = (whole: boolean, error: NodeJS.ErrnoException | null): void => {
        this.#refusesDirect ||= isRefused(error)
        if (whole || (error !== null && !isRefused(error))) settle(error)
        else readAsEver()
      }
      const fd = use === 'once' && this.#mayBeDirect(offset, length) ? this.#directReadFd : undefined
      if (fd === undefined || !readDirect(fd, offset, target, settleDirect)) readAsEver()
    })
  }

  #mayBeDirect(offset: number, length: number): boolean {
    return !this.#refusesDirect && isForDirect(offset, length)
  }

  write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    const length = partsLength(parts)
    const refusal = this.#ended ?? rangeError(this, offset, length)
    if (refusal) return Promise.reject(refusal)
    return length === 0 ? Promise.resolve() : this.#write(offset, parts)
  }

  writeDurably(offset: number, parts: Uint8Array | readonly Uint8Array[], use?: WriteUse): Promise<void> {
    const length = partsLength(parts)
    const refusal = this.#ended ?? rangeError(this, offset, length)
    if (refusal) return Promise.reject(refusal)
    if (length === 0) return Promise.resolve()
    const path = this.#idleDurable.pop()
    if (path === undefined) return this.#writeThenSync(offset, parts)
    // Small writes to a page that is not in the cache have it read first.
    const isDirect = use !== 'rewritten' && this.#mayBeDirect(offset, length)
    return this.#writeThrough(path, offset, parts, isDirect)
  }

  sync(): Promise<void> {
    return this.#ended ? Promise.reject(this.#ended) : this.#shareSync()
  }

  #write(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    this.#underWay += 1
    return new Promise((resolve, reject) => {
      writeParts(this.#fd, offset, parts, (error) => {
        this.#written += 1
        this.#endIo()
        if (error) reject(this.#failure('write', error))
        else resolve()
      })
    })
  }

  #writeThrough(
    path: DurablePath,
    offset: number,
    parts: Uint8Array | readonly Uint8Array[],
    isDirect: boolean,
  ): Promise<void> {
    this.#underWay += 1
    return new Promise((resolve, reject) => {
      const settle = (error: NodeJS.ErrnoException | null): void => {
        this.#idleDurable.push(path)
        if (!error) resolve()
        else if (isFull(error)) this.#writeThenSync(offset, parts).then(resolve, reject)
        else reject(this.#endWith(error))
        this.#endIo()
      }
      const writeAsEver = (): void => writeParts(path.fd, offset, parts, settle)
      const settleDirect = (error: NodeJS.ErrnoException | null): void => {
        this.#refusesDirect ||= isRefused(error)
        if (isRefused(error)) writeAsEver()
        else settle(error)
      }
      const fd = isDirect ? path.directFd : undefined
      if (fd === undefined || !writeDirect(fd, offset, parts, settleDirect)) writeAsEver()
    })
  }

  async #writeThenSync(offset: number, parts: Uint8Array | readonly Uint8Array[]): Promise<void> {
    this.#underWay += 1
    try {
      await this.#write(offset, parts)
      await this.#shareSync()
    } finally {
      this.#endIo()
    }
  }

  #shareSync(): Promise<void> {
    if (this.#nextSync) return this.#nextSync
    // A running sync may fail yet, and then nothing that it should cover is durable: wait for it, also with nothing new.
    if (!this.#syncRunning && this.#synced === this.#written) return Promise.resolve()
    this.#underWay += 1
    this.#nextSync = new Promise((resolve, reject) => {
      this.#startNextSync = () => this.#runSync(resolve, reject)
    })
    // One turn later: the writes that end in this turn share it.
    if (!this.#syncRunning) setImmediate(this.#startNextSync!)
    return this.#nextSync
  }

  trim(offset: number, length: number): Promise<void> {
    const refusal = this.#ended ?? rangeError(this, offset, length)
    return refusal ? Promise.reject(refusal) : Promise.resolve()
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#ended = new HitherError('DEVICE_FAILED', `device ${this.id} is closed`)
    if (this.#underWay > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    for (const fd of [this.#fd, ...descriptorsOf(this.#durable)]) await closeFd(fd)
    if (this.#directReadFd !== undefined) await closeFd(this.#directReadFd)
  }

  #runSync(resolve: () => void, reject: (error: HitherError) => void): void {
    this.#nextSync = undefined
    this.#startNextSync = undefined
    this.#syncRunning = true
    const covered = this.#written
    const settle = (error: Error | null): void => {
      this.#syncRunning = false
      if (error) {
        reject(this.#endWith(error))
      } else {
        this.#synced = covered
        resolve()
      }
      this.#startNextSync?.()
      this.#endIo()
    }
    if (this.#syncFailure) settle(this.#syncFailure)
    else dataSync(this.#fd, settle)
  }

  /** Something may not be durable that should be. */
  #endWith(error: Error): HitherError {
    this.#syncFailure ??= new HitherError(
      'DEVICE_FAILED',
      `device ${this.id} (${this.#path}) could not make its writes durable, and is not trusted any more: ${error.message}`,
      { cause: error },
    )
    this.#ended = this.#syncFailure
    return this.#syncFailure
  }

  #endIo(): void {
    this.#underWay -= 1
    if (this.#underWay === 0) this.#onIdle?.()
  }

  #failure(what: string, error: NodeJS.ErrnoException): HitherError {
    if (isFull(error)) {
      return new HitherError(
        'DEVICE_FULL',
        `the file system under device ${this.id} (${this.#path}) is full; free space there, or give the device less`,
        { cause: error },
      )
    }
    return new HitherError(
      'DEVICE_FAILED',
      `${what} on device ${this.id} (${this.#path}): ${error.message}`,
      {
        cause: error,
      },
    )
  }
}

const openFd = promisify(fsOpen)
const closeFd = promisify(fsClose)
const statFd = promisify(fsFstat)
const truncateFd = promisify(ftruncate)
const syncFd = promisify(fsync)

/** Of direct IO, which the kernel refuses before it begins; some file systems say that they do not support it. */
const REFUSALS: readonly unknown[] = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP']

function isRefused(error: NodeJS.ErrnoException | null): boolean {
  return REFUSALS.includes(error?.code)
}

function isFull(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ENOSPC' || error.code === 'EDQUOT' || error.code === 'EFBIG'
}

async function openMedium(path: string, options: FileDeviceOptions): Promise<Medium> {
  let fd: number
  try {
    // O_EXCL without O_CREAT means, for a block device only: not while it is mounted or held by another.
    const flags = constants.O_RDWR | (options.create ? constants.O_CREAT : 0)
    fd = await openFd(path, flags, 0o600)
  } catch (error) {
    throw openFailure(path, options, error as NodeJS.ErrnoException)
  }
  try {
    const stat = await statFd(fd)
    if (stat.isBlockDevice()) {
      await closeFd(fd)
      fd = await openFd(path, constants.O_RDWR | constants.O_EXCL)
      const { size, sectorSize } = await blockDeviceGeometry(path, stat.rdev)
      checkSize(path, options.size, size)
      return { fd, size, sectorSize, isSparse: false, isNew: false }
    }
    if (!stat.isFile()) throw new HitherError('BAD_LOCATION', `${path} is neither a file nor a block device`)
    if (stat.size > 0 || !options.create) {
      checkSize(path, options.size, stat.size)
      return { fd, size: stat.size, sectorSize: SECTOR_BYTES, isSparse: true, isNew: false }
    }
    if (!options.size) throw new HitherError('BAD_SETTING', `give a size to create the device file ${path}`)
    await truncateFd(fd, options.size)
    await syncFd(fd)
    await syncFolder(dirname(path))
    return { fd, size: options.size, sectorSize: SECTOR_BYTES, isSparse: true, isNew: true }
  } catch (error) {
    await closeFd(fd).catch(() => undefined)
    throw error instanceof HitherError ? error : openFailure(path, options, error as NodeJS.ErrnoException)
  }
}

/** For durable writes to what `fd` has open, which is closed when this rejects. */
async function openDurable(path: string, options: FileDeviceOptions, fd: number): Promise<DurablePath[]> {
  if (process.platform !== 'linux') return []
  const opened: DurablePath[] = []
  try {
    while (opened.length < DURABLE_WRITES_MAX) {
      const durableFd = await openFd(path, constants.O_RDWR | constants.O_DSYNC)
      opened.push({ fd: durableFd, directFd: await openDirect(path, constants.O_RDWR | constants.O_DSYNC) })
    }
    return opened
  } catch (error) {
    for (const each of [fd, ...descriptorsOf(opened)]) await closeFd(each).catch(() => undefined)
    throw openFailure(path, options, error as NodeJS.ErrnoException)
  }
}

function descriptorsOf(paths: readonly DurablePath[]): number[] {
  return paths.flatMap(({ fd, directFd }) => (directFd === undefined ? [fd] : [fd, directFd]))
}

function checkSize(path: string, wanted: number | undefined, actual: number): void {
  if (wanted === undefined || wanted === actual) return
  throw new HitherError('BAD_SETTING', `${path} has ${actual} bytes, but the settings say ${wanted}`)
}

/** A new name is durable only once its folder is. */
async function syncFolder(path: string): Promise<void> {
  const fd = await openFd(path, constants.O_RDONLY)
  try {
    await syncFd(fd)
  } finally {
    await closeFd(fd)
  }
}

/** Node cannot ask a block device for its size; Linux tells it in /sys, in units of 512 bytes whatever the sector. */
async function blockDeviceGeometry(
  path: string,
  rdev: number,
): Promise<{ size: number; sectorSize: number }> {
  // glibc's dev_t: 12 bits of major above 8 of minor, the high bits of minor above them.
  const major = Math.floor(rdev / 2 ** 8) & 0xfff
  const minor = (rdev & 0xff) | (Math.floor(rdev / 2 ** 12) & 0xfff00)
  const folder = `/sys/dev/block/${major}:${minor}`
  try {
    const size = Number(await readFile(`${folder}/size`, 'utf8')) * 512
    // A partition has no queue of its own; its disk is the folder above.
    const sector = await readFile(`${folder}/queue/logical_block_size`, 'utf8').catch(() =>
      readFile(`${folder}/../queue/logical_block_size`, 'utf8'),
    )
    return { size, sectorSize: Number(sector) }
  } catch (error) {
    throw new HitherError('BAD_LOCATION', `cannot find the size of block device ${path} in ${folder}`, {
      cause: error,
    })
  }
}

function openFailure(path: string, options: FileDeviceOptions, error: NodeJS.ErrnoException): HitherError {
  const cause = { cause: error }
  if (isFull(error)) {
    return new HitherError('DEVICE_FULL', `no space to create the ${options.size} bytes of ${path}`, cause)
  }
  if (error.code === 'EBUSY') {
    return new HitherError('DATA_IN_USE', `${path} is mounted, or open in another process`, cause)
  }
  return new HitherError('BAD_LOCATION', `cannot open device ${path}: ${error.message}`, cause)
}
