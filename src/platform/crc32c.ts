/**
 * CRC-32C (Castagnoli), the checksum of the small tables that the platform keeps itself. Every burst of up to 32 bits
 * and every one to three flipped bits in a sector are found. Slices of user data have 64-bit checksums of their own.
 */

const TABLE = new Int32Array(256)
for (let byte = 0; byte < 256; byte++) {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0x82f63b78 : 0)
  TABLE[byte] = remainder
}

/** Over bytes `start` … `end − 1`. Unsigned 32 bits. */
export function crc32c(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let crc = -1
  for (let at = start; at < end; at++) crc = (crc >>> 8) ^ TABLE[(crc ^ bytes[at]!) & 0xff]!
  return ~crc >>> 0
}
