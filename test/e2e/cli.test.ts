/**
 * The program as a user has it: `hither start` in a process of its own on real files, other processes as its clients.
 * Guards what only the whole can show: the ready line, signals, restart on the same data, exit codes, and bytes that go
 * in and come out the same through failover.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdtemp, open, readFile, rm, stat, truncate } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest'
import { type Outcome, runIn } from '../cli/harness.ts'

const ROOT = resolve(import.meta.dirname, '../..')
// In one process, so that a signal reaches the program itself.
const PROGRAM = ['--import', import.meta.resolve('tsx'), join(ROOT, 'src/main.ts')]
const KiB = 1_024
const MiB = 1_024 * KiB

let folder: string
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hither-e2e-'))
})
afterEach(() => Server.killAll())
afterAll(() => rm(folder, { recursive: true, force: true }))

/** A command against the running cluster; within this process, to save the start of another one. */
function hither(...argv: string[]): Promise<Outcome> {
  return runIn(folder, argv)
}

/** A command as a process of its own. */
function spawned(...argv: string[]): Promise<Omit<Outcome, 'stdoutBytes'>> {
  return new Promise((done) => {
    execFile(process.execPath, [...PROGRAM, ...argv], { cwd: folder }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : Number(error.code), stdout, stderr })
    })
  })
}

class Server {
  static readonly #running = new Set<Server>()

  readonly child: ChildProcess
  readonly lines: Array<Record<string, unknown>> = []
  readonly #reader: Interface
  readonly exited: Promise<number | null>

  private constructor(argv: readonly string[]) {
    this.child = spawn(process.execPath, [...PROGRAM, 'start', '--json', '--nbd-port', '0', ...argv], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    this.#reader = createInterface(this.child.stdout!)
    this.#reader.on('line', (line) => this.lines.push(JSON.parse(line)))
    this.exited = new Promise((done) => this.child.once('exit', (code) => done(code)))
    Server.#running.add(this)
    void this.exited.then(() => Server.#running.delete(this))
  }

  static async start(...argv: string[]): Promise<Server> {
    const server = new Server(argv)
    await Promise.race([
      server.line((line) => line['event'] === 'ready'),
      server.exited.then((code) => {
        throw new Error(`start ended with ${code} before it was ready`)
      }),
    ])
    return server
  }

  async line(wanted: (line: Record<string, unknown>) => boolean): Promise<Record<string, unknown>> {
    while (true) {
      const found = this.lines.find(wanted)
      if (found !== undefined) return found
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
  }

  /** What a failed test left running. */
  static async killAll(): Promise<void> {
    const left = [...Server.#running]
    for (const server of left) server.child.kill('SIGKILL')
    await Promise.all(left.map((server) => server.exited))
  }

  async stop(): Promise<number | null> {
    this.child.kill('SIGTERM')
    return await this.exited
  }
}

async function digest(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex')
}

// The composition root of the engine; without it there is no program to run.
describe.runIf(existsSync(join(ROOT, 'src/index.ts')))('the program hither', () => {
  it('keeps an image through a failed CVM, a stop and a restart, and gives it back identical', async () => {
    const image = join(folder, 'in.img')
    const bytes = 24 * MiB + 1_000
    const file = await open(image, 'w')
    await file.write(randomBytes(3 * MiB), 0, 3 * MiB, 0)
    await file.write(randomBytes(MiB), 0, MiB, 20 * MiB - 777)
    await file.truncate(bytes)
    await file.close()

    const settings = ['--nodes', '3', '--ssd', '256MiB', '--hdd', '256MiB', '--hold-down', '500ms']
    const first = await Server.start(...settings)
    expect(first.lines[0]).toMatchObject({
      event: 'ready',
      control: join(folder, 'hither-data', 'control.sock'),
      hosts: [{ node: 'node-1' }, { node: 'node-2' }, { node: 'node-3' }],
    })
    expect(
      await spawned('disk', 'import', 'in.img', 'root', '--vm', 'vm1', '--node', 'node-2'),
    ).toMatchObject({
      code: 0,
    })
    expect(await hither('disk', 'import', 'in.img', 'root')).toMatchObject({ code: 5 })
    expect(await hither('cvm', 'fail', 'node-2')).toMatchObject({ code: 0 })
    expect(await hither('disk', 'export', 'root', 'failed-over.img')).toMatchObject({ code: 0 })
    await first.line((line) => line['event'] === 'takeover')
    expect(await hither('cvm', 'recover', 'node-2')).toMatchObject({ code: 0 })
    expect(await hither('vm', 'move', 'vm1', '--to', 'node-3')).toMatchObject({ code: 0 })
    expect(await first.stop()).toBe(0)
    expect(await spawned('status')).toMatchObject({ code: 4 })

    const second = await Server.start()
    const status = JSON.parse((await hither('status', '--json')).stdout)
    expect(status.disks).toMatchObject([{ name: 'root', vm: 'vm1', home: 'node-3' }])
    expect(await hither('disk', 'export', 'root', 'restarted.img')).toMatchObject({ code: 0 })
    for (const name of ['failed-over.img', 'restarted.img']) {
      const out = join(folder, name)
      expect((await stat(out)).blocks * 512).toBeLessThan(6 * MiB)
      await truncate(out, bytes)
      expect(await digest(out)).toBe(await digest(image))
    }
    expect(await hither('disk', 'rm', 'root')).toMatchObject({ code: 0 })
    expect(await hither('disk', 'show', 'root')).toMatchObject({ code: 3 })
    expect(await second.stop()).toBe(0)
  })

  it('a second cluster on the same data is refused, and the first goes on', async () => {
    const data = ['--data', 'shared', '--nodes', '1', '--ssd', '64MiB', '--hdd', '0']
    const first = await Server.start(...data)
    expect(await spawned('start', '--nbd-port', '0', ...data)).toMatchObject({ code: 5 })
    expect(await hither('status', '--control', 'shared')).toMatchObject({ code: 0 })
    expect(await first.stop()).toBe(0)
  })
})
