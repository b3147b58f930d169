/** Messages survive any cutting of the byte stream; malformed ones are refused, whatever came before them. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { codeOf } from '../../../src/base/errors.ts'
import { encodeMessage, type Message, MessageReader } from '../../../src/frontend/control/framing.ts'

const LIMITS = { lineBytesMax: 1_000, payloadBytesMax: 500 }

describe('framing', () => {
  it('reads back what was written, in any pieces', () => {
    const message = fc.record({
      header: fc.record({ id: fc.nat(), text: fc.string({ maxLength: 50, unit: 'grapheme' }) }),
      payload: fc.option(fc.uint8Array({ maxLength: 500 }), { nil: undefined }),
    })
    fc.assert(
      fc.property(
        fc.array(message, { maxLength: 8 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 90 })),
        (sent, cuts) => {
          const bytes = Buffer.concat(sent.flatMap(({ header, payload }) => encodeMessage(header, payload)))
          const reader = new MessageReader(LIMITS)
          const received: Message[] = []
          for (let at = 0; at < bytes.length; ) {
            const end = at + cuts.next().value!
            reader.push(bytes.subarray(at, end), (one) => received.push(one))
            at = end
          }
          expect(received.length).toBe(sent.length)
          received.forEach(({ header, payload }, at) => {
            expect(header).toMatchObject(sent[at]!.header)
            expect(payload && Buffer.from(payload)).toEqual(
              sent[at]!.payload && Buffer.from(sent[at]!.payload!),
            )
          })
        },
      ),
      { numRuns: 200 },
    )
  })

  it.each([
    ['no JSON', 'hello\n'],
    ['an empty line', '\n'],
    ['an array', '[1]\n'],
    ['null', 'null\n'],
    ['a string', '"x"\n'],
    ['bytes that are not UTF-8', Buffer.from([0x22, 0xff, 0x22, 0x0a])],
    ['a payload that is too long', '{"bytes":501}\n'],
    ['a negative payload', '{"bytes":-1}\n'],
    ['a payload of no number', '{"bytes":"1"}\n'],
    ['an endless line', 'x'.repeat(1_001)],
  ])('refuses %s', (_, input) => {
    const reader = new MessageReader(LIMITS)
    const received: Message[] = []
    const bytes = Buffer.concat([Buffer.from('{"id":1}\n'), Buffer.from(input)])
    let error: unknown
    try {
      reader.push(bytes, (one) => received.push(one))
    } catch (caught) {
      error = caught
    }
    expect(codeOf(error)).toBe('PROTOCOL_ERROR')
    expect(received).toEqual([{ header: { id: 1 }, payload: undefined }])
  })

  it('an endless line is refused before it is held in memory, however small its pieces', () => {
    const reader = new MessageReader(LIMITS)
    expect(() => {
      for (let piece = 0; piece < 1_001; piece += 1) reader.push(Buffer.from('x'), () => {})
    }).toThrow('longer than 1000')
  })
})
