import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { TestContext } from 'node:test'

interface State {
  way: 'open' | 'cut' | 'swallows'
}

/** A way to a server that can be cut, or swallow everything. */
export class Relay {
  readonly url: string
  readonly #state: State
  readonly #sockets: Set<Socket>

  private constructor(url: string, state: State, sockets: Set<Socket>) {
    this.url = url
    this.#state = state
    this.#sockets = sockets
  }

  static async start(t: TestContext, port: number): Promise<Relay> {
    const state: State = { way: 'open' }
    const sockets = new Set<Socket>()
    const server = createServer((near) => {
      if (state.way === 'cut') return near.destroy()
      const far = connect(port, '127.0.0.1')
      for (const [from, to] of [
        [near, far],
        [far, near]
      ] as const) {
        sockets.add(from)
        from.on('data', (bytes) => state.way === 'swallows' || to.write(bytes))
        from.on('error', () => {})
        from.on('close', () => {
          sockets.delete(from)
          to.destroy()
        })
      }
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const relay = new Relay(`redis://127.0.0.1:${(server.address() as AddressInfo).port}`, state, sockets)
    t.after(() => {
      server.close()
      relay.cut()
    })
    return relay
  }

  /** Ends all connections, and takes no other one. */
  cut(): void {
    this.#state.way = 'cut'
    for (const socket of this.#sockets) socket.destroy()
  }

  /** From now on nothing comes through, and no connection is ended. */
  swallow(): void {
    this.#state.way = 'swallows'
  }

  mend(): void {
    this.#state.way = 'open'
  }
}
