/** Allocation map of a range: which parts hold data. Block precision; partial blocks at the edges belong to their block. */
import type { AllocationRun } from '../api.ts'
import { BLOCK_BYTES, BLOCKS_PER_VBLOCK } from '../base/units.ts'
import type { PageMap } from './page-map.ts'

export async function allocationOf(map: PageMap, offset: number, length: number): Promise<AllocationRun[]> {
  const end = offset + length
  const runs: Array<{ offset: number; length: number; data: boolean }> = []
  const add = (to: number, data: boolean) => {
    const last = runs.at(-1)
    const from = last === undefined ? offset : last.offset + last.length
    if (to <= from) return
    if (last?.data === data) last.length += to - from
    else runs.push({ offset: from, length: to - from, data })
  }
  const startBlock = Math.floor(offset / BLOCK_BYTES)
  const endBlock = Math.ceil(end / BLOCK_BYTES)
  const lastVBlock = Math.ceil(endBlock / BLOCKS_PER_VBLOCK)
  let vblock = Math.floor(startBlock / BLOCKS_PER_VBLOCK)
  while (length > 0) {
    vblock = await map.nextAllocated(vblock, lastVBlock)
    add(Math.min(end, vblock * BLOCKS_PER_VBLOCK * BLOCK_BYTES), false)
    if (vblock >= lastVBlock) break
    let page = map.leaf(vblock)
    while (page === undefined) {
      await map.load(vblock)
      page = map.leaf(vblock)
    }
    const from = Math.max(startBlock, vblock * BLOCKS_PER_VBLOCK)
    const to = Math.min(endBlock, (vblock + 1) * BLOCKS_PER_VBLOCK)
    for (let block = from; block < to; block++) {
      const mapped = page.words[(block % BLOCKS_PER_VBLOCK) * 2] !== 0
      add(Math.min(end, (block + 1) * BLOCK_BYTES), mapped)
    }
    vblock++
  }
  return runs
}
