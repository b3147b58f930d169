/** The whole tree of a `FileSystem`, in the form of `treeOf`. */
import type { FileSystem } from '../../src/api.ts'
import { hashOf } from './model.ts'

export async function walk(fs: FileSystem, directory = 1): Promise<unknown> {
  const tree: unknown[] = []
  for (let cookie = 0, end = false; !end; ) {
    // A small page, so that listings go on from cookies.
    const page = await fs.list(directory, cookie, 3)
    end = page.end
    for (const { name, cookie: next, id, attributes } of page.entries) {
      cookie = next
      const text = Buffer.from(name).toString()
      if (attributes.type === 'directory') tree.push([text, await walk(fs, id)])
      else if (attributes.type === 'symlink') {
        const target = Buffer.from((await fs.readLink(id)).target).toString()
        tree.push([text, { target, links: attributes.links }])
      } else {
        const { size, links } = await fs.getAttributes(id)
        tree.push([text, { size, links, hash: hashOf(await contentOf(fs, id, size)) }])
      }
    }
  }
  return tree
}

export async function contentOf(fs: FileSystem, file: number, size: number): Promise<Buffer> {
  const bytes = Buffer.alloc(size)
  for (let at = 0; at < size; ) {
    const { length, end } = await fs.read(file, at, bytes.subarray(at))
    at += length
    if (end || length === 0) break
  }
  return bytes
}
