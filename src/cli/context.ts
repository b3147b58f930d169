/** What every command gets: where to print, in which form, and the way to the cluster. */
import type { Command } from 'commander'
import pc from 'picocolors'
import type { Colors } from 'picocolors/types.js'
import { HitherError } from '../base/errors.ts'
import { type ControlClient, connectControl } from '../frontend/control/index.ts'
import { findControlPath } from './control-path.ts'
import type { CliIo, Output } from './io.ts'

export interface GlobalOptions {
  readonly json?: boolean
  readonly control?: string
}

export class CommandContext {
  readonly io: CliIo
  readonly json: boolean
  /** The option `--control`, as given. */
  readonly control: string | undefined
  readonly colors: Colors
  /** Fires when the command should end early: a signal, or nobody reads its output any more. */
  readonly signal: AbortSignal

  constructor(io: CliIo, options: GlobalOptions, signal: AbortSignal) {
    this.io = io
    this.json = options.json ?? false
    this.control = options.control
    this.colors = pc.createColors(wantsColor(io, io.stdout))
    this.signal = signal
  }

  /** Prints the result of a command: one line of JSON with `--json`, else what `human` says. */
  print(result: unknown, human: () => string): void {
    this.io.stdout.write(`${this.json ? JSON.stringify(result) : human()}\n`)
  }

  /** One line of many; waits when its reader is slow. */
  async printLine(line: string): Promise<void> {
    if (this.io.stdout.write(`${line}\n`) || this.signal.aborted) return
    await new Promise<void>((resolve) => {
      const resume = () => {
        this.io.stdout.removeListener('drain', resume)
        this.signal.removeEventListener('abort', resume)
        resolve()
      }
      this.io.stdout.once('drain', resume)
      this.signal.addEventListener('abort', resume)
    })
  }

  /**
   * Connects to the cluster for the time of `use`. A signal ends the connection, and so `use`, with `CANCELLED`, unless
   * `handlesSignal`: then `use` watches `context.signal` itself, because it has something to tidy up.
   */
  async withClient<T>(
    use: (client: ControlClient) => Promise<T>,
    options: { handlesSignal?: boolean } = {},
  ): Promise<T> {
    const client = await connectControl(await findControlPath(this.io, this.control))
    const cancel = () => void client.close(new HitherError('CANCELLED', 'interrupted'))
    if (options.handlesSignal !== true) {
      this.signal.addEventListener('abort', cancel)
      if (this.signal.aborted) cancel()
    }
    try {
      return await use(client)
    } finally {
      this.signal.removeEventListener('abort', cancel)
      await client.close()
    }
  }
}

/** A command's own code: the context, its options, its arguments in order. */
export type Action<A extends unknown[], O> = (
  context: CommandContext,
  options: O,
  ...args: A
) => Promise<void>

/** Makes commander's callback of an `Action`. */
export type Bind = <A extends unknown[], O = Record<string, never>>(
  action: Action<A, O>,
) => (...all: unknown[]) => Promise<void>

export function bindTo(io: CliIo, signal: AbortSignal): Bind {
  return <A extends unknown[], O>(action: Action<A, O>) =>
    async (...all: unknown[]) => {
      // Commander passes the arguments, then the options, then the command.
      const command = all.at(-1) as Command
      const context = new CommandContext(io, command.optsWithGlobals<GlobalOptions>(), signal)
      await action(context, command.opts() as O, ...(all.slice(0, -2) as A))
    }
}

/** NO_COLOR and FORCE_COLOR as usual (no-color.org); else colour on a terminal. */
export function wantsColor(io: CliIo, output: Output): boolean {
  if ((io.env['NO_COLOR'] ?? '') !== '') return false
  if ((io.env['FORCE_COLOR'] ?? '') !== '') return true
  return output.isTTY === true && io.env['TERM'] !== 'dumb'
}

/** Adds an example to a command's help. */
export function withExample(command: Command, ...lines: string[]): Command {
  const title = lines.length === 1 ? 'Example:' : 'Examples:'
  return command.addHelpText('after', `\n${title}\n${lines.map((line) => `  $ ${line}`).join('\n')}`)
}
