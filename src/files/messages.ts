/**
 * What a host asks the owner of a files disk, and what it hears. Names are bytes, one a character (latin1), so that they
 * can be keys of maps. Attributes in an answer come in the order that is said here for each request.
 */
import type { FileAttributes, FileChanges, FileId, FileTime, RequestKey } from '../api.ts'
import type { NodeId, VDiskId } from '../base/units.ts'

/** How a file is made when the name is taken (FileSystem.createFile). */
export type HowToCreate = 'unchecked' | 'guarded' | 'exclusive'

export type FileRequest =
  /** → file. With the place of a file that has a vDisk. */
  | { readonly op: 'getAttributes'; readonly file: FileId; readonly birth: number }
  /** → before, after */
  | {
      readonly op: 'setAttributes'
      readonly file: FileId
      readonly changes: FileChanges
      readonly guard: FileTime | undefined
      readonly node: NodeId
    }
  /** → file, directory */
  | { readonly op: 'lookup'; readonly directory: FileId; readonly name: string }
  /** → directory; and entries, end */
  | { readonly op: 'list'; readonly directory: FileId; readonly cookie: number; readonly limit: number }
  /** → directory that holds it */
  | { readonly op: 'parent'; readonly directory: FileId }
  /** → file, directory before, directory after. So do all that make one. */
  | {
      readonly op: 'createFile'
      readonly directory: FileId
      readonly name: string
      readonly changes: FileChanges
      readonly how: HowToCreate
      readonly verifier: Uint8Array
      readonly node: NodeId
    }
  | {
      readonly op: 'createDirectory'
      readonly directory: FileId
      readonly name: string
      readonly changes: FileChanges
    }
  | {
      readonly op: 'createSymlink'
      readonly directory: FileId
      readonly name: string
      readonly target: Uint8Array
      readonly changes: FileChanges
    }
  | { readonly op: 'link'; readonly file: FileId; readonly directory: FileId; readonly name: string }
  /** → file; and bytes: the target */
  | { readonly op: 'readLink'; readonly file: FileId }
  /** → directory before, after */
  | { readonly op: 'remove'; readonly directory: FileId; readonly name: string }
  | { readonly op: 'removeDirectory'; readonly directory: FileId; readonly name: string }
  /** → from before, from after, to before, to after */
  | {
      readonly op: 'rename'
      readonly from: FileId
      readonly name: string
      readonly to: FileId
      readonly newName: string
    }
  /** → file; and bytes, or the place of a file that has a vDisk */
  | { readonly op: 'read'; readonly file: FileId; readonly offset: number; readonly length: number }
  /** → before, after; or → file, and its place: nothing was written, since the file has a vDisk */
  | { readonly op: 'write'; readonly file: FileId; readonly offset: number; readonly data: Uint8Array }
  /**
   * → before, after; and the place. The file has a vDisk from here on, made for `node` if it had none, and reaches to
   * `end` at least; what was missing between its size and `offset` is zeros.
   */
  | {
      readonly op: 'extend'
      readonly file: FileId
      readonly offset: number
      readonly end: number
      readonly node: NodeId
    }
  /** Files were written to, inside their size. → nothing */
  | {
      readonly op: 'written'
      readonly files: ReadonlyArray<{ readonly file: FileId; readonly time: FileTime }>
    }
  /** → nothing; and the files that have a vDisk of their own, by path */
  | { readonly op: 'disks' }

/** The request of one operation. */
export type Asked<Op extends FileRequest['op']> = Extract<FileRequest, { op: Op }>

/** Where a file's data is, for a host that reads and writes it itself. */
export interface DiskPlace {
  readonly vdisk: VDiskId
  /** Bytes of the vDisk. */
  readonly capacity: number
  /** Of the service that answered: grows with each that is loaded. */
  readonly age: number
  /** Grows, within an age, with each change of the file. */
  readonly version: number
  /** Changes, within an age, whenever bytes of the file were cut or zeroed. */
  readonly epoch: number
}

export interface ListedEntry {
  readonly name: string
  readonly cookie: number
  readonly attributes: FileAttributes
}

export interface ListedDisk {
  readonly path: string
  readonly file: FileId
  readonly vdisk: VDiskId
  readonly size: number
}

export interface FileAnswer {
  readonly attributes: readonly FileAttributes[]
  readonly place?: DiskPlace
  readonly bytes?: Uint8Array
  readonly entries?: readonly ListedEntry[]
  readonly disks?: readonly ListedDisk[]
  /** Of a listing. */
  readonly end?: boolean
}

export interface KeyedRequest {
  readonly request: FileRequest
  readonly key: RequestKey | undefined
  /** Only what is on record under the key; else it is refused (api.ts, `FileCall`). */
  readonly forbidden: boolean
}
