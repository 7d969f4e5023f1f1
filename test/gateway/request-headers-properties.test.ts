import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import type { FastifyServerOptions } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, type Step, scripted, wantsRequestBody } from './script.ts'

const property = (...path: string[]): Step => ({ op: 'property', path })
const hex = (...path: string[]): Step => ({ op: 'property_hex', path })

function start(t: TestContext, conf: Script, sdk = 'script-rust', server: FastifyServerOptions = {}) {
  return startApp(
    t,
    { plugins: scripted({ name: 'a', file: fixture(sdk), http_request_phase: 'rewrite' }) },
    (app) => {
      const route = { config: { wasm: { plugins: { a: { conf } } } } }
      const handler = async () => 'hello'
      app.get('/things/:id', route, handler)
      app.post('/things/:id', route, handler)
    },
    server
  )
}

/** What the filter logged, by the name of the property. */
function values(lines: string[]): Record<string, string> {
  return Object.fromEntries(
    lines.map((line) => {
      const [, name, value] = /^property (\S+?)(?:=| (?=missing$))(.*)$/s.exec(line) ?? assert.fail(line)
      return [name!, value!]
    })
  )
}

/** 8 bytes, little-endian. */
function integer(hex: string | undefined): bigint {
  assert.match(hex!, /^[0-9a-f]{16}$/)
  return Buffer.from(hex!, 'hex').readBigInt64LE()
}

const headers = {
  host: 'Example.org:8080',
  'user-agent': 'test/1',
  referer: 'http://before/',
  'x-request-id': 'r1',
  'x-real': 'yes',
  cookie: ['a=1; b=two', 'c=3=3'] as unknown as string
}

for (const sdk of ['script-go', 'script-rust', 'script-as']) {
  test(`the attributes of a request have the names of Envoy for a filter of ${sdk}`, async (t) => {
    const expected = {
      'request.path': '/things/1?a=1&b=%20&c',
      'request.url_path': '/things/1',
      'request.query': 'a=1&b=%20&c',
      'request.host': 'Example.org:8080',
      'request.scheme': 'http',
      'request.method': 'GET',
      'request.protocol': 'HTTP/1.1',
      'request.id': 'r1',
      'request.referer': 'http://before/',
      'request.useragent': 'test/1',
      'request.headers.x-real': 'yes',
      'request.headers.x-none': 'missing',
      'request.duration': 'missing',
      'response.code': 'missing',
      'response.headers': 'missing',
      'response.headers.x-a': 'missing',
      'connection.requested_server_name': 'missing',
      'connection.tls_version': 'missing',
      route_name: '/things/:id',
      'no.such.thing': 'missing',
      plugin_name: 'a'
    }
    const steps = Object.keys(expected).map((name) => property(...name.split('.')))
    const { url, filterLog } = await start(t, { request_headers: steps }, sdk)
    await request(`${url}/things/1?a=1&b=%20&c`, { headers })
    assert.deepEqual(values(filterLog()), expected)
  })
}

test('the variables of a request have the names of APISIX', async (t) => {
  const expected = {
    remote_addr: '127.0.0.1',
    server_addr: '127.0.0.1',
    server_protocol: 'HTTP/1.1',
    host: 'example.org',
    scheme: 'http',
    https: '',
    uri: '/things/1',
    document_uri: '/things/1',
    request_uri: '/things/1?a=1&b=%20&c',
    request_method: 'GET',
    args: 'a=1&b=%20&c',
    query_string: 'a=1&b=%20&c',
    is_args: '?',
    arg_a: '1',
    arg_b: '%20',
    arg_c: '',
    arg_d: 'missing',
    http_host: 'Example.org:8080',
    http_user_agent: 'test/1',
    http_X_Real: 'yes',
    http_none: 'missing',
    cookie_a: '1',
    cookie_b: 'two',
    cookie_c: '3=3',
    cookie_d: 'missing',
    content_type: 'missing',
    status: 'missing',
    sent_http_content_type: 'missing'
  }
  const names = [...Object.keys(expected), 'server_port', 'remote_port', 'request_id', 'request_time']
  // Not Rust, whose SDK takes an empty value for none.
  const steps = names.map((name) => property(name))
  const { url, port, filterLog } = await start(t, { request_headers: steps }, 'script-go')
  await request(`${url}/things/1?a=1&b=%20&c`, { headers })
  const { server_port, remote_port, request_id, request_time, ...rest } = values(filterLog())
  assert.deepEqual(rest, expected)
  assert.equal(server_port, String(port))
  assert.match(remote_port!, /^\d+$/)
  assert.match(request_id!, /^req-/)
  assert.match(request_time!, /^\d+\.\d{3}$/)
})

