/** The NFS program, version 3: its 22 procedures (RFC 1813, section 3.3) by number. */
import {
  access,
  fileSystemInfo,
  fileSystemStatus,
  getAttributes,
  pathConfiguration,
  setAttributes,
} from './procedures/attributes.ts'
import { commit, read, readLink, write } from './procedures/data.ts'
import { lookup, remove, removeDirectory, rename } from './procedures/finding.ts'
import { readDirectory, readDirectoryPlus } from './procedures/listing.ts'
import { create, link, makeDirectory, makeNode, makeSymlink } from './procedures/making.ts'
import { nullProcedure, type Program } from './rpc/program.ts'
import type { NfsService } from './service.ts'
import { NFS_PROGRAM, NFS_VERSION } from './wire.ts'

export function nfsProgram(service: NfsService): Program {
  return {
    number: NFS_PROGRAM,
    version: NFS_VERSION,
    procedures: [
      nullProcedure,
      getAttributes(service),
      setAttributes(service),
      lookup(service),
      access(service),
      readLink(service),
      read(service),
      write(service),
      create(service),
      makeDirectory(service),
      makeSymlink(service),
      makeNode(service),
      remove(service),
      removeDirectory(service),
      rename(service),
      link(service),
      readDirectory(service),
      readDirectoryPlus(service),
      fileSystemStatus(service),
      fileSystemInfo(service),
      pathConfiguration(service),
      commit(service),
    ],
  }
}
