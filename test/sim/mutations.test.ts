/**
 * The mutations that prove the simulator's checkers (test/sim/mutations/): each still applies to the engine as it is,
 * and two are found, with few seeds. All of them, which takes long: `HITHER_SIM_LONG=1`.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { CONTROLS, dueVerdict, MUTATIONS } from './mutations/list.ts'
import { apply, editsOf } from './mutations/mutation.ts'
import { runMutations } from './mutations/runner.ts'
import { REPOSITORY, Sandbox } from './mutations/sandbox.ts'

const LONG = process.env['HITHER_SIM_LONG'] === '1'
const SEEDS_MAX = 300

/** Found by the first seeds: they stand for all where time is short. */
const QUICK = ['commit-ignores-durability', 'units-leak']

/** The transpiler that tsx runs the simulator with. */
const require = createRequire(createRequire(import.meta.url).resolve('tsx'))
const { transformSync } = require('esbuild') as {
  transformSync: (text: string, options: { loader: 'ts' }) => { code: string }
}

const read = (file: string): string => readFileSync(join(REPOSITORY, 'src', file), 'utf8')
const all = [...MUTATIONS, ...CONTROLS]

describe('the list', () => {
  test('has enough mutations, each with a name of its own', () => {
    expect(MUTATIONS.length).toBeGreaterThanOrEqual(45)
    expect(new Set(all.map((mutation) => mutation.name)).size).toBe(all.length)
  })

  test.each(all)('$name applies to the engine as it is', (mutation) => {
    for (const [file, text] of apply(editsOf(mutation), read)) {
      expect(text).not.toBe(read(file))
      expect(transformSync(text, { loader: 'ts' }).code).not.toBe(
        transformSync(read(file), { loader: 'ts' }).code,
      )
    }
  })

  test('a text that is not there exactly once is refused', () => {
    const edit = { file: 'a.ts', find: 'b', replace: 'c' }
    expect(() => apply([edit], () => 'abcb')).toThrow('2 times')
    expect(() => apply([edit], () => 'acd')).toThrow('0 times')
    expect(apply([{ ...edit, replace: '$&' }], () => 'abc').get('a.ts')).toBe('a$&c')
  })
})

describe('the simulator', () => {
  const quick = MUTATIONS.filter((mutation) => QUICK.includes(mutation.name))
  test('finds the quick ones', { timeout: 120_000 }, async () => {
    const outcomes = await runMutations(quick, { firstSeed: 1, seedsMax: 10 })
    expect(outcomes.map(({ name, verdict }) => ({ name, verdict }))).toEqual(
      quick.map(({ name }) => ({ name, verdict: 'found' })),
    )
  })

  test.runIf(LONG)('finds all, and nothing in the controls', { timeout: 6 * 3_600_000 }, async () => {
    const outcomes = await runMutations(all, { firstSeed: 1, seedsMax: SEEDS_MAX })
    const bad = outcomes.filter(({ name, verdict }) => verdict !== dueVerdict(name))
    expect(bad).toEqual([])
  })

  test.runIf(LONG)('every mutated engine type-checks', { timeout: 3_600_000 }, () => {
    const sandbox = new Sandbox()
    const bad: string[] = []
    try {
      for (const mutation of all) {
        const folder = sandbox.edited(editsOf(mutation))
        try {
          const tsc = join(REPOSITORY, 'node_modules/.bin/tsc')
          execFileSync(tsc, ['--noEmit', '-p', 'tsconfig.json'], { cwd: folder, encoding: 'utf8' })
        } catch (error) {
          bad.push(`${mutation.name}: ${(error as { stdout?: string }).stdout ?? error}`)
        }
        sandbox.remove(folder)
      }
    } finally {
      sandbox.close()
    }
    expect(bad).toEqual([])
  })
})