test('values that are no text are encoded as Envoy encodes them', async (t) => {
  const names = [
    'request.size',
    'request.time',
    'source.port',
    'destination.port',
    'connection.mtls',
    'connection.id',
    'connection_id',
    'listener_direction'
  ]
  const { port, filterLog } = await start(t, { request_headers: names.map((name) => hex(...name.split('.'))) })
  const socket = connect(port, '127.0.0.1')
  await once(socket, 'connect')
  const { localPort } = socket
  socket.end(
    'POST /things/1 HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello'
  )
  socket.resume()
  await once(socket, 'close')
  const found = values(filterLog())
  assert.equal(integer(found['request.size']), 5n)
  assert.equal(integer(found['source.port']), BigInt(localPort!))
  assert.equal(integer(found['destination.port']), BigInt(port))
  assert.equal(integer(found['listener_direction']), 1n)
  assert.ok(integer(found['connection.id']) > 0n)
  assert.equal(found['connection.id'], found['connection_id'])
  assert.equal(found['connection.mtls'], '00')
  const age = BigInt(Date.now()) * 1_000_000n - integer(found['request.time'])
  assert.ok(age >= 0n && age < 60_000_000_000n)
})

test('the size of a chunked body is known when it has been read', async (t) => {
  const { url, filterLog } = await start(t, {
    request_headers: [wantsRequestBody, hex('request', 'size')],
    request_body: [hex('request', 'size')]
  })
  await request(`${url}/things/1`, {
    method: 'POST',
    headers: { 'content-type': 'text/plain', 'transfer-encoding': 'chunked' },
    body: 'hello'
  })
  assert.match(filterLog()[0]!, /missing$/)
  assert.match(filterLog()[1]!, /0500000000000000$/)
})

test('addresses are those of the connection, with their ports', async (t) => {
  const { url, port, filterLog } = await start(t, {
    request_headers: [property('source', 'address'), property('destination', 'address')]
  })
  await request(`${url}/things/1`)
  const found = values(filterLog())
  assert.match(found['source.address']!, /^127\.0\.0\.1:\d+$/)
  assert.equal(found['destination.address'], `127.0.0.1:${port}`)
})

test('the map of request headers and that of response headers are serialized as header maps are', async (t) => {
  const { url, filterLog } = await start(t, {
    request_headers: [hex('request', 'headers')],
    response_headers: [hex('response', 'headers')]
  })
  await request(`${url}/things/1`, { headers: { host: 'a', 'x-a': '1' } })
  const [first, second] = filterLog().map((line) => Buffer.from(line.slice(line.lastIndexOf('=') + 1), 'hex'))
  assert.ok(first!.includes(':path\0/things/1\0'))
  assert.ok(first!.includes('x-a\x001\0'))
  assert.ok(second!.includes(':status\x00200\0'))
  assert.ok(second!.includes('content-length\x005\0'))
})

test('C-252 the response has its properties when it is there, and the exchange its duration when it is over', async (t) => {
  const later: Step[] = [
    property('status'),
    hex('response', 'code'),
    property('response', 'headers', 'content-type'),
    property('sent_http_content_type'),
    hex('request', 'duration')
  ]
  const { url, filterLog, quiet } = await start(t, { response_headers: later, log: later })
  await request(`${url}/things/1`)
  await quiet()
  const response = [
    'property status=200',
    'property response.code=c800000000000000',
    'property response.headers.content-type=text/plain; charset=utf-8',
    'property sent_http_content_type=text/plain; charset=utf-8'
  ]
  const lines = filterLog()
  const duration = lines.pop()!
  assert.deepEqual(lines, [...response, 'property request.duration missing', ...response])
  assert.ok(integer(values([duration])['request.duration']) >= 0n)
})

