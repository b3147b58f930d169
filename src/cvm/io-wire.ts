/**
 * vDisk IO over RPC: `RemotePort` sends an IO to a CVM, `servePort` answers there. Used between CVMs (to the owner)
 * and between a host and a peer CVM (autopath).
 */
import type { AllocationRun } from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { type Generation, IO_BYTES_MAX, type VDiskId } from '../base/units.ts'
import { METHOD } from '../replication/methods.ts'
import type { RpcEndpoint } from '../replication/rpc.ts'
import { OwnerMoved, type WriteAttempt } from '../vdisk/attempt-guard.ts'
import type { StoragePort, VDiskControl } from './port.ts'

const NOTHING: readonly Uint8Array[] = []

interface RangeHeader {
  readonly vdisk: VDiskId
  readonly offset: number
  readonly length: number
}

interface WriteHeader {
  readonly vdisk: VDiskId
  readonly offset: number
  readonly sync: boolean
  readonly attempt: WriteAttempt
}

/** Of a write: none, or the generation of the owner that refused it. */
type WriteAnswer = { readonly generation: Generation } | undefined

/** What CVMs answer that the port's caller did not ask to see end: the deadline of the whole IO is the host's. */
export class RemotePort implements StoragePort {
  private readonly rpc: RpcEndpoint
  private readonly peer: string
  private readonly timeoutMs: number

  constructor(rpc: RpcEndpoint, peer: string, timeoutMs: number) {
    this.rpc = rpc
    this.peer = peer
    this.timeoutMs = timeoutMs
  }

  async read(vdisk: VDiskId, offset: number, target: Uint8Array): Promise<void> {
    const header: RangeHeader = { vdisk, offset, length: target.length }
    const { body } = await this.rpc.call(this.peer, METHOD.vdiskRead, header, NOTHING, this.timeoutMs)
    if (body.length !== target.length) {
      throw new HitherError(
        'PROTOCOL_ERROR',
        `${this.peer} answered ${body.length} bytes instead of ${target.length}`,
      )
    }
    target.set(body)
  }

  async write(
    vdisk: VDiskId,
    offset: number,
    data: Uint8Array,
    sync: boolean,
    attempt: WriteAttempt,
  ): Promise<void> {
    const header: WriteHeader = { vdisk, offset, sync, attempt }
    checkMoved(await this.rpc.call(this.peer, METHOD.vdiskWrite, header, [data], this.timeoutMs))
  }

  async erase(
    vdisk: VDiskId,
    offset: number,
    length: number,
    sync: boolean,
    attempt: WriteAttempt,
  ): Promise<void> {
    const header: RangeHeader & WriteHeader = { vdisk, offset, length, sync, attempt }
    checkMoved(await this.rpc.call(this.peer, METHOD.vdiskErase, header, NOTHING, this.timeoutMs))
  }

  async flush(vdisk: VDiskId): Promise<void> {
    await this.rpc.call(this.peer, METHOD.vdiskFlush, { vdisk }, NOTHING, this.timeoutMs)
  }

  async allocation(vdisk: VDiskId, offset: number, length: number): Promise<AllocationRun[]> {
    const header: RangeHeader = { vdisk, offset, length }
    return (
      await this.rpc.call<AllocationRun[]>(this.peer, METHOD.vdiskAllocation, header, NOTHING, this.timeoutMs)
    ).header
  }

  async control(vdisk: VDiskId, request: VDiskControl): Promise<unknown> {
    const header = { vdisk, request }
    return (await this.rpc.call<unknown>(this.peer, METHOD.vdiskControl, header, NOTHING, this.timeoutMs))
      .header
  }

  async files(vdisk: VDiskId, request: Uint8Array): Promise<Uint8Array> {
    return (await this.rpc.call(this.peer, METHOD.files, { vdisk }, [request], this.timeoutMs)).body
  }
}

/**
 * Answers IO. `portFor` tells what serves a sender: a host whose path leads here may ask for any vDisk, and is routed to
 * its owner; a CVM asks only for what it takes this one to own.
 */
export function servePort(rpc: RpcEndpoint, portFor: (from: string) => StoragePort): void {
  rpc.handle(METHOD.vdiskRead, async ({ vdisk, offset, length }: RangeHeader, _body, from) => {
    if (!(length <= IO_BYTES_MAX))
      throw new HitherError('BAD_ARGUMENT', `a read of ${length} bytes is too long`)
    const target = new Uint8Array(length)
    await portFor(from).read(vdisk, offset, target)
    return { body: [target] }
  })
  rpc.handle(METHOD.vdiskWrite, async ({ vdisk, offset, sync, attempt }: WriteHeader, body, from) =>
    tellMoved(portFor(from).write(vdisk, offset, body, sync, attempt)),
  )
  rpc.handle(METHOD.vdiskErase, async (header: RangeHeader & WriteHeader, _body, from) => {
    const { vdisk, offset, length, sync, attempt } = header
    return tellMoved(portFor(from).erase(vdisk, offset, length, sync, attempt))
  })
  rpc.handle(METHOD.vdiskFlush, async ({ vdisk }: { vdisk: VDiskId }, _body, from) => {
    await portFor(from).flush(vdisk)
    return {}
  })
  rpc.handle(METHOD.vdiskAllocation, async ({ vdisk, offset, length }: RangeHeader, _body, from) => ({
    header: await portFor(from).allocation(vdisk, offset, length),
  }))
  rpc.handle(
    METHOD.vdiskControl,
    async ({ vdisk, request }: { vdisk: VDiskId; request: VDiskControl }, _body, from) => ({
      header: await portFor(from).control(vdisk, request),
    }),
  )
  rpc.handle(METHOD.files, async ({ vdisk }: { vdisk: VDiskId }, body, from) => ({
    body: [await portFor(from).files(vdisk, body)],
  }))
}

function checkMoved({ header }: { readonly header: unknown }): void {
  const generation = (header as WriteAnswer)?.generation
  if (generation !== undefined) throw new OwnerMoved(generation)
}

/** An error's answer has no room for more than its code and sentence. */
async function tellMoved(write: Promise<void>): Promise<{ header?: WriteAnswer }> {
  try {
    await write
    return {}
  } catch (error) {
    if (error instanceof OwnerMoved) return { header: { generation: error.generation } }
    throw error
  }
}

const HOST_PREFIX = 'host:'

/** Name of a host's network endpoint. */
export function hostEndpoint(node: string): string {
  return `${HOST_PREFIX}${node}`
}

export function isHost(endpoint: string): boolean {
  return endpoint.startsWith(HOST_PREFIX)
}
