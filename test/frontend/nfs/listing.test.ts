/** READDIR and READDIRPLUS: whole listings from pieces of any size, while entries come and go. */
import { describe, expect, it } from 'vitest'
import * as wire from '../../../src/frontend/nfs/wire.ts'
import { openDoor } from './door.ts'

async function directoryOf(count: number) {
  const door = await openDoor()
  const calls = await door.calls()
  const root = await calls.mount()
  const made = await calls.mkdir(root, 'd')
  for (let i = 0; i < count; i += 1) {
    await door.fs.createFile(
      made.attributes!.id,
      Buffer.from(`entry-${i}`),
      { mode: 0o644 },
      { how: 'guarded' },
    )
  }
  return { door, calls, root, handle: made.handle }
}

describe('listing', () => {
  it.each([
    [false, 200],
    [false, 8_192],
    [true, 300],
    [true, 32_768],
    [true, 1 << 20],
  ])('whole, each entry once (plus: %s, %i bytes a call)', async (plus, bytes) => {
    const { calls, root, handle } = await directoryOf(700)
    const all = await calls.listAll(handle, { plus, bytes })
    expect(all.map(({ name }) => name)).toEqual([
      '.',
      '..',
      ...Array.from({ length: 700 }, (_, i) => `entry-${i}`),
    ])
    expect(all.map(({ cookie }) => cookie)).toEqual([...new Set(all.map(({ cookie }) => cookie))])
    expect(all[1]!.id).toBe(1)
    if (!plus) return
    expect(all[1]!.handle).toEqual(root)
    expect((await calls.getattr(all[500]!.handle!)).attributes!.id).toBe(all[500]!.id)
    expect(all[500]!.attributes).toMatchObject({ type: wire.NF3REG, mode: 0o644 })
  })

  it('never answers with more bytes than were asked for, nor with less than it could', async () => {
    const { calls, handle } = await directoryOf(700)
    for (const plus of [false, true]) {
      for (const bytes of [300, 1_000, 4_096, 32_768]) {
        const part = await calls.list(handle, 0, { plus, bytes })
        expect(part.size).toBeLessThanOrEqual(bytes)
        if (!part.end) expect(part.size).toBeGreaterThan(bytes - 200)
      }
    }
    const few = await calls.list(handle, 0, { plus: true, bytes: 32_768, namesBytes: 200 })
    expect(few.entries.length).toBeLessThan(8)
    expect((await calls.list(handle, 0, { plus: true, bytes: 8_192, namesBytes: 0 })).entries.length).toBe(1)
  })

  it('TOOSMALL when not one entry fits', async () => {
    const { calls, handle } = await directoryOf(1)
    expect(await calls.list(handle, 0, { bytes: 100 })).toMatchObject({ status: wire.NFS3ERR_TOOSMALL })
    expect(await calls.list(handle, 0, { bytes: 0, plus: true })).toMatchObject({
      status: wire.NFS3ERR_TOOSMALL,
      attributes: { type: wire.NF3DIR },
    })
  })

  it('goes on behind its cookie, whatever was removed and made meanwhile, also at another door', async () => {
    const { door, calls, handle } = await directoryOf(100)
    const first = await calls.list(handle, 0, { bytes: 1_000 })
    const seen = first.entries.length - 2
    expect(seen).toBeGreaterThan(5)
    // The entry of the cookie itself, one before it, and one behind it.
    for (const name of [`entry-${seen - 1}`, 'entry-0', `entry-${seen}`]) await calls.remove(handle, name)
    await calls.create(handle, 'new')
    const peer = await openDoor({}, door.fs)
    const rest: string[] = []
    for (let cookie = first.entries.at(-1)!.cookie, end = false; !end; ) {
      const part = await (await peer.calls()).list(handle, cookie, { bytes: 1_000 })
      rest.push(...part.entries.map(({ name }) => name))
      cookie = part.entries.at(-1)?.cookie ?? cookie
      end = part.end
    }
    const kept = Array.from({ length: 99 - seen }, (_, i) => `entry-${i + seen + 1}`)
    expect(rest).toEqual([...kept, 'new'])
  })

  it('of what is no directory, and of one that is empty', async () => {
    const { calls, handle } = await directoryOf(0)
    const { handle: file } = await calls.create(handle, 'f')
    expect((await calls.list(file, 0)).status).toBe(wire.NFS3ERR_NOTDIR)
    await calls.remove(handle, 'f')
    const { entries, end } = await calls.list(handle, 0)
    expect([entries.map(({ name }) => name), end]).toEqual([['.', '..'], true])
  })
})
