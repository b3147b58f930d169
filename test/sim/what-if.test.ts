/** The what-if: plans are checked, runs answer what was asked, reports show it. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { PassThrough } from 'node:stream'
import { Command } from 'commander'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { KiB, MiB } from '../../src/base/units.ts'
import { seededRandom } from '../../src/platform/real/random.ts'
import { simulateCommand } from '../../src/sim/what-if/command.ts'
import { reportPage } from '../../src/sim/what-if/html.ts'
import { LatencyLog, NO_ANSWERS } from '../../src/sim/what-if/latency-log.ts'
import { PauseMeter } from '../../src/sim/what-if/pauses.ts'
import { type Plan, parsePlan } from '../../src/sim/what-if/plan.ts'
import type { Report } from '../../src/sim/what-if/report.ts'
import { runWhatIf } from '../../src/sim/what-if/run.ts'
import { reportTable } from '../../src/sim/what-if/table.ts'
import { requestOfTrace, requestsOf } from '../../src/sim/what-if/workload.ts'

const VM = '[[vm]]\nname = "a"\nnode = "node-1"\nworkload = "mixed"\n'

/** A whole run in little: a VM moves, then the CVM it runs on hangs and comes back. */
const STORY = `
[cluster]
nodes = 4
rf = 2
ssd = "256 MiB"
hdd = "256 MiB"
lease_ttl = "1s"
hold_down = "2s"
rebuild_delay = "2s"
curator_interval = "2s"
cache = "1 MiB"
[[vm]]
name = "a"
node = "node-1"
disk = "64 MiB"
workload = "mixed"
working_set = "6 MiB"
iops = 60
[[vm]]
name = "b"
node = "node-4"
disk = "64 MiB"
workload = "sequential"
working_set = "2 MiB"
queue_depth = 1
stop = "2s"
[[event]]
at = "8s"
do = "hang"
node = "node-2"
[[event]]
at = "4s"
do = "migrate"
vm = "a"
to = "node-2"
[[event]]
at = "13s"
do = "recover"
node = "node-2"
[run]
duration = "20s"
sample = "500ms"
seed = 5
`

function planOf(text: string): Plan {
  return parsePlan(text, 'test')
}

