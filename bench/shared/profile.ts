/**
 * Where the CPU time of a job goes: the sampling profiler of V8 around it, and the samples added up by function and by
 * folder of the engine. A flame graph, flattened; for the real one, `node --cpu-prof`.
 */
import { type Profiler, Session } from 'node:inspector/promises'
import { relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'

const INTERVAL_US = 200
const FUNCTIONS_SHOWN = 14
const ROOT = resolve(import.meta.dirname, '../..')
/** What V8 names that is not code of anybody. */
const NOT_WORK = new Set(['(root)', '(idle)', '(program)'])

export interface Share {
  readonly name: string
  /** Of the samples in which the program did something, 0 … 1. */
  readonly share: number
}

export interface ProfileSummary {
  readonly parts: readonly Share[]
  readonly functions: readonly Share[]
}

/** Runs `work` under the profiler. */
export async function profiled<T>(work: () => Promise<T>): Promise<{ result: T; summary: ProfileSummary }> {
  const session = new Session()
  session.connect()
  try {
    await session.post('Profiler.enable')
    await session.post('Profiler.setSamplingInterval', { interval: INTERVAL_US })
    await session.post('Profiler.start')
    const result = await work()
    const { profile } = await session.post('Profiler.stop')
    return { result, summary: summarise(profile) }
  } finally {
    session.disconnect()
  }
}

/** One line for the parts of the engine, one for the functions. */
export function profileLines({ parts, functions }: ProfileSummary): string[] {
  const list = (shares: readonly Share[]): string =>
    shares.map(({ name, share }) => `${name} ${(100 * share).toFixed(1)} %`).join(', ')
  return [`  by part: ${list(parts)}`, `  by function: ${list(functions)}`]
}

function summarise({ nodes, samples }: Profiler.Profile): ProfileSummary {
  const byId = new Map(nodes.map((node) => [node.id, node.callFrame]))
  const parts = new Map<string, number>()
  const functions = new Map<string, number>()
  let total = 0
  for (const id of samples ?? []) {
    const frame = byId.get(id)!
    if (NOT_WORK.has(frame.functionName)) continue
    total++
    const place = placeOf(frame.url)
    count(parts, frame.functionName === '(garbage collector)' ? 'garbage collector' : partOf(place))
    count(functions, place === '' ? frame.functionName : `${frame.functionName || 'anonymous'} (${place})`)
  }
  return {
    parts: shares(parts, total, 0.01),
    functions: shares(functions, total, 0).slice(0, FUNCTIONS_SHOWN),
  }
}

/** The file, from the root of the project; '' for code of Node itself that has none. */
function placeOf(url: string): string {
  if (url.startsWith('wasm:')) return 'wasm'
  if (!url.startsWith('file:')) return url
  return relative(ROOT, fileURLToPath(url)).split(sep).join('/')
}

function partOf(place: string): string {
  const [top, folder] = place.split('/')
  if ((top === 'src' || top === 'dist') && folder !== undefined) return folder
  if (top === 'node_modules' && folder !== undefined) return folder
  if (top === 'bench' || top === 'wasm') return top
  return 'Node'
}

function count(into: Map<string, number>, name: string): void {
  into.set(name, (into.get(name) ?? 0) + 1)
}

function shares(counts: ReadonlyMap<string, number>, total: number, least: number): Share[] {
  return [...counts]
    .map(([name, samples]) => ({ name, share: samples / total }))
    .filter(({ share }) => share >= least)
    .sort((a, b) => b.share - a.share)
}
