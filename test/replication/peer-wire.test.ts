/** A request to drop a copy that arrives late must not take one that was listed meanwhile. */
import { expect, test } from 'vitest'
import type { EgroupRecord } from '../../src/cluster/records.ts'
import { METHOD } from '../../src/replication/methods.ts'
import type { NodeStore, NodeStores } from '../../src/replication/node-store.ts'
import { servePeers } from '../../src/replication/peer-wire.ts'
import type { RpcEndpoint, RpcHandler } from '../../src/replication/rpc.ts'

function listedOn(...nodes: string[]): EgroupRecord {
  return {
    stream: 1,
    order: 1,
    state: 'sealed',
    length: 4096,
    generation: 1,
    rf: 2,
    copies: nodes.map((node) => ({ node, tier: 'ssd' })),
  }
}

test.each([
  { what: 'lists this node', record: listedOn('node-1', 'node-2'), dropped: [] },
  { what: 'lists others', record: listedOn('node-1', 'node-3'), dropped: [7] },
  { what: 'is gone', record: undefined, dropped: [7] },
])('dropping a copy whose record $what', async ({ record, dropped }) => {
  const handlers = new Map<number, RpcHandler>()
  const handle = (method: number, handler: RpcHandler) => handlers.set(method, handler)
  const rpc = { handle, handleBorrowed: handle }
  const drops: number[] = []
  const store = { dropCopy: async (egroup: number) => void drops.push(egroup) } as unknown as NodeStore
  const stores: NodeStores = { self: 'node-2', of: () => store }
  servePeers(rpc as unknown as RpcEndpoint, stores, {
    refresh: async () => (record === undefined ? undefined : { value: record, revision: 9 }),
  })
  const call = handlers.get(METHOD.dropCopy)!({ egroup: 7 } as never, new Uint8Array(0), 'node-1')
  if (dropped.length === 0) await expect(call).rejects.toMatchObject({ code: 'CONFLICT' })
  else await call
  expect(drops).toEqual(dropped)
})
