/**
 * The files of one container, as one host sees them: the public `FileSystem` over the host's path.
 *
 * Names, attributes and the data of small files are asked of the CVM that owns the files disk (files/file-service.ts).
 * The data of a file with a vDisk of its own goes straight there (host-file-io.ts).
 *
 * Every operation that changes something goes out with a key, the caller's or one made up here, so that it takes effect
 * once, however often the path sends it again.
 */
import type {
  DirectoryEntry,
  FileAttributes,
  FileCall,
  FileChange,
  FileChanges,
  FileId,
  FileSystem,
  FileTime,
  MadeFile,
  RequestKey,
  WriteOptions,
} from '../api.ts'
import type { HitherError } from '../base/errors.ts'
import type { VDiskId } from '../base/units.ts'
import { FILES_MAX } from '../files/limits.ts'
import type { FileAnswer, FileRequest, ListedDisk } from '../files/messages.ts'
import { bytesOf, nameOf } from '../files/names.ts'
import type { Random } from '../platform/types.ts'
import { HostFileIo, type HostFileIoDeps } from './host-file-io.ts'

const NO_BYTES = new Uint8Array(0)

export interface HostFileSystemDeps extends HostFileIoDeps {
  readonly container: string
  readonly random: Random
  readonly space: () => { totalBytes: number; freeBytes: number }
}

export class HostFileSystem implements FileSystem {
  readonly container: string
  readonly id: number
  private readonly deps: HostFileSystemDeps
  private readonly io: HostFileIo

  constructor(deps: HostFileSystemDeps) {
    this.deps = deps
    this.container = deps.container
    this.id = deps.id
    this.io = new HostFileIo(deps)
  }

  async getAttributes(file: FileId, birth = 0): Promise<FileAttributes> {
    await this.io.tellWritten()
    return this.io.getAttributes(file, birth)
  }

  async setAttributes(
    file: FileId,
    changes: FileChanges,
    options: FileCall & { guard?: FileTime } = {},
  ): Promise<FileChange> {
    const { node } = this.deps
    const answer = await this.change(
      { op: 'setAttributes', file, changes, guard: options.guard, node },
      options,
    )
    if (changes.size !== undefined) this.io.forget(file)
    return changeOf(answer, 0)
  }

  async lookup(
    directory: FileId,
    name: Uint8Array,
  ): Promise<{ file: FileAttributes; directory: FileAttributes }> {
    const { attributes } = await this.ask({ op: 'lookup', directory, name: nameOf(name) })
    return { file: attributes[0]!, directory: attributes[1]! }
  }

  async list(
    directory: FileId,
    cookie: number,
    limit: number,
  ): Promise<{ directory: FileAttributes; entries: DirectoryEntry[]; end: boolean }> {
    const { attributes, entries, end } = await this.ask({ op: 'list', directory, cookie, limit })
    return {
      directory: attributes[0]!,
      entries: entries!.map((entry) => ({
        name: bytesOf(entry.name),
        id: entry.attributes.id,
        cookie: entry.cookie,
        attributes: entry.attributes,
      })),
      end: end === true,
    }
  }

  async parent(directory: FileId): Promise<FileAttributes> {
    return (await this.ask({ op: 'parent', directory })).attributes[0]!
  }

  async createFile(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    options: FileCall & { how: 'unchecked' | 'guarded' | { exclusive: Uint8Array } },
  ): Promise<MadeFile> {
    const { how } = options
    const exclusive = typeof how === 'object'
    const made = madeOf(
      await this.change(
        {
          op: 'createFile',
          directory,
          name: nameOf(name),
          changes,
          how: exclusive ? 'exclusive' : how,
          verifier: exclusive ? how.exclusive : NO_BYTES,
          node: this.deps.node,
        },
        options,
      ),
    )
    if (changes.size !== undefined) this.io.forget(made.file.id)
    return made
  }

