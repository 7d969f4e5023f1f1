// A process of its own: counts what requests cost, and tells its parent. It has a young generation so large that no
// garbage is collected while it counts.
import assert from 'node:assert/strict'
import { createHook } from 'node:async_hooks'
import { once } from 'node:events'
import { type AddressInfo, connect, type Socket } from 'node:net'
import Fastify from 'fastify'
import { Instance } from '../../lib/host/instance.ts'
import wasmGateway from '../../lib/index.ts'
import { fixture } from '../app.ts'
import { stampByHooks } from './stamping.ts'

/** What one request costs on average. */
export interface Cost {
  /** Bytes of the heap */
  bytes: number
  promises: number
  /** Calls into a module */
  crossings: number
}

const WARM = 3000
const COUNTED = 500

const app = Fastify()
await app.register(wasmGateway, {
  plugins: ['stamp', 'second', 'third'].map((name) => ({ name, file: fixture('stamp') }))
})
const hello = (_request: unknown, reply: { send(payload: string): void }) => reply.send('hello')
app.get('/plain', hello)
app.register(async (scope) => {
  stampByHooks(scope)
  scope.get('/hooks', hello)
})
for (const names of [['stamp'], ['stamp', 'second', 'third']]) {
  const plugins = Object.fromEntries(names.map((name) => [name, { conf: 'x' }]))
  app.get(`/${names.join(',')}`, { config: { wasm: { plugins } } }, hello)
}
await app.listen({ port: 0, host: '127.0.0.1' })

let crossings = 0
const { call } = Instance.prototype
const counting: typeof call = function (this: Instance, ...parameters) {
  crossings++
  return call.apply(this, parameters)
}

let promises = 0
const promiseHook = createHook({
  init(_id, type) {
    if (type === 'PROMISE') promises++
  }
})

/** One after the other, on one connection. Nothing of this makes a promise for a request. */
function send(socket: Socket, path: string, count: number): Promise<void> {
  const bytes = Buffer.from(`GET ${path} HTTP/1.1\r\nhost: a\r\nuser-agent: counted\r\naccept: */*\r\n\r\n`)
  let left = count
  return new Promise((resolve) => {
    const onData = (answer: Buffer) => {
      assert.equal(answer.subarray(-5).toString('latin1'), 'hello')
      if (--left > 0) socket.write(bytes)
      else {
        socket.off('data', onData)
        resolve()
      }
    }
    socket.on('data', onData)
    socket.write(bytes)
  })
}

const socket = connect((app.server.address() as AddressInfo).port, '127.0.0.1')
await once(socket, 'connect')
const costs: Record<string, Cost> = {}
for (const path of ['/plain', '/hooks', '/stamp', '/stamp,second,third']) {
  await send(socket, path, WARM)
  globalThis.gc!()
  const before = process.memoryUsage().heapUsed
  await send(socket, path, COUNTED)
  const bytes = (process.memoryUsage().heapUsed - before) / COUNTED

  promises = 0
  promiseHook.enable()
  await send(socket, path, COUNTED)
  promiseHook.disable()

  crossings = 0
  Instance.prototype.call = counting
  await send(socket, path, COUNTED)
  Instance.prototype.call = call
  // That of `send` itself is no matter of a request.
  costs[path] = { bytes, promises: Math.floor(promises / COUNTED), crossings: crossings / COUNTED }
}
socket.destroy()
await app.close()
process.send!(costs)
process.disconnect()
