import assert from 'node:assert/strict'
import { connect as connectHttp2 } from 'node:http2'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { filterWat } from '../wat.ts'

/**
 * A filter that logs `request`, `body` and `response` when its callbacks come (the trailers' with their number), adds
 * x-filter: 1 to the trailers that come, and x-late: 1 to those of a body that ends.
 */
const imports = `
  (import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))
  (import "env" "proxy_add_header_map_value" (func $add (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_remove_header_map_value" (func $remove (param i32 i32 i32) (result i32)))`
const say = (at: number, size: number) => `(drop (call $log (i32.const 2) (i32.const ${at}) (i32.const ${size})))`
const add = (map: number, at: number) =>
  `(drop (call $add (i32.const ${map}) (i32.const ${at}) (i32.const 8) (i32.const 30) (i32.const 1)))`
const data =
  '(data (i32.const 0) "requestbodyresponse") (data (i32.const 30) "1") (data (i32.const 40) "x-filter") (data (i32.const 50) "x-delete") (data (i32.const 60) "x-late-1")'
const requests = `
  (func (export "proxy_on_request_body") (param i32 i32 i32) (result i32) ${say(7, 4)} (i32.const 0))
  (func (export "proxy_on_request_trailers") (param i32 i32) (result i32)
    ${say(0, 7)} ${add(1, 40)}
    (drop (call $remove (i32.const 1) (i32.const 50) (i32.const 8)))
    (i32.const 0))`
const responses = `
  (func (export "proxy_on_response_trailers") (param i32 i32) (result i32)
    ${say(11, 8)} ${add(3, 40)}
    (drop (call $remove (i32.const 3) (i32.const 50) (i32.const 8)))
    (i32.const 0))`
const late = `
  (func (export "proxy_on_response_body") (param i32 i32 i32) (result i32)
    (if (local.get 2) (then ${add(3, 60)}))
    (i32.const 0))`

async function start(
  t: TestContext,
  functions: string,
  declare: (app: FastifyInstance, config: { wasm: object }) => void,
  server: object = {}
) {
  const module = await filterWat(imports, data + functions)
  const plugins = [{ name: 'w', module, semantics: 'envoy' as const }]
  return startApp(t, { plugins }, (app) => declare(app, { wasm: { plugins: { w: {} } } }), server)
}

const chunked = (head: string, trailers: string) =>
  `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n${head}\r\n4\r\nbody\r\n0\r\n${trailers}\r\n`

test('request trailers are seen and changed by the filter, then by the handler', async (t) => {
  const { port, filterLog } = await start(t, requests, (app, config) => {
    app.post('/', { config }, async (request) => ({ body: request.body, trailers: request.raw.trailers }))
  })
  const bytes = await exchangeBytes(port, chunked('trailer: x-a\r\n', 'X-A: 1\r\nx-delete: 2\r\n'))
  assert.match(bytes.toString(), /"body":"body","trailers":\{"x-a":"1","x-filter":"1"\}/)
  assert.deepEqual(filterLog(), ['body', 'request'])
})

test('what a filter has changed of request trailers before it failed it has not, where requests go on without it', async (t) => {
  const failing = requests.replace(/\(i32.const 0\)\)$/, 'unreachable)')
  const module = await filterWat(imports, data + failing)
  const plugins = [{ name: 'w', module, semantics: 'envoy' as const, fail: 'open' as const }]
  const { port, filterLog } = await startApp(t, { plugins }, (app) => {
    const config = { wasm: { plugins: { w: {} } } }
    app.post('/', { config }, async (request) => ({ trailers: request.raw.trailers }))
  })
  const bytes = await exchangeBytes(port, chunked('trailer: x-a\r\n', 'X-A: 1\r\nx-delete: 2\r\n'))
  assert.match(bytes.toString(), /"trailers":\{"x-a":"1","x-delete":"2"\}/)
  assert.deepEqual(filterLog(), ['body', 'request'])
})

test('without trailers there is no trailers callback', async (t) => {
  const { port, filterLog } = await start(t, requests + responses, (app, config) => {
    app.post('/', { config }, async () => 'hello')
  })
  const bytes = await exchangeBytes(port, chunked('', ''))
  assert.match(bytes.toString(), /hello/)
  assert.deepEqual(filterLog(), ['body'])
})

