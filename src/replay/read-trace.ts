/** A block trace from a file, gzipped or not. */
import { readFile } from 'node:fs/promises'
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import { HitherError } from '../base/errors.ts'
import { formatOfName, parseTrace, TRACE_FORMATS, type Trace, type TraceFormat } from './trace.ts'

/**
 * @param wanted its format; by default the name of the file tells.
 * @throws `BAD_ARGUMENT` when it does not tell
 */
export async function readTrace(file: string, wanted?: TraceFormat): Promise<Trace> {
  const format = wanted ?? formatOfName(file)
  if (format === undefined) {
    throw new HitherError(
      'BAD_ARGUMENT',
      `the name of ${file} does not tell its format; it is one of ${TRACE_FORMATS.join(', ')}`,
    )
  }
  const stored = await readFile(file)
  const zipped = stored[0] === 0x1f && stored[1] === 0x8b
  const bytes = zipped ? await promisify(gunzip)(stored) : stored
  return parseTrace(bytes, format)
}
