/**
 * Where and how a workload job runs: one place in the matrix of location, RF, data services, queue depth and data. The
 * whole matrix has thousands of cells, so by default each axis is walked alone, from one cell in the middle.
 */
import type { DataKind } from '../shared/data.ts'
import type { BenchOptions, Services } from '../shared/options.ts'

export interface Cell {
  /** `memory:` or `file:`. */
  readonly location: string
  readonly rf: 1 | 2 | 3
  readonly services: Services
  readonly depth: number
  readonly data: DataKind
}

type Axes = { readonly [Axis in keyof Cell]: ReadonlyArray<Cell[Axis]> }

const MIDDLE: Cell = { location: 'memory:', rf: 2, services: 'both', depth: 32, data: 'mixed' }
const ALONE: Axes = {
  location: ['memory:', 'file:'],
  rf: [1, 2, 3],
  services: ['none', 'compression', 'dedupe', 'both'],
  depth: [1, 8, 32],
  data: ['zeros', 'text', 'binaries', 'random', 'mixed', 'repeats'],
}

/** The middle, at each location. */
export function middleCells(options: BenchOptions): Cell[] {
  return cross(axesOf(options, { ...alone(MIDDLE), location: ALONE.location }))
}

/**
 * For the job that is swept: by default one axis at a time at each location, with `--long` RF × services × depth. An axis
 * that is given on the command line is crossed with all others that are.
 */
export function sweptCells(options: BenchOptions): Cell[] {
  const asked = axesOf(options, { ...alone(MIDDLE), location: ALONE.location })
  const given = options.rf ?? options.services ?? options.depth ?? options.data
  if (given !== undefined) return cross(asked)
  if (options.long) {
    const { rf, services, depth, data } = ALONE
    return distinct([...cross({ ...asked, rf, services, depth }), ...cross({ ...asked, data, services })])
  }
  const cells = cross(asked)
  for (const axis of ['depth', 'services', 'rf', 'data'] as const) {
    // What data and RF cost is the same question at every location; one answers it.
    const location = axis === 'data' || axis === 'rf' ? asked.location.slice(0, 1) : asked.location
    cells.push(...cross({ ...asked, location, [axis]: ALONE[axis] }))
  }
  return distinct(cells)
}

function axesOf(options: BenchOptions, otherwise: Axes): Axes {
  return {
    location: options.location ?? otherwise.location,
    rf: (options.rf as Array<1 | 2 | 3> | undefined) ?? otherwise.rf,
    services: options.services ?? otherwise.services,
    depth: options.depth ?? otherwise.depth,
    data: options.data ?? otherwise.data,
  }
}

function alone(cell: Cell): Axes {
  const { location, rf, services, depth, data } = cell
  return { location: [location], rf: [rf], services: [services], depth: [depth], data: [data] }
}

function cross({ location, rf, services, depth, data }: Axes): Cell[] {
  const cells: Cell[] = []
  for (const l of location)
    for (const r of rf)
      for (const s of services)
        for (const d of depth)
          for (const k of data) cells.push({ location: l, rf: r, services: s, depth: d, data: k })
  return cells
}

function distinct(cells: readonly Cell[]): Cell[] {
  return [...new Map(cells.map((cell) => [JSON.stringify(cell), cell])).values()]
}
