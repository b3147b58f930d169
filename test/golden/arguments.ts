/** The words of a command line of a scenario: `write d1 from=0 length=1MiB value=3`. A wrong one fails the scenario. */
import { parseDuration, parseSize } from '../../src/cli/parse.ts'

export class Arguments {
  readonly command: string
  readonly #line: string
  readonly #words: string[] = []
  readonly #named = new Map<string, string>()

  constructor(line: string) {
    this.#line = line
    const [command = '', ...rest] = line.trim().split(/\s+/)
    this.command = command
    for (const word of rest) {
      const at = word.indexOf('=')
      if (at < 0) this.#words.push(word)
      else this.#named.set(word.slice(0, at), word.slice(at + 1))
    }
  }

  /** The next word without a name. */
  word(what: string): string {
    return this.#words.shift() ?? this.fail(`${what} is missing`)
  }

  /** Takes `word` when it is among the words. */
  flag(word: string): boolean {
    const at = this.#words.indexOf(word)
    if (at >= 0) this.#words.splice(at, 1)
    return at >= 0
  }

  /** Every word that is left. */
  rest(): string[] {
    return this.#words.splice(0)
  }

  text(name: string): string | undefined {
    const value = this.#named.get(name)
    this.#named.delete(name)
    return value
  }

  needText(name: string): string {
    return this.text(name) ?? this.fail(`${name}= is missing`)
  }

  count(name: string): number | undefined {
    const text = this.text(name)
    if (text === undefined) return undefined
    return /^\d+$/.test(text) ? Number(text) : this.fail(`${name}=${text} is no whole number`)
  }

  needCount(name: string): number {
    return this.count(name) ?? this.fail(`${name}= is missing`)
  }

  /** Bytes. */
  size(name: string): number | undefined {
    const text = this.text(name)
    return text === undefined ? undefined : parseSize(text)
  }

  needSize(name: string): number {
    return this.size(name) ?? this.fail(`${name}= is missing`)
  }

  /** Milliseconds. */
  duration(name: string): number | undefined {
    const text = this.text(name)
    return text === undefined ? undefined : parseDuration(text)
  }

  /** Nothing may be left: what a command does not know is a mistake in the scenario. */
  end(): void {
    const left = [...this.#words, ...this.#named.keys()]
    if (left.length > 0) this.fail(`unknown: ${left.join(', ')}`)
  }

  fail(why: string): never {
    throw new Error(`bad command in a scenario: "${this.#line}": ${why}`)
  }
}
