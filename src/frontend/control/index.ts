/** The control door: server and client of the control protocol (protocol.ts says what travels). */
export { ControlClient, connectControl } from './client.ts'
export type { ListedFile } from './file-list.ts'
export {
  type ControlMethod,
  type ControlMethods,
  type HostDoor,
  type HostDoors,
  TRANSFER_BYTES_MAX,
} from './protocol.ts'
export { type ControlServer, type ControlServerOptions, serveControl } from './server.ts'
export { ownFolder, runtimeFolder } from './socket-path.ts'
