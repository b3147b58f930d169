/**
 * What a hung or killed process can do: nothing. Everything that would move passes a gate, which is open, or shut
 * (what comes is kept, in order, until it opens), or gone (what comes is refused with `CVM_DOWN`). While it is open that
 * costs one look at a boolean.
 */
import { HitherError } from '../../base/errors.ts'

export class Gate {
  /** Things move freely. Also false while what was kept is being let go, so that nothing overtakes it. */
  open = true
  dead = false
  readonly #name: string
  #hung = false
  /** Steps kept, from `#next` on. */
  #kept: Array<() => void> = []
  #next = 0

  constructor(name: string) {
    this.#name = name
  }

  shut(): void {
    if (this.dead) return
    this.open = false
    this.#hung = true
  }

  /** Lets go of what was kept, in order, and of what that brings in turn; then the gate is open. */
  reopen(): void {
    if (this.dead || this.open) return
    this.#hung = false
    this.#letGo()
  }

  /** For good. What was kept runs now, to be refused. */
  destroy(): void {
    if (this.dead) return
    this.open = false
    this.dead = true
    for (const step of this.#takeKept()) step()
  }

  /** The error of everything after `destroy`. */
  down(): HitherError {
    return new HitherError('CVM_DOWN', `the CVM of ${this.#name} is down`)
  }

  /** Runs `step` once: now, or when the gate opens again. After `destroy` it runs too, so it must look at `dead`. */
  pass(step: () => void): void {
    if (this.open || this.dead) step()
    else this.#kept.push(step)
  }

  /** Begins `start` when the gate lets it, and holds its outcome back while it is shut. */
  call<T>(start: () => Promise<T>): Promise<T> {
    if (this.open) return this.outcome(start())
    return new Promise((resolve, reject) => {
      this.pass(() => {
        if (this.dead) reject(this.down())
        else this.outcome(start()).then(resolve, reject)
      })
    })
  }

  /** The outcome of something that has begun, held back while the gate is shut. */
  outcome<T>(under: Promise<T>): Promise<T> {
    return under.then(this.#came as (value: T) => T | Promise<T>, this.#failed)
  }

  // Made once, as most outcomes are those of a device on the path of an IO.
  readonly #came = (value: unknown): unknown => (this.open ? value : this.#later((resolve) => resolve(value)))
  readonly #failed = (error: unknown): Promise<never> => {
    if (this.open) throw error
    return this.#later<never>((_, reject) => reject(error))
  }

  #later<T>(settle: (resolve: (value: T) => void, reject: (error: unknown) => void) => void): Promise<T> {
    return new Promise((resolve, reject) => {
      this.pass(() => {
        if (this.dead) reject(this.down())
        else settle(resolve, reject)
      })
    })
  }

  #letGo(): void {
    if (this.#hung || this.dead) return
    try {
      while (this.#next < this.#kept.length && !this.#hung) this.#kept[this.#next++]!()
    } finally {
      if (this.#next < this.#kept.length) {
        // Hung again; or a step threw, which is its own affair and must not keep the others shut in.
        this.#kept = this.#takeKept()
        queueMicrotask(() => this.#letGo())
      } else {
        this.#takeKept()
        this.open = !this.#hung && !this.dead
      }
    }
  }

  #takeKept(): Array<() => void> {
    const kept = this.#kept.slice(this.#next)
    this.#kept = []
    this.#next = 0
    return kept
  }
}
