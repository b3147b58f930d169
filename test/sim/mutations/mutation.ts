/** What a deliberate engine bug is. The lists of them: list.ts. */

/** A change of one source file of the engine. */
export interface Edit {
  /** Under src/. */
  readonly file: string
  /** Source text that occurs exactly once in the file. */
  readonly find: string
  readonly replace: string
}

export interface Mutation extends Edit {
  readonly name: string
  /** The invariant that the bug breaks, in one line. */
  readonly breaks: string
  /** Changes that the bug needs beside the first one. */
  readonly also?: readonly Edit[]
  /**
   * Circumstances in which the bug shows: changes that break nothing (fingerprints that collide, say). The unchanged
   * engine has to pass with them.
   */
  readonly given?: readonly Edit[]
  /** The runs in which it has a chance to show, when most runs give it none: options of `npm run sim`. */
  readonly runs?: { readonly scenario?: string; readonly nodes?: number; readonly rf?: 2 | 3 }
}

/** Everything that the mutation changes, its circumstances included. */
export function editsOf(mutation: Mutation): readonly Edit[] {
  return [mutation, ...(mutation.also ?? []), ...(mutation.given ?? [])]
}

/** The text of every file that the edits change. @throws when one of their texts is not there exactly once. */
export function apply(edits: readonly Edit[], read: (file: string) => string): Map<string, string> {
  const changed = new Map<string, string>()
  for (const { file, find, replace } of edits) {
    const text = changed.get(file) ?? read(file)
    const found = text.split(find).length - 1
    if (found !== 1) throw new Error(`what is to be changed is ${found} times in src/${file}: ${find}`)
    changed.set(
      file,
      text.replace(find, () => replace),
    )
  }
  return changed
}
