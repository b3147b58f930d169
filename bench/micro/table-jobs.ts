/** The tables that each IO looks into: map, candidate index, block cache; and the durable one behind the catalog. */
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import { CandidateIndex } from '../../src/dedupe/candidate-index.ts'
import { KvLog } from '../../src/platform/kv-log.ts'
import { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import { BlockCache } from '../../src/vdisk/block-cache.ts'
import { PageCache } from '../../src/vdisk/page-cache.ts'
import { PAGE_ENTRIES, PageMap } from '../../src/vdisk/page-map.ts'
import { microBlocks, microNumbers } from './inputs.ts'
import type { MicroJob } from './job.ts'

/** Of vDisk address space: 1 GiB. */
const LEAVES = 1_024
const NUMBERS = 1 << 16

/** A map whose leaves are all in memory. */
async function residentMap(): Promise<PageMap> {
  const nothing = (): never => {
    throw new Error('no page was ever written')
  }
  const map = new PageMap(null, 2, 0, nothing, new PageCache(64 * MiB))
  for (let vblock = 0; vblock < LEAVES; vblock++) await map.load(vblock)
  return map
}

const mapUpdate: MicroJob = {
  name: 'map update, 8 blocks',
  async setUp() {
    const map = await residentMap()
    const places = microNumbers(NUMBERS, 1)
    return {
      operationsPerCall: 1,
      run(i) {
        map.setRun(places[i % NUMBERS]! % (LEAVES * PAGE_ENTRIES - 8), 8, 1 + (i % 1_000), (i % 4_096) << 3)
        return map.mappedBlocks
      },
    }
  },
}

const mapLookup: MicroJob = {
  name: 'map lookup',
  async setUp() {
    const map = await residentMap()
    map.setRun(0, LEAVES * PAGE_ENTRIES, 7, 0)
    const places = microNumbers(NUMBERS, 2)
    return {
      operationsPerCall: 1,
      run(i) {
        const block = places[i % NUMBERS]! % (LEAVES * PAGE_ENTRIES)
        const leaf = map.leaf(Math.floor(block / PAGE_ENTRIES))!
        return leaf.words[(block % PAGE_ENTRIES) * 2 + 1]!
      },
    }
  },
}

const indexInsert: MicroJob = {
  name: 'candidate index, insert',
  setUp() {
    const index = new CandidateIndex(32 * MiB)
    const prints = microNumbers(2 * NUMBERS, 3)
    return {
      operationsPerCall: 1,
      run(i) {
        const at = (i % NUMBERS) * 2
        // Another round brings other fingerprints: the index grows to its budget, then has to choose victims.
        index.insert(
          (prints[at]! ^ Math.imul(i >>> 16, 0x9e37_79b1)) >>> 0,
          prints[at + 1]!,
          1 + (i >>> 10),
          8,
        )
        return index.count
      },
    }
  },
}

function indexLookup(what: 'hit' | 'miss'): MicroJob {
  return {
    name: `candidate index, ${what}`,
    setUp() {
      const index = new CandidateIndex(32 * MiB)
      const prints = microNumbers(2 * NUMBERS, 4)
      const asked = what === 'hit' ? prints : microNumbers(2 * NUMBERS, 5)
      for (let i = 0; i < NUMBERS; i++) index.insert(prints[2 * i]!, prints[2 * i + 1]!, 1 + i, i & 0xfff)
      return {
        operationsPerCall: 1,
        run(i) {
          const at = (i % NUMBERS) * 2
          return index.lookup(asked[at]!, asked[at + 1]!) ? index.egroup : 0
        },
      }
    },
  }
}

function cache(name: string, blocks: number): MicroJob {
  return {
    name: `block cache, ${name}`,
    setUp() {
      const kept = new BlockCache(16 * MiB)
      const data = microBlocks()
      const target = new Uint8Array(BLOCK_BYTES)
      const places = microNumbers(NUMBERS, 6)
      const insert = (block: number): void => {
        kept.insert(1 + (block >>> 10), block & 1_023, data, (block % 256) * BLOCK_BYTES)
      }
      for (let block = 0; block < blocks; block++) insert(block)
      return {
        operationsPerCall: 1,
        bytesPerCall: BLOCK_BYTES,
        run(i) {
          const block = places[i % NUMBERS]! % blocks
          if (kept.copyTo(1 + (block >>> 10), block & 1_023, target, 0, 0, BLOCK_BYTES)) return target[33]!
          insert(block)
          return -1
        },
      }
    },
  }
}

function catalogCommit(name: string, together: number): MicroJob {
  return {
    name: `catalog commit, ${name}`,
    async setUp() {
      const device = new MemoryDevice({ id: 'bench', tier: 'ssd', size: 64 * MiB })
      const table = await KvLog.open(device, { offset: 0, length: device.size })
      const value = new Uint8Array(160)
      return {
        operationsPerCall: together,
        async run(i) {
          const commits: Promise<void>[] = []
          for (let n = 0; n < together; n++) {
            commits.push(table.commit([{ key: `vdisk/${(i * together + n) % 2_000}`, value }]))
          }
          await Promise.all(commits)
          return table.size
        },
        close: () => table.close(),
      }
    },
  }
}

export const tableJobs: readonly MicroJob[] = [
  mapLookup,
  mapUpdate,
  indexInsert,
  indexLookup('hit'),
  indexLookup('miss'),
  cache('hits', 2_000),
  cache('3 of 4 miss', 16_000),
  catalogCommit('one', 1),
  catalogCommit('32 at a time', 32),
]
