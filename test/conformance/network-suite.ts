/** What every `Network` promises: `runNetworkTests('name', setup)`. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Network } from '../../src/platform/types.ts'

export interface NetworkUnderTest {
  /** Opens an endpoint; a closed name can be opened again. */
  open(name: string): Network
  /** Resolves when everything sent so far has arrived or is lost. */
  settle(): Promise<void>
  cleanup?(): Promise<void>
}

interface Recorder {
  readonly network: Network
  readonly frames: Array<readonly [from: string, text: string]>
  readonly down: string[]
}

export function runNetworkTests(name: string, setup: () => Promise<NetworkUnderTest>): void {
  describe(`Network: ${name}`, () => {
    let under: NetworkUnderTest

    beforeEach(async () => {
      under = await setup()
    })
    afterEach(async () => {
      await under.cleanup?.()
    })

    const record = (endpoint: string): Recorder => {
      const network = under.open(endpoint)
      const recorder: Recorder = { network, frames: [], down: [] }
      network.onFrame((from, frame) => recorder.frames.push([from, textOf(frame)]))
      network.onPeerDown((peer) => recorder.down.push(peer))
      return recorder
    }

    it('knows its own name', () => {
      expect(record('a').network.self).toBe('a')
    })

    it('carries the parts as one frame, with the name of the sender', async () => {
      const a = record('a')
      const b = record('b')
      a.network.send('b', [bytesOf('one'), bytesOf(''), bytesOf(' frame')])
      await under.settle()
      expect(b.frames).toEqual([['a', 'one frame']])
      expect(a.frames).toEqual([])
    })

    it('carries empty and large frames whole', async () => {
      const a = record('a')
      const large = 'x'.repeat(5_000_000)
      const b = record('b')
      a.network.send('b', [])
      a.network.send('b', [bytesOf(large)])
      await under.settle()
      expect(b.frames.map(([, text]) => text.length)).toEqual([0, 5_000_000])
    })

    it('reads the parts before send returns', async () => {
      const a = record('a')
      const b = record('b')
      const part = bytesOf('before')
      a.network.send('b', [part])
      part.fill(0)
      await under.settle()
      expect(b.frames).toEqual([['a', 'before']])
    })

    it('gives each receiver a buffer of its own', async () => {
      const a = record('a')
      const received: Uint8Array[] = []
      under.open('b').onFrame((_, frame) => received.push(frame))
      const part = bytesOf('shared')
      a.network.send('b', [part])
      a.network.send('b', [part])
      await under.settle()
      received[0]!.fill(0)
      expect(textOf(received[1]!)).toBe('shared')
    })

    it('never delivers from inside send', () => {
      const a = record('a')
      const b = record('b')
      a.network.send('b', [bytesOf('later')])
      expect(b.frames).toEqual([])
    })

    it('keeps the order of frames to a peer, also of those sent while others arrive', async () => {
      const a = record('a')
      const b = record('b')
      for (let number = 0; number < 100; number++) a.network.send('b', [bytesOf(`${number}`)])
      await Promise.resolve()
      for (let number = 100; number < 200; number++) a.network.send('b', [bytesOf(`${number}`)])
      await under.settle()
      expect(b.frames.map(([, text]) => Number(text))).toEqual(
        Array.from({ length: 200 }, (_, index) => index),
      )
    })

    it('can send to itself', async () => {
      const a = record('a')
      a.network.send('a', [bytesOf('self')])
      await under.settle()
      expect(a.frames).toEqual([['a', 'self']])
    })

    it('counts the bytes that it sent', async () => {
      const a = record('a')
      const b = record('b')
      a.network.send('b', [bytesOf('12345'), bytesOf('678')])
      await under.settle()
      expect([a.network.sentBytes(), b.network.sentBytes()]).toEqual([8, 0])
    })

    it('tells that a peer is not there, after send returned', async () => {
      const a = record('a')
      a.network.send('nobody', [bytesOf('x')])
      expect(a.down).toEqual([])
      await under.settle()
      expect(a.down).toEqual(['nobody'])
    })

    it('tells those who exchanged frames when an endpoint closes, and nobody else', async () => {
      const a = record('a')
      const b = record('b')
      const c = record('c')
      a.network.send('b', [bytesOf('x')])
      await under.settle()
      await b.network.close()
      await under.settle()
      expect(a.down).toEqual(['b'])
      expect(c.down).toEqual([])
      a.network.send('b', [bytesOf('y')])
      await under.settle()
      expect(a.down).toEqual(['b', 'b'])
    })

    it('is silent after close', async () => {
      const a = record('a')
      const b = record('b')
      a.network.send('b', [bytesOf('under way')])
      await b.network.close()
      b.network.send('a', [bytesOf('too late')])
      await b.network.close()
      await under.settle()
      expect(b.frames).toEqual([])
      expect(b.down).toEqual([])
      expect(a.frames).toEqual([])
    })

    it('gives nothing of an endpoint to the next of its name', async () => {
      const a = record('a')
      const first = record('b')
      a.network.send('b', [bytesOf('to the first')])
      first.network.send('a', [bytesOf('from the first')])
      await first.network.close()
      const second = record('b')
      a.network.send('b', [bytesOf('to the second')])
      second.network.send('a', [bytesOf('from the second')])
      await under.settle()
      expect(second.frames).toEqual([['a', 'to the second']])
      expect(a.frames).toEqual([['b', 'from the second']])
      expect(a.down).toEqual(['b'])
    })

    it('lets the event loop turn while two endpoints answer each other', async () => {
      const a = under.open('a')
      const b = under.open('b')
      let rounds = 0
      let done = false
      const answer = (network: Network, to: string) => () => {
        rounds += 1
        if (!done) network.send(to, [bytesOf('ping')])
      }
      a.onFrame(answer(a, 'b'))
      b.onFrame(answer(b, 'a'))
      a.send('b', [bytesOf('ping')])
      await new Promise((resolve) => setTimeout(resolve, 5))
      done = true
      await under.settle()
      expect(rounds).toBeGreaterThan(2)
    })
  })
}

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text)
}

export function textOf(bytes: Uint8Array): string {
  return decoder.decode(bytes)
}
