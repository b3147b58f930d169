/** A server as a process of its own, in a scratch folder of its own: started, waited for, and ended in order. */
import { type ChildProcess, spawn } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Scratch, scratchFolder } from '../shared/scratch.ts'

/** Kept of what a server says, at either end. */
const SAID_CHARACTERS_MAX = 4_000
const START_WITHIN_MS = 60_000
const STOP_WITHIN_MS = 15_000
const LOOK_MS = 30

/** What of a server is known while it starts. */
export interface StartingServer {
  /** On stdout and stderr, so far. */
  readonly said: string
  readonly pid: number
}

export class ServerProcess implements AsyncDisposable {
  readonly #child: ChildProcess
  readonly #scratch: Scratch
  #said = ''

  private constructor(child: ChildProcess, scratch: Scratch) {
    this.#child = child
    this.#scratch = scratch
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.on('data', (text: Buffer) => {
        // The beginning tells where it is, the end why it failed.
        const kept = this.#said.slice(0, SAID_CHARACTERS_MAX)
        this.#said = kept + `${this.#said.slice(kept.length)}${text}`.slice(-SAID_CHARACTERS_MAX)
      })
    }
  }

  /**
   * Resolves when `serves` does; asks it again until then.
   *
   * @param dir parent of the scratch folder
   * @param command what to run in the folder
   */
  static async start(
    name: string,
    dir: string | undefined,
    command: (folder: string) => readonly string[],
    serves: (server: StartingServer, folder: string) => Promise<void>,
  ): Promise<ServerProcess> {
    const scratch = await scratchFolder(dir)
    const folder = scratch.path
    const [program, ...args] = command(folder) as [string, ...string[]]
    // Not of our process group: Ctrl-C is for the bench, which then stops them in order.
    const child = spawn(program, args, { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], detached: true })
    const server = new ServerProcess(child, scratch)
    let failure: unknown
    for (const until = performance.now() + START_WITHIN_MS; ; await sleep(LOOK_MS)) {
      try {
        await serves({ said: server.#said, pid: child.pid ?? 0 }, folder)
        return server
      } catch (error) {
        failure = error
      }
      if (!server.#ended && performance.now() < until) continue
      const said = server.#said.trim()
      await server[Symbol.asyncDispose]()
      throw new Error(`${name} did not start: ${failure} ${said}`)
    }
  }

  get folder(): string {
    return this.#scratch.path
  }

  get #ended(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null || this.#child.pid === undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) {
      const gone = new Promise((resolve) => this.#child.once('exit', resolve))
      this.#child.kill('SIGTERM')
      const late = await Promise.race([gone, sleep(STOP_WITHIN_MS, 'late', { ref: false })])
      if (late === 'late') {
        this.#child.kill('SIGKILL')
        await gone
      }
    }
    await this.#scratch[Symbol.asyncDispose]()
  }
}
