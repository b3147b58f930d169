/**
 * Which control socket a command means. In order: `--control`, the environment's `HITHER_CONTROL`, the socket in
 * `./hither-data` if there is one, the socket of a cluster in memory. A folder stands for the socket in it.
 */
import { lstat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { ownFolder, runtimeFolder } from '../frontend/control/index.ts'
import type { CliIo } from './io.ts'

export const DEFAULT_DATA_FOLDER = './hither-data'
const SOCKET_NAME = 'control.sock'

/** Where a cluster with this data folder listens unless told otherwise; `undefined` means one in memory. */
export function controlPathOf(io: CliIo, dataFolder: string | undefined): string {
  return dataFolder === undefined
    ? join(runtimeFolder(), SOCKET_NAME)
    : join(resolve(io.cwd, dataFolder), SOCKET_NAME)
}

/** What `--control` or the environment names, as an absolute path of a socket. */
export async function givenControlPath(io: CliIo, option: string | undefined): Promise<string | undefined> {
  const given = option ?? io.env['HITHER_CONTROL']
  if (given === undefined || given === '') return undefined
  const path = resolve(io.cwd, given)
  const stats = await lstat(path).catch(() => undefined)
  return stats?.isDirectory() ? join(path, SOCKET_NAME) : path
}

export async function findControlPath(io: CliIo, option: string | undefined): Promise<string> {
  const given = await givenControlPath(io, option)
  if (given !== undefined) return given
  const beside = controlPathOf(io, DEFAULT_DATA_FOLDER)
  if (await exists(beside)) return beside
  // Whatever listens in a folder that others can write to may not be ours, so such a folder does not count.
  const inMemory = controlPathOf(io, undefined)
  if ((await ownFolder(runtimeFolder())) && (await exists(inMemory))) return inMemory
  return beside
}

async function exists(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined)) !== undefined
}
