// Filters in front of an application's own handlers.
//
// curl http://127.0.0.1:3000/index.html
// → 200 hello
// → log wasm_log: run plugin ctx 1 with conf blahblah in http ctx 2
//
// curl http://127.0.0.1:3000/orders -H 'content-type: application/json' -d '{"id":7}'
// → 200 {"ordered":7}
// → header x-served-by: wasm
// → log wasm_request_body: request get body: {"id":7}
//
// curl http://127.0.0.1:3000/plain
// → 200 no filter here
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const app = Fastify({ logger })
await app.register(wasmGateway, {
  plugins: [
    { name: 'wasm_log', file: 'fixtures/log/log.wasm', priority: 7999 },
    { name: 'wasm_request_body', file: 'fixtures/request-body/request-body.wasm', priority: 7998 },
    { name: 'wasm_response_rewrite', file: 'fixtures/response-rewrite/response-rewrite.wasm', priority: 7997 }
  ]
})

app.get('/index.html', { config: { wasm: { plugins: { wasm_log: { conf: 'blahblah' } } } } }, async () => 'hello\n')

app.route({
  method: 'POST',
  url: '/orders',
  config: {
    wasm: {
      plugins: {
        wasm_request_body: { conf: { processReqBody: true } },
        wasm_response_rewrite: { conf: { headers: [{ name: 'x-served-by', value: 'wasm' }] } }
      }
    }
  },
  handler: async (request) => ({ ordered: request.body.id })
})

app.get('/plain', async () => 'no filter here\n')

await app.listen({ port: Number(process.env.PORT ?? 3000), host: process.env.HOST ?? '127.0.0.1' })
