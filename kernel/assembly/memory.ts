// Where things lie in the kernel's memory of 256 KiB. The host reads these numbers from the module's exported globals.

/** Hash table of the compressor: up to 8,192 positions of 16 bits. Below it lie the constants of the module itself. */
export const TABLE: usize = 4096
/** Results: one hash, or 16 bytes for each of up to 256 blocks. */
export const RESULTS: usize = TABLE + 16 * 1024
/** Input that the host copies in: at most STAGE_BYTES. What lies beside it may be read, and never matters. */
export const INPUT: usize = 64 * 1024
/** Output that the host copies out: from here to the end of the memory, 112 KiB. */
export const OUTPUT: usize = INPUT + 80 * 1024
export const STAGE_BYTES: u32 = 64 * 1024
