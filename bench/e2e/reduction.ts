/**
 * How small disk images get: imports raw images into a new cluster and prints data ÷ stored bytes of one copy, reads
 * all of them back, deletes them, and prints what is still stored after one run of the Curator.
 *
 *     npx tsx bench/e2e/reduction.ts [--rf 2] [--nodes 4] IMAGE…
 *
 * "Data" is what the images hold that is not zeros, in blocks of 4 KiB; their length would only flatter the figure.
 * Fails when an image comes back different, or when more than 1 % of it all stays after the delete.
 */
import { createReadStream } from 'node:fs'
import { rm, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { ClusterProcess, firstDifference, scratchFolder } from '../../test/e2e/harness.ts'

const BLOCK = 4_096
const MiB = 1_024 * 1_024
const ZEROS = Buffer.alloc(BLOCK)

const { values, positionals: images } = parseArgs({
  options: { rf: { type: 'string', default: '2' }, nodes: { type: 'string', default: '4' } },
  allowPositionals: true,
})
if (images.length === 0) {
  process.stderr.write('usage: reduction.ts [--rf 2] [--nodes 4] IMAGE…\n')
  process.exit(2)
}

await using folder = await scratchFolder()
await using cluster = await ClusterProcess.start(folder.path, [
  ...['--rf', values.rf, '--nodes', values.nodes, '--curator-interval', '0'],
])

let dataBytes = 0
let lengthBytes = 0
for (const [index, image] of images.entries()) {
  const began = performance.now()
  const [data, { size }] = await Promise.all([
    nonZeroBytes(image),
    stat(image),
    cluster.hither('disk', 'import', resolve(image), `image-${index}`),
  ])
  dataBytes += data
  lengthBytes += size
  const seconds = (performance.now() - began) / 1_000
  const one = (await cluster.stats()).storedBytes / Number(values.rf)
  console.log(
    `${basename(image)}: ${mib(size)}, data ${mib(data)}, imported in ${seconds.toFixed(1)} s; ` +
      `one copy of all so far ${mib(one)}: ${ratio(dataBytes, one)}`,
  )
}

const full = await cluster.stats()
const oneCopy = full.storedBytes / Number(values.rf)
console.log(
  `data ${mib(dataBytes)} ÷ stored of one copy ${mib(oneCopy)} = ${ratio(dataBytes, oneCopy)} ` +
    `(length ${mib(lengthBytes)} ÷ stored = ${ratio(lengthBytes, oneCopy)}); saved: ` +
    `zeros ${mib(full.savedBytes.zero)}, duplicates ${mib(full.savedBytes.dedupe)}, LZ4 ${mib(full.savedBytes.compression)}`,
)

for (const [index, image] of images.entries()) {
  const copy = join(folder.path, 'copy.raw')
  await cluster.hither('disk', 'export', `image-${index}`, copy)
  const at = await firstDifference(image, copy)
  if (at !== undefined) throw new Error(`${image} came back different at byte ${at}`)
  await rm(copy)
  console.log(`${basename(image)}: read back, identical`)
}

for (const index of images.keys()) await cluster.hither('disk', 'rm', `image-${index}`)
const report = await cluster.curator()
const left = await cluster.stats()
console.log(
  `all deleted, Curator ran ${report.tookMs} ms: stored ${mib(left.storedBytes)}, logical ${mib(left.logicalBytes)}`,
)
await cluster.stop()
if (left.storedBytes > 0.01 * full.storedBytes) throw new Error('more than 1 % of the stored bytes stayed')

async function nonZeroBytes(path: string): Promise<number> {
  let bytes = 0
  for await (const chunk of createReadStream(path, { highWaterMark: MiB }) as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length; at += BLOCK) {
      const block = chunk.subarray(at, at + BLOCK)
      if (!block.equals(ZEROS.subarray(0, block.length))) bytes += block.length
    }
  }
  return bytes
}

function mib(bytes: number): string {
  return `${(bytes / MiB).toFixed(1)} MiB`
}

function ratio(data: number, stored: number): string {
  return (data / stored).toFixed(3)
}
