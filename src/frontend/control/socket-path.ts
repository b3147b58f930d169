/**
 * Where the control socket is. Normally at the path that was asked for, beside the data. The name of a unix socket is
 * limited to about 100 bytes, so under a deeper folder the socket lives in the user's runtime folder and the path holds
 * a small pointer file instead; clients follow it without noticing.
 */
import { createHash } from 'node:crypto'
import { lstat, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { HitherError } from '../../base/errors.ts'

/** Bytes of a socket's name that every system takes: macOS has 104 with the closing zero, Linux 108. */
const SOCKET_PATH_BYTES_MAX = 103
const POINTER_HEAD = 'hither control socket:'

/** Folder for sockets that have no data folder. Only its user can look into it; see `ownFolder`. */
export function runtimeFolder(): string {
  const base = process.env['XDG_RUNTIME_DIR']
  if (base !== undefined && base !== '') return join(base, 'hither')
  return join(tmpdir(), `hither-${process.getuid?.() ?? 'user'}`)
}

/** True when the folder is there, is ours and is closed to others, so that what listens in it is ours too. */
export async function ownFolder(folder: string): Promise<boolean> {
  const stats = await lstat(folder).catch(() => undefined)
  if (stats === undefined || !stats.isDirectory()) return false
  const uid = process.getuid?.()
  return uid === undefined || (stats.uid === uid && (stats.mode & 0o077) === 0)
}

/**
 * Makes `path` free to listen at, and says where to listen: at `path` itself, or at a shorter one to which `path` now
 * points. What a dead server left is removed. Throws `DATA_IN_USE` when a live one listens, `BAD_SETTING` when
 * something else is in the way.
 */
export async function claimSocketPath(path: string): Promise<string> {
  await makeFolderOf(path)
  const before = await resolveSocketPath(path)
  if (before !== undefined && (await isListening(before))) {
    throw new HitherError('DATA_IN_USE', `another cluster listens at ${path}`)
  }
  if (before !== undefined) await removeSocketPath(path, before)
  if (Buffer.byteLength(path) <= SOCKET_PATH_BYTES_MAX) return path
  const name = createHash('sha256').update(resolve(path)).digest('hex').slice(0, 16)
  const target = join(runtimeFolder(), `${name}.sock`)
  await makeFolderOf(target)
  if (await isListening(target)) {
    throw new HitherError('DATA_IN_USE', `another cluster listens at ${path}`)
  }
  await rm(target, { force: true })
  await writeFile(path, `${POINTER_HEAD} ${target}\n`, { mode: 0o600, flag: 'wx' })
  return target
}

/** Undoes `claimSocketPath`. */
export async function removeSocketPath(path: string, target: string): Promise<void> {
  await rm(target, { force: true })
  if (target !== path) await rm(path, { force: true })
}

/**
 * The socket to which `path` leads, or `undefined` when nothing is there. Throws `BAD_SETTING` when it is a file that
 * has nothing to do with hither.
 */
export async function resolveSocketPath(path: string): Promise<string | undefined> {
  const stats = await lstat(path).catch(() => undefined)
  if (stats === undefined) return undefined
  if (stats.isSocket()) return path
  if (stats.isFile() && stats.size < 4_096) {
    const text = await readFile(path, 'utf8')
    if (text.startsWith(POINTER_HEAD)) return text.slice(POINTER_HEAD.length).trim()
  }
  throw new HitherError('BAD_SETTING', `${path} is not a control socket`)
}

async function makeFolderOf(path: string): Promise<void> {
  const folder = dirname(path)
  if (folder !== runtimeFolder()) {
    await mkdir(folder, { recursive: true })
    return
  }
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (!(await ownFolder(folder))) {
    throw new HitherError('BAD_SETTING', `${folder} must belong to you and be closed to others (mode 700)`)
  }
}

function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path)
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    // Refused or gone: nobody. Anything else (no permission, queue full): somebody.
    socket.once('error', (error: NodeJS.ErrnoException) => {
      resolve(!['ECONNREFUSED', 'ENOENT', 'ENOTSOCK'].includes(error.code ?? ''))
    })
  })
}
