/** Other people's clients agree with the door: what they write, another one reads back. */
import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect } from 'vitest'
import { MiB } from '../../../src/base/units.ts'
import { peer, run } from '../../peers.ts'
import { openDoor, type TestDoor, until } from './door.ts'
import { MemoryDisk } from './memory-path.ts'

const DISK = 24 * MiB
const NAME = 'vm 1/root ü'

let folder: string
let door: TestDoor
let uri: string

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hither-nbd-'))
  const socket = join(folder, 'door.sock')
  const disks = [new MemoryDisk(NAME, DISK), new MemoryDisk('snapshot', 8 * MiB, { readOnly: true })]
  door = await openDoor({ socket }, ...disks)
  uri = `nbd+unix:///${encodeURIComponent(NAME)}?socket=${socket}`
})

afterEach(async () => {
  // Every client has gone as it should: nothing was reported, no handle is left.
  await until(() => door.disk.openHandles === 0)
  expect(door.errors).toEqual([])
  await rm(folder, { recursive: true })
})

/** Runs a client that must succeed. */
async function succeed(program: string, ...args: string[]): Promise<string> {
  const result = await run(program, args, { cwd: folder })
  expect(`${result.stderr}exit ${result.code}`).toMatch(/exit 0$/)
  return result.stdout
}

/** An image with random data, a hole, and an odd end. */
async function makeImage(): Promise<{ file: string; bytes: Buffer }> {
  const bytes = Buffer.concat([randomBytes(3 * MiB + 100), Buffer.alloc(9 * MiB), randomBytes(2 * MiB + 412)])
  const file = join(folder, 'image.raw')
  await writeFile(file, bytes)
  return { file, bytes }
}

describe('libnbd', () => {
  peer('nbdinfo').it('nbdinfo lists the exports and tells their properties', async () => {
    const listed = JSON.parse(await succeed('nbdinfo', '--list', '--json', uri))
    expect(listed.exports.map((one: { 'export-name': string }) => one['export-name'])).toEqual([
      NAME,
      'snapshot',
    ])
    const [writable, readOnly] = listed.exports
    expect(writable).toMatchObject({
      'export-size': DISK,
      is_read_only: false,
      can_multi_conn: true,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_fast_zero: true,
      can_cache: true,
      can_df: true,
      block_size_minimum: 1,
      block_size_preferred: 4096,
      block_size_maximum: 33_554_432,
      contexts: ['base:allocation'],
    })
    expect(readOnly).toMatchObject({ is_read_only: true, can_trim: false, can_zero: false })
  })

  peer('nbdinfo').it('nbdinfo --map sees data and holes', async () => {
    door.disk.allocated.fill(1, 256, 512)
    const map = JSON.parse(await succeed('nbdinfo', '--map', '--json', uri))
    expect(map).toMatchObject([
      { offset: 0, length: 1 * MiB, type: 3 },
      { offset: 1 * MiB, length: 1 * MiB, type: 0 },
      { offset: 2 * MiB, length: 22 * MiB, type: 3 },
    ])
  })

  peer('nbdcopy').it('nbdcopy brings an image in and out, over several connections', async () => {
    const { file, bytes } = await makeImage()
    await succeed('nbdcopy', '--flush', '--connections=4', file, uri)
    expect(door.disk.bytes.subarray(0, bytes.length).equals(bytes)).toBe(true)
    const out = join(folder, 'out.raw')
    await succeed('nbdcopy', '--connections=4', uri, out)
    expect((await readFile(out)).equals(door.disk.bytes)).toBe(true)
  })

  peer('python3-libnbd').it('the Python binding gets its way with every command and flag', async () => {
    const script = join(folder, 'session.py')
    await writeFile(script, PYTHON_SESSION)
    expect(await succeed('/usr/bin/python3', script, uri)).toBe('all as expected\n')
  })
})

