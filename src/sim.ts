/**
 * hither, simulated: a cluster in virtual time, for your own tests.
 *
 * ```ts
 * import { openSimCluster } from 'hither/sim'
 *
 * const sim = await openSimCluster({ seed: 7, settings: { nodes: 3, ssdBytes: 128 * MiB } })
 * const disk = await sim.cluster.createVDisk('d', { size: 16 * MiB, node: 'node-1' })
 * await sim.cluster.failCvm('node-1')           // or sim.losePower, sim.world.network.faults, sim.world.disks …
 * await disk.write(0, block)                    // answered by a peer; virtual time has passed
 * await sim.close()
 * ```
 */
export type * from './api.ts'
export { HitherError } from './base/errors.ts'
export { GiB, KiB, MiB, TiB } from './base/units.ts'
export { openSimCluster, SimCluster, type SimClusterOptions } from './sim/cluster.ts'
export { type RunResult, runPlan } from './sim/run.ts'
export { describeFault, type Fault, type TimedFault } from './sim/schedule/fault.ts'
export { drawPlan, type Plan, type PlanOptions } from './sim/schedule/plan.ts'
export { reportPage } from './sim/what-if/html.ts'
export { parsePlan } from './sim/what-if/plan.ts'
export type { Report } from './sim/what-if/report.ts'
export { runWhatIf } from './sim/what-if/run.ts'
export { reportTable } from './sim/what-if/table.ts'
export { SimWorld } from './sim/world.ts'
