/** Lists what is in a directory of an exported container, for a person: `file.list`. */
import type { Cluster, FileAttributes, FileId, FileSystem, FileType } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import { followPath } from '../../base/file-tree.ts'

/** Entries in one answer; a larger tree is listed directory by directory. */
export const FILES_LISTED_MAX = 50_000
const PAGE_ENTRIES = 1000

export interface ListedFile {
  /** From the directory that was asked for. Bytes that are not UTF-8 are replaced. */
  readonly path: string
  readonly type: FileType
  readonly id: FileId
  readonly mode: number
  readonly links: number
  readonly uid: number
  readonly gid: number
  readonly size: number
  /** ISO time stamp. */
  readonly modified: string
  /** Of a symbolic link. */
  readonly target?: string
}

/** `NOT_FOUND`, `NOT_DIRECTORY`, or `BAD_ARGUMENT` for more than `FILES_LISTED_MAX`. A file lists itself. */
export async function listFiles(
  cluster: Cluster,
  container: string,
  path: string,
  recursive: boolean,
): Promise<ListedFile[]> {
  const host = cluster.nodes[0]
  if (host === undefined) throw new HitherError('CVM_DOWN', 'the cluster has no node')
  const files = await cluster.files(host).fileSystem(container)
  const parts = path.split('/').filter((part) => part !== '')
  const at = await followPath(
    files,
    parts.map((part) => Buffer.from(part)),
  )
  const listed: ListedFile[] = []
  if (at.type === 'directory') await listInto(files, at.id, '', recursive, listed)
  else listed.push(await describe(files, parts.at(-1) ?? '', at))
  return listed
}

async function listInto(
  files: FileSystem,
  directory: FileId,
  prefix: string,
  recursive: boolean,
  listed: ListedFile[],
): Promise<void> {
  for (let cookie = 0, end = false; !end; ) {
    const page = await files.list(directory, cookie, PAGE_ENTRIES)
    end = page.end
    for (const entry of page.entries) {
      cookie = entry.cookie
      if (listed.length === FILES_LISTED_MAX) {
        throw new HitherError(
          'BAD_ARGUMENT',
          `there are more than ${FILES_LISTED_MAX} files; name a directory`,
        )
      }
      const path = `${prefix}${Buffer.from(entry.name).toString()}`
      listed.push(await describe(files, path, entry.attributes))
      if (recursive && entry.attributes.type === 'directory') {
        await listInto(files, entry.id, `${path}/`, true, listed)
      }
    }
  }
}

async function describe(files: FileSystem, path: string, attributes: FileAttributes): Promise<ListedFile> {
  const { type, id, mode, links, uid, gid, size, modified } = attributes
  const target =
    type === 'symlink' ? { target: Buffer.from((await files.readLink(id)).target).toString() } : {}
  const time = new Date(modified.seconds * 1000 + Math.floor(modified.nanoseconds / 1e6)).toISOString()
  return { path, type, id, mode, links, uid, gid, size, modified: time, ...target }
}