describe('plan', () => {
  const bad: ReadonlyArray<readonly [text: string, message: RegExp]> = [
    ['nodes = 4', /^nodes is no setting; here are .*cluster/],
    ['[cluster]\nnodes = 2\nrf = 3', /^cluster\.rf is 3, but there are only 2 nodes$/],
    ['[cluster]\nssd = "8 GB"', /^cluster\.ssd is a size like "64 MiB".*not "8 GB"$/],
    ['[cluster]\nlease_ttl = 2000', /^cluster\.lease_ttl is a time with its unit.*not 2000$/],
    ['[cluster]\nlease-ttl = "2s"', /^cluster\.lease-ttl is no setting/],
    ['[network]\nnic = "100GbE"', /^network\.nic is one of 10GbE, 1GbE, not "100GbE"$/],
    ['[devices.ssd]\nread = { median = "9ms" }', /^devices\.ssd\.read must have median ≤ p99 ≤ max/],
    ['[devices.hdd.seek]\nspin = "1ms"', /^devices\.hdd\.seek\.spin is no setting/],
    ['vm = 3', /^vm is a list: write \[\[vm\]\]/],
    ['', /^vm is missing/],
    ['[[vm]]\nname = "a"', /^vm\[1\]\.workload is missing; it is one of random-read/],
    [`${VM}${VM}`, /^vm\[2\]\.name must be unique/],
    [`${VM}working_set = "2 GiB"`, /^vm\[1\]\.working_set is not larger than the disk/],
    [`${VM}disk = "4 GiB"\nworking_set = "3 GiB"`, /^vm\[1\]\.working_set is too much/],
    [`${VM}trace = "x.vscsi"`, /^vm\[1\]\.trace needs workload = "trace"/],
    ['[[vm]]\nname = "a"\nworkload = "trace"', /^vm\[1\]\.trace is missing/],
    ['[[vm]]\nname = "a"\nworkload = "oltp"\nnode = "node-5"', /^vm\[1\]\.node is one of node-1 … node-4/],
    [`${VM}[[event]]\nat = "90s"\ndo = "fail"\nnode = "node-1"`, /^event\[1\]\.at is before the end/],
    [`${VM}[[event]]\nat = "9s"\ndo = "explode"`, /^event\[1\]\.do is one of migrate, fail/],
    [`${VM}[[event]]\nat = "9s"\ndo = "migrate"\nvm = "z"\nto = "node-2"`, /^event\[1\]\.vm is the name/],
    [`${VM}[[event]]\nat = "9s"\ndo = "fail"`, /^event\[1\]\.node is missing/],
    [`${VM}[[event]]\nat = "9s"\ndo = "fail-device"\ndevice = "sda"`, /^event\[1\]\.device is a device like/],
    [`${VM}[run]\nseed = -1`, /^run\.seed is a whole number/],
    ['[cluster\nnodes = 3', /^line 1, column \d+: /],
  ]
  test.each(bad)('%j is refused', (text, message) => {
    let refusal: unknown
    try {
      planOf(text)
    } catch (error) {
      refusal = error
    }
    expect(codeOf(refusal)).toBe('BAD_SETTING')
    expect((refusal as Error).message).toMatch(message)
  })

  test('defaults depend on the workload, counted VMs spread over the nodes, events come in order', () => {
    const plan = planOf(`
[cluster]
nodes = 3
[[vm]]
name = "d"
workload = "oltp"
count = 4
[[event]]
at = "20s"
do = "fail"
node = "node-4"
[[event]]
at = "10s"
do = "add-node"`)
    expect(plan.vms.map(({ name, node }) => `${name} ${node}`)).toEqual([
      'd-1 node-1',
      'd-2 node-2',
      'd-3 node-3',
      'd-4 node-1',
    ])
    expect(plan.vms[0]).toMatchObject({ blockBytes: 8 * KiB, readShare: 0.7, iops: 200 })
    expect(plan.events.map((event) => event.do)).toEqual(['add-node', 'fail'])
    expect(plan.settings).toEqual({ nodes: 3, rf: 2 })
  })

  test('a device model keeps what the plan does not replace', () => {
    const { ssd, hdd } = planOf(`${VM}[devices.ssd]\nread = { median = "100us" }\nqueue_depth = 4`)
    expect(ssd).toMatchObject({ readMs: { median: 0.1, p99: 0.15, max: 5 }, queueDepth: 4 })
    expect(hdd.seek?.trackMs).toBe(0.6)
  })

  test('the examples of the documentation are plans', async () => {
    for (const name of ['four-node-failover', 'eight-node-migration']) {
      const text = await readFile(join(import.meta.dirname, `../../docs/examples/${name}.toml`), 'utf8')
      expect(planOf(text).vms.length).toBeGreaterThan(0)
    }
  })
})

describe('workload', () => {
  const requests = (workload: string, count: number) => {
    const [vm] = planOf(`[[vm]]\nname = "a"\nworkload = "${workload}"\nworking_set = "1 MiB"`).vms
    const next = requestsOf(vm!, seededRandom(3))
    return Array.from({ length: count }, next)
  }

  test('every request lies in the working set', () => {
    for (const workload of ['random-read', 'random-write', 'mixed', 'sequential', 'oltp', 'boot']) {
      for (const { offset, length } of requests(workload, 2_000)) {
        expect(offset >= 0 && offset + length <= MiB).toBe(true)
      }
    }
  })

  test('shares of reads are as named', () => {
    const writes = (workload: string) => requests(workload, 4_000).filter(({ write }) => write).length / 4_000
    expect(writes('random-read')).toBe(0)
    expect(writes('random-write')).toBe(1)
    expect(writes('mixed')).toBeCloseTo(0.3, 1)
  })

  test('oltp has hot places: 10 % of them get more than half of the requests', () => {
    const counts = new Map<number, number>()
    for (const { offset } of requests('oltp', 5_000)) counts.set(offset, (counts.get(offset) ?? 0) + 1)
    const sorted = [...counts.values()].sort((a, b) => b - a)
    const places = MiB / (8 * KiB)
    const hot = sorted.slice(0, Math.ceil(places / 10)).reduce((sum, count) => sum + count, 0)
    expect(hot / 5_000).toBeGreaterThan(0.5)
  })

  test('sequential goes on where it was', () => {
    const [first, second] = requests('sequential', 2)
    expect(second!.offset).toBe(first!.offset + first!.length)
  })

  test('a trace is folded into the working set', () => {
    const trace = { length: 1, start: [255], count: [4], write: [1], timeMs: [0] }
    expect(requestOfTrace(trace, 0, MiB)).toEqual({ write: true, offset: MiB - 16 * KiB, length: 16 * KiB })
  })
})

