/** Where an import comes from: a regular file, whose size is known, or a stream (pipe, standard input, device). */
import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { resolve } from 'node:path'
import { addAbortSignal, type Readable } from 'node:stream'
import { HitherError } from '../../base/errors.ts'
import type { CliIo } from '../io.ts'
import { fileFailed } from './file-errors.ts'

export interface Chunk {
  readonly offset: number
  readonly bytes: Buffer
}

export interface Source {
  /** Bytes; `undefined` when it is known only at the end. */
  readonly size: number | undefined
  /**
   * The contents in order, in chunks of `chunkBytes` (the last may be shorter). A chunk's bytes are used again after
   * `lifetime` more chunks.
   */
  chunks(chunkBytes: number, lifetime: number): AsyncIterable<Chunk>
  close(): Promise<void>
}

export async function openSource(io: CliIo, file: string, signal: AbortSignal): Promise<Source> {
  if (file === '-') return streamSource(io.stdin, 'standard input', signal)
  const path = resolve(io.cwd, file)
  const stats = await stat(path).catch((error) => {
    throw fileFailed(file, error)
  })
  if (stats.isDirectory()) throw new HitherError('BAD_ARGUMENT', `${file} is a folder, not a disk image`)
  if (!stats.isFile()) return streamSource(createReadStream(path), file, signal)
  const handle = await open(path, 'r').catch((error) => {
    throw fileFailed(file, error)
  })
  return fileSource(handle, file, stats.size)
}

function fileSource(handle: FileHandle, file: string, size: number): Source {
  return {
    size,
    async *chunks(chunkBytes, lifetime) {
      const buffers = makeBuffers(chunkBytes, lifetime)
      for (let offset = 0, turn = 0; offset < size; offset += chunkBytes, turn += 1) {
        const bytes = buffers[turn % buffers.length]!.subarray(0, Math.min(chunkBytes, size - offset))
        await fill(handle, file, offset, bytes)
        yield { offset, bytes }
      }
    },
    close: () => handle.close(),
  }
}

async function fill(handle: FileHandle, file: string, offset: number, target: Buffer): Promise<void> {
  let filled = 0
  while (filled < target.length) {
    const { bytesRead } = await handle
      .read(target, filled, target.length - filled, offset + filled)
      .catch((error) => {
        throw fileFailed(file, error)
      })
    if (bytesRead === 0) {
      throw new HitherError('FILE_FAILED', `${file} became shorter while it was being imported`)
    }
    filled += bytesRead
  }
}

function streamSource(stream: Readable, name: string, signal: AbortSignal): Source {
  addAbortSignal(signal, stream)
  return {
    size: undefined,
    async *chunks(chunkBytes, lifetime) {
      const buffers = makeBuffers(chunkBytes, lifetime)
      let offset = 0
      let filled = 0
      let turn = 0
      try {
        for await (const piece of stream as AsyncIterable<Buffer>) {
          for (let at = 0; at < piece.length; ) {
            const buffer = buffers[turn % buffers.length]!
            const taken = piece.copy(buffer, filled, at)
            at += taken
            filled += taken
            if (filled < chunkBytes) continue
            yield { offset, bytes: buffer }
            offset += chunkBytes
            filled = 0
            turn += 1
          }
        }
      } catch (error) {
        throw fileFailed(name, error)
      }
      if (filled > 0) yield { offset, bytes: buffers[turn % buffers.length]!.subarray(0, filled) }
    },
    close: async () => {
      stream.destroy()
    },
  }
}

function makeBuffers(chunkBytes: number, lifetime: number): Buffer[] {
  return Array.from({ length: lifetime + 1 }, () => Buffer.allocUnsafeSlow(chunkBytes))
}
