/** Guards: values come back, and bytes that are no JSON give an error with the code the caller chose. */
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { codeOf } from '../../src/base/errors.ts'
import { decodeJson, encodeJson } from '../../src/base/json.ts'

function codeFrom(work: () => unknown): string | undefined {
  try {
    work()
  } catch (error) {
    return codeOf(error)
  }
  return 'nothing thrown'
}

it('JSON values round trip as bytes', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(decodeJson(encodeJson(value))).toEqual(JSON.parse(JSON.stringify(value)))
    }),
  )
})

it('bad bytes and values that are no JSON have codes', () => {
  expect(codeFrom(() => decodeJson(Buffer.from('{"a":')))).toBe('PROTOCOL_ERROR')
  expect(codeFrom(() => decodeJson(new Uint8Array(0), 'CATALOG_CORRUPT'))).toBe('CATALOG_CORRUPT')
  expect(codeFrom(() => decodeJson(Buffer.from([0x22, 0xc3, 0x28, 0x22])))).toBe('PROTOCOL_ERROR')
  expect(codeFrom(() => encodeJson(undefined))).toBe('BAD_ARGUMENT')
  expect(codeFrom(() => encodeJson({ big: 1n }))).toBe('BAD_ARGUMENT')
})
