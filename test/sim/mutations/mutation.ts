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
  /** The runs in which it has a chance to show, when most runs give it none: options of `npm run sim`. */
  readonly runs?: { readonly scenario?: string; readonly nodes?: number; readonly rf?: 2 | 3 }
}

/** The text of every file that the mutation changes. @throws when one of its texts is not there exactly once. */
export function apply(mutation: Mutation, read: (file: string) => string): Map<string, string> {
  const changed = new Map<string, string>()
  for (const { file, find, replace } of [mutation, ...(mutation.also ?? [])]) {
    const text = changed.get(file) ?? read(file)
    const found = text.split(find).length - 1
    if (found !== 1) throw new Error(`${mutation.name}: the text to change is ${found} times in src/${file}`)
    changed.set(
      file,
      text.replace(find, () => replace),
    )
  }
  return changed
}
