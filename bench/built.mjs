/**
 * Runs the bench on the engine as it is built and shipped: what `bench/` imports from `src/*.ts` comes from `dist/*.js`. The
 * bench's own files are compiled as they are loaded, by a tool that wraps every closure to keep its name: in the engine
 * that costs up to a third of an IO.
 */
import { register } from 'node:module'

register('./built-hooks.mjs', import.meta.url)
