/**
 * The micro benchmarks still do what they say: a few calls of each give the answers they gave when they were written.
 * A bench that measures the wrong thing, or an engine part that answers otherwise, changes the hash.
 */
import { describe, expect, test } from 'vitest'
import { fold, hashOfCalls } from '../../bench/micro/job.ts'
import { microJobs } from '../../bench/micro/jobs.ts'

const CALLS = 40

const EXPECTED: Readonly<Record<string, string>> = {
  'fingerprint 4 KiB': '0ff66873',
  'zero check and fingerprint 32 KiB': 'cfb08f3b',
  'compress 4 KiB': '77a68a0e',
  'compress 32 KiB': 'e56e50ab',
  'decompress 4 KiB': '7a45eb76',
  'decompress 32 KiB': 'b4015f3a',
  'pack and unpack a slice 4 KiB': 'c41cd67d',
  'write a frame of 32 blocks': 'acfb1b9a',
  'parse and verify a frame of 32 blocks': '9b6d1b1b',
  'map lookup': '04256988',
  'map update, 8 blocks': '8c3dba92',
  'candidate index, insert': '5d2aa11f',
  'candidate index, hit': 'c02b28cf',
  'candidate index, miss': 'bbed9ff9',
  'block cache, hits': '2b1dfedf',
  'block cache, 3 of 4 miss': 'c69c6f59',
  'catalog commit, one': '5d2aa11f',
  'catalog commit, 32 at a time': '71caeaa4',
  'RPC with 4 KiB, one': '51a4481c',
  'RPC with 4 KiB, 32 at a time': 'c681c2b8',
  'NBD, parse 8 writes of 4 KiB': 'd978ba88',
  'NBD, reply to 8 reads of 4 KiB': '53c4a8e1',
}

describe('micro benchmarks', () => {
  test('every job has an expected hash, and the other way round', () => {
    expect(microJobs.map((job) => job.name)).toEqual(Object.keys(EXPECTED))
  })

  for (const job of microJobs) {
    test(`${job.name}: ${CALLS} calls give the same answers as ever`, async () => {
      expect(await hashOfCalls(job, CALLS)).toBe(EXPECTED[job.name])
    })
  }

  test('a hash depends on every answer and on their order', () => {
    const hashOf = (answers: readonly number[]) => answers.reduce(fold, 0)
    expect(new Set([[1, 2, 3], [1, 2, 4], [2, 1, 3], [1, 2], []].map(hashOf)).size).toBe(5)
  })
})
