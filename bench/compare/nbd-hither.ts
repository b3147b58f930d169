/** A cluster of four nodes on files behind its NBD door, RF2, everything on, durable: `nbd-hither.ts SOCKET FOLDER`. */
import { serveNbd } from '../../src/frontend/nbd/index.ts'
import { MiB, openCluster } from '../../src/index.ts'
import { EXPORT_BYTES, EXPORT_NAME } from './nbd-servers.ts'

const [socket, folder] = process.argv.slice(2) as [string, string]
const cluster = await openCluster(`file:${folder}`, { nodes: 4, rf: 2, ssdBytes: 4_096 * MiB, hddBytes: 0 })
const node = cluster.nodes[0]!
await (await cluster.createVDisk(EXPORT_NAME, { size: EXPORT_BYTES, node })).close()
const door = await serveNbd(cluster.path(node), { socket })
process.once('SIGTERM', () => {
  void door.close().then(() => cluster.close())
})
