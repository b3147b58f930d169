/** All micro benchmarks, in the order of the table. */
import { dataJobs } from './data-jobs.ts'
import type { MicroJob } from './job.ts'
import { tableJobs } from './table-jobs.ts'
import { wireJobs } from './wire-jobs.ts'

export const microJobs: readonly MicroJob[] = [...dataJobs, ...tableJobs, ...wireJobs]
