/**
 * What each request does: checked parameters in, one call of the cluster, its result out. The table is complete by
 * type: a method of protocol.ts without a handler here does not compile.
 */
import type { Cluster, ContainerPolicy, ExportOptions, VDisk, VDiskOptions } from '../../api.ts'
import { HitherError } from '../../base/errors.ts'
import type { EventLog } from './event-log.ts'
import { listFiles } from './file-list.ts'
import { given, type Params } from './params.ts'
import type { ControlMethod, ControlMethods, ControlStream, ControlStreams, HostDoors } from './protocol.ts'
import type { Transfers } from './transfers.ts'

export interface MethodContext {
  readonly cluster: Cluster
  readonly doors: HostDoors
  readonly events: EventLog
  /** Of this connection. */
  readonly transfers: Transfers
}

type Handlers = {
  readonly [M in ControlMethod]: (
    context: MethodContext,
    params: Params,
    payload: Uint8Array | undefined,
  ) => Promise<ControlMethods[M]['result']> | ControlMethods[M]['result']
}

type StreamHandlers = {
  readonly [S in ControlStream]: (
    context: MethodContext,
    params: Params,
    signal: AbortSignal,
  ) => AsyncIterable<ControlStreams[S]['event']>
}

const METHODS: Handlers = {
  'cluster.status': ({ cluster }) => cluster.status(),
  'cluster.stats': ({ cluster }) => cluster.stats(),
  'cluster.doors': ({ doors }) => doors.list(),

  'disk.create': async ({ cluster }, params) => {
    const name = params.string('name')
    await closed(cluster.createVDisk(name, newDiskOptions(params)))
    return cluster.vdiskInfo(name)
  },
  'disk.list': ({ cluster }) => cluster.listVDisks(),
  'disk.show': ({ cluster }, params) => cluster.vdiskInfo(params.string('name')),
  'disk.remove': ({ cluster }, params) => done(cluster.deleteVDisk(params.string('name'))),
  'disk.resize': async ({ cluster }, params) => {
    const name = params.string('name')
    const size = params.number('size')
    const discardData = params.boolean('discardData')
    await withDisk(cluster, name, (disk) => disk.resize(size, { discardData }))
    return cluster.vdiskInfo(name)
  },
  'disk.snapshot': ({ cluster }, params) => {
    const snapshot = params.string('snapshot')
    return withDisk(cluster, params.string('name'), (disk) => disk.snapshot(snapshot))
  },
  'disk.snapshots': ({ cluster }, params) => cluster.listSnapshots(params.string('name')),
  'disk.remove-snapshot': ({ cluster }, params) =>
    done(cluster.deleteSnapshot(params.string('name'), params.string('snapshot'))),
  'disk.clone': async ({ cluster }, params) => {
    const name = params.string('name')
    const options = given({
      snapshot: params.optionalString('snapshot'),
      vm: params.optionalString('vm'),
      node: params.optionalString('node'),
    })
    await closed(cluster.cloneVDisk(params.string('source'), name, options))
    return cluster.vdiskInfo(name)
  },

  'vm.list': ({ cluster }) => cluster.listVms(),
  'vm.move': ({ cluster }, params) =>
    done(cluster.migrateVm(params.string('vm'), { to: params.string('to') })),

  'cvm.fail': ({ cluster }, params) =>
    done(cluster.failCvm(params.string('node'), { hang: params.boolean('hang') })),
  'cvm.recover': ({ cluster }, params) => done(cluster.recoverCvm(params.string('node'))),

  'node.add': async ({ cluster, doors }, params) => {
    const options = given({
      ssdBytes: params.optionalNumber('ssdBytes'),
      hddBytes: params.optionalNumber('hddBytes'),
    })
    const node = await cluster.addNode(options)
    await doors.refresh()
    return doors.list().find((door) => door.node === node) ?? { node }
  },
  'node.remove': async ({ cluster, doors }, params) => {
    await cluster.removeNode(params.string('node'))
    await doors.refresh()
    return null
  },
  'device.fail': ({ cluster }, params) => done(cluster.failDevice(params.string('device'))),

  'container.create': ({ cluster }, params) =>
    cluster.createContainer(params.string('name'), containerPolicy(params.object('policy'))),
  'container.export': ({ cluster }, params) =>
    cluster.exportContainer(params.string('name'), exportOptions(params.object('export'))),
  'container.unexport': ({ cluster }, params) => cluster.unexportContainer(params.string('name')),
  'container.list': ({ cluster }) => cluster.listContainers(),
  'file.list': ({ cluster }, params) =>
    listFiles(cluster, params.string('container'), params.string('path'), params.boolean('recursive')),

  'curator.run': ({ cluster }) => cluster.runCurator(),

  'transfer.import': ({ transfers }, params) =>
    transfers.import(params.string('name'), newDiskOptions(params), {
      overwrite: params.boolean('overwrite'),
      growing: params.boolean('growing'),
    }),
  'transfer.export': ({ transfers }, params) => transfers.export(params.string('name')),
  'transfer.runs': ({ transfers }, params) =>
    transfers.runs(params.number('transfer'), params.number('offset'), params.number('length')),
  'transfer.read': ({ transfers }, params) =>
    transfers.read(params.number('transfer'), params.number('offset'), params.number('length')),
  'transfer.write': ({ transfers }, params, payload) => {
    if (payload === undefined) throw new HitherError('BAD_ARGUMENT', 'transfer.write needs a payload')
    return done(transfers.write(params.number('transfer'), params.number('offset'), payload))
  },
  'transfer.zero': ({ transfers }, params) =>
    done(transfers.zero(params.number('transfer'), params.number('offset'), params.number('length'))),
  'transfer.resize': ({ transfers }, params) =>
    done(transfers.resize(params.number('transfer'), params.number('size'))),
  'transfer.finish': ({ transfers }, params) => done(transfers.finish(params.number('transfer'))),
  'transfer.abandon': ({ transfers }, params) => transfers.abandon(params.number('transfer')),
}

