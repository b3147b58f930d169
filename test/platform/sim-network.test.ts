/** The simulated network keeps the contract of its seam, takes time by its model, and fails on command. */
import { describe, expect, it } from 'vitest'
import { seededRandom } from '../../src/platform/real/random.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { ONE_GBE, placeByNumber, switchOf, TEN_GBE } from '../../src/platform/sim/network-model.ts'
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

describe('what a cut, a duplicate and a close must not do', () => {
  it('tells nothing of a missing peer over a cut, either way', async () => {
    for (const [from, to] of [
      ['node-1', 'node-9'],
      ['node-9', 'node-1'],
    ] as const) {
      const { loop, network, a } = pair()
      const down: string[] = []
      a.onPeerDown((peer) => down.push(peer))
      const end = network.faults.cut(from, to, true)
      a.send('node-9', [bytesOf('x')])
      await loop.sleep(10)
      expect(down).toEqual([])
      end()
      a.send('node-9', [bytesOf('x')])
      await loop.sleep(10)
      expect(down).toEqual(['node-9'])
    }
  })

  it('a duplicate bears the bytes sent, whatever the receiver did to the first', async () => {
    const { loop, network, a, b } = pair()
    const got: string[] = []
    b.onFrame((_, frame) => {
      got.push(textOf(frame))
      frame.fill(0)
    })
    network.faults.duplication = 1
    a.send('node-2', [bytesOf('twice')])
    await loop.sleep(10)
    expect(got).toEqual(['twice', 'twice'])
  })

  it('news of a close comes once, before the frames of the next endpoint, whatever befalls frames', async () => {
    for (let seed = 0; seed < 100; seed++) {
      const loop = new SimLoop()
      const network = new SimNetwork(loop, seededRandom(seed))
      const a = network.endpoint('node-1')
      const first = network.endpoint('node-2')
      const log: string[] = []
      a.onFrame(() => log.push('frame'))
      a.onPeerDown(() => log.push('down'))
      a.send('node-2', [bytesOf('x')])
      await loop.sleep(10)
      Object.assign(network.faults, { loss: 0.2, duplication: 0.2, reorder: 0.2 })
      await first.close()
      network.endpoint('node-2').send('node-1', [bytesOf('next')])
      await loop.sleep(20)
      expect(log.filter((what) => what === 'down')).toHaveLength(1)
      expect(log[0]).toBe('down')
    }
  })
})

it('groups of a partition do not reach each other, others reach all', async () => {
  const loop = new SimLoop()
  const network = new SimNetwork(loop, seededRandom(3))
  const names = ['node-1', 'node-2', 'node-3', 'node-4']
  const got: string[] = []
  const endpoints = names.map((name) => {
    const endpoint = network.endpoint(name)
    endpoint.onFrame((from) => got.push(`${from.slice(-1)}${name.slice(-1)}`))
    return endpoint
  })
  const everyPair = async (): Promise<string[]> => {
    got.length = 0
    for (const from of endpoints) for (const to of names) if (to !== from.self) from.send(to, [])
    await loop.sleep(10)
    return got.sort()
  }
  const all = await everyPair()
  expect(all).toHaveLength(12)
  const end = network.faults.partition([['node-1', 'node-2'], ['node-3']])
  const across = ['13', '31', '23', '32']
  expect(await everyPair()).toEqual(all.filter((way) => !across.includes(way)))
  end()
  network.faults.partition({ from: ['node-1', 'node-2'], to: ['node-4'] })
  expect(await everyPair()).toEqual(all.filter((way) => way !== '14' && way !== '24'))
  expect(network.faults.injected.cut).toBe(6)
  network.faults.heal()
  expect(await everyPair()).toEqual(all)
  expect(() => network.faults.partition([['node-1'], ['node-1']])).toThrow(/two groups/)
})

it('a cut also holds for what would arrive over it', async () => {
  const { loop, network, a, got } = pair()
  network.faults.delay = 1
  network.faults.delayMs = { min: 50, max: 50 }
  a.send('node-2', [bytesOf('late')])
  await loop.sleep(10)
  const end = network.faults.isolate('node-2')
  await loop.sleep(100)
  end()
  expect([got, network.faults.injected.cut]).toEqual([[], 1])
})

it('a delayed frame holds up those behind it', async () => {
  const { loop, network, a, got } = pair()
  network.faults.delay = 1
  a.send('node-2', [bytesOf('1')])
  network.faults.calm()
  a.send('node-2', [bytesOf('2')])
  await loop.sleep(0.9)
  expect(got).toEqual([])
  await loop.sleep(250)
  expect(got).toEqual(['1', '2'])
})

describe('switches and racks', () => {
  it('spreads pairs over both switches, the same for both ways', () => {
    const homes = Array.from({ length: 200 }, (_, i) => switchOf('node-1', `node-${i + 2}`))
    const onA = homes.filter((home) => home === 'tor-a').length
    expect(onA).toBeGreaterThan(70)
    expect(onA).toBeLessThan(130)
    expect(homes).toEqual(homes.map((_, i) => switchOf(`node-${i + 2}`, 'node-1')))
  })

  it('counts as failed over only the pairs of the lost switch', async () => {
    const { loop, network, a, got } = pair()
    const home = switchOf('node-1', 'node-2')
    network.faults.loseSwitch(home === 'tor-a' ? 'tor-b' : 'tor-a')
    a.send('node-2', [bytesOf('stays')])
    expect(network.faults.injected.failover).toBe(0)
    network.faults.heal()
    network.faults.loseSwitch(home)
    a.send('node-2', [bytesOf('moves')])
    await loop.sleep(10)
    expect([got, network.faults.injected.failover]).toEqual([['stays', 'moves'], 1])
  })

  it('the uplink of a rack is shared by its nodes', async () => {
    const slowest = async (): Promise<number> => {
      const loop = new SimLoop()
      const network = new SimNetwork(loop, seededRandom(3))
      let last = 0
      for (let i = 1; i <= 16; i++) {
        network.endpoint(`node-${100 * 16 + i}`).onFrame(() => {
          last = loop.now
        })
      }
      for (let i = 1; i <= 16; i++) {
        const from = network.endpoint(`host:node-${i}`)
        from.send(`node-${100 * 16 + i}`, [new Uint8Array(1_000_000)])
      }
      await loop.sleep(100)
      return last
    }
    const took = await slowest()
    const lonely = 1000 * (1_000_000 / TEN_GBE.bytesPerSecond)
    // Half of 16 nodes or so on each uplink of four times a port: about twice as long as a port takes.
    expect(took).toBeGreaterThan(1.4 * lonely)
    expect(took).toBeLessThan(3.5 * lonely)
  })

  it('places nodes by number, sixteen a rack or as told, and a host with its node', () => {
    expect(placeByNumber('host:node-5', 16)).toEqual({ node: 'node-5', block: 2, rack: 1 })
    expect(placeByNumber('node-17', 16)).toEqual({ node: 'node-17', block: 5, rack: 2 })
    expect(placeByNumber('node-17', 32).rack).toBe(1)
    expect(placeByNumber('observer', 16)).toEqual({ node: 'observer', block: 1, rack: 1 })
  })
})

it('costs one event a frame, and repeats itself', async () => {
  const run = async (): Promise<readonly [number, string]> => {
    const { loop, a } = pair()
    for (let i = 0; i < 500; i++) a.send('node-2', [new Uint8Array(100)])
    await loop.sleep(100)
    return [loop.fired, loop.hash]
  }
  const first = await run()
  expect(first[0]).toBe(501)
  expect(await run()).toEqual(first)
})
