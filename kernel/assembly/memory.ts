// Where things lie in the kernel's memory. The host reads these numbers from the module's exported globals; behind
// FREE everything is the host's.

/** Hash table of the compressor: up to 8,192 positions of 16 bits. */
export const TABLE: usize = 1024
/** Results of `inspect`: per block one word for "is zero", then two for the fingerprint. Of the others: one hash. */
export const RESULTS: usize = TABLE + 16 * 1024
/** Input that the host copies in: at most STAGE_BYTES. */
export const INPUT: usize = 64 * 1024
/** Output that the host copies out. */
export const OUTPUT: usize = INPUT + 80 * 1024
export const STAGE_BYTES: u32 = 64 * 1024
/** First byte that the kernel never uses on its own. */
export const FREE: usize = OUTPUT + 112 * 1024
