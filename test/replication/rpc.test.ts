/** RPC over a network that duplicates, re-orders, delays and loses frames: a handler runs at most once a call. */
import { beforeEach, describe, expect, it } from 'vitest'
import { HitherError } from '../../src/base/errors.ts'
import { encodeJson } from '../../src/base/json.ts'
import { SimLoop } from '../../src/platform/sim/loop.ts'
import { SimClock } from '../../src/platform/sim/sim-clock.ts'
import type { Network } from '../../src/platform/types.ts'
import { CallWindows } from '../../src/replication/call-window.ts'
import { RpcEndpoint } from '../../src/replication/rpc.ts'

const ECHO = 7
const FOREVER_MS = 60_000

interface Frame {
  readonly from: string
  readonly to: string
  readonly bytes: Uint8Array
}

/** Keeps what is sent until the test delivers it, as often and in the order it likes. */
class Wire {
  readonly sent: Frame[] = []
  readonly returned: Uint8Array[] = []
  private readonly handlers = new Map<string, (from: string, frame: Uint8Array) => void>()

  /** A new life of `name` replaces the one before it. */
  endpoint(name: string): Network {
    return {
      self: name,
      send: (to, parts) => {
        this.sent.push({ from: name, to, bytes: new Uint8Array(Buffer.concat(parts)) })
      },
      onFrame: (handler) => this.handlers.set(name, handler),
      giveBack: (frame) => this.returned.push(frame),
      onPeerDown: () => {},
      sentBytes: () => 0,
      close: async () => {},
    }
  }

  deliver(frame: Frame): void {
    this.handlers.get(frame.to)?.(frame.from, frame.bytes.slice())
  }

  /** Takes the frames sent so far off the wire. */
  take(): Frame[] {
    return this.sent.splice(0)
  }
}

describe('RpcEndpoint', () => {
  let loop: SimLoop
  let clock: SimClock
  let wire: Wire
  let served: unknown[]

  const microtasks = async (): Promise<void> => {
    for (let i = 0; i < 10; i++) await Promise.resolve()
  }
  const endpoint = (name: string, incarnation?: number): RpcEndpoint => {
    const network = wire.endpoint(name)
    const rpc =
      incarnation === undefined
        ? new RpcEndpoint(network, clock)
        : new RpcEndpoint(network, clock, incarnation)
    rpc.handle(ECHO, async (header) => {
      served.push(header)
      return { header }
    })
    rpc.open()
    return rpc
  }
  const call = (rpc: RpcEndpoint, header: unknown, to = 'b') =>
    rpc.call<unknown>(to, ECHO, header, [], FOREVER_MS).then(
      (answer) => answer.header,
      (error: { code: string }) => error.code,
    )

  beforeEach(() => {
    loop = new SimLoop()
    clock = new SimClock(loop)
    wire = new Wire()
    served = []
  })

  it('serves a request that arrives twice once, before and after its answer', async () => {
    const a = endpoint('a')
    endpoint('b')
    const answer = call(a, 'once')
    const [request] = wire.take()
    wire.deliver(request!)
    wire.deliver(request!)
    await microtasks()
    const answers = wire.take()
    wire.deliver(request!)
    await microtasks()
    expect(served).toEqual(['once'])
    expect(answers).toHaveLength(1)
    expect(wire.take()).toHaveLength(0)
    wire.deliver(answers[0]!)
    wire.deliver(answers[0]!)
    expect(await answer).toBe('once')
  })

  it('gives a frame back when its handler has borrowed it and succeeded, and else never', async () => {
    const a = endpoint('a')
    const b = endpoint('b')
    const BORROWS = 77
    const bodies: Uint8Array[] = []
    let failure: HitherError | undefined
    b.handleBorrowed(BORROWS, async (_header, body) => {
      bodies.push(body)
      if (failure !== undefined) throw failure
      return {}
    })
    const send = async (method: number) => {
      const answer = a.call('b', method, undefined, [new Uint8Array(16)], FOREVER_MS).catch(() => {})
      for (const frame of wire.take()) wire.deliver(frame)
      await microtasks()
      for (const frame of wire.take()) wire.deliver(frame)
      await answer
    }
    await send(ECHO)
    failure = new HitherError('DEVICE_FAILED', 'it may still be writing')
    await send(BORROWS)
    expect(wire.returned).toEqual([])
    failure = undefined
    await send(BORROWS)
    expect(wire.returned.map(({ buffer }) => buffer)).toEqual([bodies[1]!.buffer])
  })

  it('serves requests in any order, each once', async () => {
    const a = endpoint('a')
    endpoint('b')
    const answers = Promise.all(Array.from({ length: 300 }, (_, i) => call(a, i)))
    const requests = wire.take()
    for (const frame of [...requests].reverse()) wire.deliver(frame)
    for (const frame of requests) wire.deliver(frame)
    await microtasks()
    expect(served).toEqual(Array.from({ length: 300 }, (_, i) => 299 - i))
    for (const frame of wire.take()) wire.deliver(frame)
    expect(await answers).toEqual(Array.from({ length: 300 }, (_, i) => i))
  })

  it('times out when the answer was lost, and the late answer settles nothing', async () => {
    const a = endpoint('a')
    endpoint('b')
    const first = call(a, 'first')
    wire.deliver(wire.take()[0]!)
    await microtasks()
    const late = wire.take()
    expect(await first).toBe('TIMEOUT')
    const second = call(a, 'second')
    for (const frame of [...late, ...wire.take()]) wire.deliver(frame)
    await microtasks()
    for (const frame of wire.take()) wire.deliver(frame)
    expect(await second).toBe('second')
  })

  it('serves the calls of a later life of the caller, and still drops late frames of the earlier one', async () => {
    endpoint('b')
    void call(endpoint('a'), 'life 1')
    const old = wire.take()
    wire.deliver(old[0]!)
    await loop.sleep(0.25)
    wire.take()
    const answer = call(endpoint('a'), 'life 2')
    const requests = wire.take()
    wire.deliver(requests[0]!)
    wire.deliver(old[0]!)
    wire.deliver(requests[0]!)
    await microtasks()
    expect(served).toEqual(['life 1', 'life 2'])
    for (const frame of wire.take()) wire.deliver(frame)
    expect(await answer).toBe('life 2')
  })

  it('never takes the answer to an earlier life for one of its own', async () => {
    endpoint('b')
    void call(endpoint('a', 1), 'for life 1')
    wire.deliver(wire.take()[0]!)
    await microtasks()
    const [stale] = wire.take()
    const answer = call(endpoint('a', 2), 'for life 2')
    wire.deliver(stale!)
    wire.deliver(wire.take()[0]!)
    await microtasks()
    wire.deliver(wire.take()[0]!)
    expect(await answer).toBe('for life 2')
  })

  it('lets only the peer that was called settle a call', async () => {
    const a = endpoint('a', 5)
    endpoint('b')
    endpoint('c')
    const fromB = call(a, 'b', 'b')
    const fromC = call(a, 'c', 'c')
    const [toB, toC] = wire.take()
    wire.deliver(toC!)
    wire.deliver(toB!)
    await microtasks()
    for (const frame of wire.take()) wire.deliver(frame)
    expect(await Promise.all([fromB, fromC])).toEqual(['b', 'c'])
  })

  it('does not run later what it refused while starting', async () => {
    const a = endpoint('a')
    const starting = new RpcEndpoint(wire.endpoint('b'), clock)
    starting.handle(ECHO, async (header) => {
      served.push(header)
      return {}
    })
    const answer = call(a, 'early')
    const [request] = wire.take()
    wire.deliver(request!)
    await microtasks()
    wire.deliver(wire.take()[0]!)
    expect(await answer).toBe('CVM_DOWN')
    starting.open()
    wire.deliver(request!)
    await microtasks()
    expect(served).toEqual([])
  })

  it('fails the calls to a peer that is down, and no others', async () => {
    const a = endpoint('a')
    endpoint('c')
    const toB = call(a, 'x', 'b')
    const toC = call(a, 'y', 'c')
    a.peerDown('b')
    expect(await toB).toBe('CVM_DOWN')
    for (const frame of wire.take()) wire.deliver(frame)
    await microtasks()
    for (const frame of wire.take()) wire.deliver(frame)
    expect(await toC).toBe('y')
  })

  it('ignores frames of another format', async () => {
    const a = endpoint('a')
    endpoint('b')
    void call(a, 'x')
    const [request] = wire.take()
    for (const [at, value] of [
      [0, 0],
      [5, 9],
      [16, 200],
    ] as const) {
      const broken = request!.bytes.slice()
      broken[at] = value
      wire.deliver({ ...request!, bytes: broken })
    }
    wire.deliver({ ...request!, bytes: encodeJson('short') })
    await microtasks()
    expect(served).toEqual([])
  })
})