describe('qemu', () => {
  peer('qemu-img').it('convert in, compare, map, convert out', async () => {
    const { file, bytes } = await makeImage()
    await succeed('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', file, uri)
    expect(await succeed('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', file, uri)).toContain('identical')
    const map = JSON.parse(await succeed('qemu-img', 'map', '--output=json', '-f', 'raw', uri))
    expect(map.some((run: { zero: boolean; length: number }) => run.zero && run.length > 8 * MiB)).toBe(true)
    const out = join(folder, 'out.raw')
    await succeed('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri, out)
    expect((await readFile(out)).subarray(0, bytes.length).equals(bytes)).toBe(true)
    const info = JSON.parse(await succeed('qemu-img', 'info', '--output=json', '-f', 'raw', uri))
    expect(info['virtual-size']).toBe(DISK)
  })

  peer('qemu-io').it('qemu-io writes, zeroes, discards and reads patterns, unaligned too', async () => {
    const commands = [
      'write -P 0x11 0 1M',
      'write -P 0x22 -f 4097 511',
      'write -z -u 64k 64k',
      'discard 256k 64k',
      'aio_write -P 0x33 512k 32k',
      'aio_flush',
      'flush',
      'read -P 0x11 0 4097',
      'read -P 0x22 4097 511',
      'read -P 0 64k 64k',
      'read -P 0x33 512k 32k',
    ].flatMap((command) => ['-c', command])
    const said = await succeed('qemu-io', '-f', 'raw', ...commands, uri)
    expect(said).not.toMatch(/failed|error/i)
  })

  peer('qemu-io').it('qemu-io may not write to a read-only export', async () => {
    const readOnly = uri.replace(encodeURIComponent(NAME), 'snapshot')
    const result = await run('qemu-io', ['-f', 'raw', '-c', 'write 0 4k', readOnly])
    expect(result.code).not.toBe(0)
    await succeed('qemu-io', '-r', '-f', 'raw', '-c', 'read -P 0 0 4k', readOnly)
  })
})

describe('fio', () => {
  peer('fio').it('verifies what it wrote at random with many requests in flight', async () => {
    const args = [
      '--name=verify',
      '--ioengine=nbd',
      `--uri=${uri}`,
      '--rw=randrw',
      '--bsrange=512-64k',
      '--bs_unaligned=1',
      '--iodepth=32',
      `--size=${DISK}`,
      '--io_size=32m',
      '--verify=crc32c',
      '--verify_fatal=1',
      '--output-format=json',
    ]
    const report = JSON.parse((await succeed('fio', ...args)).replace(/^[^{]*/, ''))
    expect(report.jobs[0].error).toBe(0)
    expect(report.jobs[0].write.total_ios).toBeGreaterThan(100)
  })
})

describe('over TCP', () => {
  peer('qemu-img').it('the same image compares equal', async () => {
    const tcp = await openDoor({}, door.disk)
    const { file } = await makeImage()
    await succeed('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', file, uri)
    const url = `${tcp.server.url}/${encodeURIComponent(NAME)}`
    expect(await succeed('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', file, url)).toContain('identical')
  })
})

/** libnbd's own idea of what each command should do; it checks replies more strictly than any other client. */
const PYTHON_SESSION = `
import errno, nbd, sys

def refused(expected, call, *args):
    try:
        call(*args)
    except nbd.Error as error:
        assert error.errnum == expected, (error.errnum, expected, args)
    else:
        raise AssertionError(("accepted", args))

h = nbd.NBD()
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(sys.argv[1])
assert h.get_structured_replies_negotiated() and h.can_meta_context("base:allocation")
assert h.get_block_size(nbd.SIZE_MAXIMUM) == 32 << 20
size = h.get_size()

h.pwrite(b"hither" * 100, 12345, nbd.CMD_FLAG_FUA)
assert h.pread(600, 12345) == b"hither" * 100
assert h.pread(600, 12345, nbd.CMD_FLAG_DF) == b"hither" * 100
h.zero(8192, 8192, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE)
assert h.pread(8192, 8192) == bytes(8192)
h.trim(4096, 0, nbd.CMD_FLAG_FUA)
h.cache(1 << 20, 0)
h.flush()

extents = []
h.pwrite(bytes(range(256)) * 16, 1 << 20)
h.block_status(size, 0, lambda context, offset, found, error: extents.append((context, found)) or 0)
assert len(extents) == 1 and extents[0][0] == "base:allocation"
assert sum(extents[0][1][::2]) == size

chunks = []
h.pread_structured(70000, 5, lambda data, offset, status, error: chunks.append((len(data), offset, status)) or 0)
assert chunks == [(70000, 5, nbd.READ_DATA)], chunks

refused(errno.EINVAL, h.pread, 2, size - 1)
refused(errno.ENOSPC, h.pwrite, b"xx", size - 1)
refused(errno.ENOSPC, h.zero, 2, size - 1)
refused(errno.EINVAL, h.trim, 2, size - 1)
refused(errno.ENOTSUP, h.zero, 100, 100, nbd.CMD_FLAG_FAST_ZERO)
refused(errno.EINVAL, h.pread, 512, 0, 1 << 14)

done = []
for i in range(200):
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray([i]) * 4096), i * 4096, lambda error: done.append(error.value) or 1)
while h.aio_in_flight() > 0:
    h.poll(1000)
assert done == [0] * 200, done
assert all(h.pread(4096, i * 4096) == bytes([i]) * 4096 for i in range(200))
h.flush()
h.shutdown()
print("all as expected")
`
