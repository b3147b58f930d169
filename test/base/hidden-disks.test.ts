/** The cluster's own vDisks are told from those of people, and people are told what they are there for. */
import { expect, it } from 'vitest'
import { describeDisk, fileDiskPrefix, filesDiskName, isHiddenDisk } from '../../src/base/hidden-disks.ts'

it('hidden vDisks read as what they are there for', () => {
  expect(describeDisk(filesDiskName('default'))).toBe('the file system of container default')
  expect(describeDisk(`${fileDiskPrefix('a.b')}12.345.6`)).toBe('file 345 of container a.b')
  expect(describeDisk('vm1-root')).toBe('vm1-root')
  expect(describeDisk('.other')).toBe('.other')
  expect([filesDiskName('c'), `${fileDiskPrefix('c')}1.2.3`, 'vm1'].map(isHiddenDisk)).toEqual([
    true,
    true,
    false,
  ])
})
