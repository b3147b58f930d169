/**
 * The rules of the repository, as a test: layering, banned globals, words that must not stand here, dead files.
 * A rule says what to use instead.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { describe, expect, test } from 'vitest'

const root = resolve(import.meta.dirname, '..')

/** From bottom to top: an import may only go down this list (ARCHITECTURE.md says what lives where). */
const LAYERS = [
  'api.ts',
  'base',
  'platform',
  'dedupe',
  'cluster',
  'extent-store',
  'replication',
  'locality',
  'vdisk',
  'curator',
  'files',
  'cvm',
  'frontend',
  'embedded',
  'cli',
  'sim',
  'replay',
  'index.ts',
  'sim.ts',
  'sim-main.ts',
  'replay.ts',
  'main.ts',
]

/** Types only: may be imported by everyone, and names types of base in its own. */
const TYPES_ONLY = 'api.ts'

/** Beside the general rule: doors see the public types and base, nothing of the engine. */
const ALLOWED: Readonly<Record<string, readonly string[]>> = {
  frontend: ['api.ts', 'base', 'frontend'],
  cli: ['api.ts', 'base', 'frontend', 'cli'],
  replay: ['api.ts', 'base', 'locality', 'replay'],
}

/** Folders of the engine: they get a Platform, and touch nothing else of the world. */
const ENGINE = [
  'dedupe',
  'cluster',
  'extent-store',
  'replication',
  'locality',
  'vdisk',
  'curator',
  'files',
  'cvm',
  'base',
]

const BANNED: ReadonlyArray<{ readonly what: RegExp; readonly instead: string }> = [
  { what: /\bDate\.now\b|\bnew Date\(/, instead: 'platform.clock.wall()' },
  { what: /\bperformance\.now\b|\bprocess\.hrtime\b/, instead: 'platform.clock.now()' },
  { what: /\bsetTimeout\b|\bsetInterval\b|\bsetImmediate\b/, instead: 'platform.clock.after, sleep or turn' },
  { what: /\bMath\.random\b|\brandomUUID\b|\bgetRandomValues\b/, instead: 'platform.random' },
  {
    what: /from 'node:(fs|fs\/promises|net|http|os|worker_threads|child_process|dgram|timers|crypto)'/,
    instead: 'a seam of platform/types.ts',
  },
]

function filesOf(folder: string, ending = '.ts'): string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => file.endsWith(ending) && !file.includes('node_modules'))
    .map((file) => join(folder, file))
}

function layerOf(file: string): string {
  return relative('src', file).split('/')[0]!
}

function importsOf(file: string): string[] {
  const text = readFileSync(join(root, file), 'utf8')
  return [...text.matchAll(/(?:from|import)\s*\(?\s*'(\.[^']+)'/g)].map((match) =>
    relative(root, resolve(root, dirname(file), match[1]!)),
  )
}

describe('layering', () => {
  test('every folder of src has a rank', () => {
    expect(readdirSync(join(root, 'src')).filter((name) => !LAYERS.includes(name))).toEqual([])
  })

  test('imports go down only', () => {
    const bad: string[] = []
    for (const file of filesOf('src')) {
      const layer = layerOf(file)
      for (const target of importsOf(file)) {
        const to = layerOf(target)
        const allowed = ALLOWED[layer]
        const fine =
          layer === TYPES_ONLY
            ? to === 'base'
            : to === TYPES_ONLY ||
              (allowed === undefined ? LAYERS.indexOf(to) <= LAYERS.indexOf(layer) : allowed.includes(to))
        if (!fine)
          bad.push(
            `${file} imports ${target}: ${layer} may import ${allowed?.join(', ') ?? 'what is below it'}`,
          )
      }
    }
    expect(bad).toEqual([])
  })

  test('api.ts holds types only', () => {
    const text = readFileSync(join(root, 'src/api.ts'), 'utf8')
    expect(text).not.toMatch(/^\s*(export\s+)?(const|let|function|class|enum)\s/m)
    expect(text).not.toMatch(/^import (?!type)/m)
  })
})

describe('the engine touches nothing but its platform', () => {
  for (const { what, instead } of BANNED) {
    test(`use ${instead}`, () => {
      const bad = ENGINE.flatMap((folder) => filesOf(join('src', folder))).filter((file) =>
        what.test(withoutComments(readFileSync(join(root, file), 'utf8'))),
      )
      expect(bad).toEqual([])
    })
  }
})

describe('the tree', () => {
  test('no dead source file: everything is reached from an entry point', () => {
    const reached = new Set<string>()
    const queue = [
      'src/index.ts',
      'src/main.ts',
      'src/sim.ts',
      'src/sim-main.ts',
      'src/replay.ts',
      'src/frontend/nbd/index.ts',
      'src/frontend/nfs/index.ts',
    ]
    for (const file of filesOf('test').concat(filesOf('bench'), filesOf('examples')))
      queue.push(...importsOf(file).filter((to) => to.startsWith('src/platform/faults')))
    for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
      if (reached.has(file) || !existsSync(join(root, file))) continue
      reached.add(file)
      queue.push(...importsOf(file))
    }
    expect(filesOf('src').filter((file) => !reached.has(file))).toEqual([])
  })

  test('no test is switched off and no type is given up', () => {
    // Put together so that this file does not find itself.
    const bad = new RegExp(
      [
        String.raw`\.only\(`,
        'TO' + 'DO',
        'FIX' + 'ME',
        '@ts-' + 'ignore',
        '\\bas' + ' any\\b(?! [a-z])',
      ].join('|'),
    )
    const files = [...filesOf('src'), ...filesOf('test'), ...filesOf('bench'), ...filesOf('examples')]
    expect(files.filter((file) => bad.test(readFileSync(join(root, file), 'utf8')))).toEqual([])
  })

  test('every error code is in docs/errors.md', () => {
    const codes = [
      ...readFileSync(join(root, 'src/base/errors.ts'), 'utf8').matchAll(/^ {2}\| '([A-Z_]+)'/gm),
    ]
    const table = readFileSync(join(root, 'docs/errors.md'), 'utf8')
    expect(codes.map((match) => match[1]!).filter((code) => !table.includes(`\`${code}\``))).toEqual([])
  })
})

function withoutComments(text: string): string {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
}
