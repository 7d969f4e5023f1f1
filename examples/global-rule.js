// A global rule: filters on every request, also on those that no route matches. They run before the route's own.
//
// curl http://127.0.0.1:3000/
// → 200 hello
// → log wasm_log: run plugin ctx 1 with conf every request in http ctx 2
//
// curl http://127.0.0.1:3000/both
// → 200 hello
// → log wasm_log: run plugin ctx 1 with conf every request in http ctx 2
// → log wasm_log: run plugin ctx 3 with conf this route in http ctx 4
//
// curl http://127.0.0.1:3000/nowhere
// → 404 Route GET:/nowhere not found
// → log wasm_log: run plugin ctx 1 with conf every request in http ctx 2
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const app = Fastify({ logger })
await app.register(wasmGateway, {
  plugins: [{ name: 'wasm_log', file: 'fixtures/log/log.wasm', priority: 7999 }],
  global_rules: [{ id: 'log', plugins: { wasm_log: { conf: 'every request' } } }]
})

app.get('/', async () => 'hello\n')
app.get('/both', { config: { wasm: { plugins: { wasm_log: { conf: 'this route' } } } } }, async () => 'hello\n')

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
