/** Who mounted what, as far as MOUNT's DUMP tells: a courtesy, which nothing depends on and a restart forgets. */
import { forgetOldest } from '../../base/oldest.ts'

export const MOUNTS_MAX = 256

export interface Mount {
  readonly client: string
  readonly path: Buffer
}

export class MountTable {
  /** The one made longest ago comes first, and is the one that is forgotten. */
  readonly #mounts = new Map<string, Mount>()

  add(client: string, path: Buffer): void {
    const key = keyOf(client, path)
    this.#mounts.delete(key)
    // A copy: the path is a view of a record.
    this.#mounts.set(key, { client, path: Buffer.from(path) })
    forgetOldest(this.#mounts, MOUNTS_MAX)
  }

  remove(client: string, path: Buffer): void {
    this.#mounts.delete(keyOf(client, path))
  }

  removeAll(client: string): void {
    for (const [key, mount] of this.#mounts) if (mount.client === client) this.#mounts.delete(key)
  }

  list(): Iterable<Mount> {
    return this.#mounts.values()
  }
}

function keyOf(client: string, path: Buffer): string {
  return `${client} ${path.toString('latin1')}`
}
