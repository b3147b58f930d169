/**
 * Any sequence of operations, each through some host, answers and leaves what a plain model of a file system does; also
 * after the CVM that serves it was replaced, and after the cluster was opened again.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { FileSystem } from '../../src/api.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { openSimCluster, type SimCluster } from '../../src/sim/cluster.ts'
import { Model, ModelError, type Node, treeOf } from './model.ts'
import { walk } from './walk.ts'

const NAMES = ['a', 'b', 'c', 'd'] as const
const SIZES = [0, 1, 4095, 4096, 5000, 64 * KiB, 1 * MiB - 1, 1 * MiB + 5000] as const

const name = fc.constantFrom(...NAMES)
const place = fc.nat({ max: 50 })
const size = fc.constantFrom(...SIZES)
const operation = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('create' as const), directory: place, name }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('mkdir' as const), directory: place, name }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('symlink' as const), directory: place, name }) },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('link' as const), node: place, directory: place, name }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('remove' as const), directory: place, name }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('rmdir' as const), directory: place, name }) },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      directory: place,
      name,
      to: place,
      newName: name,
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ op: fc.constant('write' as const), node: place, offset: size, length: size }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('resize' as const), node: place, size }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('fail' as const), node: fc.nat({ max: 2 }) }) },
)
type Operation = typeof operation extends fc.Arbitrary<infer T> ? T : never

/** Both worlds: nodes of the model, and what they are called in the file system. */
class Pair {
  readonly model = new Model()
  readonly ids = new Map<Node, number>([[this.model.root, 1]])
  private readonly sim: SimCluster
  private readonly hosts: FileSystem[]
  private turn = 0

  constructor(sim: SimCluster, hosts: FileSystem[]) {
    this.sim = sim
    this.hosts = hosts
  }

  get fs(): FileSystem {
    return this.hosts[this.turn++ % this.hosts.length]!
  }

  async run(operation: Operation): Promise<void> {
    if (operation.op === 'fail') {
      const node = this.sim.cluster.nodes[operation.node]!
      await this.sim.cluster.failCvm(node)
      await this.sim.cluster.recoverCvm(node)
      return
    }
    const wanted = outcome(() => this.inModel(operation))
    const got = await this.inFiles(operation).then(
      (id) => ({ id }),
      (error: { code?: string }) => ({ code: error.code ?? String(error) }),
    )
    if ('code' in wanted) expect(got, JSON.stringify(operation)).toEqual({ code: wanted.code })
    else {
      expect(got, JSON.stringify(operation)).not.toHaveProperty('code')
      if (wanted.made !== undefined) this.ids.set(wanted.made, (got as { id: number }).id)
    }
  }

  private inModel(operation: Exclude<Operation, { op: 'fail' }>): Node | undefined {
    const { model } = this
    switch (operation.op) {
      case 'create':
        return model.create(this.directory(operation.directory), operation.name)
      case 'mkdir':
        return model.mkdir(this.directory(operation.directory), operation.name)
      case 'symlink':
        return model.symlink(this.directory(operation.directory), operation.name, 'to')
      case 'link':
        model.link(this.node(operation.node), this.directory(operation.directory), operation.name)
        return undefined
      case 'remove':
        model.remove(this.directory(operation.directory), operation.name)
        return undefined
      case 'rmdir':
        model.rmdir(this.directory(operation.directory), operation.name)
        return undefined
      case 'rename': {
        const from = this.directory(operation.directory)
        model.rename(from, operation.name, this.directory(operation.to), operation.newName)
        return undefined
      }
      case 'write':
        model.write(this.node(operation.node), operation.offset, bytesOf(operation))
        return undefined
      case 'resize':
        model.resize(this.node(operation.node), operation.size)
        return undefined
    }
  }

