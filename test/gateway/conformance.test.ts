import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { Guest, type Operand } from '../host/guest.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, say, scripted } from './script.ts'

// Statements of test/conformance about what clients and upstreams see, as far as no other test of this folder proves them.

async function startGuest(t: TestContext, guest: Guest, declare: (app: FastifyInstance, config: object) => void) {
  const plugins = [{ name: 'guest', module: await guest.module(), semantics: 'envoy' as const }]
  return startApp(t, { plugins }, (app) => declare(app, { wasm: { plugins: { guest: {} } } }))
}

function startScript(t: TestContext, conf: Script) {
  return startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
}

test('C-084 a filter that pauses all chunks but the last lets the whole response go once', async (t) => {
  const guest = new Guest()
    .returns('proxy_on_response_body', 1)
    .on('proxy_on_response_body', '(if (local.get 2) (then (return (i32.const 0))))')
  const { url } = await startGuest(t, guest, (app, config) => {
    app.get('/', { config }, async (_request, reply) => reply.send(Readable.from(['abc', 'defg', 'h'])))
  })
  assert.equal((await request(url)).text, 'abcdefgh')
})

test('C-084 a request body reaches the upstream whole, and once', async (t) => {
  const bodies: unknown[] = []
  const upstream = await startUpstream(t, (app) => {
    app.post('/', async (request) => {
      bodies.push(request.body)
      return ''
    })
  })
  const { port } = await startGuest(t, new Guest().record('proxy_on_request_body'), (app, config) => {
    const wasm = { ...(config as { wasm: object }).wasm, upstream: { nodes: { [upstream.node]: 1 } } }
    app.post('/', { config: { wasm }, handler: app.wasmGateway.proxy })
  })
  const head = 'POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/plain\r\n'
  const chunks = '3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n'
  const answer = await exchangeBytes(port, `${head}transfer-encoding: chunked\r\n\r\n${chunks}`)
  assert.match(answer.toString(), /^HTTP\/1\.1 200 /)
  assert.deepEqual(bodies, ['abcdefg'])
})

test('C-087 a body over the limit is answered 413, and the upstream hears nothing', async (t) => {
  let heard = 0
  const upstream = await startUpstream(t, (app) => {
    app.addHook('onRequest', async () => {
      heard++
    })
  })
  const plugins = scripted({ name: 'a', semantics: 'envoy', limits: { body_mib: 0.001 } })
  const { port } = await startApp(t, { plugins }, (app) => {
    const wasm = { plugins: { a: {} }, upstream: { nodes: { [upstream.node]: 1 } } }
    app.post('/', { config: { wasm }, handler: app.wasmGateway.proxy })
  })
  const head = 'POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-type: text/plain\r\n'
  const answer = await exchangeBytes(port, `${head}content-length: 2000\r\n\r\n${'x'.repeat(2000)}`)
  assert.match(answer.toString(), /^HTTP\/1\.1 413 /)
  assert.equal(heard, 0)
})

test('C-098 while a filter pauses the request the next one is not called', async (t) => {
  const { port, filterLog, quiet } = await startApp(t, { plugins: scripted('a', 'b') }, (app) => {
    const every = ['request_headers', 'request_body', 'response_headers', 'response_body', 'log']
    const a = { conf: { request_headers: [say('held'), { op: 'pause' }] } }
    const b = { conf: Object.fromEntries(every.map((phase) => [phase, [say(phase)]])) }
    app.get('/', { config: { wasm: { plugins: { a, b } } } }, async () => 'hello')
  })
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await eventually('the first filter holds the request', () => filterLog('a').includes('held'))
  await sleep(50)
  assert.deepEqual(filterLog('b'), [])
  socket.destroy()
  await once(socket, 'close')
  await quiet()
})

test('C-131 trailers that a filter adds at the end of a request body reach the handler', async (t) => {
  const guest = new Guest()
  const add = guest.call('proxy_add_header_map_value', 1, guest.text('x-late'), guest.text('1'))
  guest.on('proxy_on_request_body', guest.when(2, 1, add))
  const { url } = await startGuest(t, guest, (app, config) => {
    app.post('/', { config }, async (request) => request.raw.trailers)
  })
  const answer = await request(url, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } })
  assert.deepEqual(JSON.parse(answer.text), { 'x-late': '1' })
})

test('C-163 C-164 of a local response the content type is the filter’s, and the length is the real one', async (t) => {
  const headers = [
    ['content-type', 'application/json'],
    ['content-length', '999']
  ]
  const { url } = await startScript(t, { request_headers: [{ op: 'reply', status: 403, headers, body: '{}' }] })
  const { rawHeaders, text } = await request(url)
  const valuesOf = (name: string) =>
    rawHeaders.filter((_, i) => i % 2 === 1 && rawHeaders[i - 1]!.toLowerCase() === name)
  assert.deepEqual(valuesOf('content-type'), ['application/json'])
  assert.deepEqual(valuesOf('content-length'), ['2'])
  assert.equal(text, '{}')
})

for (const [statement, type, expected] of [
  ['C-166', 'application/grpc', [200, '7', 'no entry', '']],
  ['C-167', 'text/plain', [403, undefined, undefined, 'no entry']]
] as const) {
  test(`${statement} a local response with the gRPC status 7, to a request of ${type}`, async (t) => {
    const guest = new Guest()
    const operands = [guest.text(''), guest.text('no entry'), guest.text('')]
    guest.on('proxy_on_request_headers', guest.call('proxy_send_local_response', 403, ...operands, 7))
    const { url } = await startGuest(t, guest, (app, config) => {
      app.addContentTypeParser('application/grpc', (_request, _payload, done) => done(null))
      app.post('/', { config }, async () => 'hello')
    })
    const answer = await request(url, { method: 'POST', headers: { 'content-type': type } })
    const { 'grpc-status': status, 'grpc-message': message } = answer.headers
    assert.deepEqual([answer.status, status, message, answer.text], expected)
  })
}

test('C-168 the details of a local response are there in proxy_on_log', async (t) => {
  const guest = new Guest()
  const operands = [guest.text('x y'), guest.text(''), guest.text('')]
  guest.on('proxy_on_request_headers', guest.call('proxy_send_local_response', 403, ...operands, -1))
  const details = guest.result()
  const cell = (at: number): Operand => guest.loaded({ wat: `(i32.const ${at})`, types: 'i32', at })
  guest.on('proxy_on_log', guest.call('proxy_get_property', guest.text('response\0code_details'), details))
  guest.on('proxy_on_log', guest.call('proxy_log', 2, cell(details.at), cell(details.at + 4)))
  const { url, filterLog, quiet } = await startGuest(t, guest, (app, config) => {
    app.get('/', { config }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 403)
  await quiet()
  assert.deepEqual(filterLog(), ['x y'])
})

test('C-194 the callback of a call that fails at once comes after the callback that made the call', async (t) => {
  // Nobody listens there.
  const call = { op: 'call', upstream: '127.0.0.1:1', headers: [], then: [say('answered')] }
  const { url, filterLog } = await startScript(t, { request_headers: [call, say('called')] })
  await request(url)
  assert.deepEqual(filterLog(), ['called', 'answered'])
})

test('C-253 C-254 in the request headers there is no response yet, and a header is read by its name', async (t) => {
  const steps = [
    ['response', 'code'],
    ['request', 'headers', 'x-foo']
  ].map((path) => ({ op: 'property', path }))
  const { url, filterLog } = await startScript(t, { request_headers: steps })
  await request(url, { headers: { 'x-foo': 'bar' } })
  assert.deepEqual(filterLog(), ['property response.code missing', 'property request.headers.x-foo=bar'])
})
