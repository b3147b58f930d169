/** A hung CVM moves nothing and loses nothing; a killed one moves nothing ever again. */
import { beforeEach, describe, expect, it } from 'vitest'
import { type Hangable, hangable } from '../../src/platform/faults/hang.ts'
import { LoopbackHub } from '../../src/platform/real/loopback-network.ts'
import type { MemoryDevice } from '../../src/platform/real/memory-device.ts'
import type { Catalog, Network, Platform } from '../../src/platform/types.ts'
import { codeOfFailure } from '../conformance/device-suite.ts'
import { bytesOf, textOf } from '../conformance/network-suite.ts'
import { memoryCatalog, memoryDevice, platformWith, realPass } from './setup.ts'

describe('hangable', () => {
  let device: MemoryDevice
  let catalog: Catalog
  let peer: Network
  let cvm: Hangable
  let platform: Platform
  /** What reached the engine or its peer, in order. */
  let log: string[]

  beforeEach(async () => {
    log = []
    device = memoryDevice()
    catalog = await memoryCatalog()
    const hub = new LoopbackHub()
    peer = hub.endpoint('node-2')
    cvm = hangable(platformWith({ network: hub.endpoint('node-1'), devices: [device], catalog }))
    platform = cvm.platform
    platform.network.onFrame((from, frame) => log.push(`engine got ${textOf(frame)} from ${from}`))
    platform.network.onPeerDown((name) => log.push(`engine lost ${name}`))
    peer.onFrame((from, frame) => log.push(`peer got ${textOf(frame)} from ${from}`))
    peer.onPeerDown((name) => log.push(`peer lost ${name}`))
  })
  const settle = (): Promise<void> => realPass(20)
  const note = (name: string, promise: Promise<unknown>): void => {
    promise.then(
      () => log.push(name),
      (error) => log.push(`${name}: ${error.code}`),
    )
  }
  const byteAt = async (offset: number): Promise<number> => {
    const byte = new Uint8Array(1)
    await device.read(offset, byte)
    return byte[0]!
  }

  it('holds back what was under way, and begins nothing new, until resume', async () => {
    const [gated] = platform.devices
    note('under way', gated!.write(0, Uint8Array.of(1)))
    cvm.hang()
    note('new', gated!.write(1, Uint8Array.of(2)))
    note('catalog', platform.catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] }))
    note('read error', gated!.read(-1, new Uint8Array(1)))
    await settle()
    expect(log).toEqual([])
    expect([await byteAt(0), await byteAt(1)]).toEqual([1, 0])
    expect(await catalog.get('a')).toBeUndefined()
    cvm.resume()
    await settle()
    expect(log.toSorted()).toEqual(['catalog', 'new', 'read error: OUT_OF_RANGE', 'under way'])
    expect(await byteAt(1)).toBe(2)
  })

  it('keeps frames both ways, and lets them go in order', async () => {
    cvm.hang()
    const part = bytesOf('out 1')
    platform.network.send('node-2', [part])
    part.fill(0)
    platform.network.send('node-2', [bytesOf('out'), bytesOf(' 2')])
    peer.send('node-1', [bytesOf('in 1')])
    peer.send('node-1', [bytesOf('in 2')])
    await settle()
    expect(log).toEqual([])
    cvm.resume()
    await settle()
    expect(log.filter((line) => line.startsWith('peer'))).toEqual([
      'peer got out 1 from node-1',
      'peer got out 2 from node-1',
    ])
    expect(log.filter((line) => line.startsWith('engine'))).toEqual([
      'engine got in 1 from node-2',
      'engine got in 2 from node-2',
    ])
  })

  it('lets nothing overtake what was kept: an answer to a kept frame leaves after older frames', async () => {
    platform.network.onFrame((_, frame) =>
      platform.network.send('node-2', [bytesOf(`answer to ${textOf(frame)}`)]),
    )
    cvm.hang()
    peer.send('node-1', [bytesOf('question')])
    await settle()
    platform.network.send('node-2', [bytesOf('older')])
    cvm.resume()
    await settle()
    expect(log).toEqual(['peer got older from node-1', 'peer got answer to question from node-1'])
  })

  it('drops what no socket buffer would hold, and tells so after resume', async () => {
    cvm.hang()
    const large = new Uint8Array(20 * 1024 * 1024).fill(65)
    for (let count = 0; count < 5; count++) platform.network.send('node-2', [large])
    platform.network.send('node-2', [bytesOf('behind the gap')])
    let received = 0
    peer.onFrame((_, frame) => {
      received += frame.length
    })
    cvm.resume()
    await settle()
    expect(received).toBe(3 * large.length)
    expect(log).toEqual(['engine lost node-2'])
    platform.network.send('node-2', [bytesOf('again')])
    await settle()
    expect(received).toBe(3 * large.length + 5)
  })

  it('holds back timers, sleeps and watches', async () => {
    platform.clock.after(1, () => log.push('timer'))
    const cancel = platform.clock.after(1, () => log.push('cancelled'))
    note('sleep', platform.clock.sleep(1))
    platform.catalog.watch('', () => log.push('watch'))
    const end = platform.catalog.watch('', () => log.push('ended watch'))
    cvm.hang()
    await catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
    await settle()
    expect(log).toEqual([])
    cancel()
    end()
    cvm.resume()
    await settle()
    expect(log.toSorted()).toEqual(['sleep', 'timer', 'watch'])
  })

  it('can hang again while it lets go', async () => {
    platform.clock.after(1, () => {
      log.push('first')
      cvm.hang()
    })
    platform.clock.after(2, () => log.push('second'))
    cvm.hang()
    await settle()
    cvm.resume()
    await settle()
    expect(log).toEqual(['first'])
    cvm.resume()
    await settle()
    expect(log).toEqual(['first', 'second'])
    note('works', platform.devices[0]!.sync())
    await settle()
    expect(log).toEqual(['first', 'second', 'works'])
  })

  it.each([
    false,
    true,
  ])('killed (hung before: %s): every call rejects, no callback fires, no IO begins', async (hung) => {
    const [gated] = platform.devices
    platform.clock.after(1, () => log.push('timer'))
    platform.catalog.watch('', () => log.push('watch'))
    note('sleep', platform.clock.sleep(1))
    note('long sleep', platform.clock.sleep(1e9))
    note('write', gated!.write(0, Uint8Array.of(1)))
    if (hung) {
      cvm.hang()
      note('queued write', gated!.write(1, Uint8Array.of(1)))
      peer.send('node-1', [bytesOf('kept')])
      await settle()
    }
    cvm.kill()
    cvm.kill()
    cvm.resume()
    note('new write', gated!.write(2, Uint8Array.of(1)))
    note('new sleep', platform.clock.sleep(1))
    note('commit', platform.catalog.commit({ put: [{ key: 'mine', value: bytesOf('1') }] }))
    platform.clock.after(1, () => log.push('new timer'))
    platform.network.send('node-2', [bytesOf('from the grave')])
    await catalog.commit({ put: [{ key: 'a', value: bytesOf('1') }] })
    await settle()
    const expected = ['commit', 'long sleep', 'new sleep', 'new write', 'sleep', 'write']
    if (hung) expected.push('queued write')
    expect(log.filter((line) => !line.startsWith('peer')).toSorted()).toEqual(
      expected.map((name) => `${name}: CVM_DOWN`).toSorted(),
    )
    expect([await byteAt(1), await byteAt(2)]).toEqual([0, 0])
    expect(await catalog.get('mine')).toBeUndefined()
  })

  it('killed: its peers are told, and its name can be opened again', async () => {
    const hub = new LoopbackHub()
    const other = hub.endpoint('node-2')
    other.onPeerDown((name) => log.push(`other lost ${name}`))
    const first = hangable(platformWith({ network: hub.endpoint('node-1') }))
    first.platform.network.send('node-2', [bytesOf('hello')])
    await settle()
    first.kill()
    const second = hub.endpoint('node-1')
    other.send('node-1', [bytesOf('for the second')])
    second.onFrame((_, frame) => log.push(textOf(frame)))
    await settle()
    expect(log).toEqual(['other lost node-1', 'for the second'])
  })

  it('killed: leaves the devices to the next engine', async () => {
    await platform.devices[0]!.write(0, Uint8Array.of(9))
    cvm.kill()
    expect(await codeOfFailure(platform.devices[0]!.close())).toBe('CVM_DOWN')
    expect(await byteAt(0)).toBe(9)
  })
})
