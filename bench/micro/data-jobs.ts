/** What every byte goes through: fingerprints, LZ4, frames. */
import { compressInto, decompressInto, packSlice, unpackSlice } from '../../src/base/codec.ts'
import { hash64, hashOut, INSPECT_LOW, INSPECT_WORDS, inspectBlocks } from '../../src/base/hash.ts'
import { BLOCK_BYTES, KiB, MiB } from '../../src/base/units.ts'
import { parseFrame, verifySlices } from '../../src/extent-store/frame-reader.ts'
import { FrameBuilder } from '../../src/extent-store/frame-writer.ts'
import { KIND_DATA } from '../../src/extent-store/types.ts'
import { microBlocks } from './inputs.ts'
import type { MicroJob } from './job.ts'

const BLOCKS = MiB / BLOCK_BYTES
const RUN_BYTES = 32 * KiB
const RUNS = MiB / RUN_BYTES

const blockAt = (i: number): number => (i % BLOCKS) * BLOCK_BYTES
const runAt = (i: number): number => (i % RUNS) * RUN_BYTES

const fingerprint: MicroJob = {
  name: 'fingerprint 4 KiB',
  setUp() {
    const data = microBlocks()
    return {
      operationsPerCall: 1,
      bytesPerCall: BLOCK_BYTES,
      run(i) {
        hash64(data, blockAt(i), BLOCK_BYTES)
        return hashOut[0]! ^ hashOut[1]!
      },
    }
  },
}

const inspect: MicroJob = {
  name: 'zero check and fingerprint 32 KiB',
  setUp() {
    const data = microBlocks()
    data.fill(0, 0, BLOCK_BYTES)
    return {
      operationsPerCall: RUN_BYTES / BLOCK_BYTES,
      bytesPerCall: RUN_BYTES,
      run(i) {
        const words = inspectBlocks(data, runAt(i), RUN_BYTES / BLOCK_BYTES)
        return words[INSPECT_LOW]! ^ words[INSPECT_WORDS + INSPECT_LOW]!
      },
    }
  },
}

function compress(name: string, bytes: number): MicroJob {
  return {
    name: `compress ${name}`,
    setUp() {
      const data = microBlocks()
      const target = new Uint8Array(bytes)
      return {
        operationsPerCall: 1,
        bytesPerCall: bytes,
        run(i) {
          const stored = compressInto(data, (i % (MiB / bytes)) * bytes, bytes, target, 0, bytes - 512)
          return stored > 0 ? 1 : 0
        },
      }
    },
  }
}

function decompress(name: string, bytes: number): MicroJob {
  return {
    name: `decompress ${name}`,
    setUp() {
      const data = microBlocks()
      const stored: Uint8Array[] = []
      for (let at = 0; at < MiB; at += bytes) {
        const target = new Uint8Array(bytes)
        const length = compressInto(data, at, bytes, target, 0, bytes - 512)
        if (length > 0) stored.push(target.subarray(0, length))
      }
      const back = new Uint8Array(bytes)
      return {
        operationsPerCall: 1,
        bytesPerCall: bytes,
        run(i) {
          const source = stored[i % stored.length]!
          decompressInto(source, 0, source.length, back, 0, bytes)
          return back[17]! ^ (back[bytes - 5]! << 8)
        },
      }
    },
  }
}

const slices: MicroJob = {
  name: 'pack and unpack a slice 4 KiB',
  setUp() {
    const data = microBlocks()
    const stored = new Uint8Array(BLOCK_BYTES)
    const back = new Uint8Array(BLOCK_BYTES)
    return {
      operationsPerCall: 1,
      bytesPerCall: BLOCK_BYTES,
      run(i) {
        const length = packSlice(data, blockAt(i), BLOCK_BYTES, stored, 0)
        if (length === BLOCK_BYTES) return stored[17]!
        const sound = unpackSlice(stored, 0, length, hashOut[0]!, hashOut[1]!, back, 0, BLOCK_BYTES)
        return (sound ? 0x100 : 0) | back[17]!
      },
    }
  },
}

/** Fills a builder with 32 slices of one block each, with fingerprints and map records. */
function fill(builder: FrameBuilder, data: Uint8Array, i: number): void {
  builder.reset()
  for (let slice = 0; slice < 32; slice++) {
    const number = builder.addSlice(data, blockAt(i * 32 + slice), BLOCK_BYTES, KIND_DATA, true)
    builder.addFingerprint(i, number)
    builder.addMapped(i * 1_000 + slice * 7, 1, 0, number << 3)
  }
}

const frameWrite: MicroJob = {
  name: 'write a frame of 32 blocks',
  setUp() {
    const data = microBlocks()
    const builder = new FrameBuilder()
    return {
      operationsPerCall: 32,
      bytesPerCall: 32 * BLOCK_BYTES,
      run(i) {
        fill(builder, data, i)
        const [head] = builder.seal({ egroup: 1, generation: 1, offset: 0, baseSlot: 0, stream: 1 })
        return head!.length + builder.slotCount
      },
    }
  },
}

const frameParse: MicroJob = {
  name: 'parse and verify a frame of 32 blocks',
  setUp() {
    const builder = new FrameBuilder()
    fill(builder, microBlocks(), 3)
    const parts = builder.seal({ egroup: 1, generation: 1, offset: 0, baseSlot: 5, stream: 1 })
    const bytes = Uint8Array.from(Buffer.concat(parts))
    return {
      operationsPerCall: 32,
      bytesPerCall: 32 * BLOCK_BYTES,
      run(i) {
        const frame = parseFrame(bytes, 0)
        if (frame === undefined || !verifySlices(frame)) return 0
        return frame.recordStart(i % 32) + frame.recordSlot(i % 32) + frame.fingerprintLo(i % 32)
      },
    }
  },
}

export const dataJobs: readonly MicroJob[] = [
  fingerprint,
  inspect,
  compress('4 KiB', BLOCK_BYTES),
  compress('32 KiB', RUN_BYTES),
  decompress('4 KiB', BLOCK_BYTES),
  decompress('32 KiB', RUN_BYTES),
  slices,
  frameWrite,
  frameParse,
]
