/** Both implementations of the data path, for tests that hold them to the same promises. */
import type { DataPath } from '../../src/base/data-path.ts'
import { loadKernel } from '../../src/base/kernel.ts'
import { kernelPath } from '../../src/base/kernel-path.ts'
import { packagePath } from '../../src/base/package-path.ts'

const loaded = loadKernel()
if (loaded === undefined)
  throw new Error('the tests of the kernel need WebAssembly with 128-bit instructions')

export const kernel: DataPath = kernelPath(loaded)
export const packages: DataPath = await packagePath()

export const DATA_PATHS: ReadonlyArray<readonly [name: string, path: DataPath]> = [
  ['kernel', kernel],
  ['packages', packages],
]
