/**
 * The NBD doors of a running cluster: one per host, on port base + i − 1 for `node-i`, so that a host's address never
 * changes, whichever nodes come and go.
 */
import type { Cluster, NodeId, StoragePath } from '../api.ts'
import { asHitherError } from '../base/errors.ts'
import type { HostDoor, HostDoors } from '../frontend/control/index.ts'

export interface NbdDoor {
  readonly url: string
  close(): Promise<void>
}

/** `serveNbd` of the NBD door. */
export type ServeNbd = (path: StoragePath, options: { host: string; port: number }) => Promise<NbdDoor>

export class Doors implements HostDoors {
  readonly #cluster: Cluster
  readonly #serveNbd: ServeNbd
  readonly #host: string
  readonly #basePort: number
  readonly #open = new Map<NodeId, NbdDoor>()
  readonly #problems = new Map<NodeId, string>()
  /** Refreshes run one after the other. */
  #refreshing: Promise<void> = Promise.resolve()
  #closed = false

  /** `basePort` 0: each door takes any free port. */
  constructor(cluster: Cluster, serveNbd: ServeNbd, options: { host: string; basePort: number }) {
    this.#cluster = cluster
    this.#serveNbd = serveNbd
    this.#host = options.host
    this.#basePort = options.basePort
  }

  /** Opens all doors; the first that fails closes the others again and is the error. */
  async open(): Promise<void> {
    try {
      for (const node of this.#cluster.nodes) await this.#openOne(node)
    } catch (error) {
      await this.close()
      throw error
    }
  }

  list(): HostDoor[] {
    return this.#cluster.nodes.map((node) => {
      const door = this.#open.get(node)
      if (door !== undefined) return { node, nbd: door.url }
      const problem = this.#problems.get(node)
      return problem === undefined ? { node } : { node, problem }
    })
  }

  /** Never rejects: a door that does not open has its `problem` in the list, and the node works without it. */
  refresh(): Promise<void> {
    this.#refreshing = this.#refreshing.then(() => this.#refreshOnce())
    return this.#refreshing
  }

  async close(): Promise<void> {
    this.#closed = true
    await this.#refreshing
    const doors = [...this.#open.values()]
    this.#open.clear()
    await Promise.allSettled(doors.map((door) => door.close()))
  }

  async #refreshOnce(): Promise<void> {
    if (this.#closed) return
    for (const [node, door] of [...this.#open]) {
      if (this.#cluster.nodes.includes(node)) continue
      this.#open.delete(node)
      await door.close().catch(() => {})
    }
    for (const node of this.#cluster.nodes) {
      if (this.#open.has(node)) continue
      await this.#openOne(node).catch((error) => this.#problems.set(node, asHitherError(error).message))
    }
  }

  async #openOne(node: NodeId): Promise<void> {
    const port = this.#basePort === 0 ? 0 : this.#basePort + numberOf(node) - 1
    this.#open.set(node, await this.#serveNbd(this.#cluster.path(node), { host: this.#host, port }))
    this.#problems.delete(node)
  }
}

/** 3 of `node-3`. */
function numberOf(node: NodeId): number {
  return Number(/(\d+)$/.exec(node)?.[1] ?? 1)
}
