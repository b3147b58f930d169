/**
 * A scenario file: blocks of a comment in prose, command lines, `----`, the output that they had, and a blank line.
 *
 *     # The VM moves, and its disk follows it.
 *     migrate vm1 to=node-2
 *     events
 *     ----
 *     vm-migrated vm1: node-1 to node-2
 *
 * Running one gives the same text with the output of now; a test compares the two, `rewrite.ts` keeps the new one. (The form
 * is that of the data-driven tests of etcd-raft and pebble.)
 */
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { Commands } from './commands.ts'

const SEPARATOR = '----'
const FOLDER = import.meta.dirname

/** Names of all scenarios, in order. */
export function scenarioNames(): string[] {
  return readdirSync(FOLDER)
    .filter((file) => file.endsWith('.txt'))
    .map((file) => file.slice(0, -'.txt'.length))
    .sort()
}

export function scenarioPath(name: string): string {
  return join(FOLDER, `${name}.txt`)
}

/** The text of the scenario with the output that its commands have now. Between commands, nothing but virtual time passes. */
export async function runScenario(text: string): Promise<string> {
  const commands = new Commands()
  const lines: string[] = []
  let isOutput = false
  try {
    for (const line of text.trimEnd().split('\n')) {
      if (line === '') isOutput = false
      // What was the output is left out; what it is now stands there already.
      if (isOutput) continue
      lines.push(line)
      if (line === '' || line.startsWith('#')) continue
      if (line === SEPARATOR) {
        isOutput = true
        lines.push(...commands.takeOutput())
      } else {
        await commands.run(line)
      }
    }
    if (commands.takeOutput().length > 0) throw new Error(`the last commands lack a line ${SEPARATOR}`)
  } finally {
    await commands.close()
  }
  return `${lines.join('\n')}\n`
}
