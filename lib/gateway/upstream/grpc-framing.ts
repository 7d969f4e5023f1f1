import { GrowingBytes } from '../../growing-bytes.ts'

// The length-prefixed messages of gRPC over HTTP/2: a flag for compression, a length in four bytes, the message.

const PREFIX = 5

/** The most that one message may have, as gRPC's own default for what is received. */
const MAX_MESSAGE = 4 * 1024 * 1024

export function frame(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(PREFIX + message.length)
  framed[0] = 0
  framed.writeUInt32BE(message.length, 1)
  message.copy(framed, PREFIX)
  return framed
}

/** Cuts a stream of bytes into messages. */
export class Deframer {
  readonly #bytes: GrowingBytes = new GrowingBytes()
  /** How many bytes there must be before anything can be cut: those of the prefix, then those of the message too. */
  #wanted = PREFIX

  /** How many bytes there are of a message that is not complete. */
  get partial(): number {
    return this.#bytes.size
  }

  /**
   * @returns the messages that are complete now
   * @throws when a message is compressed, which nobody asked for, or too long
   */
  push(chunk: Buffer): Buffer[] {
    this.#bytes.add(chunk)
    if (this.#bytes.size < this.#wanted) return []
    let bytes = this.#bytes.take()
    const messages: Buffer[] = []
    this.#wanted = PREFIX
    while (bytes.length >= PREFIX) {
      if (bytes[0] !== 0) throw new Error('a message is compressed')
      const end = PREFIX + bytes.readUInt32BE(1)
      if (end > PREFIX + MAX_MESSAGE) throw new Error(`a message is longer than ${MAX_MESSAGE} bytes`)
      if (bytes.length < end) {
        this.#wanted = end
        break
      }
      messages.push(bytes.subarray(PREFIX, end))
      bytes = bytes.subarray(end)
    }
    this.#bytes.add(bytes)
    return messages
  }
}
