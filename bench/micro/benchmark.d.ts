/** The part of the package `benchmark` 2.1.4 that adapter.ts uses; it brings no types of its own. */
declare module 'benchmark' {
  interface Deferred {
    resolve(): void
  }
  interface Options {
    /** With it, `fn` gets a `Deferred`, which it resolves when the call is over. */
    readonly defer?: boolean
    readonly async?: boolean
    /** Seconds. */
    readonly maxTime?: number
    readonly minTime?: number
    readonly minSamples?: number
    readonly onComplete?: () => void
  }
  class Benchmark {
    constructor(name: string, fn: ((deferred: Deferred) => void) | (() => void), options?: Options)
    readonly error: unknown
    readonly stats: {
      /** Seconds per call: relative margin of error in percent, and each sample. */
      readonly rme: number
      readonly sample: readonly number[]
    }
    run(options?: { readonly async?: boolean }): this
    abort(): this
  }
  export default Benchmark
}
