/**
 * A copy of the engine's source in a temporary folder, and copies of that with one mutation each. What is in the
 * repository is never changed, and does not change under a run: it is copied once, at the start.
 */
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { apply, type Edit } from './mutation.ts'

export const REPOSITORY = resolve(import.meta.dirname, '../../..')

export class Sandbox {
  private readonly root: string
  private readonly unchanged: string
  private count = 0
  private readonly cleanUp = (): void => this.remove(this.root)

  constructor() {
    this.root = mkdtempSync(join(tmpdir(), 'hither-mutations-'))
    this.unchanged = join(this.root, 'unchanged')
    this.copy(REPOSITORY, this.unchanged)
    process.once('exit', this.cleanUp)
  }

  /** A folder of its own with the edited engine. */
  edited(edits: readonly Edit[]): string {
    const folder = join(this.root, `${++this.count}`)
    const changed = apply(edits, (file) => readFileSync(join(this.unchanged, 'src', file), 'utf8'))
    this.copy(this.unchanged, folder)
    for (const [file, text] of changed) writeFileSync(join(folder, 'src', file), text)
    return folder
  }

  /** A folder that `edited` has made. */
  remove(folder: string): void {
    rmSync(folder, { recursive: true, force: true })
  }

  /** Removes everything; happens by itself when the process ends before. */
  close(): void {
    process.off('exit', this.cleanUp)
    this.cleanUp()
  }

  private copy(from: string, to: string): void {
    mkdirSync(to)
    cpSync(join(from, 'src'), join(to, 'src'), { recursive: true })
    for (const file of ['package.json', 'tsconfig.json']) cpSync(join(from, file), join(to, file))
    symlinkSync(join(REPOSITORY, 'node_modules'), join(to, 'node_modules'), 'dir')
  }
}
