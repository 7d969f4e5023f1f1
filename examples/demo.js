// What `npm start` runs: a gateway with the example filters of fixtures/, an upstream behind it, and curl lines to try.
import Fastify from 'fastify'
import wasmGateway from 'fastify-wasm-gateway'
import { logger } from './log.js'

const port = Number(process.env.PORT ?? 9080)
const host = process.env.HOST ?? '127.0.0.1'

const upstream = Fastify({ exposeHeadRoutes: false })
upstream.get('/auth', async ({ headers }, reply) => reply.code(headers.authorization === '111' ? 200 : 401).send())
upstream.all('/*', async ({ method, url, body }) => `the upstream got ${method} ${url} ${JSON.stringify(body ?? '')}\n`)
upstream.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
await upstream.listen({ port: 1980, host: '127.0.0.1' }).catch(() => upstream.listen({ port: 0, host: '127.0.0.1' }))
const node = `127.0.0.1:${upstream.server.address().port}`

const app = Fastify({ logger })
const plugin = (name, priority) => ({
  name: `wasm_${name.replaceAll('-', '_')}`,
  priority,
  file: `fixtures/${name}/${name}.wasm`
})
await app.register(wasmGateway, {
  plugins: [
    plugin('log', 7999),
    plugin('forward-auth', 7998),
    plugin('fault-injection', 7997),
    plugin('request-body', 7996),
    plugin('response-rewrite', 7995)
  ],
  upstreams: [{ id: 'demo', nodes: { [node]: 1 } }]
})

const rewrite = { headers: [{ name: 'x-wasm', value: 'apisix' }], body: 'not what the upstream said\n' }
const routes = {
  '/log': { wasm_log: { conf: 'blahblah' } },
  '/fault': { wasm_fault_injection: { conf: { http_status: 401, body: 'HIT\n' } } },
  '/private': { wasm_forward_auth: { conf: { uri: `http://${node}/auth`, request_headers: ['authorization'] } } },
  '/body': { wasm_request_body: { conf: { processReqBody: true, start: 1, size: 3 } } },
  '/rewrite': { wasm_response_rewrite: { conf: rewrite } }
}
for (const [url, plugins] of Object.entries(routes)) {
  app.all(url, { config: { wasm: { plugins, upstream_id: 'demo' } } }, app.wasmGateway.proxy)
}
app.get('/status', async () => app.wasmGateway.status())

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => Promise.all([app.close(), upstream.close()]))
}

const url = await app.listen({ port, host })
process.stdout.write(`
The upstream is ${node}, the gateway in front of it ${url}. Try:

curl -i ${url}/log
→ 200 the upstream got GET /log
→ log wasm_log: run plugin ctx 1 with conf blahblah in http ctx 2

curl -i ${url}/fault
→ 401 HIT

curl -i ${url}/private -H 'authorization: 111'
→ 200 the upstream got GET /private

curl -i ${url}/private -H 'authorization: 222'
→ 403

curl -i ${url}/body -d hello
→ 200 the upstream got POST /body "hello"
→ log wasm_request_body: request get body: ell

curl -i ${url}/rewrite
→ 200 not what the upstream said
→ header x-wasm: apisix

curl -s ${url}/status
→ 200 "name":"wasm_log"

`)
