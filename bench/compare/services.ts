/** Goal 5: compression and dedupe on ÷ off, on files, durable, same data. Both containers are in one cluster. */
import { drive } from '../shared/measure.ts'
import type { BenchContext, Services } from '../shared/options.ts'
import { type Contender, ratioOf, takeTurns } from '../shared/turns.ts'
import { BenchCluster } from '../workload/bench-cluster.ts'
import { type IoJob, operationOf, WRITE_1M, WRITE_4K } from '../workload/io-jobs.ts'
import type { CheckGroup, CheckResult } from './check.ts'

const SECONDS = 0.3
const ROUNDS = 5
const CELL = { location: 'file:', rf: 2, services: 'both', data: 'mixed' } as const
const AGAINST = 'the same with both off'

export const servicesGroup: CheckGroup = {
  name: 'services',
  async run(context: BenchContext): Promise<CheckResult[]> {
    await using bench = await BenchCluster.open(CELL, context.dir)
    await bench.container('none')
    const seconds = context.seconds ?? SECONDS
    const contenders: Contender[] = []
    const compared: ReadonlyArray<readonly [string, IoJob, number]> = [
      ['4k QD1', WRITE_4K, 1],
      ['4k QD32', WRITE_4K, 32],
      ['1m', WRITE_1M, 4],
    ]
    for (const [name, job, depth] of compared) {
      for (const services of ['both', 'none'] as const satisfies readonly Services[]) {
        const disk = await bench.disk(`${name} ${services}`.replaceAll(' ', '-'), job.diskBytes, services)
        const operation = operationOf(job, bench, disk, depth)
        contenders.push({
          name: `${name} ${services}`,
          bytes: job.ioBytes,
          round: () => drive(operation, { depth, seconds, signal: context.signal }),
        })
      }
    }
    const turns = await takeTurns(contenders, ROUNDS * (context.long ? 3 : 1), context.signal, (what) =>
      context.progress.now(`compare services, ${what}`),
    )
    const ratio = (name: string, basis: 'rate' | 'p50' | 'p99' | 'bandwidth'): number =>
      ratioOf(turns, `${name} both`, `${name} none`, basis)
    return [
      {
        id: '5-qd1-p50',
        what: '4 KiB random write, file, RF2, durable, compression and dedupe on, QD1: p50',
        against: AGAINST,
        better: 'less',
        goal: 1.05,
        ratio: ratio('4k QD1', 'p50'),
      },
      {
        id: '5-qd1-p99',
        what: 'the same: p99',
        against: AGAINST,
        better: 'less',
        goal: 1.1,
        ratio: ratio('4k QD1', 'p99'),
      },
      {
        id: '5-qd32-iops',
        what: 'the same at QD32: writes per second',
        against: AGAINST,
        better: 'more',
        goal: 0.9,
        ratio: ratio('4k QD32', 'rate'),
      },
      {
        id: '5-sequential',
        what: '1 MiB sequential write, the same: bytes per second',
        against: AGAINST,
        better: 'more',
        goal: 1,
        ratio: ratio('1m', 'bandwidth'),
      },
    ]
  },
}
