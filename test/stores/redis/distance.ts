import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { Worker } from 'node:worker_threads'

/** What comes and goes through it takes as long as it is told. In a thread of its own, since this one stands still at times. */
const CODE = `
const { connect, createServer } = require('node:net')
const { parentPort, workerData } = require('node:worker_threads')
let ms = 0
parentPort.on('message', (delay) => { ms = delay })
const pass = (from, to) => {
  from.on('data', (bytes) => setTimeout(() => to.write(bytes), ms / 2))
  from.on('close', () => to.destroy())
  from.on('error', () => {})
}
const server = createServer((near) => {
  const far = connect(workerData, '127.0.0.1')
  pass(near, far)
  pass(far, near)
}).listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))
`

/** The way to a server, which may be long. */
export class Distance {
  readonly url: string
  readonly #worker: Worker

  private constructor(worker: Worker, port: number) {
    this.#worker = worker
    this.url = `redis://127.0.0.1:${port}`
  }

  static async start(t: TestContext, port: number): Promise<Distance> {
    const worker = new Worker(CODE, { eval: true, workerData: port })
    t.after(() => worker.terminate())
    const [own] = await once(worker, 'message')
    return new Distance(worker, own)
  }

  /** @param ms there and back */
  delay(ms: number): void {
    this.#worker.postMessage(ms)
  }
}
