/** Types of `build.mjs`, apart from it: the compiler's own declare globals that would reach every file of the project. */

/** Same sources and compiler, same bytes, on every machine. Throws with the compiler's messages. */
export function compileKernel(): Promise<Uint8Array>
/** The TypeScript module that carries the bytes. */
export function moduleText(wasm: Uint8Array): string