describe('CallWindows', () => {
  it('admits each id once, within 4,096 of the highest', () => {
    const windows = new CallWindows()
    expect(windows.admit('a', 1, 5000)).toBe(true)
    expect(windows.admit('a', 1, 905)).toBe(true)
    expect(windows.admit('a', 1, 905)).toBe(false)
    expect(windows.admit('a', 1, 904)).toBe(false)
    expect(windows.admit('a', 1, 5000)).toBe(false)
    // 905 leaves the window by one; 5001 takes its bit.
    expect(windows.admit('a', 1, 5001)).toBe(true)
    expect(windows.admit('a', 1, 905)).toBe(false)
    expect(windows.admit('a', 1, 5001)).toBe(false)
    expect(windows.admit('a', 1, 4999)).toBe(true)
  })

  it('forgets nothing when ids jump, and admits what is new after the jump', () => {
    const windows = new CallWindows()
    for (let id = 1; id <= 4096; id++) windows.admit('a', 1, id)
    expect(windows.admit('a', 1, 4096 + 100)).toBe(true)
    expect(windows.admit('a', 1, 4096)).toBe(false)
    for (let id = 4097; id < 4196; id++) expect(windows.admit('a', 1, id)).toBe(true)
    expect(windows.admit('a', 1, 1_000_000)).toBe(true)
    expect(windows.admit('a', 1, 4196)).toBe(false)
    expect(windows.admit('a', 1, 999_999)).toBe(true)
  })

  it('goes on past the last u32', () => {
    const windows = new CallWindows()
    expect(windows.admit('a', 1, 0xffff_ffff)).toBe(true)
    expect(windows.admit('a', 1, 0)).toBe(true)
    expect(windows.admit('a', 1, 1)).toBe(true)
    expect(windows.admit('a', 1, 0xffff_ffff)).toBe(false)
    expect(windows.admit('a', 1, 0xffff_fffe)).toBe(true)
    expect(windows.admit('a', 1, 0)).toBe(false)
  })

  it('keeps peers and incarnations apart, and the latest eight of each', () => {
    const windows = new CallWindows()
    for (let incarnation = 1; incarnation <= 8; incarnation++) {
      expect(windows.admit('a', incarnation, 1)).toBe(true)
      expect(windows.admit('b', incarnation, 1)).toBe(true)
    }
    for (let incarnation = 1; incarnation <= 8; incarnation++) {
      expect(windows.admit('a', incarnation, 1)).toBe(false)
    }
  })
})
