/** Listing files for a person: directories, below them, one file, links; and what is refused. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Cluster } from '../../../src/api.ts'
import { MiB } from '../../../src/base/units.ts'
import { listFiles } from '../../../src/frontend/control/file-list.ts'
import { openCluster } from '../../../src/index.ts'

let cluster: Cluster

beforeAll(async () => {
  cluster = await openCluster('memory:', { nodes: 1, ssdBytes: 256 * MiB, hddBytes: 0 })
  const fs = await cluster.files('node-1').fileSystem('default')
  const { file: dir } = await fs.createDirectory(1, Buffer.from('dir'), {})
  const { file } = await fs.createFile(dir.id, Buffer.from('a'), {}, { how: 'guarded' })
  await fs.write(file.id, 0, Buffer.from('hello'))
  await fs.createSymlink(1, Buffer.from('link'), Buffer.from('dir/a'), {})
})

afterAll(() => cluster.close())

const paths = async (path: string, recursive: boolean) =>
  (await listFiles(cluster, 'default', path, recursive)).map((file) => file.path)

test('a directory, and all below it', async () => {
  expect(await paths('/', false)).toEqual(['dir', 'link'])
  expect(await paths('', true)).toEqual(['dir', 'dir/a', 'link'])
  expect(await paths('dir', false)).toEqual(['a'])
})

test('a file lists itself, and a link says where it leads', async () => {
  expect(await listFiles(cluster, 'default', 'dir/a', false)).toMatchObject([
    { path: 'a', size: 5, type: 'file' },
  ])
  const [, link] = await listFiles(cluster, 'default', '/', false)
  expect(link).toMatchObject({ type: 'symlink', target: 'dir/a' })
})

test('what is not there is said so', async () => {
  await expect(paths('none', false)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(paths('dir/a/b', false)).rejects.toMatchObject({ code: 'NOT_DIRECTORY' })
  await expect(listFiles(cluster, 'other', '/', false)).rejects.toMatchObject({ code: 'NOT_FOUND' })
  await expect(cluster.createContainer('bad', { export: { allow: ['10.0.0.0/40'] } })).rejects.toMatchObject({
    code: 'BAD_SETTING',
  })
})
