/** A vDisk whose hand-over was not answered goes home later, also when nobody uses it. */
import { expect, test } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import type { Membership } from '../../src/cluster/membership.ts'
import type { VDiskRecord, VmRecord } from '../../src/cluster/records.ts'
import type { RecordsView } from '../../src/cluster/records-view.ts'
import { Homing } from '../../src/cvm/homing.ts'
import type { Ownership } from '../../src/cvm/ownership.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'

const INFO = { id: 4, name: 'a', node: 'node-2' } as VDiskRecord

test.each([
  { outcomes: ['TIMEOUT', 'TIMEOUT', undefined], calls: 3 },
  { outcomes: ['TIMEOUT', 'NOT_OWNER'], calls: 2 },
] as const)('after $outcomes', async ({ outcomes, calls }) => {
  const loop = new SimLoop()
  const served = new Set([{ info: INFO }])
  let called = 0
  const ownership = {
    owned: () => served.values(),
    handOver: async () => {
      served.clear()
      const code = outcomes[called++]
      if (code !== undefined) throw new HitherError(code, 'the catalog did not answer')
    },
  }
  const membership = {
    self: 'node-1',
    onChange: () => () => {},
    isAlive: () => true,
    aliveForMs: () => 1_000,
    member: () => ({ state: 'member' }),
  }
  const homing = new Homing(
    {
      ownership: ownership as unknown as Ownership,
      membership: membership as unknown as Membership,
      vms: {} as RecordsView<VmRecord>,
      clock: new SimClock(loop),
      onError: () => {},
    },
    100,
  )
  homing.look()
  await loop.sleep(10_000)
  expect(called).toBe(calls)
  homing.close()
})
