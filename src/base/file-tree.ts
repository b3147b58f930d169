/** Where the tree of a file system begins, and the way from there down a path. */
import type { FileAttributes, FileId, FileSystem } from '../api.ts'

/** The root directory of every file system. */
export const ROOT_ID: FileId = 1

/**
 * What a path leads to, name by name from the root; the root itself without names. `NOT_FOUND`, and `NOT_DIRECTORY` for a
 * way through a file. Symbolic links are not followed: where they lead is for a client to say.
 */
export async function followPath(
  files: Pick<FileSystem, 'getAttributes' | 'lookup'>,
  names: readonly Uint8Array[],
): Promise<FileAttributes> {
  let at = await files.getAttributes(ROOT_ID)
  for (const name of names) at = (await files.lookup(at.id, name)).file
  return at
}
