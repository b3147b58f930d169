/**
 * A comparison in turns: A B A B …, so that a slow minute of a shared machine hits everyone. What comes out are ratios
 * of medians; absolute figures of such a machine mean little.
 */
import { latencyHistogram, type Measured } from './measure.ts'

/** Somebody who takes turns, and what is measured in one. */
export interface Player<Result> {
  readonly name: string
  /** One turn. */
  round(): Promise<Result>
}

export interface Contender extends Player<Measured> {
  /** Of one operation. */
  readonly bytes: number
}

/**
 * What is compared: operations or bytes a second of elapsed time; CPU time of the whole process per operation or byte, which a
 * busy machine disturbs least; latency.
 */
export type Basis = 'rate' | 'bandwidth' | 'cpu' | 'cpu-per-byte' | 'p50' | 'p99'

/** One contender's turns. */
export class Turns {
  readonly #rounds: readonly Measured[]
  readonly #bytes: number

  /** @param bytes of one operation */
  constructor(rounds: readonly Measured[], bytes: number) {
    this.#rounds = rounds
    this.#bytes = bytes
  }

  /** Median over the turns; of latencies, the percentile over all turns together. In units a second, or µs. */
  value(basis: Basis): number {
    switch (basis) {
      case 'rate':
        return median(this.#rounds.map((round) => round.operations / round.seconds))
      case 'bandwidth':
        return this.value('rate') * this.#bytes
      case 'cpu-per-byte':
        return this.value('cpu') / this.#bytes
      case 'cpu':
        return median(this.#rounds.map((round) => round.cpuUs / round.operations))
      case 'p50':
        return this.#latency(50)
      case 'p99':
        return this.#latency(99)
    }
  }

  #latency(percentile: number): number {
    const all = latencyHistogram()
    for (const { latency } of this.#rounds) if (latency.count > 0) all.add(latency)
    return all.percentile(percentile) / 1_000
  }
}

/**
 * Everybody has one turn a round; the turns of each, by name. An aborted `signal` ends it after the turn under way. `tell`
 * hears of each.
 */
export async function inTurns<Result>(
  players: ReadonlyArray<Player<Result>>,
  rounds: number,
  signal: AbortSignal,
  tell: (what: string) => void,
): Promise<Map<string, Result[]>> {
  const all = new Map(players.map(({ name }): [string, Result[]] => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const player of players) {
      if (signal.aborted) return all
      tell(`turn ${round + 1}/${rounds}: ${player.name}`)
      all.get(player.name)!.push(await player.round())
    }
  }
  return all
}

/** As `inTurns`, ready to be compared. */
export async function takeTurns(
  contenders: readonly Contender[],
  rounds: number,
  signal: AbortSignal,
  tell: (what: string) => void,
): Promise<Map<string, Turns>> {
  const all = await inTurns(contenders, rounds, signal, tell)
  return new Map(contenders.map(({ name, bytes }) => [name, new Turns(all.get(name)!, bytes)]))
}

/** Value of one contender ÷ value of another. NaN when either had no turn. */
export function ratioOf(turns: ReadonlyMap<string, Turns>, one: string, other: string, basis: Basis): number {
  return turns.get(one)!.value(basis) / turns.get(other)!.value(basis)
}

/** The middle one; of an even number, the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >>> 1
  if (sorted.length === 0) return Number.NaN
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
