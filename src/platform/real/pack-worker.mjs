// @ts-check
/**
 * A worker thread of thread-packer.ts: packs slices of the stages it is told of, as `packSlice` of base/kernel-path.ts
 * does. Plain JavaScript, because a worker starts from a file, which must be there both among the sources and in the
 * build. What lies where in a stage is said by pack-stage.ts.
 */
import { parentPort, workerData } from 'node:worker_threads'

/** @typedef {{ left: Int32Array, rows: Uint32Array, input: Uint8Array }} Stage */

const { number, kernelModule, memoryPages, leastSaved, outputsMax, words } = workerData
const { ROW, AT, RAW, STORED, HIGH, LOW, BY } = words

const { WebAssembly } = /** @type {any} */ (globalThis)
const memory = new WebAssembly.Memory({ initial: memoryPages, maximum: memoryPages })
const kernel = new WebAssembly.Instance(kernelModule, { env: { memory } }).exports
const kernelBytes = new Uint8Array(memory.buffer)
const hash = new Uint32Array(memory.buffer, kernel.RESULTS.value, 2)
const INPUT = kernel.INPUT.value
const OUTPUT = kernel.OUTPUT.value

/** @type {Map<number, Stage>} */
const stages = new Map()
/** Output that came back. @type {Uint8Array<ArrayBuffer>[]} */
const spare = []
let made = 0

/**
 * @param {Stage} stage
 * @param {number} slice
 * @param {Uint8Array} output
 */
function pack({ rows, input }, slice, output) {
  const row = slice * ROW
  const at = rows[row + AT] ?? 0
  const rawBytes = rows[row + RAW] ?? 0
  kernelBytes.set(input.subarray(at, at + rawBytes), INPUT)
  let from = OUTPUT
  let stored = 0
  if (rawBytes > leastSaved) stored = kernel.compressAndHash(INPUT, rawBytes, OUTPUT, rawBytes - leastSaved)
  if (stored === 0) {
    from = INPUT
    stored = rawBytes
    kernel.hash(INPUT, rawBytes)
  }
  output.set(kernelBytes.subarray(from, from + stored), at)
  rows[row + STORED] = stored
  rows[row + LOW] = hash[0] ?? 0
  rows[row + HIGH] = hash[1] ?? 0
  rows[row + BY] = number
}

parentPort?.on(
  'message',
  (
    /** @type {{ id: number, stage?: Stage, output?: Uint8Array<ArrayBuffer> }} */ {
      id,
      stage: added,
      output: returned,
    },
  ) => {
    if (returned !== undefined) spare.push(returned)
    if (added !== undefined) stages.set(id, added)
    const stage = stages.get(id)
    if (stage === undefined) return
    let packed = 0
    /** @type {Uint8Array<ArrayBuffer> | undefined} */
    let output = spare.pop()
    // The rest is on its way back, behind this message.
    if (output === undefined && made === outputsMax) return
    for (;;) {
      const slice = Atomics.sub(stage.left, 0, 1) - 1
      if (slice < 0) break
      if (output === undefined) {
        made++
        output = new Uint8Array(stage.input.length)
      }
      pack(stage, slice, output)
      packed++
    }
    if (output === undefined) return
    if (packed > 0) parentPort?.postMessage({ id, number, packed, output }, [output.buffer])
    else spare.push(output)
  },
)
