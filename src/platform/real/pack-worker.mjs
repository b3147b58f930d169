// @ts-check
/**
 * A worker thread of thread-packer.ts: packs slices of the stages it is told of, as `packSlice` of base/kernel-path.ts
 * does. Plain JavaScript, because a worker starts from a file, which must be there both among the sources and in the
 * build. What lies where in a stage is said by pack-stage.ts.
 */
import { parentPort, workerData } from 'node:worker_threads'

/** @typedef {{ head: Int32Array, rows: Uint32Array, input: Uint8Array, output: Uint8Array }} Stage */

const { kernelModule, memoryPages, leastSaved, words } = workerData
const { LEFT, DONE, COUNT, ROW, AT, RAW, STORED, HIGH, LOW } = words

const { WebAssembly } = /** @type {any} */ (globalThis)
const memory = new WebAssembly.Memory({ initial: memoryPages, maximum: memoryPages })
const kernel = new WebAssembly.Instance(kernelModule, { env: { memory } }).exports
const kernelBytes = new Uint8Array(memory.buffer)
const hash = new Uint32Array(memory.buffer, kernel.RESULTS.value, 2)
const INPUT = kernel.INPUT.value
const OUTPUT = kernel.OUTPUT.value

/** @type {Map<number, Stage>} */
const stages = new Map()

/**
 * @param {Stage} stage
 * @param {number} slice
 */
function pack({ rows, input, output }, slice) {
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
}

parentPort?.on('message', (/** @type {{ id: number, stage?: Stage }} */ message) => {
  if (message.stage !== undefined) stages.set(message.id, message.stage)
  const stage = stages.get(message.id)
  if (stage === undefined) return
  for (;;) {
    const slice = Atomics.sub(stage.head, LEFT, 1) - 1
    if (slice < 0) return
    pack(stage, slice)
    if (Atomics.add(stage.head, DONE, 1) + 1 === stage.head[COUNT]) parentPort?.postMessage(message.id)
  }
})
