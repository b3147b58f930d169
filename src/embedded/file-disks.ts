/**
 * Files as disks: a regular file of an exported container opens as a vDisk by the name `container/path`, and the files
 * that have a vDisk of their own are listed by it. A small file gets its vDisk when it is opened.
 */
import type {
  AllocationRun,
  ContainerInfo,
  SnapshotInfo,
  VDisk,
  VDiskInfo,
  VDiskStats,
  WriteOptions,
} from '../api.ts'
import { HitherError } from '../base/errors.ts'
import { followPath } from '../base/file-tree.ts'
import { fileDiskPrefix } from '../base/hidden-disks.ts'
import type { NodeId, VDiskId } from '../base/units.ts'
import { readable } from '../files/names.ts'
import type { HostFileSystem } from './host-file-system.ts'

export interface FileDisksDeps {
  readonly containers: () => Promise<ContainerInfo[]>
  readonly fileSystem: (node: NodeId, container: string) => Promise<HostFileSystem>
  /** A vDisk by its number, as the catalog has it; `undefined`: it has not told. */
  readonly info: (vdisk: VDiskId) => VDiskInfo | undefined
  /** Names of all vDisks, those of the cluster's own included. */
  readonly names: () => Iterable<string>
  /** Opens a vDisk on the path of a host. */
  readonly openDisk: (node: NodeId, vdisk: VDiskId, size: () => number) => VDisk
}

/** A name that can only be that of a file: names of disks have no slash. */
export function isFileDisk(name: string): boolean {
  return name.includes('/')
}

export class FileDisks {
  private readonly deps: FileDisksDeps
  private readonly opened = new Set<FileDisk>()

  constructor(deps: FileDisksDeps) {
    this.deps = deps
  }

  /** All files with a vDisk of their own, asked on the path of `node`. */
  async list(node: NodeId): Promise<VDiskInfo[]> {
    const names = [...this.deps.names()]
    const lists = (await this.deps.containers())
      .filter(({ name, export: exported }) => {
        const prefix = fileDiskPrefix(name)
        return exported !== undefined && names.some((each) => each.startsWith(prefix))
      })
      .map(async ({ name }) => {
        const files = await (await this.deps.fileSystem(node, name)).listDisks()
        return files.flatMap(({ path, vdisk, size }) => {
          const info = this.deps.info(vdisk)
          return info === undefined ? [] : [{ ...info, name: `${name}/${readable(path)}`, size }]
        })
      })
    return (await Promise.all(lists)).flat()
  }

  /** `NOT_FOUND`, `IS_DIRECTORY` */
  async open(node: NodeId, name: string): Promise<VDisk> {
    const { files, file } = await this.find(node, name)
    const { vdisk } = await files.asDisk(file)
    const inner = this.deps.openDisk(node, vdisk, () => files.sizeOf(file))
    const disk: FileDisk = new FileDisk(name, inner, files, file, () => this.opened.delete(disk))
    this.opened.add(disk)
    return disk
  }

  /** Files of a container that are open as disks. */
  usersOf(container: string): number {
    return [...this.opened].filter(({ name }) => name.startsWith(`${container}/`)).length
  }

  /** `NOT_FOUND`, `IS_DIRECTORY` */
  async infoOf(node: NodeId, name: string): Promise<VDiskInfo> {
    const { files, file } = await this.find(node, name)
    const { vdisk, size } = await files.asDisk(file)
    const info = this.deps.info(vdisk)
    if (info === undefined) throw new HitherError('NOT_FOUND', `there is no vDisk ${name}`)
    return { ...info, name, size }
  }

  /** `NOT_FOUND`, `IS_DIRECTORY` */
  async remove(node: NodeId, name: string): Promise<void> {
    const { files, directory, last } = await this.find(node, name)
    await files.remove(directory, last)
  }

  private async find(node: NodeId, name: string) {
    const [container, ...path] = name.split('/')
    const last = path.pop()
    if (container === undefined || last === undefined || last === '') {
      throw new HitherError('NOT_FOUND', `there is no vDisk ${name}`)
    }
    const files = await this.deps.fileSystem(node, container)
    const directory = await followPath(
      files,
      path.map((part) => Buffer.from(part)),
    )
    const lastName = Buffer.from(last)
    const { file } = await files.lookup(directory.id, lastName)
    if (file.type === 'directory') throw new HitherError('IS_DIRECTORY', `${name} is a directory`)
    return { files, directory: directory.id, last: lastName, file: file.id }
  }
}

/** The vDisk of a file: its size is the file's, and the file knows when it was written to. */
class FileDisk implements VDisk {
  readonly name: string
  private readonly inner: VDisk
  private readonly files: HostFileSystem
  private readonly file: number
  private readonly onClose: () => void

  constructor(name: string, inner: VDisk, files: HostFileSystem, file: number, onClose: () => void) {
    this.onClose = onClose
    this.name = name
    this.inner = inner
    this.files = files
    this.file = file
  }

  get size(): number {
    return this.inner.size
  }

  get readOnly(): boolean {
    return this.inner.readOnly
  }

  read(offset: number, length: number): Promise<Uint8Array> {
    return this.inner.read(offset, length)
  }

  readInto(offset: number, target: Uint8Array): Promise<void> {
    return this.inner.readInto(offset, target)
  }

  async write(offset: number, source: Uint8Array, options?: WriteOptions): Promise<void> {
    await this.inner.write(offset, source, options)
    this.files.noteWritten(this.file)
  }

  async trim(offset: number, length: number, options?: WriteOptions): Promise<void> {
    await this.inner.trim(offset, length, options)
    this.files.noteWritten(this.file)
  }

  async writeZeroes(offset: number, length: number, options?: WriteOptions): Promise<void> {
    await this.inner.writeZeroes(offset, length, options)
    this.files.noteWritten(this.file)
  }

  flush(): Promise<void> {
    return this.inner.flush()
  }

  async resize(size: number, options?: { discardData?: boolean }): Promise<void> {
    if (size < this.size && options?.discardData !== true) {
      const runs = await this.inner.allocation(size, this.size - size)
      if (runs.some((run) => run.data)) {
        throw new HitherError('UNSAFE', `${this.name} has data behind ${size} bytes`)
      }
    }
    if (size === 0) throw new HitherError('BAD_ARGUMENT', 'a disk has 1 byte at least')
    await this.files.setAttributes(this.file, { size })
    await this.files.asDisk(this.file)
  }

  /** `BAD_ARGUMENT`: nobody could name it, since only disks have snapshots. */
  async snapshot(): Promise<SnapshotInfo> {
    throw new HitherError('BAD_ARGUMENT', `${this.name} is a file; only disks have snapshots`)
  }

  allocation(offset: number, length: number): Promise<AllocationRun[]> {
    return this.inner.allocation(offset, length)
  }

  stats(): VDiskStats {
    return this.inner.stats()
  }

  async close(): Promise<void> {
    await this.inner.close()
    this.onClose()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}
