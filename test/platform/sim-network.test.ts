/** The simulated network keeps the contract of its seam, takes time by its model, and fails on command. */
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { ONE_GBE, TEN_GBE } from '../../src/platform/sim/network-model.ts'
import { SimNetwork, type SimNetworkOptions } from '../../src/platform/sim/sim-network.ts'
import { bytesOf, runNetworkTests, textOf } from '../conformance/network-suite.ts'

runNetworkTests('simulated', async () => {
  const loop = new SimLoop()
  const network = new SimNetwork(loop, seededRandom(1))
  return { open: (name) => network.endpoint(name), settle: () => loop.sleep(100) }
})

function pair(options?: SimNetworkOptions) {
  const loop = new SimLoop()
  const network = new SimNetwork(loop, seededRandom(7), options)
  const a = network.endpoint('node-1')
  const b = network.endpoint('node-2')
  const got: string[] = []
  b.onFrame((_, frame) => got.push(textOf(frame)))
  return { loop, network, a, b, got }
}

describe('faults', () => {
  it('a cut swallows one way in silence, and ends', async () => {
    const { loop, network, a, b, got } = pair()
    const back: string[] = []
    const down: string[] = []
    a.onFrame((_, frame) => back.push(textOf(frame)))
    a.onPeerDown((peer) => down.push(peer))
    const end = network.faults.cut('node-1', 'node-2', true)
    a.send('node-2', [bytesOf('lost')])
    b.send('node-1', [bytesOf('heard')])
    await loop.sleep(10)
    end()
    a.send('node-2', [bytesOf('again')])
    await loop.sleep(10)
    expect([got, back, down]).toEqual([['again'], ['heard'], []])
  })

  it('an isolated node reaches its own host, and nobody else', async () => {
    const { loop, network, a, got } = pair()
    const host = network.endpoint('host:node-1')
    const own: string[] = []
    host.onFrame((_, frame) => own.push(textOf(frame)))
    network.faults.isolate('node-1')
    a.send('node-2', [bytesOf('x')])
    a.send('host:node-1', [bytesOf('y')])
    await loop.sleep(10)
    expect([got, own]).toEqual([[], ['y']])
  })

  it('loses, doubles and re-orders as often as it is told to', async () => {
    for (const [kind, low, high] of [
      ['loss', 750, 850],
      ['duplication', 1150, 1250],
      ['reorder', 1000, 1000],
    ] as const) {
      const { loop, network, a, got } = pair()
      network.faults[kind] = 0.2
      for (let i = 0; i < 1000; i++) a.send('node-2', [bytesOf(String(i))])
      await loop.sleep(1000)
      expect(got.length).toBeGreaterThanOrEqual(low)
      expect(got.length).toBeLessThanOrEqual(high)
      const sorted = [...got].sort((x, y) => Number(x) - Number(y))
      expect(got.join() === sorted.join()).toBe(kind === 'loss')
      expect(network.faults.injected[kind]).toBeGreaterThan(150)
    }
  })

  it('with one switch lost the bytes take twice as long, with both nothing comes', async () => {
    const time = async (lost: ReadonlyArray<'tor-a' | 'tor-b'>): Promise<number | undefined> => {
      const { loop, network, a, b } = pair()
      let at: number | undefined
      b.onFrame(() => {
        at = loop.now
      })
      for (const name of lost) network.faults.loseSwitch(name)
      a.send('node-2', [new Uint8Array(10_000_000)])
      await loop.sleep(1000)
      return at
    }
    const whole = (await time([]))!
    expect(whole).toBeGreaterThan(8.4)
    expect((await time(['tor-a']))! / whole).toBeCloseTo(2, 1)
    expect(await time(['tor-a', 'tor-b'])).toBeUndefined()
  })
})

it('a slower card takes longer, and the sender is what counts', async () => {
  const { loop, a, b, got } = pair({
    model: TEN_GBE,
    modelOf: (node) => (node === 'node-1' ? ONE_GBE : undefined),
  })
  let answered = 0
  a.onFrame(() => {
    answered = loop.now
  })
  a.send('node-2', [new Uint8Array(10_000_000)])
  b.send('node-1', [new Uint8Array(10_000_000)])
  await loop.sleep(50)
  expect(answered).toBeLessThan(10)
  expect(got.length).toBe(0)
  await loop.sleep(50)
  expect(got.length).toBe(1)
})

it('counts what it carried by distance', async () => {
  const loop = new SimLoop()
  const network = new SimNetwork(loop, seededRandom(7))
  const [own, host, near, far] = ['node-1', 'host:node-1', 'node-2', 'node-17'].map((name) =>
    network.endpoint(name),
  )
  own!.send(host!.self, [new Uint8Array(1)])
  own!.send(near!.self, [new Uint8Array(10)])
  own!.send(far!.self, [new Uint8Array(100)])
  await loop.sleep(10)
  expect(network.carried).toEqual({ sameNode: 1, sameRack: 10, crossRack: 100 })
})
