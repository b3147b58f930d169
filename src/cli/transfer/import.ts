/**
 * `disk import`: a raw image onto a disk.
 *
 * 1. The disk is created, as large as the image (rounded up to a sector), or opened when it is there. The server removes
 *    a disk that it created for us when we do not finish, whether we say so or just disappear.
 * 2. The image is read in order; what is not zero is written, several chunks in flight. On a disk that was there before,
 *    what is zero is made zero.
 * 3. The disk is flushed and kept. Only then the command has succeeded.
 *
 * The size of a pipe shows only at its end, so its disk starts small, doubles as needed, and is cut to size at last:
 * thin disks make that free.
 */
import { HitherError } from '../../base/errors.ts'
import { alignUp, GiB, IO_BYTES_MAX, KiB, SECTOR_BYTES } from '../../base/units.ts'
import { type ControlClient, TRANSFER_BYTES_MAX } from '../../frontend/control/index.ts'
import type { CommandContext } from '../context.ts'
import { ProgressBar } from '../progress.ts'
import { pipeline } from './pipeline.ts'
import { type Chunk, openSource, type Source } from './source.ts'
import { segmentsOf } from './zeros.ts'

export interface ImportOptions {
  /** Bytes of a new disk, when it shall be larger than the image. */
  readonly size?: number
  readonly vm?: string
  readonly node?: string
  readonly container?: string
  readonly overwrite?: boolean
}

export interface TransferResult {
  readonly disk: string
  /** Bytes of the disk. */
  readonly size: number
  /** Bytes that were not zero and travelled. */
  readonly dataBytes: number
  readonly tookMs: number
}

/** Chunks in flight. */
const WINDOW = 8
/** Shorter zeros travel with the data around them; the engine finds them again. */
const ZERO_BYTES_MIN = 64 * KiB
const GROWING_SIZE_FIRST = 1 * GiB

export async function importDisk(
  context: CommandContext,
  file: string,
  name: string,
  options: ImportOptions,
): Promise<TransferResult> {
  const source = await openSource(context.io, file, context.signal)
  try {
    const size = wantedSize(file, source.size, options.size)
    return await context.withClient(
      async (client) => {
        const begun = await client.call('transfer.import', {
          name,
          size: size ?? GROWING_SIZE_FIRST,
          vm: options.vm,
          node: options.node,
          container: options.container,
          overwrite: options.overwrite ?? false,
          growing: size === undefined,
        })
        const target = new ImportTarget(client, begun, name)
        return await fill(context, source, target, size === undefined)
      },
      { handlesSignal: true },
    )
  } finally {
    await source.close()
  }
}

/** Bytes of a new disk, or `undefined` when only the end of the pipe will tell. */
function wantedSize(
  file: string,
  imageBytes: number | undefined,
  asked: number | undefined,
): number | undefined {
  if (asked !== undefined && imageBytes !== undefined && asked < imageBytes) {
    throw new HitherError('BAD_ARGUMENT', `${file} has ${imageBytes} bytes, which is more than --size`)
  }
  const size = asked ?? (imageBytes === undefined ? undefined : alignUp(imageBytes, SECTOR_BYTES))
  if (size === 0) throw new HitherError('BAD_ARGUMENT', `${file} is empty; say --size to make an empty disk`)
  return size
}

async function fill(
  context: CommandContext,
  source: Source,
  target: ImportTarget,
  growing: boolean,
): Promise<TransferResult> {
  const { signal, io } = context
  const startedAt = performance.now()
  const progress = new ProgressBar(io.stderr, {
    label: target.name,
    totalBytes: source.size,
    shown: !context.json,
  })
  let end = 0
  try {
    await pipeline({
      source: target.makingRoom(source.chunks(TRANSFER_BYTES_MAX, WINDOW + 1)),
      window: WINDOW,
      signal,
      start: (chunk) => target.put(chunk),
      finish: (_, chunk) => {
        end = chunk.offset + chunk.bytes.length
        progress.update(end)
      },
    })
    signal.throwIfAborted()
    await target.endAt(end, growing)
    progress.clear()
    return {
      disk: target.name,
      size: target.size,
      dataBytes: target.dataBytes,
      tookMs: performance.now() - startedAt,
    }
  } catch (error) {
    progress.clear()
    const removed = await target.abandon()
    if (!signal.aborted) throw error
    const left = removed ? `disk ${target.name} was removed` : `disk ${target.name} holds a part of the image`
    throw new HitherError('CANCELLED', `the import was interrupted; ${left}`, { cause: error })
  }
}

/** The disk at the other end. */
class ImportTarget {
  readonly name: string
  readonly #client: ControlClient
  readonly #transfer: number
  readonly #created: boolean
  size: number
  dataBytes = 0

  constructor(
    client: ControlClient,
    begun: { transfer: number; size: number; created: boolean },
    name: string,
  ) {
    this.name = name
    this.#client = client
    this.#transfer = begun.transfer
    this.#created = begun.created
    this.size = begun.size
  }

  /** Passes chunks on, each when the disk is large enough for it. */
  async *makingRoom(chunks: AsyncIterable<Chunk>): AsyncGenerator<Chunk, void> {
    for await (const chunk of chunks) {
      const end = chunk.offset + chunk.bytes.length
      if (end > this.size) {
        if (!this.#created) {
          throw new HitherError('OUT_OF_RANGE', `the image is larger than disk ${this.name}; resize it first`)
        }
        await this.#resize(Math.max(this.size * 2, alignUp(end, SECTOR_BYTES)))
      }
      yield chunk
    }
  }

  async put({ offset, bytes }: Chunk): Promise<void> {
    const transfer = this.#transfer
    await Promise.all(
      segmentsOf(bytes, ZERO_BYTES_MIN).map(async ({ start, end, zero }) => {
        if (!zero) {
          await this.#client.call(
            'transfer.write',
            { transfer, offset: offset + start },
            bytes.subarray(start, end),
          )
          this.dataBytes += end - start
        } else if (!this.#created) {
          await this.#client.call('transfer.zero', { transfer, offset: offset + start, length: end - start })
        }
      }),
    )
  }

  /** The image ended: brings the rest of the disk in order, and keeps it. */
  async endAt(end: number, growing: boolean): Promise<void> {
    const transfer = this.#transfer
    if (!this.#created) {
      for (let offset = end; offset < this.size; offset += IO_BYTES_MAX) {
        const length = Math.min(IO_BYTES_MAX, this.size - offset)
        await this.#client.call('transfer.zero', { transfer, offset, length })
      }
    } else if (growing) {
      if (end === 0)
        throw new HitherError('BAD_ARGUMENT', 'the image is empty; say --size to make an empty disk')
      await this.#resize(alignUp(end, SECTOR_BYTES))
    }
    await this.#client.call('transfer.finish', { transfer })
  }

  /** Says whether the disk was removed. When the connection is gone, the server does the same by itself. */
  async abandon(): Promise<boolean> {
    try {
      const { removed } = await this.#client.call('transfer.abandon', { transfer: this.#transfer })
      return removed
    } catch {
      return this.#created
    }
  }

  async #resize(size: number): Promise<void> {
    if (size === this.size) return
    await this.#client.call('transfer.resize', { transfer: this.#transfer, size })
    this.size = size
  }
}
