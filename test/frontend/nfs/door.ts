/** Opens doors and clients for the tests of this folder, and closes them after each test. */
import { afterEach } from 'vitest'
import type { HitherError } from '../../../src/base/errors.ts'
import { type NfsOptions, type NfsServer, serveNfs } from '../../../src/frontend/nfs/index.ts'
import { Calls } from './calls.ts'
import { MemoryFileSystem, MemoryPath } from './memory-files.ts'
import { type CallOptions, RawClient } from './raw-client.ts'

export interface TestDoor {
  readonly server: NfsServer
  readonly path: MemoryPath
  readonly fs: MemoryFileSystem
  /** What the door reported, in order. */
  readonly errors: HitherError[]
  connect(): Promise<RawClient>
  /** Calls as root on a connection of its own, unless told otherwise. */
  calls(options?: CallOptions): Promise<Calls>
}

let open: Array<() => Promise<void> | void> = []

afterEach(async () => {
  const closing = open.reverse()
  open = []
  for (const close of closing) await close()
})

/** A door on a free port with one export `/default`, unless told otherwise. */
export async function openDoor(options: NfsOptions = {}, ...systems: MemoryFileSystem[]): Promise<TestDoor> {
  const path = new MemoryPath(...(systems.length > 0 ? systems : [new MemoryFileSystem('default', 5)]))
  const errors: HitherError[] = []
  const server = await serveNfs(path, {
    closeGraceMs: 200,
    onError: (error) => errors.push(error),
    ...options,
  })
  open.push(() => server.close())
  const connect = async (): Promise<RawClient> => {
    const client = await RawClient.connect(server.port)
    open.push(() => client.close())
    return client
  }
  return {
    server,
    path,
    fs: path.systems[0]!,
    errors,
    connect,
    calls: async (how) => new Calls(await connect(), how),
  }
}

/** Polls until `condition` holds; fails after two seconds. */
export async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 400; i += 1) {
    if (condition()) return
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  throw new Error(`never came true: ${condition}`)
}

/** `Promise.all`, under a name that says that the order of `sent` is kept. */
export function inOrder<T>(sent: Array<Promise<T>>): Promise<T[]> {
  return Promise.all(sent)
}
