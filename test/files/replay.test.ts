/**
 * A request with a key leaves the state of one execution and one answer, however often it is sent, through whichever
 * host, before, while and after the CVM that serves it fails; also when it comes again long after others.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FileSystem, RequestKey } from '../../src/api.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { openSimCluster } from '../../src/sim/cluster.ts'
import { walk } from './walk.ts'

const bytes = (text: string) => Buffer.from(text)
const ROOT = 1

/** Operations that depend on their order among each other and must not run twice. `d` is a directory's number. */
type Step = (fs: FileSystem, key: RequestKey) => Promise<unknown>

function stepsOf(names: readonly string[]): Step[] {
  return names.flatMap((name, at): Step[] => [
    (fs, key) => fs.createFile(ROOT, bytes(name), { mode: 0o600 }, { how: 'guarded', key }),
    async (fs, key) => {
      const { file } = await fs.lookup(ROOT, bytes(name))
      return fs.write(file.id, at * 7 * KiB, Buffer.alloc(3 * KiB, at + 1), { key })
    },
    (fs, key) => fs.rename(ROOT, bytes(name), ROOT, bytes(`${name}-moved`), { key }),
    (fs, key) => fs.createFile(ROOT, bytes(name), {}, { how: 'guarded', key }),
    (fs, key) => fs.createDirectory(ROOT, bytes(`${name}-dir`), {}, { key }),
    (fs, key) => fs.remove(ROOT, bytes(name), { key }),
    // Fails: also that must stay so.
    (fs, key) => fs.remove(ROOT, bytes(name), { key }),
    (fs, key) => fs.createSymlink(ROOT, bytes(name), bytes('x'), {}, { key }),
    (fs, key) => fs.removeDirectory(ROOT, bytes(`${name}-dir`), { key }),
  ])
}

async function outcome(work: Promise<unknown>): Promise<unknown> {
  try {
    return await work
  } catch (error) {
    return (error as { code?: string }).code
  }
}

/** Answers without what a clock, chance, or a change of owner (which skips numbers of files) decides. */
function plain(answer: unknown): string {
  return JSON.stringify(answer, (key, value: unknown) =>
    ['id', 'accessed', 'modified', 'changed', 'birth'].includes(key) ? undefined : value,
  )
}

const settings = { nodes: 3, ssdBytes: 192 * MiB, hddBytes: 0, leaseTtlMs: 500, holdDownMs: 1000 }

async function hostsOf(sim: Awaited<ReturnType<typeof openSimCluster>>): Promise<FileSystem[]> {
  return Promise.all(sim.cluster.nodes.map((node) => sim.cluster.files(node).fileSystem('default')))
}

async function once(steps: readonly Step[]): Promise<{ answers: string[]; tree: unknown }> {
  const sim = await openSimCluster({ seed: 1, settings })
  try {
    const [fs] = await hostsOf(sim)
    const answers: string[] = []
    for (const [at, step] of steps.entries())
      answers.push(plain(await outcome(step(fs!, { high: 9, low: at }))))
    return { answers, tree: await walk(fs!) }
  } finally {
    await sim.close()
  }
}

