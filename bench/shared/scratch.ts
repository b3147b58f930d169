/** A new folder for files of one measurement; gone with all that is in it when disposed. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Scratch extends AsyncDisposable {
  readonly path: string
}

export async function scratchFolder(parent: string = tmpdir()): Promise<Scratch> {
  const path = await mkdtemp(join(parent, 'hither-bench-'))
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true, maxRetries: 3 }) }
}
