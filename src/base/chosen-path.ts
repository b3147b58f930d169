/**
 * Which implementation of the data path this process uses: the kernel, or the packages where it cannot be loaded.
 * `HITHER_KERNEL=off` in the environment asks for the packages, to compare, or should the kernel be under suspicion; both
 * read what the other wrote.
 */
import type { DataPath } from './data-path.ts'
import { type Kernel, loadKernel } from './kernel.ts'
import { kernelPath } from './kernel-path.ts'

/** The kernel of this thread, if it is used. */
export const kernel: Kernel | undefined = process.env['HITHER_KERNEL'] === 'off' ? undefined : loadKernel()

export const chosenPath: DataPath =
  kernel === undefined ? await (await import('./package-path.ts')).packagePath() : kernelPath(kernel)
