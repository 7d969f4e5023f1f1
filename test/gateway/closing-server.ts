// Run by close.test.ts as a process of its own: closes when it is told to, with requests under way, and is to end by itself.
import { type AddressInfo, createServer } from 'node:net'
import { Readable } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import wasmGateway from '../../lib/index.ts'
import { fixture } from '../app.ts'
import { say } from './script.ts'

// Takes calls and never answers them.
const silent = createServer(() => {})
await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
silent.unref()
const node = `127.0.0.1:${(silent.address() as AddressInfo).port}`

const print = (text: string) => process.stdout.write(`${text}\n`)
const app = Fastify({
  forceCloseConnections: 'idle',
  logger: {
    level: 'info',
    stream: {
      write(line: string) {
        const { plugin, msg } = JSON.parse(line)
        if (plugin !== undefined) print(msg)
      }
    }
  }
})
await app.register(wasmGateway, {
  plugins: [{ name: 'a', file: fixture('script-rust'), conf: { start: [{ op: 'tick', ms: 20 }], tick: [] } }],
  upstreams: [{ id: 'u', nodes: { [node]: 1 }, checks: { active: {} } }]
})
const ends = { log: [say('stream is over')], done: [say('plugin is done')] }
const call = {
  op: 'call',
  upstream: 'u',
  headers: [
    [':path', '/'],
    [':method', 'GET'],
    [':authority', 'a']
  ],
  timeout: 60_000
}
const confs = {
  '/paused': { request_headers: [say('request'), { op: 'pause' }], ...ends },
  '/calls': { request_headers: [say('request'), call, { op: 'pause' }], ...ends },
  '/slow': { request_headers: [say('request')], ...ends },
  '/stream': { request_headers: [say('request')], ...ends },
  '/plain': { request_headers: [say('request')], ...ends }
}
for (const [path, conf] of Object.entries(confs)) {
  app.get(path, { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
    if (path === '/slow') await sleep(300)
    if (path === '/stream') {
      return reply.send(
        Readable.from(
          (async function* () {
            for (let i = 0; i < 20; i++) {
              yield 'chunk '
              await sleep(20)
            }
          })()
        )
      )
    }
    return path === '/slow' ? 'slow' : 'hello'
  })
}
await app.listen({ port: 0, host: '127.0.0.1' })
print(`port ${(app.server.address() as AddressInfo).port}`)
process.stdin.once('data', async () => {
  process.stdin.destroy()
  await app.close()
  const { plugin_contexts, http_contexts, calls } = app.wasmGateway.status().plugins[0]!
  print(JSON.stringify({ plugin_contexts, http_contexts, calls }))
})