  async createDirectory(
    directory: FileId,
    name: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile> {
    return madeOf(await this.change({ op: 'createDirectory', directory, name: nameOf(name), changes }, call))
  }

  async createSymlink(
    directory: FileId,
    name: Uint8Array,
    target: Uint8Array,
    changes: FileChanges,
    call?: FileCall,
  ): Promise<MadeFile> {
    const request = { op: 'createSymlink', directory, name: nameOf(name), target, changes } as const
    return madeOf(await this.change(request, call))
  }

  async readLink(file: FileId): Promise<{ target: Uint8Array; attributes: FileAttributes }> {
    const { attributes, bytes } = await this.ask({ op: 'readLink', file })
    return { target: bytes!, attributes: attributes[0]! }
  }

  async link(file: FileId, directory: FileId, name: Uint8Array, call?: FileCall): Promise<MadeFile> {
    return madeOf(await this.change({ op: 'link', file, directory, name: nameOf(name) }, call))
  }

  async remove(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange> {
    return changeOf(await this.change({ op: 'remove', directory, name: nameOf(name) }, call), 0)
  }

  async removeDirectory(directory: FileId, name: Uint8Array, call?: FileCall): Promise<FileChange> {
    return changeOf(await this.change({ op: 'removeDirectory', directory, name: nameOf(name) }, call), 0)
  }

  async rename(
    from: FileId,
    name: Uint8Array,
    to: FileId,
    newName: Uint8Array,
    call?: FileCall,
  ): Promise<{ from: FileChange; to: FileChange }> {
    const request = { op: 'rename', from, name: nameOf(name), to, newName: nameOf(newName) } as const
    const answer = await this.change(request, call)
    return { from: changeOf(answer, 0), to: changeOf(answer, 2) }
  }

  read(
    file: FileId,
    offset: number,
    target: Uint8Array,
  ): Promise<{ length: number; end: boolean; attributes: FileAttributes }> {
    return this.io.read(file, offset, target)
  }

  write(
    file: FileId,
    offset: number,
    source: Uint8Array,
    options: WriteOptions & { readonly key?: RequestKey } = {},
  ): Promise<FileChange & { verifier: Uint8Array }> {
    return this.io.write(file, offset, source, options)
  }

  commit(file: FileId): Promise<FileChange & { verifier: Uint8Array }> {
    return this.io.commit(file)
  }

  async space(): Promise<{ totalBytes: number; freeBytes: number; totalFiles: number; freeFiles: number }> {
    return { ...this.deps.space(), totalFiles: FILES_MAX, freeFiles: FILES_MAX }
  }

  /** The files that have a vDisk of their own. */
  async listDisks(): Promise<readonly ListedDisk[]> {
    return (await this.io.ask({ op: 'disks' })).disks!
  }

  /** The vDisk of a regular file, which gets one if it has none. `FILE_STALE`, `IS_DIRECTORY`, `BAD_ARGUMENT`. */
  asDisk(file: FileId): Promise<{ vdisk: VDiskId; size: number }> {
    return this.io.asDisk(file)
  }

  /** Bytes of a file that was opened as a disk, as this host last heard. */
  sizeOf(file: FileId): number {
    return this.io.sizeOf(file)
  }

  /** The file's vDisk was written to inside its size. */
  noteWritten(file: FileId): void {
    this.io.noteWritten(file)
  }

  /** What it knows of writes that the owner has not heard of yet, it tells. Whatever is asked later fails for `reason`. */
  close(reason: HitherError): Promise<void> {
    return this.io.close(reason)
  }

  private async ask(request: FileRequest): Promise<FileAnswer> {
    await this.io.tellWritten()
    return this.io.ask(request)
  }

  private async change(request: FileRequest, call: FileCall | undefined): Promise<FileAnswer> {
    await this.io.tellWritten()
    return this.io.ask(request, { ...call, key: call?.key ?? this.newKey() })
  }

  private newKey(): RequestKey {
    const { random } = this.deps
    return { high: random.u32(), low: random.u32() }
  }
}

function changeOf({ attributes }: FileAnswer, at: number): FileChange {
  return { before: attributes[at]!, after: attributes[at + 1]! }
}

function madeOf(answer: FileAnswer): MadeFile {
  return { file: answer.attributes[0]!, directory: changeOf(answer, 1) }
}
