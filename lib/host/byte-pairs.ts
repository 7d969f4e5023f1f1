const MAX_BYTES = 1024 * 1024
const MAX_PAIRS = 1024

/**
 * Serializes names and values as Proxy-Wasm lays out a header map: a u32 count, the lengths of every name
 * and value, then the bytes, each followed by a NUL. The strings hold one byte a character (latin1).
 *
 * @param pairs name, value, name, value, …
 */
export function serializePairs(pairs: readonly string[]): Buffer {
  const bytes = Buffer.allocUnsafe(serializedSize(pairs))
  const count = pairs.length / 2
  bytes.writeUInt32LE(count, 0)
  let lengthAt = 4
  let at = 4 + count * 8
  for (const text of pairs) {
    bytes.writeUInt32LE(text.length, lengthAt)
    lengthAt += 4
    at += bytes.write(text, at, 'latin1')
    bytes[at++] = 0
  }
  return bytes
}

/** How many bytes `serializePairs` makes of the pairs. */
export function serializedSize(pairs: readonly string[]): number {
  let size = 4 + pairs.length * 4
  for (const text of pairs) size += text.length + 1
  return size
}

/**
 * Reads a serialized header map. Fewer than four bytes and a count of zero are an empty map, which is what Go and Rust
 * send for "none".
 *
 * @returns name, value, name, value, … (latin1); `undefined` when a length, a NUL or the end is wrong, or when it is
 *   longer than 1 MiB or 1024 pairs, as Envoy refuses it
 */
export function parsePairs(bytes: Buffer): string[] | undefined {
  if (bytes.length < 4) return []
  if (bytes.length > MAX_BYTES) return undefined
  const count = bytes.readUInt32LE(0)
  if (count > MAX_PAIRS) return undefined
  const pairs: string[] = new Array(count * 2)
  let at = 4 + count * 8
  if (at > bytes.length) return undefined
  for (let i = 0; i < count * 2; i++) {
    const end = at + bytes.readUInt32LE(4 + i * 4)
    if (end >= bytes.length || bytes[end] !== 0) return undefined
    pairs[i] = bytes.toString('latin1', at, end)
    at = end + 1
  }
  return at === bytes.length ? pairs : undefined
}
