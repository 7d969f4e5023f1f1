// What several routes share: a service (filters and an upstream) and a plugin_config (filters). A plugin's entry on the
// route stands in place of the plugin_config's, and that one in place of the service's.
//
// curl http://127.0.0.1:3000/a
// → 200 hello from the upstream
// → log wasm_log: run plugin ctx 1 with conf from the service in http ctx 2
//
// curl http://127.0.0.1:3000/b
// → 200 hello from the upstream
// → log wasm_log: run plugin ctx 3 with conf from the plugin_config in http ctx 4
//
// curl http://127.0.0.1:3000/c
// → 200 hello from the upstream
// → log wasm_log: run plugin ctx 5 with conf from the route in http ctx 6
//
// curl http://127.0.0.1:3000/d
// → 403 closed
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const upstream = Fastify()
upstream.get('/*', async () => 'hello from the upstream\n')
await upstream.listen({ port: 0, host: '127.0.0.1' })

const app = Fastify({ logger })
await app.register(wasmGateway, {
  plugins: [
    { name: 'wasm_log', file: 'fixtures/log/log.wasm', priority: 7999 },
    { name: 'wasm_fault_injection', file: 'fixtures/fault-injection/fault-injection.wasm', priority: 7997 }
  ],
  upstreams: [{ id: 'backend', nodes: { [`127.0.0.1:${upstream.server.address().port}`]: 1 } }],
  services: [{ id: 'shop', plugins: { wasm_log: { conf: 'from the service' } }, upstream_id: 'backend' }],
  plugin_configs: [{ id: 'logged', plugins: { wasm_log: { conf: 'from the plugin_config' } } }]
})

const { proxy } = app.wasmGateway
const inService = (wasm) => ({ config: { wasm: { service_id: 'shop', ...wasm } } })
app.get('/a', inService({}), proxy)
app.get('/b', inService({ plugin_config_id: 'logged' }), proxy)
app.get('/c', inService({ plugin_config_id: 'logged', plugins: { wasm_log: { conf: 'from the route' } } }), proxy)
app.get('/d', inService({ plugins: { wasm_fault_injection: { conf: { http_status: 403, body: 'closed\n' } } } }), proxy)

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
