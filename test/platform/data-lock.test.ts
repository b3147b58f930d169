/** Two processes never use one data folder; a dead one does not keep the next out. */
import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { acquireDataLock } from '../../src/platform/real/data-lock.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'

const LOCK = fileURLToPath(new URL('../../src/platform/real/data-lock.ts', import.meta.url))

describe('acquireDataLock', () => {
  let dir: string

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'hither-lock-'))
  })
  afterEach(() => rm(dir, { recursive: true }))

  it('keeps a second taker out, naming the pid, until released', async () => {
    const lock = await acquireDataLock(dir)
    const refusal = await acquireDataLock(dir).catch((error) => error)
    expect(refusal.code).toBe('DATA_IN_USE')
    expect(refusal.message).toContain(`process ${process.pid} `)
    await lock.release()
    await lock.release()
    expect(await readdir(dir)).toEqual([])
    await (await acquireDataLock(dir)).release()
  })

  it('lets one of many takers at once in', async () => {
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, () => acquireDataLock(dir)))
    const locks = outcomes.flatMap((outcome) => (outcome.status === 'fulfilled' ? [outcome.value] : []))
    expect(locks).toHaveLength(1)
    await locks[0]!.release()
  })

  it('makes the folder, and tells when it cannot', async () => {
    const lock = await acquireDataLock(join(dir, 'new', 'folder'))
    await lock.release()
    await writeFile(join(dir, 'file'), '')
    expect(await codeOfFailure(acquireDataLock(join(dir, 'file')))).toBe('BAD_LOCATION')
  })

  it('is held by another process while it lives, and free after kill -9', async () => {
    const script = `import { acquireDataLock } from ${JSON.stringify(LOCK)}
      await acquireDataLock(${JSON.stringify(dir)}); console.log('locked'); setInterval(() => {}, 1000)`
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script])
    let errors = ''
    child.stderr.on('data', (data) => {
      errors += data
    })
    await new Promise<void>((resolve, reject) => {
      child.stdout.once('data', () => resolve())
      child.once('exit', () => reject(new Error(errors)))
    })
    const refusal = await acquireDataLock(dir).catch((error) => error)
    expect(refusal.message).toContain(`process ${child.pid} `)
    const ended = new Promise((resolve) => child.removeAllListeners('exit').once('exit', resolve))
    child.kill('SIGKILL')
    await ended
    await (await acquireDataLock(dir)).release()
  })

  /** The file alone decides here: its holder is not seen through the socket. */
  const leaveFile = async (change: (holder: Record<string, unknown>) => void): Promise<void> => {
    const lock = await acquireDataLock(dir)
    const path = join(dir, 'in-use.json')
    const holder = JSON.parse(await readFile(path, 'utf8'))
    await lock.release()
    change(holder)
    await writeFile(path, JSON.stringify(holder))
  }

  it('respects the file of a live process that has no socket here, as from another container', async () => {
    await leaveFile(() => undefined)
    expect(await codeOfFailure(acquireDataLock(dir))).toBe('DATA_IN_USE')
  })

  it.each([
    ['a pid that is not there', { pid: 2 ** 22 + 1 }],
    ['a pid that was given to another process since', { startTicks: '1' }],
    ['a process from before the machine booted', { bootId: 'another' }],
  ])('takes over the file of %s', async (_, difference) => {
    await leaveFile((holder) => Object.assign(holder, difference))
    await (await acquireDataLock(dir)).release()
  })

  it('takes over a file that is not whole', async () => {
    await writeFile(join(dir, 'in-use.json'), '{"pid":')
    await (await acquireDataLock(dir)).release()
  })
})
