/** Goal 11: how small disk images get. Needs images: `--images a.raw,b.raw`, or HITHER_BENCH_IMAGES. */
import { open } from 'node:fs/promises'
import { basename } from 'node:path'
import { isZero } from '../../src/base/bytes.ts'
import { BLOCK_BYTES, MiB } from '../../src/base/units.ts'
import type { BenchContext } from '../shared/options.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import type { CheckGroup, CheckResult } from './check.ts'

export const reductionGroup: CheckGroup = {
  name: 'reduction',
  skipped: ({ images }) =>
    images === undefined ? 'no images: give --images A,B or set HITHER_BENCH_IMAGES' : undefined,

  async run(context: BenchContext): Promise<CheckResult[]> {
    const images = context.images!
    const cell = { location: 'file:', rf: 1, services: 'both', data: 'zeros' } as const
    await using bench = await BenchCluster.open(cell, context.dir, { ssdBytes: 32_768 * MiB })
    let dataBytes = 0
    for (const [index, image] of images.entries()) {
      if (context.signal.aborted) return []
      context.progress.now(`compare reduction, ${basename(image)}`)
      dataBytes += await importImage(bench, `image-${index}`, image)
    }
    return [
      {
        id: '11-reduction',
        what: `data in ${images.length} images, without their zeros: bytes`,
        against: 'bytes stored of one copy',
        better: 'more',
        goal: 3.2,
        exact: true,
        ratio: dataBytes / bench.cluster.stats().storedBytes,
        note: `${Math.round(dataBytes / MiB)} MiB of data`,
      },
    ]
  },
}

/** Bytes of 4 KiB blocks that are not all zeros: the length of an image would only flatter the figure. */
async function importImage(bench: BenchCluster, name: string, image: string): Promise<number> {
  await using file = await open(image)
  const { size } = await file.stat()
  await using disk = await bench.disk(name, size)
  let data = 0
  for (let at = 0; at < size; at += MiB) {
    const piece = new Uint8Array(Math.min(MiB, size - at))
    await file.read(piece, 0, piece.length, at)
    for (let block = 0; block < piece.length; block += BLOCK_BYTES) {
      const length = Math.min(BLOCK_BYTES, piece.length - block)
      if (!isZero(piece, block, length)) data += length
    }
    await disk.write(at, piece)
  }
  return data
}
