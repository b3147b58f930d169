import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { gzipSync } from 'node:zlib'
import { afterAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'hither-replay-'))
afterAll(() => rmSync(directory, { recursive: true }))

async function replay(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  try {
    const output = await promisify(execFile)(process.execPath, ['--import', 'tsx', 'src/replay.ts', ...args])
    return { code: 0, ...output }
  } catch (error) {
    const { code, stdout, stderr } = error as { code: number; stdout: string; stderr: string }
    return { code, stdout, stderr }
  }
}

const file = (name: string, bytes: string | Uint8Array) => {
  const path = join(directory, name)
  writeFileSync(path, bytes)
  return path
}

describe('npm run replay', () => {
  const lines = Array.from({ length: 100 }, (_, i) => `${i * 128} 128 0 ${i}\n`).join('')

  it('plays a gzipped trace against every policy', async () => {
    const { code, stdout } = await replay(file('a.lis.gz', gzipSync(lines)), '--json')
    expect(code).toBe(0)
    const rows = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(rows.map((row) => row.policy)).toEqual(['never', 'classic', 'keep', 'readahead'])
    expect(rows[0].byRequest).toEqual({
      redPct: 100,
      redMiB: 6.3,
      latePct: 0,
      greenMiB: 0,
      wireMiB: 6.3,
      wirePct: 100,
    })
    expect(rows[3].byRequest.redPct).toBeLessThan(5)
  })

  it('prints a table for people', async () => {
    const { code, stdout } = await replay(file('b.txt', lines), '--format', 'lis', '--policy', 'never')
    expect(code).toBe(0)
    expect(stdout).toMatch(/policy +red +red MiB +green MiB +wire MiB +of never\nnever +100\.00 %/)
  })

  it.each([
    ['no file', [], 2, /missing required argument/],
    ['a file that is not there', ['nothing.lis'], 3, /nothing\.lis/],
    ['a name without a format', [file('c.bin', lines)], 2, /it is one of vscsi, lis, fiu/],
    [
      'another policy',
      [file('d.lis', lines), '--policy', 'magic'],
      2,
      /never, classic, keep, readahead, all/,
    ],
    ['a move after the end', [file('e.lis', lines), '--move-at', '900'], 2, /leaves nothing to count/],
    ['a move at no time', [file('f.lis', lines), '--move-at', 'soon'], 2, /Give seconds/],
    ['a file of another kind', [file('g.vscsi', lines)], 2, /vscsi/],
  ])('says what is wrong with %s', async (_what, args, code, message) => {
    const result = await replay(...args)
    expect(result.stderr).toMatch(message)
    expect(result.code).toBe(code)
  })
})
