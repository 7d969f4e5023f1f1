/**
 * A copy for keeping. `Buffer.from` cuts small ones out of a pool, and each then keeps 8 KiB alive for as long as it lives.
 */
export function ownCopy(bytes: Uint8Array): Buffer {
  const copy = Buffer.allocUnsafeSlow(bytes.length)
  copy.set(bytes)
  return copy
}
