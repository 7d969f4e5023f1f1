// Plugins, services, upstreams, plugin_configs and global rules from a file; the routes name them by their ids.
//
// curl http://127.0.0.1:3000/shop/1
// → 200 GET /shop/1 at 127.0.0.1:1981
// → log wasm_log: run plugin ctx 1 with conf blahblah in http ctx 2
//
// curl http://127.0.0.1:3000/cart
// → 503 back at noon
// → log wasm_log: run plugin ctx 1 with conf blahblah in http ctx 2
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

// Stands for the server that config.yaml names.
const backend = Fastify()
backend.get('/*', async (request) => `GET ${request.url} at ${request.headers.host}\n`)
await backend.listen({ port: 1981, host: '127.0.0.1' })

const app = Fastify({ logger })
await app.register(wasmGateway, { config: 'examples/config.yaml' })

app.all('/shop/*', { config: { wasm: { service_id: 'shop' } } }, app.wasmGateway.proxy)
app.all('/cart', { config: { wasm: { service_id: 'shop', plugin_config_id: 'maintenance' } } }, app.wasmGateway.proxy)

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