test('a local response says its details', async (t) => {
  const { url, filterLog } = await start(
    t,
    {
      request_headers: [{ op: 'reply', status: 403, headers: [], body: 'no' }],
      response_headers: [hex('response', 'code'), property('response', 'code_details')]
    },
    'script-go'
  )
  await request(`${url}/things/1`)
  assert.match(filterLog()[0]!, /9301000000000000$/)
  assert.equal(filterLog().length, 2)
})

test('what a filter makes of the request is what its properties say, but for the uri that came', async (t) => {
  const { url, filterLog } = await start(t, {
    request_headers: [
      { op: 'set', map: 'request', name: ':path', value: '/new?x=1' },
      { op: 'set', map: 'request', name: ':authority', value: 'new.example' },
      ...['uri', 'args', 'arg_x', 'host', 'request_uri'].map((name) => property(name)),
      property('request', 'path')
    ]
  })
  await request(`${url}/things/1?old`)
  assert.deepEqual(values(filterLog()), {
    uri: '/new',
    args: 'x=1',
    arg_x: '1',
    host: 'new.example',
    request_uri: '/things/1?old',
    'request.path': '/new?x=1'
  })
})

test('the address, the scheme and the host of a client behind a trusted proxy are what the proxy says', async (t) => {
  const conf = { request_headers: [property('remote_addr'), property('scheme'), property('request', 'scheme')] }
  const forwarded = { 'x-forwarded-for': '203.0.113.7', 'x-forwarded-proto': 'https' }
  for (const trustProxy of [true, false]) {
    const { url, filterLog } = await start(t, conf, 'script-rust', { trustProxy })
    await request(`${url}/things/1`, { headers: forwarded })
    const scheme = trustProxy ? 'https' : 'http'
    assert.deepEqual(values(filterLog()), {
      remote_addr: trustProxy ? '203.0.113.7' : '127.0.0.1',
      scheme,
      'request.scheme': scheme
    })
  }
})

test('what a filter sets is read by the filters after it and in the log, and built-in values stay', async (t) => {
  const plugins = scripted({ name: 'a', file: fixture('script-rust') }, { name: 'b', file: fixture('script-rust') })
  const set = (path: string[], value: string): Step => ({ op: 'set_property', path, value })
  const { url, filterLog, quiet } = await startApp(t, { plugins }, (app) => {
    const wasm = {
      plugins: {
        a: {
          conf: {
            request_headers: [
              set(['mine'], '1'),
              set(['my', 'own'], '2'),
              set(['uri'], '/forged'),
              set(['arg_q'], 'set')
            ]
          }
        },
        b: {
          conf: {
            request_headers: [property('mine'), property('my', 'own'), property('uri'), property('arg_q')],
            log: [property('mine')]
          }
        }
      }
    }
    app.get('/', { config: { wasm } }, async () => '')
    app.get('/alone', { config: { wasm: { plugins: { b: wasm.plugins.b } } } }, async () => '')
  })
  await request(url)
  await quiet()
  assert.deepEqual(filterLog(), [
    'property mine=1',
    'property my.own=2',
    'property uri=/',
    'property arg_q=set',
    'property mine=1'
  ])
  await request(`${url}/alone`)
  assert.equal(filterLog()[5], 'property mine missing')
})

test('inject() has properties', async (t) => {
  const { app, filterLog } = await start(t, {
    request_headers: [property('uri'), property('remote_addr'), property('source', 'address'), hex('request', 'size')]
  })
  await app.inject({ method: 'POST', url: '/things/1?a', payload: 'hello', headers: { 'content-type': 'text/plain' } })
  const found = values(filterLog())
  assert.equal(found['uri'], '/things/1')
  assert.equal(found['remote_addr'], '127.0.0.1')
  assert.equal(integer(found['request.size']), 5n)
})
