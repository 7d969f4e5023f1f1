import type { IncomingMessage } from 'node:http'
import { FST_WASM_REQUEST_BODY_TOO_LARGE } from '../errors.ts'
import { GrowingBytes } from '../growing-bytes.ts'

type Push = IncomingMessage['push']

/** Of Node's stream: whether its last byte has arrived, and what has arrived and is not read (`null`: is read). */
interface ReadableState {
  readonly ended: boolean
  readonly buffer: Iterable<Buffer | string | null>
}

/**
 * The body of a request, for filters: all of it, before or after Fastify's parser has read it.
 *
 * It watches what arrives on the request's own stream, by way of the `push` that every kind of request (HTTP/1, HTTP/2,
 * `inject`) delivers its bytes with. So nothing stands between the request and its parser, whatever that is, and a body
 * that was taken before its parser is put back where it came from. `watch` before the bytes are consumed, then `read`.
 */
export class RequestBody {
  readonly #raw: IncomingMessage
  readonly #limit: number
  readonly #bytes: GrowingBytes = new GrowingBytes()
  #push: Push | undefined
  #size = 0
  #ended = false
  /** The end of the stream is held back, so that the body can be put back in front of it. */
  #holding = false
  #held = false
  #onProgress: (() => void) | undefined

  /** @param limit how many bytes may be kept, 0: any number */
  constructor(raw: IncomingMessage, limit: number) {
    this.#raw = raw
    this.#limit = limit
  }

  /** Remembers what arrives from now on, and what has arrived and nobody has read. */
  watch(): void {
    if (this.#push !== undefined) return
    const raw = this.#raw
    const push: Push = raw.push
    this.#push = push
    const { ended, buffer } = (raw as unknown as { _readableState: ReadableState })._readableState
    // Looked at, not read: whoever listens already would be given it, and be given it again.
    for (const chunk of buffer) if (chunk !== null) this.#keep(toBuffer(chunk, raw.readableEncoding))
    this.#ended = ended
    const remember: Push = (chunk, encoding) => {
      if (chunk === null) {
        this.#ended = true
        this.#onProgress?.()
        if (this.#holding) {
          this.#held = true
          return false
        }
      } else {
        this.#keep(toBuffer(chunk, encoding))
      }
      return push.call(raw, chunk, encoding)
    }
    raw.push = remember
  }

  /**
   * The whole body.
   *
   * @throws FST_WASM_REQUEST_BODY_TOO_LARGE. The promise never settles when the client leaves.
   */
  async read(): Promise<Buffer> {
    this.watch()
    const raw = this.#raw
    const isBeingRead = raw.readableFlowing === true || raw.listenerCount('readable') > 0
    if (!this.#ended && !this.#tooLarge) {
      this.#holding = !isBeingRead
      // Reading is what makes more arrive; the bytes are remembered when they do.
      const drain = () => {
        while (raw.read() !== null);
      }
      await new Promise<void>((resolve) => {
        const progress = () => {
          if (this.#ended || this.#tooLarge) resolve()
        }
        this.#onProgress = progress
        if (this.#holding) raw.on('readable', drain)
      })
      this.#onProgress = undefined
      raw.off('readable', drain)
    }
    if (this.#tooLarge) {
      this.#holding = false
      raw.resume()
      throw new FST_WASM_REQUEST_BODY_TOO_LARGE(this.#limit)
    }
    return this.#bytes.bytes
  }

  /** Whether a parser or anybody else has consumed the body, so that it cannot be put back. */
  get consumed(): boolean {
    const raw = this.#raw
    return !this.#held && (raw.readableEnded || raw.readableFlowing === true || raw.listenerCount('readable') > 0)
  }

  /**
   * Puts a body in front of whoever reads the request next.
   *
   * @param changed whether it is another one than what came
   */
  putBack(bytes: Buffer, changed: boolean): void {
    const raw = this.#raw
    if (this.#held) {
      while (raw.read() !== null);
      this.#unwatch()
      this.#held = false
      this.#holding = false
      if (bytes.length > 0) raw.unshift(bytes)
      raw.push(null)
    } else if (changed) {
      this.#unwatch()
      if (bytes.length === 0) {
        this.#emptyWhenRead()
      } else {
        // In the same turn: a stream that is read to its end ends in the next one.
        while (raw.readableLength > 0 && raw.read() !== null);
        raw.unshift(bytes)
      }
    }
  }

  /** The stream would end in the next turn if it were emptied now, and who comes to read it later would wait for ever. */
  #emptyWhenRead(): void {
    const raw = this.#raw
    const { read, emit } = raw
    raw.read = (size) => {
      raw.read = read
      raw.emit = () => false
      while (raw.readableLength > 0 && raw.read() !== null);
      raw.emit = emit
      return raw.read(size)
    }
  }

  /** No filter wants it: nothing of it is kept. */
  forget(): void {
    this.#unwatch()
    this.#bytes.clear()
  }

  get #tooLarge(): boolean {
    return this.#limit > 0 && this.#size > this.#limit
  }

  #keep(chunk: Buffer): void {
    this.#size += chunk.length
    if (this.#tooLarge) this.#bytes.clear()
    else this.#bytes.add(chunk)
    this.#onProgress?.()
  }

  #unwatch(): void {
    if (this.#push !== undefined) this.#raw.push = this.#push
  }
}

function toBuffer(chunk: Buffer | string, encoding: BufferEncoding | null | undefined): Buffer {
  return typeof chunk === 'string' ? Buffer.from(chunk, encoding ?? 'utf8') : chunk
}
