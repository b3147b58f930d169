/**
 * A record that lists a copy which is not there, as a commit may do that comes long after whoever sent it has died. Guards: the
 * node leaves the record as soon as it hears of it, and RF is whole again after a scan; what is open is left to its owner.
 */
import { expect, test } from 'vitest'
import { type EgroupRecord, encodeRecord, keys } from '../../src/cluster/records.ts'
import type { EmbeddedCluster } from '../../src/embedded/cluster.ts'
import { MiB } from '../../src/index.ts'
import { holds, openTestCluster, randomBytes, until, writeAll } from './harness.ts'

async function open() {
  const cluster = (await openTestCluster({ nodes: 4, rf: 2 })) as EmbeddedCluster
  const disk = await cluster.createVDisk('a', { size: 64 * MiB, node: 'node-1' })
  const bytes = randomBytes(10 * MiB, 1)
  await writeAll(disk, 0, bytes)
  const { directory, platform } = cluster.cvm('node-1')!
  const recordOf = (egroup: number): EgroupRecord => directory.record(egroup)!
  /** One copy of the egroup is listed where it is not. */
  const misplace = async (state: EgroupRecord['state']) => {
    const [egroup] = [...directory.all()].find(([, { value }]) => value.state === state)!
    const record = recordOf(egroup)
    const listed = record.copies.map(({ node }) => node)
    const node = cluster.nodes.find((each) => !listed.includes(each))!
    const wrong = { ...record, copies: [record.copies[0]!, { node, tier: 'ssd' as const }] }
    await platform.catalog.commit({ put: [{ key: keys.egroup(egroup), value: encodeRecord(wrong) }] })
    await directory.catchUp()
    return { egroup, node }
  }
  return { cluster, disk, bytes, recordOf, misplace }
}

test('a node that is listed without a copy leaves the record, and a scan makes another', async () => {
  const { cluster, disk, bytes, recordOf, misplace } = await open()
  const { egroup, node } = await misplace('sealed')
  await until(() => recordOf(egroup).copies.length === 1)
  expect(recordOf(egroup).copies[0]!.node).not.toBe(node)
  await cluster.runCurator()
  expect(recordOf(egroup).copies).toHaveLength(2)
  for (const copy of recordOf(egroup).copies) {
    expect(cluster.cvm(copy.node)!.store.info(egroup)?.kind).toBe('full')
  }
  expect(await holds(disk, 0, bytes)).toBe(true)
  await cluster.close()
})

test('what is open is left alone', async () => {
  const { cluster, recordOf, misplace } = await open()
  const { egroup, node } = await misplace('open')
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(recordOf(egroup).copies.map((copy) => copy.node)).toContain(node)
  await cluster.close()
})
