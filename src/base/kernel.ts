/**
 * The data kernel: hash, zero check, LZ4 and checks of what is read, as one WebAssembly module (`kernel/assembly/`,
 * docs/decisions/0005-fused-kernel.md).
 *
 * One instance per thread. Its memory is fixed, 256 KiB, so views of it never go dead. All of it is a stage: each
 * call of `kernel-path.ts` copies in and works, and no later call relies on what is there; results that are handed out as
 * views (`inspectBlocks`, `decompressed`) are read before the next one.
 */
import { LITTLE_ENDIAN } from './data-path.ts'
import { KERNEL_WASM } from './kernel-wasm.ts'
import { WebAssembly } from './web-assembly.ts'

/** Addresses and lengths must lie inside the memory: the module does not check what the host passes. */
export interface KernelExports {
  /** Where input is copied to: STAGE_BYTES of room. */
  readonly INPUT: { readonly value: number }
  /** Where output appears: room for 112 KiB, more than LZ4 can make of STAGE_BYTES. */
  readonly OUTPUT: { readonly value: number }
  /** Where results appear: 256 × 16 bytes. */
  readonly RESULTS: { readonly value: number }
  readonly STAGE_BYTES: { readonly value: number }
  /** The first two words of RESULTS get the xxHash64: low half, high half. */
  hash(from: number, bytes: number): void
  hashBegin(): void
  /** `bytes` is a multiple of 32. */
  hashPart(from: number, bytes: number): void
  /** `bytes` < 32; `total` of all parts ≥ 32. */
  hashEnd(from: number, bytes: number, total: number): void
  /** Per block 16 bytes at `result`: hash, low and high half, and 1 for a block of zeros (which has no hash). */
  inspect(from: number, count: number, result: number): void
  /** Bytes of the LZ4 block, or 0 when it would be longer than `limit`. */
  compress(from: number, bytes: number, to: number, limit: number): number
  /** As `compress`, and the hash of the LZ4 block in RESULTS. */
  compressAndHash(from: number, bytes: number, to: number, limit: number): number
  /** 1, or 0 when the input is no LZ4 block of `rawBytes`. */
  decompress(from: number, bytes: number, to: number, rawBytes: number): number
  /** 0: done; 1: another hash; 2: the hash holds, but it is no LZ4 block of `rawBytes`. */
  verifyAndDecompress(
    from: number,
    bytes: number,
    high: number,
    low: number,
    to: number,
    rawBytes: number,
  ): number
}

export interface Kernel {
  readonly exports: KernelExports
  /** All of its memory. Zeros at first. */
  readonly memory: Uint8Array
  /** What it is an instance of: a `WebAssembly.Module`, which can be sent to another thread. */
  readonly module: object
}

/** 256 KiB, as kernel/assembly/memory.ts lays it out. */
export const KERNEL_MEMORY_PAGES = 4

/**
 * A new instance, or `undefined` where WebAssembly or its 128-bit instructions are missing, or the machine's integers are
 * not those of WebAssembly.
 */
export function loadKernel(): Kernel | undefined {
  if (WebAssembly === undefined || !LITTLE_ENDIAN) return undefined
  try {
    const memory = new WebAssembly.Memory({ initial: KERNEL_MEMORY_PAGES, maximum: KERNEL_MEMORY_PAGES })
    const module = new WebAssembly.Module(Buffer.from(KERNEL_WASM, 'base64'))
    const { exports } = new WebAssembly.Instance(module, { env: { memory } })
    return { exports: exports as KernelExports, memory: new Uint8Array(memory.buffer), module }
  } catch {
    return undefined
  }
}