describe('a request that comes again', () => {
  test('does nothing, whichever host sends it and whatever fails', { timeout: 120_000 }, async () => {
    const steps = stepsOf(['a', 'b'])
    const expected = await once(steps)
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(
          fc.record({
            hosts: fc.array(fc.nat({ max: 2 }), { minLength: 1, maxLength: 3 }),
            late: fc.array(fc.nat({ max: 50 }), { maxLength: 2 }),
            fail: fc.option(fc.record({ afterMs: fc.nat({ max: 8 }), hang: fc.boolean() }), { freq: 3 }),
          }),
          { minLength: steps.length, maxLength: steps.length },
        ),
        async (seed, plan) => {
          const sim = await openSimCluster({ seed, settings })
          try {
            const hosts = await hostsOf(sim)
            const under: Promise<unknown>[] = []
            const answers: string[] = []
            for (const [at, step] of steps.entries()) {
              const { hosts: through, late, fail } = plan[at]!
              const key = { high: 9, low: at }
              if (fail !== null) under.push(failOwner(sim, fail.afterMs, fail.hang))
              const sent = through.map((host) => outcome(step(hosts[host]!, key)))
              const got = await Promise.all(sent)
              expect(plain(got[0])).toBe(expected.answers[at])
              answers.push(JSON.stringify(got[0]))
              for (const answer of got) expect(JSON.stringify(answer)).toBe(answers[at])
              // What was sent long ago and comes only now. (A step that looks a name up first sends something else.)
              for (const [index, old] of late.entries()) {
                if (old >= at || old % 9 === 1) continue
                const again = await outcome(steps[old]!(hosts[index]!, { high: 9, low: old }))
                expect(JSON.stringify(again)).toBe(answers[old])
              }
            }
            await Promise.all(under)
            await sim.world.clock.sleep(600)
            for (const fs of hosts) expect(await walk(fs)).toEqual(expected.tree)
          } finally {
            await sim.close()
          }
        },
      ),
      { numRuns: Number(process.env.FILES_RUNS ?? 4) },
    )
  })

  test('what failed, and was done all the same, is one with its repetition', async () => {
    const sim = await openSimCluster({ seed: 4, settings: { ...settings, ioDeadlineMs: 200 } })
    // Of another node: its calls go through the CVM there, which hears that the owner's is down.
    const [, fs] = await hostsOf(sim)
    await fs!.getAttributes(ROOT)
    const create = (low: number) =>
      outcome(fs!.createDirectory(ROOT, bytes(`d${low}`), {}, { key: { high: 2, low } }))
    // Its CVM stops answering with calls under way, and the host gives up before a peer takes over.
    const under: Promise<unknown>[] = []
    const failing = failOwner(sim, 3, true)
    for (let low = 0; low < 40; low++) {
      under.push(create(low))
      await sim.world.clock.sleep(0.1)
    }
    const failed = (await Promise.all(under)).flatMap((end, low) => (typeof end === 'string' ? [low] : []))
    await failing
    await sim.world.clock.sleep(2000)
    const done = (await walk(fs!)) as Array<[string, unknown]>
    // Not all that failed was not done.
    expect(failed.filter((low) => done.some(([name]) => name === `d${low}`))).not.toEqual([])
    for (let low = 0; low < 40; low++)
      expect(await create(low)).toMatchObject({ file: { type: 'directory' } })
    expect(await walk(fs!)).toHaveLength(40)
    await sim.close()
  })

  test('what is forbidden stays so, and what was done before stays done', async () => {
    const sim = await openSimCluster({ seed: 3, settings })
    const hosts = await hostsOf(sim)
    const [first, second] = hosts
    const done = { high: 1, low: 1 }
    const refused = { high: 1, low: 2 }
    const made = await first!.createDirectory(ROOT, bytes('d'), {}, { key: done })
    const forbid = (fs: FileSystem) =>
      outcome(fs.createDirectory(ROOT, bytes('e'), {}, { key: refused, forbidden: true }))
    expect(await forbid(first!)).toBe('FORBIDDEN')
    await failOwner(sim, 0, false)
    // Late copies, at another host: of the one that was refused, which would be allowed by now, and the other way round.
    expect(await outcome(second!.createDirectory(ROOT, bytes('e'), {}, { key: refused }))).toBe('FORBIDDEN')
    const again = await second!.createDirectory(ROOT, bytes('d'), {}, { key: done, forbidden: true })
    expect(again).toEqual(made)
    expect(await outcome(second!.remove(ROOT, bytes('d'), { forbidden: true }))).toBe('FORBIDDEN')
    for (const fs of hosts) expect(await walk(fs)).toEqual([['d', []]])
    await sim.close()
  })
})

/** The CVM that owns the files disk dies, or stops answering until its lease is over, and comes back. */
async function failOwner(
  sim: Awaited<ReturnType<typeof openSimCluster>>,
  afterMs: number,
  hang: boolean,
): Promise<void> {
  await sim.world.clock.sleep(afterMs)
  for (const node of sim.cluster.nodes) {
    const cvm = sim.cvm(node)
    if (cvm === undefined) continue
    for (const vdisk of cvm.ownership.owned()) {
      if (!vdisk.name.startsWith('.files/')) continue
      await sim.cluster.failCvm(node, { hang }).catch(() => {})
      if (hang) await sim.world.clock.sleep(700)
      await sim.cluster.recoverCvm(node).catch(() => {})
      return
    }
  }
}
