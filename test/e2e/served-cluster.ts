/** The program `hither start` in a process of its own, on real files, for tests with real clients. */
import { type ChildProcess, spawn } from 'node:child_process'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { expect } from 'vitest'
import type { ClusterStats, ClusterStatus } from '../../src/api.ts'
import { runIn } from '../cli/harness.ts'

const ROOT = resolve(import.meta.dirname, '../..')
const PROGRAM = ['--import', import.meta.resolve('tsx'), join(ROOT, 'src/main.ts')]

interface Host {
  readonly node: string
  readonly nbd: string
}

export class ServedCluster {
  static readonly #running = new Set<ServedCluster>()
  readonly events: Array<Record<string, unknown>> = []
  hosts: readonly Host[] = []
  readonly #folder: string
  readonly #child: ChildProcess
  readonly #exited: Promise<void>

  private constructor(folder: string, argv: readonly string[]) {
    this.#folder = folder
    this.#child = spawn(process.execPath, [...PROGRAM, 'start', '--json', '--nbd-port', '0', ...argv], {
      cwd: folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    createInterface(this.#child.stdout!).on('line', (line) => this.events.push(JSON.parse(line)))
    this.#exited = new Promise((done) => this.#child.once('exit', () => done()))
    ServedCluster.#running.add(this)
    void this.#exited.then(() => ServedCluster.#running.delete(this))
  }

  /** On `folder`/hither-data; resolves when the doors are open. */
  static async start(folder: string, ...argv: string[]): Promise<ServedCluster> {
    const cluster = new ServedCluster(folder, argv)
    const ready = await cluster.event('ready')
    cluster.hosts = ready['hosts'] as Host[]
    return cluster
  }

  /** Ends what a failed test left behind. */
  static async killAll(): Promise<void> {
    await Promise.all([...ServedCluster.#running].map((cluster) => cluster.kill()))
  }

  async event(type: string, after = 0): Promise<Record<string, unknown>> {
    for (;;) {
      const found = this.events.slice(after).find((event) => event['event'] === type)
      if (found !== undefined) return found
      if (this.#child.exitCode !== null) throw new Error(`the cluster ended with ${this.#child.exitCode}`)
      await new Promise((done) => setTimeout(done, 10))
    }
  }

  port(node: string): number {
    return Number(new URL(this.hosts.find((host) => host.node === node)!.nbd).port)
  }

  url(node: string, disk: string): string {
    return `nbd://127.0.0.1:${this.port(node)}/${disk}`
  }

  /** A command of the command line; fails the test unless it exits with 0. */
  async command(...argv: string[]): Promise<string> {
    const { code, stdout, stderr } = await runIn(this.#folder, argv)
    expect(`${code} ${stderr}`, argv.join(' ')).toBe('0 ')
    return stdout
  }

  async status(): Promise<ClusterStatus> {
    return JSON.parse(await this.command('status', '--json'))
  }

  async stats(): Promise<ClusterStats> {
    return JSON.parse(await this.command('stats', '--json'))
  }

  /** As a power cut of the process: SIGKILL. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await this.#exited
  }

  async stop(): Promise<void> {
    this.#child.kill('SIGTERM')
    await this.#exited
    expect(this.#child.exitCode).toBe(0)
  }
}