describe('measures', () => {
  test('percentiles are nearest ranks of the stretch that was asked for', () => {
    const log = new LatencyLog()
    log.add('write', 1_000)
    const from = log.mark()
    for (let ms = 1; ms <= 100; ms++) log.add('write', ms)
    expect(log.summary(from, log.mark()).write).toMatchObject({
      count: 100,
      p50Ms: 50,
      p99Ms: 99,
      maxMs: 100,
    })
    expect(log.summary(NO_ANSWERS, log.mark()).write?.maxMs).toBe(1_000)
    expect(log.summary(from, log.mark()).readLocal).toBeUndefined()
  })

  test('a pause is the longest gap that ended after the event, or that never did', () => {
    const meter = new PauseMeter()
    for (const vm of ['a', 'b']) for (const ms of [0, 700, 900]) meter.answered(vm, ms, 1)
    meter.watch('hang node-1', 1_000, ['a'])
    meter.answered('a', 3_000, 1_990)
    meter.answered('a', 3_010, 10)
    expect(meter.report(5_000, new Set(['b']))).toEqual([
      {
        event: 'hang node-1',
        atMs: 1_000,
        vm: 'a',
        hit: true,
        pauseMs: 2_100,
        slowestMs: 1_990,
        ended: true,
      },
      { event: 'hang node-1', atMs: 1_000, vm: 'b', hit: false, pauseMs: 4_100, slowestMs: 0, ended: false },
    ])
  })
})

