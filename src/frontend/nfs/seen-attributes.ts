/**
 * Attributes that this door saw lately, to check permissions by: otherwise every READ and WRITE would first have to ask
 * the owner of the file system for the mode. A change of mode or owner counts at once on the door that made it, and within
 * `FRESH_MS` on the others. Clients are never told these attributes.
 */
import type { FileAttributes, FileId } from '../../api.ts'
import { forgetOldest } from '../../base/oldest.ts'

const FRESH_MS = 1_000
const FILES_MAX = 4_096

interface Seen {
  readonly attributes: FileAttributes
  readonly at: number
}

export class SeenAttributes {
  readonly #now: () => number
  /** The one seen longest ago comes first. */
  readonly #files = new Map<FileId, Seen>()

  /** `now`: milliseconds, monotonic. */
  constructor(now: () => number) {
    this.#now = now
  }

  get(file: FileId): FileAttributes | undefined {
    const seen = this.#files.get(file)
    if (seen === undefined) return undefined
    if (this.#now() - seen.at <= FRESH_MS) return seen.attributes
    this.#files.delete(file)
    return undefined
  }

  put(attributes: FileAttributes): void {
    this.#files.delete(attributes.id)
    this.#files.set(attributes.id, { attributes, at: this.#now() })
    forgetOldest(this.#files, FILES_MAX)
  }
}
