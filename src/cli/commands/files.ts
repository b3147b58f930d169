/** `hither file …`: a look at the files of an exported container. */
import type { Command } from 'commander'
import type { ListedFile } from '../../frontend/control/index.ts'
import { type Bind, type CommandContext, withExample } from '../context.ts'
import { formatTable } from '../format.ts'

interface ListOptions {
  long?: boolean
  recursive?: boolean
}

export function addFileCommands(program: Command, bind: Bind): void {
  const file = program.command('file').description('Files of an exported container.')

  const list = file
    .command('list [container:path]')
    .description('Lists a directory of a container (default: the root of "default").')
    .option('-l, --long', 'with mode, links, owner, size and time')
    .option('-R, --recursive', 'with everything below it')
    .action(
      bind<[string | undefined], ListOptions>((context, options, where) =>
        context.withClient(async (client) => {
          const [container, path] = parsePlace(where ?? 'default')
          const files = await client.call('file.list', {
            container,
            path,
            recursive: options.recursive === true,
          })
          context.print(files, () => (options.long === true ? longList(context, files) : shortList(files)))
        }),
      ),
    )
  withExample(list, 'hither file list default:/images --long')
}

/** `container`, or `container:path`. */
function parsePlace(text: string): [container: string, path: string] {
  const colon = text.indexOf(':')
  return colon < 0 ? [text, '/'] : [text.slice(0, colon), text.slice(colon + 1)]
}

function shortList(files: readonly ListedFile[]): string {
  return files.map((file) => shown(file)).join('\n')
}

function longList(context: CommandContext, files: readonly ListedFile[]): string {
  return formatTable(
    [
      { title: 'MODE' },
      { title: 'LINKS', align: 'right' },
      { title: 'UID', align: 'right' },
      { title: 'GID', align: 'right' },
      { title: 'SIZE', align: 'right' },
      { title: 'MODIFIED' },
      { title: 'PATH' },
    ],
    files.map((file) => [
      modeText(file),
      String(file.links),
      String(file.uid),
      String(file.gid),
      String(file.size),
      file.modified,
      file.target === undefined ? shown(file) : `${shown(file)} -> ${printable(file.target)}`,
    ]),
    context.colors,
  )
}

function shown({ path, type }: ListedFile): string {
  return `${printable(path)}${type === 'directory' ? '/' : ''}`
}

/** A name may hold anything; a terminal must not obey it. */
function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced.
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, '?')
}

/** As `ls -l` has it. */
function modeText({ type, mode }: ListedFile): string {
  const kind = { file: '-', directory: 'd', symlink: 'l' }[type]
  const bits = [6, 3, 0].map((shift) => {
    const three = (mode >> shift) & 7
    return `${three & 4 ? 'r' : '-'}${three & 2 ? 'w' : '-'}${three & 1 ? 'x' : '-'}`
  })
  return kind + bits.join('')
}
