/** Sizes of a file system, and where its parts lie in the address space of its files disk. */
import { GiB, MiB, TiB } from '../base/units.ts'

/** Bytes of a name, as NFS clients expect. */
export const NAME_BYTES_MAX = 255
/** Bytes of the target of a symbolic link (PATH_MAX of Linux). */
export const TARGET_BYTES_MAX = 4096
/** Entries that one listing returns at most. */
export const LIST_ENTRIES_MAX = 4096
/** Largest file: that of a vDisk. */
export const FILE_BYTES_MAX = 64 * TiB

/**
 * The table of the file system, from byte 0 of the files disk. It costs space only where it was written, and holds
 * all entries in memory as well, so memory is what bounds it: about 1.5 million files.
 */
export const TABLE_BYTES = 1 * GiB
/** Room of the table that is kept for removals and for answers. */
export const TABLE_RESERVE_BYTES = 4 * MiB
/** What a file system says when it is asked how many files it may have. */
export const FILES_MAX = 1_500_000

/** Slots for the data of small files start here. */
export const SLOTS_START = 64 * GiB
/**
 * A regular file is small up to this size; past it, it gets a vDisk of its own, for good. A slot costs what is written in it
 * (10,000 files of 1 KiB: 28.9 MB stored with slots of 64 KiB, 29.4 MB with these), while a vDisk holds the room of an open
 * egroup, 4 MiB on RF nodes, for as long as it is being written to.
 */
export const SLOT_BYTES = 1 * MiB
export const SLOTS_MAX = Math.floor((64 * TiB - SLOTS_START) / SLOT_BYTES)

/** Numbers of files, and slots, that one commit sets aside: the rest of them is skipped by the next owner. */
export const NUMBERS_RESERVED = 1024

/** The vDisk of a file starts at this size at least, and doubles. */
export const CAPACITY_BYTES_MIN = 1 * GiB
/**
 * How far past a file's size there may be bytes of a write that was never finished: a host that writes farther than this
 * past the end has the size committed first. Growing zeroes this far.
 */
export const LOOSE_BYTES = 64 * MiB

/** Answers that are kept, so that a request that comes again is not run again. */
export const REPLIES_KEPT = 4096
