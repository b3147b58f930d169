/**
 * LZ4 for slices: one standard LZ4 block, without header or size prefix, of at most 32 KiB of raw bytes. The contract
 * is in `data-path.ts`.
 *
 * The raw length is kept with every slice and handed to the decoder, so the size that it believes is never one read from
 * a damaged block. Damage that is still a valid block of the right length cannot be seen here: that is the checksum's
 * task.
 */
import { chosenPath } from './chosen-path.ts'

export { CODEC_RAW_BYTES_MAX } from './data-path.ts'

export const { compressInto, decompressed, decompressInto, packSlice, unpackSlice } = chosenPath