  /** After `inModel`: places are looked up before it in `before`. */
  private inFiles(operation: Exclude<Operation, { op: 'fail' }>): Promise<number | undefined> {
    const { fs } = this
    const bytes = (text: string) => Buffer.from(text)
    const made = (work: Promise<{ file: { id: number } }>) => work.then(({ file }) => file.id)
    const done = (work: Promise<unknown>) => work.then(() => undefined)
    switch (operation.op) {
      case 'create':
        return made(
          fs.createFile(this.dirId(operation.directory), bytes(operation.name), {}, { how: 'guarded' }),
        )
      case 'mkdir':
        return made(fs.createDirectory(this.dirId(operation.directory), bytes(operation.name), {}))
      case 'symlink':
        return made(fs.createSymlink(this.dirId(operation.directory), bytes(operation.name), bytes('to'), {}))
      case 'link':
        return done(fs.link(this.id(operation.node), this.dirId(operation.directory), bytes(operation.name)))
      case 'remove':
        return done(fs.remove(this.dirId(operation.directory), bytes(operation.name)))
      case 'rmdir':
        return done(fs.removeDirectory(this.dirId(operation.directory), bytes(operation.name)))
      case 'rename': {
        const { directory, to } = operation
        return done(
          fs.rename(this.dirId(directory), bytes(operation.name), this.dirId(to), bytes(operation.newName)),
        )
      }
      case 'write':
        return done(fs.write(this.id(operation.node), operation.offset, bytesOf(operation)))
      case 'resize':
        return done(fs.setAttributes(this.id(operation.node), { size: operation.size }))
    }
  }

  private nodesNow: Node[] = []

  /** The nodes that are there, once for both worlds. */
  look(): void {
    this.nodesNow = []
    const seen = new Set<Node>()
    const visit = (node: Node) => {
      if (seen.has(node)) return
      seen.add(node)
      this.nodesNow.push(node)
      if (node.kind === 'directory') for (const child of node.entries.values()) visit(child)
    }
    visit(this.model.root)
  }

  private node(place: number): Node {
    return this.nodesNow[place % this.nodesNow.length]!
  }

  private directory(place: number): Extract<Node, { kind: 'directory' }> {
    const directories = this.nodesNow.filter((node) => node.kind === 'directory')
    return directories[place % directories.length]!
  }

  private id(place: number): number {
    return this.ids.get(this.node(place))!
  }

  private dirId(place: number): number {
    return this.ids.get(this.directory(place))!
  }
}

function bytesOf({ offset, length }: { offset: number; length: number }): Buffer {
  return Buffer.alloc(length, ((offset + length) % 251) + 1)
}

function outcome(work: () => Node | undefined): { made: Node | undefined } | { code: string } {
  try {
    return { made: work() }
  } catch (error) {
    if (error instanceof ModelError) return { code: error.code }
    throw error
  }
}

describe('a file system is as its model', () => {
  test('whatever is done, through whichever host, while CVMs fail', { timeout: 120_000 }, async () => {
    const runs = Number(process.env.FILES_RUNS ?? 5)
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.array(operation, { minLength: 5, maxLength: 40 }),
        async (seed, operations) => {
          const sim = await openSimCluster({
            seed,
            settings: { nodes: 3, ssdBytes: 192 * MiB, hddBytes: 0, leaseTtlMs: 500, holdDownMs: 1000 },
          })
          try {
            const hosts = await Promise.all(
              sim.cluster.nodes.map((node) => sim.cluster.files(node).fileSystem('default')),
            )
            const pair = new Pair(sim, hosts)
            for (const one of operations) {
              pair.look()
              await pair.run(one)
            }
            // What a host knows of a file's size may be half a second old.
            await sim.world.clock.sleep(600)
            for (const fs of hosts) expect(await walk(fs)).toEqual(treeOf(pair.model.root))
          } finally {
            await sim.close()
          }
        },
      ),
      { numRuns: runs, ...(process.env.FILES_SEED ? { seed: Number(process.env.FILES_SEED) } : {}) },
    )
  })
})
