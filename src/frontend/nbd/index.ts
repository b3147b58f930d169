/** The NBD door: serves the vDisks of one host's path to any NBD client. */
export { type NbdOptions, type NbdServer, serveNbd } from './server.ts'
