/** The checkers of copies and of the directory's history tell of what they are there for, and of nothing else. */
import { beforeEach, expect, test } from 'vitest'
import { type EgroupRecord, encodeRecord } from '../../src/cluster/records.ts'
import { CopyCheck } from '../../src/sim/check/copies.ts'
import { DirectoryCheck } from '../../src/sim/check/directory.ts'
import { RootCheck } from '../../src/sim/check/roots.ts'
import type { SimCluster } from '../../src/sim/cluster.ts'

const EGROUP = 'egroup/00000001'
const ROOT = 'root/7'
const SEALED: EgroupRecord = {
  stream: 7,
  order: 3,
  state: 'sealed',
  length: 4096,
  generation: 1,
  rf: 1,
  copies: [{ node: 'node-1', tier: 'ssd' }],
}

let found: string[]
let roots: RootCheck
let directory: DirectoryCheck
let info: { kind: string; state: string; length: number } | undefined
let failed: boolean
let now: number
let copies: CopyCheck

beforeEach(() => {
  found = []
  failed = false
  info = { kind: 'full', state: 'sealed', length: 4096 }
  roots = new RootCheck((what) => found.push(what))
  directory = new DirectoryCheck(roots, (what) => found.push(what))
  now = 1_000
  const store = { usage: () => [{ failed }], info: () => info }
  const loop = {
    get now() {
      return now
    },
  }
  const sim = { loop, cluster: { nodes: ['node-1'] }, cvm: () => ({ store }) } as unknown as SimCluster
  copies = new CopyCheck(sim, directory, roots)
})

function replayFrom(order: number, offset: number): void {
  roots.changed(ROOT, encodeRecord({ root: null, levels: 0, replay: { order, offset }, mappedBlocks: 0 }))
}

function look(): string[] {
  return copies.look()
}

test('a copy that is listed and not there for long is told, unless its device has failed', () => {
  directory.changed(EGROUP, encodeRecord(SEALED))
  expect(look()).toEqual([])
  info = undefined
  expect(look()).toEqual([])
  now += 4_999
  expect(look()).toEqual([])
  now += 1
  expect(look()).toHaveLength(1)
  failed = true
  expect(look()).toEqual([])
  failed = false
  info = { kind: 'partial', state: 'sealed', length: 4096 }
  expect(look()).toEqual([])
  now += 5_000
  expect(look()).toHaveLength(1)
})

test.each([
  ['behind it', 2, 0, 1],
  ['partly behind it', 3, 512, 1],
  ['up to it', 3, 4096, 0],
  ['before it', 4, 0, 0],
])('a compacted copy that lies %s is judged by the replay position', (_where, order, offset, faults) => {
  replayFrom(order, offset)
  directory.changed(EGROUP, encodeRecord(SEALED))
  expect(look()).toEqual([])
  info = { kind: 'full', state: 'sealed', length: 2048 }
  expect(look()).toHaveLength(faults)
  directory.changed(EGROUP, undefined)
  expect(found).toHaveLength(faults)
})

test('an egroup that was removed does not come back', () => {
  directory.changed(EGROUP, encodeRecord(SEALED))
  directory.changed(EGROUP, undefined)
  expect(found).toEqual([])
  directory.changed(EGROUP, encodeRecord(SEALED))
  expect(found).toHaveLength(1)
})
