/** A file system as it should behave, plain and slow: what random operations are compared against. */

export type Node =
  | { kind: 'directory'; entries: Map<string, Node>; parent: Node | undefined }
  | { kind: 'file'; data: Buffer; links: number }
  | { kind: 'symlink'; target: string; links: number }

export class ModelError extends Error {
  readonly code: string

  constructor(code: string) {
    super(code)
    this.code = code
  }
}

type Directory = Extract<Node, { kind: 'directory' }>

export class Model {
  readonly root: Directory = { kind: 'directory', entries: new Map(), parent: undefined }

  create(directory: Directory, name: string): Node {
    return this.add(directory, name, { kind: 'file', data: Buffer.alloc(0), links: 1 })
  }

  mkdir(directory: Directory, name: string): Node {
    return this.add(directory, name, { kind: 'directory', entries: new Map(), parent: directory })
  }

  symlink(directory: Directory, name: string, target: string): Node {
    return this.add(directory, name, { kind: 'symlink', target, links: 1 })
  }

  link(node: Node, directory: Directory, name: string): void {
    if (node.kind === 'directory') throw new ModelError('IS_DIRECTORY')
    this.add(directory, name, node)
    node.links += 1
  }

  remove(directory: Directory, name: string): void {
    const node = this.named(directory, name)
    if (node.kind === 'directory') throw new ModelError('IS_DIRECTORY')
    directory.entries.delete(name)
    node.links -= 1
  }

  rmdir(directory: Directory, name: string): void {
    const node = this.named(directory, name)
    if (node.kind !== 'directory') throw new ModelError('NOT_DIRECTORY')
    if (node.entries.size > 0) throw new ModelError('NOT_EMPTY')
    directory.entries.delete(name)
  }

  rename(from: Directory, name: string, to: Directory, newName: string): void {
    const node = this.named(from, name)
    if (node.kind === 'directory') {
      for (
        let at: Node | undefined = to;
        at !== undefined;
        at = at.kind === 'directory' ? at.parent : undefined
      ) {
        if (at === node) throw new ModelError('BAD_ARGUMENT')
      }
    }
    const replaced = to.entries.get(newName)
    if (replaced === node) return
    if (replaced !== undefined) {
      if (node.kind === 'directory') {
        if (replaced.kind !== 'directory') throw new ModelError('NOT_DIRECTORY')
        if (replaced.entries.size > 0) throw new ModelError('NOT_EMPTY')
      } else if (replaced.kind === 'directory') throw new ModelError('IS_DIRECTORY')
      else replaced.links -= 1
    }
    from.entries.delete(name)
    // A name that moves comes last in its directory.
    to.entries.delete(newName)
    to.entries.set(newName, node)
    if (node.kind === 'directory') node.parent = to
  }

  write(node: Node, offset: number, data: Buffer): void {
    const file = fileOf(node)
    const grown = Buffer.alloc(Math.max(file.data.length, offset + data.length))
    file.data.copy(grown)
    data.copy(grown, offset)
    file.data = grown
  }

  resize(node: Node, size: number): void {
    const file = fileOf(node)
    const next = Buffer.alloc(size)
    file.data.copy(next)
    file.data = next
  }

  private add(directory: Directory, name: string, node: Node): Node {
    if (directory.entries.has(name)) throw new ModelError('ALREADY_EXISTS')
    directory.entries.set(name, node)
    return node
  }

  private named(directory: Directory, name: string): Node {
    const node = directory.entries.get(name)
    if (node === undefined) throw new ModelError('NOT_FOUND')
    return node
  }
}

function fileOf(node: Node): Extract<Node, { kind: 'file' }> {
  if (node.kind === 'file') return node
  throw new ModelError(node.kind === 'directory' ? 'IS_DIRECTORY' : 'BAD_ARGUMENT')
}

/** The whole tree as plain data: names in order, links, bytes. */
export function treeOf(node: Node): unknown {
  if (node.kind === 'directory') {
    return [...node.entries].map(([name, child]) => [name, treeOf(child)])
  }
  if (node.kind === 'symlink') return { target: node.target, links: node.links }
  return { size: node.data.length, links: node.links, hash: hashOf(node.data) }
}

/** Tells contents apart in a failed comparison without printing them. */
export function hashOf(bytes: Uint8Array): string {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return (hash >>> 0).toString(16)
}