describe('run', () => {
  let report: Report

  beforeAll(async () => {
    report = await runWhatIf(planOf(STORY))
  })

  test('the VM on the node that hangs waits for the lease to end, and not much longer', () => {
    const pause = report.pauses.find(({ event, vm }) => event === 'hang node-2' && vm === 'a')!
    expect(pause).toMatchObject({ hit: true, ended: true })
    expect(pause.slowestMs).toBeGreaterThan(500)
    expect(pause.slowestMs).toBeLessThan(4_000)
  })

  test('red and green come with the move, purple with the failover, and each ends', () => {
    const phase = (label: string) => report.phases.find((one) => one.label === label)!.traffic
    expect(phase('start')).toMatchObject({ redBytes: 0, greenBytes: 0, purpleBytes: 0 })
    expect(phase('migrate a to node-2').redBytes).toBeGreaterThan(0)
    expect(phase('migrate a to node-2').greenBytes).toBeGreaterThan(0)
    expect(phase('migrate a to node-2').purpleBytes).toBe(0)
    expect(phase('hang node-2').purpleBytes).toBeGreaterThan(0)
    expect(report.windows.at(-1)!.traffic.purpleBytes).toBe(0)
    const { readLocal, readRemote } = report.phases.find(({ label }) => label.startsWith('migrate'))!.latency
    expect(readRemote!.p50Ms).toBeGreaterThan(readLocal!.p50Ms)
    expect(report.latency.readRedirected!.count).toBeGreaterThan(0)
  })

  test('copies were short, and are full again', () => {
    const [lost] = report.fullRf
    expect(lost!.peakBytes).toBeGreaterThan(0)
    expect(lost!.restoredMs).toBeGreaterThan(0)
    expect(report.windows.at(-1)!.space.underReplicatedBytes).toBe(0)
  })

  test('every event is done, no request failed, and windows cover the run', () => {
    expect(report.events.map(({ what, error }) => [what, error])).toEqual([
      ['migrate a to node-2', undefined],
      ['hang node-2', undefined],
      ['recover node-2', undefined],
    ])
    expect(report.vms.flatMap(({ failed }) => failed)).toEqual([])
    expect(report.windows.map(({ toMs }) => toMs)).toEqual(
      Array.from({ length: 40 }, (_, i) => (i + 1) * 500),
    )
    expect(report.vms[0]).toMatchObject({ vm: 'a', node: 'node-2' })
    expect(report.vms[0]!.requests).toBeGreaterThan(1_000)
  })

  test('the table says all of it, for one plan and for two', () => {
    const one = reportTable([report])
    for (const word of ['read, remote', 'hang node-2', 'FULL RF', 'P99.9', 'OVER TIME', report.hash]) {
      expect(one).toContain(word)
    }
    const two = reportTable([report, { ...report, title: 'the other' }])
    expect(two).toMatch(/^A {2}test: .*\nB {2}the other: /)
    expect(two).toMatch(/A {2}write +\S+.*\n {2}B {2}write/)
  })

  test('the page needs nothing from elsewhere, and escapes what plans say', () => {
    const page = reportPage([{ ...report, title: '<b>&"' }, report])
    expect(page).toContain('&lt;b&gt;&amp;&quot;')
    expect(page).not.toMatch(/<script|<b>&"|src=|href=|url\(|@import/)
    expect(page).toContain('prefers-color-scheme: dark')
    expect(page.match(/<figure>/g)).toHaveLength(16)
    expect(page).not.toMatch(/NaN|undefined|Infinity/)
  })
})

describe('hither simulate', () => {
  const SHORT = `${VM}disk = "16 MiB"\nworking_set = "1 MiB"\niops = 50\n[cluster]\nssd = "64 MiB"\nhdd = 0\n[run]\nduration = "2s"\n`
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'what-if-'))
    await writeFile(join(folder, 'a.toml'), SHORT)
    await writeFile(join(folder, 'b.toml'), `${SHORT}seed = 2\n`)
    await writeFile(join(folder, 'bad.toml'), `${SHORT}speed = 2\n`)
    const replay = (trace: string) =>
      `[[vm]]\nname = "t"\nworkload = "trace"\ntrace = "${trace}"\ntrace_speed = 2\nworking_set = "1 MiB"\n[run]\nduration = "3s"\n`
    await writeFile(join(folder, 'trace.toml'), replay('t.lis'))
    await writeFile(join(folder, 'replay.toml'), replay('there.lis'))
  })

  afterAll(() => rm(folder, { recursive: true }))

  /** Three reads and a write, a second apart. */
  const TRACE = {
    length: 4,
    start: [0, 8, 16, 8],
    count: [1, 8, 2, 1],
    write: [0, 0, 0, 1],
    timeMs: [0, 1e3, 2e3, 3e3],
  }

  async function simulate(argv: readonly string[], signal = new AbortController().signal) {
    const stdout = new PassThrough()
    const io = { stdout, stderr: new PassThrough(), cwd: folder, signal }
    const gone = Object.assign(new Error('gone'), { code: 'ENOENT' })
    const readTrace = (path: string) =>
      path === join(folder, 'there.lis') ? Promise.resolve(TRACE) : Promise.reject(gone)
    const program = new Command().option('--json').addCommand(simulateCommand(io, { readTrace }))
    let failure: unknown
    await program.parseAsync(['simulate', ...argv], { from: 'user' }).catch((error: unknown) => {
      failure = error
    })
    return { text: String(stdout.read() ?? ''), failure }
  }

  test('prints one object a plan with --json; equal plans give equal runs, other seeds do not', async () => {
    const { text, failure } = await simulate(['a.toml', 'b.toml', '--json', '--html', 'out.html'])
    expect(failure).toBeUndefined()
    const [a, b] = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as Report)
    expect([a!.title, b!.title]).toEqual(['a', 'b'])
    expect(a!.hash).not.toBe(b!.hash)
    expect((await runWhatIf(planOf(SHORT))).hash).toBe(a!.hash)
    expect(await readFile(join(folder, 'out.html'), 'utf8')).toContain('<!doctype html>')
  })

  test('says in which file a mistake is, before anything runs', async () => {
    const { failure, text } = await simulate(['a.toml', 'bad.toml'])
    expect(codeOf(failure)).toBe('BAD_SETTING')
    expect((failure as Error).message).toMatch(/^bad\.toml: run\.speed is no setting/)
    expect(text).toBe('')
    expect(codeOf((await simulate(['none.toml'])).failure)).toBe('NOT_FOUND')
    expect(String((await simulate(['trace.toml'])).failure)).toMatch(/trace = "t\.lis".*there is no file/)
  })

  test('replays a trace at its times', async () => {
    const { text, failure } = await simulate(['replay.toml', '--json'])
    expect(failure).toBeUndefined()
    const { vms, windows } = JSON.parse(text) as Report
    expect(vms[0]).toMatchObject({ requests: 4, readBytes: 11 * 4 * KiB, writtenBytes: 4 * KiB })
    // At double speed, the write comes after 1.5 s.
    expect(windows.find(({ traffic }) => traffic.writtenBytes > 0)).toMatchObject({ fromMs: 1_500 })
  })

  test('an interrupted run reports what was until then', async () => {
    const controller = new AbortController()
    const plan = planOf(SHORT.replace('"2s"', '"100s"'))
    const report = await runWhatIf(plan, {
      signal: controller.signal,
      onProgress: ({ step, done }) => {
        if (step === 'run' && done > 0.02) controller.abort()
      },
    })
    expect(report).toMatchObject({ interrupted: true, durationMs: 100_000 })
    expect(report.ranMs).toBeLessThan(10_000)
    expect(report.latency.write!.count).toBeGreaterThan(0)
    const { failure } = await simulate(['a.toml'], AbortSignal.abort())
    expect(codeOf(failure)).toBe('CANCELLED')
  })
})
