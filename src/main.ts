#!/usr/bin/env node
/**
 * The program `hither`: puts the served cluster together for `hither start`, and is the client of a running one for
 * everything else. The engine is loaded only to start or simulate a cluster, so that the other commands answer at once.
 *
 * Signals: the first SIGINT, SIGTERM or SIGHUP asks the command to end in good order; a second one ends the process on
 * the spot.
 */
import { readFileSync } from 'node:fs'
import { basename, relative } from 'node:path'
import type { Writable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import { EXIT_INTERRUPTED } from './cli/exit-codes.ts'
import { runCli } from './cli/program.ts'
import { readTrace } from './replay/read-trace.ts'
import { simulateCommand } from './sim/what-if/command.ts'

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(EXIT_INTERRUPTED)
    stop.abort()
  })
}
// A reader that went away must not end a running cluster; commands notice by themselves (cli/program.ts).
process.stdout.on('error', () => {})
process.stderr.on('error', () => {})

const io = {
  stdin: process.stdin,
  stdout: process.stdout,
  stderr: process.stderr,
  env: process.env,
  cwd: process.cwd(),
  signal: stop.signal,
  self: calledAs(process.argv[1] ?? 'hither'),
  version: version(),
}
const code = await runCli(
  process.argv.slice(2),
  io,
  async () => {
    const [{ openCluster }, { serveNbd }, { serveNfs, servePortmap }, { serveControl }] = await Promise.all([
      import('./index.ts'),
      import('./frontend/nbd/index.ts'),
      import('./frontend/nfs/index.ts'),
      import('./frontend/control/index.ts'),
    ])
    return { openCluster, serveNbd, serveNfs, servePortmap, serveControl }
  },
  [simulateCommand(io, { readTrace })],
)
const flushed = Promise.all([written(process.stdout), written(process.stderr)])
// A reader may take its time, but not when we were asked to end.
await (stop.signal.aborted ? Promise.race([flushed, sleep(1_000)]) : flushed)
process.exit(code)

/** How the user can call this program again. */
function calledAs(script: string): string {
  if (!/\.[jt]s$/.test(script)) return basename(script)
  const path = relative(process.cwd(), script)
  return `${script.endsWith('.ts') ? 'npx tsx' : 'node'} ${path.startsWith('..') ? script : path}`
}

function version(): string {
  const text = readFileSync(new URL('../package.json', import.meta.url), 'utf8')
  return (JSON.parse(text) as { version: string }).version
}

/** Resolves when everything written so far has left the process, or cannot. */
function written(stream: Writable): Promise<void> {
  if (stream.destroyed || stream.writableEnded) return Promise.resolve()
  return new Promise((resolve) => stream.write('', () => resolve()))
}
