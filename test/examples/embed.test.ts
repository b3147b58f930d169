/** The worked example for embedders runs as it stands, and all that it asserts holds. */
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, it } from 'vitest'

const ROOT = resolve(import.meta.dirname, '../..')

// The composition root that the example imports.
describe.runIf(existsSync(join(ROOT, 'src/index.ts')))('examples/embed.ts', () => {
  it('runs to its end', async () => {
    const tsx = join(ROOT, 'node_modules/tsx/dist/cli.mjs')
    const { stdout } = await promisify(execFile)(process.execPath, [tsx, join(ROOT, 'examples/embed.ts')])
    expect(stdout).toContain('vm1-root is served by node-')
    expect(stdout).toContain('bytes written')
  })
})
