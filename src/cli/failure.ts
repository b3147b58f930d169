/** How a command that did not succeed says so: one line on stderr, and an exit code. */
import { CommanderError } from 'commander'
import { asHitherError, HitherError } from '../base/errors.ts'
import { EXIT_DONE, EXIT_USAGE, exitCodeFor } from './exit-codes.ts'
import type { CliIo } from './io.ts'

/** Reports `error` and returns the exit code for it. */
export function reportFailure(io: CliIo, error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT_DONE
    // Commander has printed the help itself: a group without its subcommand.
    if (error.code === 'commander.help') return EXIT_USAGE
    const message = error.message.replace(/^error: /, '')
    return reportFailure(io, new HitherError('BAD_ARGUMENT', message), json)
  }
  const failure = asHitherError(error)
  const { code, retryable } = failure
  const message = oneSentence(failure.message)
  if (json) io.stderr.write(`${JSON.stringify({ code, message, retryable })}\n`)
  else io.stderr.write(`hither: ${message} (${code})\n`)
  return exitCodeFor(code)
}

function oneSentence(message: string): string {
  return message.replace(/\s*\n\s*/g, ' ').replace(/\.$/, '')
}
