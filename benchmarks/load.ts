import { connect, type Socket } from 'node:net'

const HEAD_END = Buffer.from('\r\n\r\n')
const LENGTH = Buffer.from('content-length: ')

/** Sends one request after the other on some connections, each the next one when the answer to the last is there. */
export class Load {
  readonly #request: Buffer
  readonly #connections: Connection[] = []

  private constructor(request: string) {
    this.#request = Buffer.from(request, 'latin1')
  }

  static async open(port: number, request: string, connections: number): Promise<Load> {
    const load = new Load(request)
    for (let i = 0; i < connections; i++) load.#connections.push(await Connection.open(port, load.#request))
    return load
  }

  /**
   * Sends requests for some time, and waits for the last answers.
   *
   * @param latencies takes milliseconds, one number for each answer
   * @returns how many were answered
   */
  async run(milliseconds: number, latencies: number[] = []): Promise<number> {
    const end = performance.now() + milliseconds
    const counts = await Promise.all(this.#connections.map((connection) => connection.run(end, latencies)))
    return counts.reduce((sum, count) => sum + count, 0)
  }

  /** Sends a number of requests. */
  async send(count: number): Promise<void> {
    const each = Math.ceil(count / this.#connections.length)
    await Promise.all(this.#connections.map((connection) => connection.run(Number.POSITIVE_INFINITY, [], each)))
  }

  close(): void {
    for (const connection of this.#connections) connection.close()
  }
}

class Connection {
  readonly #socket: Socket
  readonly #request: Buffer
  #end = 0
  #left = 0
  #count = 0
  #sentAt = 0
  #latencies: number[] = []
  #received: Buffer | undefined
  #done: ((count: number) => void) | undefined
  #failed: ((error: Error) => void) | undefined

  private constructor(socket: Socket, request: Buffer) {
    this.#socket = socket
    this.#request = request
    socket.setNoDelay()
    socket.on('data', (chunk) => this.#take(chunk))
    socket.on('error', (error) => this.#failed?.(error))
    socket.on('close', () => this.#failed?.(new Error('the server has closed the connection')))
  }

  static open(port: number, request: Buffer): Promise<Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect(port, '127.0.0.1', () => resolve(new Connection(socket, request)))
      socket.once('error', reject)
    })
  }

  run(end: number, latencies: number[], count: number = Number.POSITIVE_INFINITY): Promise<number> {
    this.#end = end
    this.#left = count
    this.#count = 0
    this.#latencies = latencies
    return new Promise((resolve, reject) => {
      this.#done = resolve
      this.#failed = reject
      this.#next()
    })
  }

  close(): void {
    this.#failed = undefined
    this.#socket.destroy()
  }

  #next(): void {
    this.#sentAt = performance.now()
    this.#socket.write(this.#request)
  }

  #take(chunk: Buffer): void {
    const bytes = this.#received === undefined ? chunk : Buffer.concat([this.#received, chunk])
    const head = bytes.indexOf(HEAD_END)
    const at = head === -1 ? -1 : bytes.indexOf(LENGTH)
    let length = 0
    if (at !== -1) for (let i = at + LENGTH.length; bytes[i] !== 13; i++) length = length * 10 + bytes[i]! - 48
    if (head === -1 || bytes.length < head + HEAD_END.length + length) {
      this.#received = bytes
      return
    }
    this.#received = undefined
    if (bytes[9] !== 50) {
      this.#failed?.(new Error(`the server has answered: ${bytes.toString('latin1', 0, 200)}`))
      return
    }
    const now = performance.now()
    this.#latencies.push(now - this.#sentAt)
    this.#count++
    if (now < this.#end && this.#count < this.#left) this.#next()
    else this.#done?.(this.#count)
  }
}
