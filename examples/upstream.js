// Filters in front of an upstream: two nodes in turn, one of them with twice the weight.
//
// curl http://127.0.0.1:3000/api/orders
// → 200 node a: GET /api/orders
// → header x-wasm: yes
//
// curl http://127.0.0.1:3000/api/orders -d 'id=7'
// → 200 node b: POST /api/orders id=7
//
// curl http://127.0.0.1:3000/api/orders?id=7
// → 200 node a: GET /api/orders?id=7
//
// curl http://127.0.0.1:3000/gone
// → 502 {"error_msg":"the upstream failed: ECONNREFUSED"}
import { createServer } from 'node:http'
import { text } from 'node:stream/consumers'
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const a = await startNode('a')
const b = await startNode('b')

const app = Fastify({ logger })
await app.register(wasmGateway, {
  plugins: [{ name: 'wasm_response_rewrite', file: 'fixtures/response-rewrite/response-rewrite.wasm', priority: 7997 }],
  upstreams: [{ id: 'gone', nodes: { '127.0.0.1:1': 1 } }]
})

app.route({
  method: ['GET', 'POST'],
  url: '/api/*',
  config: {
    wasm: {
      plugins: { wasm_response_rewrite: { conf: { headers: [{ name: 'x-wasm', value: 'yes' }] } } },
      upstream: { type: 'roundrobin', nodes: { [a]: 2, [b]: 1 }, timeout: { connect: 1, read: 5 } }
    }
  },
  handler: app.wasmGateway.proxy
})
app.get('/gone', { config: { wasm: { upstream_id: 'gone' } } }, app.wasmGateway.proxy)

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })

/** Starts a node on a free port, and answers its address. */
async function startNode(name) {
  const server = createServer(async (request, response) => {
    response.end(`node ${name}: ${request.method} ${request.url} ${await text(request)}\n`)
  })
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return `127.0.0.1:${server.address().port}`
}
