/** The command line as a whole: all commands, their common options, and the way from an outcome to an exit code. */
import { Command } from 'commander'
import { addCuratorCommands, addStatusCommands } from './commands/cluster.ts'
import { addContainerCommands } from './commands/containers.ts'
import { addDiskCommands } from './commands/disk.ts'
import { addFileCommands } from './commands/files.ts'
import { addCvmCommands, addDeviceCommands, addNodeCommands, addVmCommands } from './commands/nodes.ts'
import { addStartCommand, type StartParts } from './commands/start.ts'
import { type Bind, bindTo } from './context.ts'
import { EXIT_DONE, EXIT_FAILED } from './exit-codes.ts'
import { reportFailure } from './failure.ts'
import type { CliIo } from './io.ts'

const EXIT_CODES_HELP = `
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 cluster not reachable,
5 refused by a safety check, 130 interrupted.`

/**
 * Runs one command line (without the program's name) and resolves with its exit code. Never rejects. `loadStartParts`
 * brings what `start` needs; `more` are commands of other parts of the program.
 */
export async function runCli(
  argv: readonly string[],
  io: CliIo,
  loadStartParts: () => Promise<StartParts>,
  more: readonly Command[] = [],
): Promise<number> {
  const outputGone = new AbortController()
  const onOutputError = () => outputGone.abort()
  io.stdout.on('error', onOutputError)
  const signal = AbortSignal.any([io.signal, outputGone.signal])
  try {
    const program = makeProgram(io, bindTo(io, signal), loadStartParts)
    for (const command of more) program.addCommand(command)
    await program.parseAsync(argv, { from: 'user' })
    return EXIT_DONE
  } catch (error) {
    // Whoever read our output has seen enough (`| head`): nothing to say, and nobody to say it to.
    if (outputGone.signal.aborted && !io.signal.aborted) return EXIT_FAILED
    return reportFailure(io, error, argv.includes('--json'))
  } finally {
    io.stdout.removeListener('error', onOutputError)
  }
}

function makeProgram(io: CliIo, bind: Bind, loadStartParts: () => Promise<StartParts>): Command {
  const program = new Command('hither')
    .description('Block storage that keeps data where the VM that uses it runs.')
    .version(io.version, '--version', 'print the version')
    .option('--json', 'print results (and errors, on standard error) as JSON, one object a line')
    .option(
      '--control <path>',
      'control socket of the cluster, or the folder that it is in (default: $HITHER_CONTROL, else ./hither-data)',
    )
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => void io.stdout.write(text),
      writeErr: (text) => void io.stderr.write(text),
      // Errors come back as exceptions and are reported in one place.
      outputError: () => {},
      getOutHelpWidth: () => io.stdout.columns || 100,
      getErrHelpWidth: () => io.stderr.columns || 100,
    })
    .exitOverride()
    .addHelpText('after', EXIT_CODES_HELP)
  addStartCommand(program, bind, loadStartParts)
  addStatusCommands(program, bind)
  addDiskCommands(program, bind)
  addVmCommands(program, bind)
  addNodeCommands(program, bind)
  addCvmCommands(program, bind)
  addDeviceCommands(program, bind)
  addContainerCommands(program, bind)
  addCuratorCommands(program, bind)
  addFileCommands(program, bind)
  return program
}
