/**
 * The numbers of NFSv3 and MOUNT v3 (RFC 1813), under the RFC's names without their prefixes, and what this door tells
 * about itself.
 */
import { KiB, MiB, VDISK_BYTES_MAX } from '../../base/units.ts'

export const NFS_PROGRAM = 100_003
export const MOUNT_PROGRAM = 100_005
export const PORTMAP_PROGRAM = 100_000
export const NFS_VERSION = 3
export const MOUNT_VERSION = 3
export const PORTMAP_VERSION = 2

// nfsstat3

export const NFS3_OK = 0
export const NFS3ERR_PERM = 1
export const NFS3ERR_NOENT = 2
export const NFS3ERR_IO = 5
export const NFS3ERR_ACCES = 13
export const NFS3ERR_EXIST = 17
export const NFS3ERR_NOTDIR = 20
export const NFS3ERR_ISDIR = 21
export const NFS3ERR_INVAL = 22
export const NFS3ERR_FBIG = 27
export const NFS3ERR_NOSPC = 28
export const NFS3ERR_ROFS = 30
export const NFS3ERR_NAMETOOLONG = 63
export const NFS3ERR_NOTEMPTY = 66
export const NFS3ERR_STALE = 70
export const NFS3ERR_XDEV = 18
export const NFS3ERR_BADHANDLE = 10_001
export const NFS3ERR_NOT_SYNC = 10_002
export const NFS3ERR_NOTSUPP = 10_004
export const NFS3ERR_TOOSMALL = 10_005
export const NFS3ERR_SERVERFAULT = 10_006
export const NFS3ERR_BADTYPE = 10_007
export const NFS3ERR_JUKEBOX = 10_008

/** The number of an nfsstat3. MOUNT's mountstat3 are the same numbers, fewer of them. */
export type Status = number

// ftype3

export const NF3REG = 1
export const NF3DIR = 2
export const NF3BLK = 3
export const NF3CHR = 4
export const NF3LNK = 5
export const NF3SOCK = 6
export const NF3FIFO = 7

// ACCESS

export const ACCESS_READ = 0x01
export const ACCESS_LOOKUP = 0x02
export const ACCESS_MODIFY = 0x04
export const ACCESS_EXTEND = 0x08
export const ACCESS_DELETE = 0x10
export const ACCESS_EXECUTE = 0x20

// stable_how

export const UNSTABLE = 0
export const FILE_SYNC = 2
export const STABLE_HOW_COUNT = 3

// createmode3

export const UNCHECKED = 0
export const GUARDED = 1
export const CREATE_MODE_COUNT = 3

// time_how

export const DONT_CHANGE = 0
export const SET_TO_SERVER_TIME = 1
export const TIME_HOW_COUNT = 3

// FSINFO

export const FSF3_LINK = 0x01
export const FSF3_SYMLINK = 0x02
export const FSF3_HOMOGENEOUS = 0x08
export const FSF3_CANSETTIME = 0x10

// Sizes

export const HANDLE_BYTES_MAX = 64
export const VERIFIER_BYTES = 8
/** Longest name of a directory entry. */
export const NAME_BYTES_MAX = 255
/** Longest path that a symbolic link holds. */
export const PATH_BYTES_MAX = 4096
/** Most data of one READ or WRITE. */
export const TRANSFER_BYTES_MAX = 1 * MiB
/** Most bytes of one listing. */
export const LISTING_BYTES_MAX = 64 * KiB
export const FILE_BYTES_MAX = VDISK_BYTES_MAX
/** A WRITE of the largest size, its header, credentials and handle. */
export const RECORD_BYTES_MAX = TRANSFER_BYTES_MAX + 8 * KiB
