/**
 * Where an export goes. A regular file is written beside its final name and renamed when it is complete, so that what
 * was there before is replaced by a whole image or not at all; what is zero stays a hole. Anything else (standard
 * output, a pipe, a device) gets every byte in order.
 */
import { createWriteStream } from 'node:fs'
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { Writable } from 'node:stream'
import { BLOCK_BYTES, MiB } from '../../base/units.ts'
import type { CliIo } from '../io.ts'
import { fileFailed } from './file-errors.ts'
import { segmentsOf } from './zeros.ts'

export interface Sink {
  /** Writes come in order of offset; what lies between them is zero. */
  write(offset: number, bytes: Buffer): Promise<void>
  /** Everything is written and `size` bytes long. */
  finish(size: number): Promise<void>
  /** Leaves nothing half-written behind, as far as that is possible. */
  abandon(): Promise<void>
}

export async function openSink(io: CliIo, file: string): Promise<Sink> {
  if (file === '-') return streamSink(io.stdout, 'standard output', false)
  const path = resolve(io.cwd, file)
  try {
    const stats = await stat(path).catch(() => undefined)
    if (stats?.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' })
    if (stats !== undefined && !stats.isFile()) {
      return streamSink(createWriteStream(path), file, true)
    }
    const target = stats === undefined ? path : await realpath(path)
    const partial = join(dirname(target), `.${basename(target)}.${process.pid}.partial`)
    return fileSink(await open(partial, 'w'), { file, partial, target })
  } catch (error) {
    throw fileFailed(file, error)
  }
}

function fileSink(handle: FileHandle, names: { file: string; partial: string; target: string }): Sink {
  const { file, partial, target } = names
  const guarded = async (work: () => Promise<void>) => {
    try {
      await work()
    } catch (error) {
      throw fileFailed(file, error)
    }
  }
  return {
    write: (offset, bytes) =>
      guarded(async () => {
        for (const { start, end, zero } of segmentsOf(bytes, BLOCK_BYTES)) {
          if (!zero) await writeAll(handle, bytes.subarray(start, end), offset + start)
        }
      }),
    finish: (size) =>
      guarded(async () => {
        await handle.truncate(size)
        await handle.sync()
        await handle.close()
        await rename(partial, target)
      }),
    abandon: async () => {
      await handle.close().catch(() => {})
      await rm(partial, { force: true })
    },
  }
}

async function writeAll(handle: FileHandle, bytes: Buffer, offset: number): Promise<void> {
  let written = 0
  while (written < bytes.length) {
    const { bytesWritten } = await handle.write(bytes, written, bytes.length - written, offset + written)
    written += bytesWritten
  }
}

const ZEROS = Buffer.alloc(1 * MiB)

/** `ends`: the stream is ours to end. */
function streamSink(stream: Writable, name: string, ends: boolean): Sink {
  let position = 0
  let failure: Error | undefined
  stream.on('error', (error) => {
    failure ??= error
  })
  const put = (bytes: Buffer) =>
    new Promise<void>((resolve, reject) => {
      position += bytes.length
      stream.write(bytes, (error) => {
        const reason = error ?? failure
        if (reason === undefined || reason === null) resolve()
        else reject(fileFailed(name, reason))
      })
    })
  const zerosUpTo = async (offset: number) => {
    while (position < offset) await put(ZEROS.subarray(0, Math.min(ZEROS.length, offset - position)))
  }
  return {
    write: async (offset, bytes) => {
      await zerosUpTo(offset)
      await put(bytes)
    },
    finish: async (size) => {
      await zerosUpTo(size)
      if (!ends) return
      await new Promise<void>((resolve) => stream.end(() => resolve()))
      if (failure !== undefined) throw fileFailed(name, failure)
    },
    abandon: async () => {
      if (ends) stream.destroy()
    },
  }
}
