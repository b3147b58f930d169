/** What the command line needs of the process around it; the tests give it streams of their own. */
import type { Readable, Writable } from 'node:stream'

export type Output = Writable & {
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
}

export interface CliIo {
  readonly stdin: Readable
  readonly stdout: Output
  readonly stderr: Output
  readonly env: Readonly<Record<string, string | undefined>>
  readonly cwd: string
  /** Fires at the first SIGINT or SIGTERM. */
  readonly signal: AbortSignal
  /** How the user calls this program, for commands that they can copy: `hither`, `node dist/main.js`. */
  readonly self: string
  readonly version: string
}