for (const [what, payload] of [
  ['a string', () => 'hello'],
  ['a stream', () => Readable.from(['he', 'llo'])]
] as const) {
  test(`trailers of ${what} by reply.trailer are seen and changed by the filter`, async (t) => {
    const { url, filterLog } = await start(t, responses, (app, config) => {
      app.get('/', { config }, (_request, reply) => {
        reply.trailer('x-a', async () => 'a')
        reply.trailer('x-delete', async () => 'b')
        reply.send(payload())
      })
    })
    const answer = await request(url)
    assert.equal(answer.text, 'hello')
    assert.deepEqual({ ...answer.trailers }, { 'x-a': 'a', 'x-filter': '1' })
    assert.deepEqual(filterLog(), ['response'])
  })

  test(`a filter adds trailers to ${what} at the end of its body`, async (t) => {
    const { url } = await start(t, late + responses, (app, config) => {
      app.get('/', { config }, async (_request, reply) => reply.send(payload()))
    })
    const answer = await request(url)
    assert.equal(answer.text, 'hello')
    assert.deepEqual({ ...answer.trailers }, { 'x-late-1': '1', 'x-filter': '1' })
  })
}

test("an upstream's trailers pass the filter, with and without a body callback", async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', (_request, reply) => {
      reply.trailer('x-up', async () => 'a')
      reply.send(Readable.from(['hello']))
    })
  })
  for (const [functions, expected] of [
    [responses, { 'x-up': 'a', 'x-filter': '1' }],
    [late + responses, { 'x-up': 'a', 'x-late-1': '1', 'x-filter': '1' }]
  ] as const) {
    const { url } = await start(t, functions, (app, config) => {
      const wasm = { ...config.wasm, upstream: { nodes: { [upstream.node]: 1 } } }
      app.get('/', { config: { wasm }, handler: app.wasmGateway.proxy })
    })
    const answer = await request(url)
    assert.equal(answer.text, 'hello')
    assert.deepEqual({ ...answer.trailers }, expected)
  }
})

test('trailers of requests and responses work over HTTP/2', async (t) => {
  const { url, filterLog } = await start(
    t,
    requests + responses,
    (app, config) => {
      app.post('/', { config }, (request, reply) => {
        reply.trailer('x-a', async () => 'a')
        reply.send(JSON.stringify(request.raw.trailers))
      })
    },
    { http2: true }
  )
  const session = connectHttp2(url)
  t.after(() => session.destroy())
  const stream = session.request({ ':method': 'POST', 'content-type': 'text/plain' }, { waitForTrailers: true })
  stream.on('wantTrailers', () => stream.sendTrailers({ 'x-b': '1' }))
  stream.end('body')
  let text = ''
  let trailers = {}
  stream.on('data', (chunk) => {
    text += chunk
  })
  stream.on('trailers', (received) => {
    trailers = JSON.parse(JSON.stringify(received))
  })
  await new Promise((resolve) => stream.once('close', resolve))
  assert.deepEqual(JSON.parse(text), { 'x-b': '1', 'x-filter': '1' })
  assert.deepEqual(trailers, { 'x-a': 'a', 'x-filter': '1' })
  assert.deepEqual(filterLog(), ['body', 'request', 'response'])
})

test('request trailers that filters have seen go to the upstream behind the body', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.post('/', async (request) => ({ body: request.body, trailers: request.raw.rawTrailers, url: request.url }))
  })
  for (const nodes of [{ [upstream.node]: 1 }, { '127.0.0.1:1': 1 }]) {
    const { port } = await start(t, requests, (app, config) => {
      app.post('/', { config: { wasm: { ...config.wasm, upstream: { nodes } } }, handler: app.wasmGateway.proxy })
    })
    const bytes = (await exchangeBytes(port, chunked('', 'X-A: 1\r\nx-delete: 2\r\n'))).toString()
    if ('127.0.0.1:1' in nodes) assert.match(bytes, /^HTTP\/1\.1 502 .*error_msg/s)
    else assert.match(bytes, /\{"body":"body","trailers":\["x-a","1","x-filter","1"\],"url":"\/"\}/)
  }
})
