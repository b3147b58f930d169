/**
 * The doors of a running cluster: one for NBD per host, on port base + i − 1 for `node-i`, and when it is wanted one for
 * NFS in the same way, so that a host's address never changes, whichever nodes come and go. A portmapper, when it is
 * wanted, tells the NFS port of the first host.
 */
import type { Cluster, FilePath, NodeId, StoragePath } from '../api.ts'
import { asHitherError, invariant } from '../base/errors.ts'
import type { HostDoor, HostDoors } from '../frontend/control/index.ts'

export interface Door {
  readonly url: string
  close(): Promise<void>
}

/** `serveNbd`, `serveNfs` and `servePortmap` of the doors. */
export interface DoorParts {
  readonly serveNbd: (path: StoragePath, options: { host: string; port: number }) => Promise<Door>
  readonly serveNfs: (
    path: FilePath,
    options: { host: string; port: number },
  ) => Promise<Door & { readonly port: number }>
  readonly servePortmap: (options: { host: string; nfsPort: number }) => Promise<{ close(): Promise<void> }>
}

/** Ports are those of the first host; 0: each door takes any free port. */
export interface DoorOptions {
  readonly host: string
  readonly nbdPort: number
  /** `undefined`: no NFS. */
  readonly nfsPort: number | undefined
  readonly portmap: boolean
}

/** Exported in every new cluster: what the NFS address of a host leads to. */
const DEFAULT_EXPORT = '/default'

interface OpenDoors {
  readonly nbd: Door
  readonly nfs: (Door & { readonly port: number }) | undefined
}

export class Doors implements HostDoors {
  readonly #cluster: Cluster
  readonly #parts: DoorParts
  readonly #options: DoorOptions
  readonly #open = new Map<NodeId, OpenDoors>()
  readonly #problems = new Map<NodeId, string>()
  #portmap: { close(): Promise<void> } | undefined
  /** Refreshes run one after the other. */
  #refreshing: Promise<void> = Promise.resolve()
  #closed = false

  constructor(cluster: Cluster, parts: DoorParts, options: DoorOptions) {
    this.#cluster = cluster
    this.#parts = parts
    this.#options = options
  }

  /** Opens all doors; the first that fails closes the others again and is the error. */
  async open(): Promise<void> {
    try {
      for (const node of this.#cluster.nodes) await this.#openOne(node)
      if (this.#options.portmap) await this.#openPortmap()
    } catch (error) {
      await this.close()
      throw error
    }
  }

  list(): HostDoor[] {
    return this.#cluster.nodes.map((node) => {
      const doors = this.#open.get(node)
      if (doors !== undefined) {
        const { nbd, nfs } = doors
        return { node, nbd: nbd.url, ...(nfs && { nfs: nfs.url + DEFAULT_EXPORT }) }
      }
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
    await Promise.allSettled([this.#portmap?.close(), ...doors.map(closeBoth)])
  }

  async #refreshOnce(): Promise<void> {
    if (this.#closed) return
    for (const [node, doors] of [...this.#open]) {
      if (this.#cluster.nodes.includes(node)) continue
      this.#open.delete(node)
      await closeBoth(doors)
    }
    for (const node of this.#cluster.nodes) {
      if (this.#open.has(node)) continue
      await this.#openOne(node).catch((error) => this.#problems.set(node, asHitherError(error).message))
    }
  }

  async #openOne(node: NodeId): Promise<void> {
    const { host, nbdPort, nfsPort } = this.#options
    const portOf = (base: number): number => (base === 0 ? 0 : base + numberOf(node) - 1)
    const nbd = await this.#parts.serveNbd(this.#cluster.path(node), { host, port: portOf(nbdPort) })
    try {
      const nfs =
        nfsPort === undefined
          ? undefined
          : await this.#parts.serveNfs(this.#cluster.files(node), { host, port: portOf(nfsPort) })
      this.#open.set(node, { nbd, nfs })
    } catch (error) {
      await nbd.close().catch(() => {})
      throw error
    }
    this.#problems.delete(node)
  }

  async #openPortmap(): Promise<void> {
    const first = this.#open.get(this.#cluster.nodes[0]!)?.nfs
    invariant(first !== undefined, 'a portmapper is asked for together with NFS')
    const { host } = this.#options
    this.#portmap = await this.#parts.servePortmap({ host, nfsPort: first.port })
  }
}

async function closeBoth({ nbd, nfs }: OpenDoors): Promise<void> {
  await Promise.allSettled([nbd.close(), nfs?.close()])
}

/** 3 of `node-3`. */
function numberOf(node: NodeId): number {
  return Number(/(\d+)$/.exec(node)?.[1] ?? 1)
}
