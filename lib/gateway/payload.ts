/** A payload that is there as a whole. */
export type Buffered = string | Buffer | null | undefined

/** Whether a payload is there as a whole: a stream is not. */
export function isBuffered(payload: unknown): payload is Buffered {
  return payload === undefined || payload === null || typeof payload === 'string' || Buffer.isBuffer(payload)
}

/** Whether it is known that nothing is in a payload. */
export function isEmpty(payload: unknown): boolean {
  return isBuffered(payload) && (payload ?? '').length === 0
}

/** Lets go of a payload that is not sent, so that what it comes from is closed. */
export function discard(payload: unknown): void {
  const stream = payload as { destroy?: () => void; cancel?: () => Promise<void>; on?: (...args: unknown[]) => void }
  if (typeof payload !== 'object' || payload === null || Buffer.isBuffer(payload)) return
  if (typeof stream.destroy === 'function') {
    stream.on?.('error', () => {})
    stream.destroy()
  } else if (typeof stream.cancel === 'function') {
    stream.cancel().catch(() => {})
  }
}
