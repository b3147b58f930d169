/** Opens doors and clients for the tests of this folder, and closes them after each test. */
import { afterEach } from 'vitest'
import type { HitherError } from '../../../src/base/errors.ts'
import { type NbdOptions, type NbdServer, serveNbd } from '../../../src/frontend/nbd/index.ts'
import { MemoryDisk, MemoryPath } from './memory-path.ts'
import { RawClient } from './raw-client.ts'

export interface TestDoor {
  readonly server: NbdServer
  readonly path: MemoryPath
  readonly disk: MemoryDisk
  /** What the door reported, in order. */
  readonly errors: HitherError[]
  connect(): Promise<RawClient>
  /** A client in the transmission phase on `disk`. */
  client(options?: { structured?: boolean; blockStatus?: boolean; name?: string }): Promise<RawClient>
}

export const DISK_BYTES = 1024 * 1024

let open: Array<() => Promise<void> | void> = []

afterEach(async () => {
  const closing = open.reverse()
  open = []
  for (const close of closing) await close()
})

/** A door on a free TCP port with one disk `disk` of 1 MiB, unless told otherwise. */
export async function openDoor(options: NbdOptions = {}, ...disks: MemoryDisk[]): Promise<TestDoor> {
  const path = new MemoryPath(...(disks.length > 0 ? disks : [new MemoryDisk('disk', DISK_BYTES)]))
  const errors: HitherError[] = []
  const server = await serveNbd(path, {
    closeGraceMs: 200,
    onError: (error) => errors.push(error),
    ...options,
  })
  open.push(() => server.close())
  const connect = async (): Promise<RawClient> => {
    const where = options.socket === undefined ? { port: server.port! } : { path: options.socket }
    const client = await RawClient.connect(where)
    open.push(() => client.close())
    return client
  }
  return {
    server,
    path,
    disk: path.disks[0]!,
    errors,
    connect,
    client: async (how = {}) => {
      const client = await connect()
      await client.go(how.name ?? path.disks[0]!.name, how)
      return client
    },
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
