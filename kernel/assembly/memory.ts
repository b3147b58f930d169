// Where things lie in the kernel's memory. The host reads these numbers from the module's exported globals; behind
// FREE everything is the host's.

/** Hash table of the compressor: up to 8,192 positions of 16 bits. Below it lie the constants of the module itself. */
export const TABLE: usize = 4096
/** Results: one hash, or 16 bytes for each of up to 256 blocks. */
export const RESULTS: usize = TABLE + 16 * 1024
/** Input that the host copies in: at most STAGE_BYTES. What lies beside it may be read, and never matters. */
export const INPUT: usize = 64 * 1024
/** Output that the host copies out. */
export const OUTPUT: usize = INPUT + 80 * 1024
export const STAGE_BYTES: u32 = 64 * 1024
/** First byte that the kernel never uses on its own. */
export const FREE: usize = OUTPUT + 112 * 1024