const STREAMS: StreamHandlers = {
  'cluster.events': ({ events }, params, signal) =>
    events.read({ recent: params.number('recent'), follow: params.boolean('follow'), signal }),
}

type AnyHandler = Handlers[ControlMethod]

/** The handler of a method named by a peer, or `undefined`. */
export function methodHandler(name: string): AnyHandler | undefined {
  return Object.hasOwn(METHODS, name) ? METHODS[name as ControlMethod] : undefined
}

export function streamHandler(name: string): StreamHandlers[ControlStream] | undefined {
  return Object.hasOwn(STREAMS, name) ? STREAMS[name as ControlStream] : undefined
}

function newDiskOptions(params: Params): VDiskOptions {
  return {
    size: params.number('size'),
    ...given({
      vm: params.optionalString('vm'),
      node: params.optionalString('node'),
      container: params.optionalString('container'),
    }),
  }
}

function containerPolicy(params: Params): Partial<ContainerPolicy> & { export?: Partial<ExportOptions> } {
  return given({
    rf: params.optionalOneOf('rf', [1, 2, 3]),
    compression: params.optionalBoolean('compression'),
    dedupe: params.optionalBoolean('dedupe'),
    minCopies: params.optionalNumber('minCopies'),
    durability: params.optionalOneOf('durability', ['sync', 'flush']),
    export: params.has('export') ? exportOptions(params.object('export')) : undefined,
  })
}

function exportOptions(params: Params): Partial<ExportOptions> {
  return given({
    allow: params.optionalStrings('allow'),
    readOnly: params.optionalBoolean('readOnly'),
    squash: params.optionalOneOf('squash', ['none', 'root', 'all']),
  })
}

async function withDisk<T>(cluster: Cluster, name: string, use: (disk: VDisk) => Promise<T>): Promise<T> {
  const disk = await cluster.openVDisk(name)
  try {
    return await use(disk)
  } finally {
    await disk.close()
  }
}

async function closed(opening: Promise<VDisk>): Promise<void> {
  const disk = await opening
  await disk.close()
}

async function done(work: Promise<void>): Promise<null> {
  await work
  return null
}
