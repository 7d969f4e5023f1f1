import type { Readable } from 'node:stream'
import { setImmediate as turn } from 'node:timers/promises'
import { FST_WASM_UPSTREAM_TIMEOUT } from '../../errors.ts'

/** Who has to know how far a body has come. */
export interface BodyWatcher {
  /** The node has been given all of it. */
  bodySent(): void
  abort(error: Error): void
}

/**
 * A streamed body on its way to a node. The source is not touched before the node takes the first chunk, so that another
 * node can still be tried, and is not destroyed with the connection: it is the client's request.
 */
export class OutgoingBody {
  begun = false
  watcher: BodyWatcher | undefined
  readonly #source: Readable
  readonly #timeout: number

  /** @param timeout milliseconds that a node may take for a chunk */
  constructor(source: Readable, timeout: number) {
    this.#source = source
    this.#timeout = timeout
  }

  async *chunks(): AsyncGenerator<Buffer> {
    this.begun = true
    let timer: NodeJS.Timeout | undefined
    let sent = false
    try {
      for await (const chunk of this.#source.iterator({ destroyOnReturn: false })) {
        // A node may have answered early and closed the connection. Once a write has failed the answer is lost, so what
        // has arrived is read first.
        if (timer !== undefined) await turn()
        timer = setTimeout(() => {
          this.watcher?.abort(new FST_WASM_UPSTREAM_TIMEOUT('it did not take the request in time'))
        }, this.#timeout)
        yield chunk
        clearTimeout(timer)
      }
      sent = true
    } finally {
      clearTimeout(timer)
      // The node wants no more of it. The client still has to get rid of the rest before it reads the answer.
      if (!sent) this.#source.resume()
    }
    this.watcher?.bodySent()
  }
}
