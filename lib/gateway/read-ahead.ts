import type { IncomingMessage } from 'node:http'
import { GrowingBytes } from '../growing-bytes.ts'
import { setTimeout } from '../real-time.ts'

/** Most filters wait for less than that. */
const AFTER_MS = 250
/** Where bodies have no limit. */
const MAX_AHEAD = 8 * 1024 * 1024

/**
 * Reads a body that nobody reads while a filter waits, and puts back what it has read: that a client has left is not known of
 * a connection (HTTP/1) before all is read that it has sent.
 */
export class ReadAhead {
  readonly #raw: IncomingMessage
  readonly #limit: number
  readonly #bytes: GrowingBytes = new GrowingBytes()
  readonly #timer: ReturnType<typeof setTimeout>

  /** @param limit how many bytes may be kept, 0: no limit */
  constructor(raw: IncomingMessage, limit: number) {
    this.#raw = raw
    this.#limit = limit || MAX_AHEAD
    this.#timer = setTimeout(() => {
      // One that is there as a whole would end at once, if there is nothing in it.
      if (!raw.complete && raw.readableFlowing !== true && raw.listenerCount('readable') === 0) {
        raw.on('readable', this.#read)
      }
    }, AFTER_MS)
  }

  stop(): void {
    clearTimeout(this.#timer)
    const raw = this.#raw
    raw.off('readable', this.#read)
    const bytes = this.#bytes.take()
    if (bytes.length > 0 && !raw.destroyed) raw.unshift(bytes)
  }

  readonly #read = (): void => {
    const raw = this.#raw
    // Of a request that is there as a whole the connection is read for the next. And it would end, when it is read to the end.
    if (raw.complete) this.stop()
    while (!raw.complete && this.#bytes.size + raw.readableLength <= this.#limit) {
      const chunk: Buffer | null = raw.read()
      if (chunk === null) return
      this.#bytes.add(chunk)
    }
  }
}
