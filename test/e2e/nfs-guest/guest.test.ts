/**
 * A guest's kernel mounts a host's door, unpacks and checksums trees and runs a checker of random operations, while CVMs are
 * killed and come back under it. Guards: that the kernel's NFS client does not notice more than a pause.
 *
 * Runs in the long form (`HITHER_E2E_LONG=1`), and needs a kernel (see guest.ts).
 */
import { cp, mkdir } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { Calls } from '../../frontend/nfs/calls.ts'
import { RawClient } from '../../frontend/nfs/raw-client.ts'
import { peer } from '../../peers.ts'
import { ClusterProcess, chosenSeed, LONG, scratchFolder } from '../harness.ts'
import { Guest, guestKernel, packInitramfs } from './guest.ts'

const SECONDS = 90
const TIMEOUT_MS = 900_000
/** Who is killed, one after the other: the host's own CVM twice, and those that serve its files from elsewhere. */
const VICTIMS = [1, 2, 3, 1]
const STALL_MS_MAX = 15_000
/** Small files, as in any tree of sources. */
const TREE = resolve(import.meta.dirname, '../../../node_modules/commander')

const kernel = guestKernel()
const wanted = LONG && kernel !== undefined
if (!wanted) console.log('skipped, no HITHER_E2E_LONG=1 and HITHER_GUEST_KERNEL: a guest kernel on NFS')
const tools = peer('qemu-system-x86_64', 'busybox', 'gcc', 'cpio')
const itRuns = wanted ? tools.it : it.skip

/** A client that is not emulated: how long did the door itself keep anybody waiting? */
class Probe {
  readonly #calls: Calls
  readonly #done: Promise<void>
  #longestMs = 0
  #stopping = false

  private constructor(calls: Calls, root: Buffer) {
    this.#calls = calls
    this.#done = this.#run(root)
  }

  static async start(port: number): Promise<Probe> {
    const calls = new Calls(await RawClient.connect(port))
    return new Probe(calls, await calls.mount())
  }

  /** Longest time that a write took; milliseconds. */
  async stop(): Promise<number> {
    this.#stopping = true
    await this.#done
    this.#calls.client.close()
    return Math.round(this.#longestMs)
  }

  async #run(root: Buffer): Promise<void> {
    const { handle } = await this.#calls.create(root, 'probe')
    while (!this.#stopping) {
      const startedAt = performance.now()
      const { status } = await this.#calls.write(handle, 0, Buffer.alloc(4096, 1))
      if (status !== 0) throw new Error(`a write was answered with ${status}`)
      this.#longestMs = Math.max(this.#longestMs, performance.now() - startedAt)
      await sleep(20)
    }
  }
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}

itRuns(
  'a guest kernel on NFS does not notice that CVMs are killed and come back',
  async () => {
    await using folder = await scratchFolder()
    const tree = join(folder.path, 'tree')
    await mkdir(tree)
    await cp(TREE, join(tree, 'sources'), { recursive: true })
    const initramfs = await packInitramfs(kernel!, folder.path, tree)
    await using cluster = await ClusterProcess.start(folder.path, [
      ...['--nfs-port', '0', '--nodes', '3', '--ssd', '2GiB', '--hdd', '0', '--hold-down', '1s'],
    ])
    const port = new URL(cluster.hosts[0]!.nfs!).port
    await using guest = new Guest(kernel!, initramfs, { port, seconds: SECONDS, seed: chosenSeed() })
    await guest.serial.says(/guest: mounted/)
    const startedAt = Date.now()
    const kills: number[] = []
    const probe = await Probe.start(Number(port))
    const perVictimMs = (SECONDS * 1_000) / VICTIMS.length
    for (const victim of VICTIMS) {
      await sleep(perVictimMs / 2)
      kills.push(Date.now() - startedAt)
      await cluster.hither('cvm', 'fail', `node-${victim}`)
      await sleep(perVictimMs / 4)
      await cluster.hither('cvm', 'recover', `node-${victim}`)
      await sleep(perVictimMs / 4)
    }
    const [, operations, errors, longest] = await guest.serial.says(
      /fsx: operations (\d+) errors (\d+) longest (\d+)/,
    )
    const [, rounds, problems] = await guest.serial.says(/guest: done rounds (\d+) problems (\d+)/)
    console.log(
      `a guest on NFS through ${VICTIMS.length} killed CVMs: ${operations} checked operations, ${rounds} trees, ` +
        `${Number(errors) + Number(problems)} errors, longest stall ${longest} ms, of a client beside it ` +
        `${await probe.stop()} ms`,
    )
    const slow = guest.serial.lines.flatMap((line, i) => {
      const what = /fsx: slow (.*)/.exec(line)?.[1]
      return what === undefined ? [] : [`${what} until ${seconds(guest.serial.heardAt[i]! - startedAt)}`]
    })
    console.log(`kills at ${kills.map(seconds).join(', ')}; slow: ${slow.join(', ') || 'nothing'}`)
    expect(guest.serial.lines.filter((line) => line.includes('PROBLEM'))).toEqual([])
    expect([Number(errors), Number(problems)]).toEqual([0, 0])
    expect(Number(operations)).toBeGreaterThan(100)
    expect(Number(longest)).toBeLessThan(STALL_MS_MAX)
    await guest.serial.exited
    await cluster.stop()
  },
  TIMEOUT_MS,
)
