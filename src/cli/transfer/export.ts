/**
 * `disk export`: a disk to a raw image. Only runs that hold data travel, several pieces in flight; the rest stays a hole
 * in a file and becomes zeros in a pipe. A disk that is written meanwhile is exported as it is read; export a clone of a
 * snapshot to have one moment.
 */
import { HitherError } from '../../base/errors.ts'
import { GiB } from '../../base/units.ts'
import { type ControlClient, TRANSFER_BYTES_MAX } from '../../frontend/control/index.ts'
import type { CommandContext } from '../context.ts'
import { ProgressBar } from '../progress.ts'
import type { TransferResult } from './import.ts'
import { pipeline } from './pipeline.ts'
import { openSink, type Sink } from './sink.ts'

/** Pieces in flight. */
const WINDOW = 8
/** How much of the disk one question about its runs covers. */
const RUNS_RANGE_BYTES = 1 * GiB

export async function exportDisk(
  context: CommandContext,
  name: string,
  file: string,
): Promise<TransferResult> {
  if (file === '-' && context.io.stdout.isTTY) {
    throw new HitherError('BAD_ARGUMENT', 'a disk image would garble the terminal; redirect the output')
  }
  return await context.withClient(
    async (client) => {
      const { transfer, size } = await client.call('transfer.export', { name })
      const sink = await openSink(context.io, file)
      return await drain(context, { client, transfer, size, name }, sink)
    },
    { handlesSignal: true },
  )
}

interface ExportedDisk {
  readonly client: ControlClient
  readonly transfer: number
  readonly size: number
  readonly name: string
}

async function drain(context: CommandContext, disk: ExportedDisk, sink: Sink): Promise<TransferResult> {
  const { signal, io } = context
  const { client, transfer, size, name } = disk
  const startedAt = performance.now()
  const progress = new ProgressBar(io.stderr, { label: name, totalBytes: size, shown: !context.json })
  let dataBytes = 0
  try {
    await pipeline({
      source: pieces(disk),
      window: WINDOW,
      signal,
      start: (piece) => client.call('transfer.read', { transfer, ...piece }),
      finish: async (bytes, { offset, length }) => {
        if (bytes.byteLength !== length) {
          throw new HitherError('PROTOCOL_ERROR', 'the server sent a piece of the wrong length')
        }
        await sink.write(offset, Buffer.from(bytes.buffer, bytes.byteOffset, length))
        dataBytes += length
        progress.update(offset + length)
      },
    })
    signal.throwIfAborted()
    await sink.finish(size)
    await client.call('transfer.finish', { transfer })
    progress.clear()
    return { disk: name, size, dataBytes, tookMs: performance.now() - startedAt }
  } catch (error) {
    progress.clear()
    await sink.abandon()
    if (!signal.aborted) throw error
    throw new HitherError('CANCELLED', 'the export was interrupted; nothing of it was kept', { cause: error })
  }
}

/** Runs of data, in order, cut to what one request may carry. */
async function* pieces(disk: ExportedDisk): AsyncGenerator<{ offset: number; length: number }, void> {
  const { client, transfer, size } = disk
  for (let from = 0; from < size; from += RUNS_RANGE_BYTES) {
    const length = Math.min(RUNS_RANGE_BYTES, size - from)
    const runs = await client.call('transfer.runs', { transfer, offset: from, length })
    for (const run of runs) {
      const end = run.offset + run.length
      for (let offset = run.offset; offset < end; offset += TRANSFER_BYTES_MAX) {
        yield { offset, length: Math.min(TRANSFER_BYTES_MAX, end - offset) }
      }
    }
  }
}
