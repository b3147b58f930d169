/**
 * One process at a time on a data folder: two on the same devices would destroy them.
 *
 * Two locks are held together. A socket name in Linux's abstract space, made from the folder's device and inode: the
 * kernel takes it back when the process ends, however it ends, and two processes cannot both get it. And a file in the
 * folder that names the holder, for the error message and for processes in another network namespace (containers),
 * which do not see the socket. The file of a dead holder is taken over: dead means that no process has its pid, or
 * that the one that has it started at another time (pids are used again), or that the machine has booted since.
 */
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { HitherError } from '../../base/errors.ts'

const LOCK_FILE = 'in-use.json'

export interface DataLock {
  /** Lets others in. Calling it twice does nothing. */
  release(): Promise<void>
}

interface Holder {
  readonly pid: number
  /** Clock ticks from boot to the start of the process; `''` where there is no /proc. */
  readonly startTicks: string
  readonly bootId: string
}

/** Makes the folder when there is none, and takes its lock. Rejects with `DATA_IN_USE`, naming the pid that has it. */
export async function acquireDataLock(dir: string): Promise<DataLock> {
  const path = join(dir, LOCK_FILE)
  const socket = await takeSocket(dir, path)
  try {
    const holder = await readHolder(path)
    if (holder && (await isAlive(holder))) throw inUse(dir, holder)
    const own: Holder = {
      pid: process.pid,
      startTicks: await startTicksOf(process.pid),
      bootId: await bootId(),
    }
    await writeFile(`${path}.new`, `${JSON.stringify(own)}\n`)
    await rename(`${path}.new`, path)
  } catch (error) {
    await closeSocket(socket)
    throw error
  }
  let released: Promise<void> | undefined
  return {
    release() {
      released ??= rm(path, { force: true }).then(() => closeSocket(socket))
      return released
    },
  }
}

/** `undefined` where abstract sockets do not exist: then the file alone must do. */
async function takeSocket(dir: string, lockPath: string): Promise<Server | undefined> {
  let identity: string
  try {
    await mkdir(dir, { recursive: true })
    const { dev, ino } = await stat(dir)
    identity = `${dev}-${ino}`
  } catch (error) {
    throw new HitherError('BAD_LOCATION', `cannot use the data folder ${dir}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  const server = createServer((connection) => connection.destroy())
  const failure = await new Promise<NodeJS.ErrnoException | undefined>((resolve) => {
    server.once('error', resolve)
    server.listen(`\0hither-data-${identity}`, () => resolve(undefined))
  })
  if (!failure) return server.unref()
  if (failure.code === 'EADDRINUSE') throw inUse(dir, await readHolder(lockPath))
  return undefined
}

function closeSocket(socket: Server | undefined): Promise<void> {
  if (!socket) return Promise.resolve()
  return new Promise((resolve) => {
    socket.close(() => resolve())
  })
}

function inUse(dir: string, holder: Holder | undefined): HitherError {
  const who = holder ? `process ${holder.pid}` : 'another process'
  return new HitherError('DATA_IN_USE', `${who} is using the data in ${dir}; stop it first`)
}

/** `undefined` when there is no lock file, or a crash left one that is not whole. */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const found: Partial<Holder> = JSON.parse(await readFile(path, 'utf8'))
    if (typeof found.pid !== 'number') return undefined
    return { pid: found.pid, startTicks: String(found.startTicks), bootId: String(found.bootId) }
  } catch {
    return undefined
  }
}

async function isAlive(holder: Holder): Promise<boolean> {
  if (holder.bootId !== (await bootId())) return false
  try {
    process.kill(holder.pid, 0)
  } catch (error) {
    // EPERM: it is there, and belongs to somebody else.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false
  }
  return holder.startTicks === (await startTicksOf(holder.pid))
}

/** Field 22 of /proc/PID/stat, counted from behind the name, which may itself hold spaces and brackets. */
async function startTicksOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

function bootId(): Promise<string> {
  return readFile('/proc/sys/kernel/random/boot_id', 'utf8').then(
    (id) => id.trim(),
    () => '',
  )
}
