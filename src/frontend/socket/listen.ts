/** What doors over sockets have in common before their first connection: checked settings, and listening. */
import type { Server } from 'node:net'
import { HitherError } from '../../base/errors.ts'

/** Resolves when `server` listens. Rejects with `IN_USE` when somebody listens there already, else `BAD_SETTING`. */
export function listening(
  server: Server,
  where: { host: string; port: number } | { path: string },
): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (error: NodeJS.ErrnoException): void => {
      server.off('listening', onListening)
      reject(listenError(error, 'path' in where ? where.path : `${where.host}:${where.port}`))
    }
    const onListening = (): void => {
      server.off('error', onError)
      resolve()
    }
    server.once('error', onError)
    server.once('listening', onListening)
    server.listen(where)
  })
}

/** The error of a socket that could not be bound to `where`. */
export function listenError(error: NodeJS.ErrnoException, where: string): HitherError {
  return error.code === 'EADDRINUSE'
    ? new HitherError('IN_USE', `somebody listens on ${where} already`, { cause: error })
    : new HitherError('BAD_SETTING', `cannot listen on ${where}: ${error.message}`, { cause: error })
}

/** Refuses a setting of a door with `BAD_SETTING` unless it is left out, or a whole number of at least `least`. */
export function atLeast(door: string, name: string, value: number | undefined, least: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least)) return
  throw new HitherError('BAD_SETTING', `${name} of an ${door} door must be a whole number, at least ${least}`)
}

/** Refuses what is no TCP port with `BAD_SETTING`. */
export function checkPort(port: number | undefined): void {
  if (port === undefined || (Number.isInteger(port) && port >= 0 && port < 65_536)) return
  throw new HitherError('BAD_SETTING', `${port} is no TCP port; use 0 for any that is free`)
}

/** A host as it stands in a URL. */
export function urlHost(host: string): string {
  return host.includes(':') ? `[${host}]` : host
}
