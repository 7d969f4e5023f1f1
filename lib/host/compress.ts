import { constants, deflateRawSync, deflateSync } from 'node:zlib'
import { timeLeft } from './metering/clock.ts'

/** Bytes that are compressed at a time: what compresses worst takes some 50 ms. */
const PIECE = 256 * 1024
/** Compression method and window, and the usual level (RFC 1950, 2.2) */
const HEADER = Buffer.of(0x78, 0x9c)
const ADLER_BASE = 65521
/** So many bytes are added up before a sum could be more than 32 bits. */
const ADLER_RUN = 3800

/**
 * Bytes in the format of zlib, at its usual level. Of more than a piece the pieces are compressed by themselves, until the
 * time of the call into the module is over: then nobody is given what this answers.
 */
export function compress(bytes: Buffer): Buffer {
  if (bytes.length <= PIECE) return deflateSync(bytes)
  const pieces = [HEADER]
  let checksum = 1
  for (let at = 0; at < bytes.length && timeLeft() > 0; at += PIECE) {
    const piece = bytes.subarray(at, at + PIECE)
    const isLast = at + PIECE >= bytes.length
    pieces.push(deflateRawSync(piece, { finishFlush: isLast ? constants.Z_FINISH : constants.Z_SYNC_FLUSH }))
    checksum = adler32(piece, checksum)
  }
  const trailer = Buffer.alloc(4)
  trailer.writeUInt32BE(checksum)
  pieces.push(trailer)
  return Buffer.concat(pieces)
}

/** The checksum of what has the checksum `before`, and of more bytes behind it (RFC 1950, 8.2). */
function adler32(bytes: Buffer, before: number): number {
  let a = before & 0xffff
  let b = before >>> 16
  for (let from = 0; from < bytes.length; from += ADLER_RUN) {
    const to = Math.min(from + ADLER_RUN, bytes.length)
    for (let i = from; i < to; i++) {
      a += bytes[i]!
      b += a
    }
    a %= ADLER_BASE
    b %= ADLER_BASE
  }
  return ((b << 16) | a) >>> 0
}
