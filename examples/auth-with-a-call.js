// A filter that asks another server before a request may pass, by `proxy_http_call`. The request waits for the answer.
// Here the server is a route of the same application; `uri` may be any other.
//
// curl http://127.0.0.1:3000/private -H 'authorization: open sesame'
// → 200 hello ali
//
// curl http://127.0.0.1:3000/private -H 'authorization: guess'
// → 403
// → header www-authenticate: Basic realm="cave"
//
// curl http://127.0.0.1:3000/public
// → 200 come in
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const port = Number(process.env.PORT ?? 3000)
const host = process.env.HOST ?? '127.0.0.1'

const app = Fastify({ logger })
await app.register(wasmGateway, {
  plugins: [{ name: 'wasm_forward_auth', file: 'fixtures/forward-auth/forward-auth.wasm', priority: 7997 }]
})

const conf = {
  uri: `http://${host}:${port}/auth`,
  timeout: 2000,
  // What the call carries, what the request gains when it may pass, what the client is told when it may not.
  request_headers: ['authorization'],
  upstream_headers: ['x-user-id'],
  client_headers: ['www-authenticate']
}
app.route({
  method: 'GET',
  url: '/private',
  config: { wasm: { plugins: { wasm_forward_auth: { conf } } } },
  handler: async (request) => `hello ${request.headers['x-user-id']}\n`
})
app.get('/public', async () => 'come in\n')

app.get('/auth', async (request, reply) => {
  request.log.info(`may ${request.headers['x-forwarded-for']} see ${request.headers['x-forwarded-uri']}?`)
  if (request.headers.authorization === 'open sesame') return reply.header('x-user-id', 'ali').send()
  return reply.code(401).header('www-authenticate', 'Basic realm="cave"').send()
})

await app.listen({ port, host })
