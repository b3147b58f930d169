/** Runs command lines in this process against a control server with a fake cluster behind it. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough, Readable } from 'node:stream'
import type { StartParts } from '../../src/cli/commands/start.ts'
import { runCli } from '../../src/cli/program.ts'
import { type ControlServer, type HostDoors, serveControl } from '../../src/frontend/control/index.ts'
import { FakeCluster } from './fake-cluster.ts'

export interface Outcome {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
  readonly stdoutBytes: Buffer
}

export interface RunOptions {
  stdin?: Readable
  env?: Record<string, string>
  signal?: AbortSignal
  terminal?: boolean
  parts?: StartParts
  /** Sees output as it comes. */
  onOutput?: (text: string) => void
}

/** Runs one command line in this process, as if in `folder`. */
export async function runIn(
  folder: string,
  argv: readonly string[],
  options: RunOptions = {},
): Promise<Outcome> {
  const stdout = sink(options)
  const stderr = sink(options)
  const code = await runCli(
    argv,
    {
      stdin: options.stdin ?? Readable.from([]),
      stdout: stdout.stream,
      stderr: stderr.stream,
      env: options.env ?? {},
      cwd: folder,
      signal: options.signal ?? new AbortController().signal,
      self: 'hither',
      version: '1.2.3',
    },
    async () => {
      if (options.parts === undefined) throw new Error('this test does not start a cluster')
      return options.parts
    },
  )
  return {
    code,
    stdout: stdout.bytes().toString(),
    stderr: stderr.bytes().toString(),
    stdoutBytes: stdout.bytes(),
  }
}

export class Harness {
  readonly folder: string
  readonly cluster = new FakeCluster()
  readonly control: string
  #server: ControlServer | undefined

  private constructor(folder: string) {
    this.folder = folder
    this.control = join(folder, 'hither-data', 'control.sock')
  }

  /** With a control server where commands look by themselves. */
  static async start(): Promise<Harness> {
    const harness = new Harness(await mkdtemp(join(tmpdir(), 'hither-cli-')))
    harness.#server = await serveControl(harness.cluster, { path: harness.control, doors: harness.doors() })
    return harness
  }

  /** Its hosts have NFS doors, too. */
  nfs = false

  doors(): HostDoors {
    return {
      list: () =>
        this.cluster.nodes.map((node, at) => ({
          node,
          nbd: `nbd://127.0.0.1:${10_809 + at}`,
          ...(this.nfs ? { nfs: `nfs://127.0.0.1:${2049 + at}/default` } : {}),
        })),
      refresh: async () => {},
    }
  }

  path(name: string): string {
    return join(this.folder, name)
  }

  run(argv: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    return runIn(this.folder, argv, options)
  }

  async json(...argv: string[]): Promise<unknown> {
    const outcome = await this.run([...argv, '--json'])
    if (outcome.code !== 0) throw new Error(outcome.stderr)
    return JSON.parse(outcome.stdout)
  }

  async stopServer(): Promise<void> {
    await this.#server?.close()
  }

  async stop(): Promise<void> {
    await this.stopServer()
    await rm(this.folder, { recursive: true, force: true })
  }
}

function sink(options: RunOptions) {
  const chunks: Buffer[] = []
  const stream = Object.assign(new PassThrough(), { isTTY: options.terminal ?? false, columns: 100 })
  stream.on('data', (chunk: Buffer) => {
    chunks.push(chunk)
    options.onOutput?.(chunk.toString())
  })
  return { stream, bytes: () => Buffer.concat(chunks) }
}
