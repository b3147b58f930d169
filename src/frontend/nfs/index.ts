/** The NFS door: serves the exported containers of one host's path to any NFSv3 client. */
export { PORTMAP_PORT, type PortmapOptions, type PortmapServer, servePortmap } from './portmap.ts'
export { type NfsOptions, type NfsServer, serveNfs } from './server.ts'
