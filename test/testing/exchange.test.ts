import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadFilter } from '../../lib/testing/index.ts'
import { fixture } from '../app.ts'
import { say, wantsRequestBody, wantsResponseBody } from '../gateway/script.ts'
import { Guest } from '../host/guest.ts'
import { guest, scripted } from './load.ts'

const set = (map: string, name: string, value: string) => ({ op: 'set', map, name, value })

test('an exchange shows what a filter has made of headers, and what is there by default', async (t) => {
  const filter = await scripted(t, {
    request_headers: [set('request', 'x-a', '1'), { op: 'remove', map: 'request', name: 'x-b' }],
    response_headers: [
      set('response', 'x-c', '2'),
      { op: 'add', map: 'response', name: 'set-cookie', value: 'b=2' },
      set('response', ':status', '201')
    ]
  })
  const { request, response, forwarded, aborted, localReply } = await filter.exchange({
    request: { method: 'POST', path: '/a?b', headers: { 'X-B': 'gone', 'x-d': ['1', '2'], connection: 'close' } },
    response: { headers: { 'set-cookie': 'a=1' }, body: 'hello' }
  })
  assert.deepEqual(request, {
    method: 'POST',
    path: '/a?b',
    scheme: 'http',
    authority: 'example.test',
    headers: { 'x-d': ['1', '2'], 'x-a': '1' },
    body: '',
    bytes: Buffer.alloc(0),
    trailers: {}
  })
  assert.deepEqual(response, {
    status: 201,
    headers: { 'set-cookie': ['a=1', 'b=2'], 'x-c': '2', 'content-length': '5' },
    body: 'hello',
    bytes: Buffer.from('hello'),
    chunks: [Buffer.from('hello')],
    trailers: {}
  })
  assert.deepEqual([forwarded, aborted, localReply], [true, false, undefined])
})

test('without anything an exchange is GET / of example.test, answered with 200 and nothing', async (t) => {
  const filter = await scripted(t, { request_headers: [{ op: 'pairs', map: 'request' }] })
  const { response, logs } = await filter.exchange()
  assert.equal(logs[0]!.message, 'request pairs: :method=GET|:path=/|:authority=example.test|:scheme=http')
  assert.deepEqual([response.status, response.headers, response.body], [200, { 'content-length': '0' }, ''])
})

test('the authority and the scheme are those of the request, or its host header', async (t) => {
  const filter = await scripted(t, { request_headers: [{ op: 'get', map: 'request', name: ':authority' }] })
  const first = await filter.exchange({ request: { authority: 'a.test', scheme: 'https' } })
  const second = await filter.exchange({ request: { headers: { host: 'b.test' } } })
  assert.deepEqual(
    [first, second].map(({ logs, request }) => [logs[0]!.message, request.authority, request.scheme]),
    [
      ['request :authority=a.test', 'a.test', 'https'],
      ['request :authority=b.test', 'b.test', 'http']
    ]
  )
})

for (const semantics of ['apisix', 'envoy'] as const) {
  test(`bodies pass as with the semantics ${semantics}`, async (t) => {
    const filter = await scripted(
      t,
      {
        request_headers: [wantsRequestBody, wantsResponseBody],
        request_body: [{ op: 'callback' }, { op: 'append_body', of: 'request', value: '!' }],
        response_body: [
          { op: 'callback' },
          { op: 'if_eos', steps: [{ op: 'append_body', of: 'response', value: '?' }] }
        ]
      },
      { semantics }
    )
    const whole = await filter.exchange({ request: { method: 'POST', body: 'abc' }, response: { body: 'hello' } })
    assert.equal(whole.request.body, 'abc!')
    assert.equal(whole.request.headers['content-length'], '4')
    assert.equal(whole.response.body, 'hello?')
    assert.equal(whole.response.headers['content-length'], '6')
    const bodies = whole.actions.filter(({ callback }) => callback === 'proxy_on_response_body')
    assert.deepEqual(
      bodies.map(({ size, endOfStream }) => [size, endOfStream]),
      semantics === 'apisix'
        ? [
            [5, false],
            [0, true]
          ]
        : [[5, true]]
    )
    const chunked = await filter.exchange({ response: { body: ['he', 'llo'] } })
    assert.deepEqual(chunked.response.chunks.map(String), ['he', 'llo', '?'])
    assert.equal(chunked.response.headers['content-length'], undefined)
    assert.deepEqual(
      chunked.actions.map(({ callback, size, endOfStream }) => [callback.slice(9), size, endOfStream]),
      [
        ['request_headers', 4, true],
        ['request_body', 0, true],
        ['response_headers', 1, false],
        ['response_body', 2, false],
        ['response_body', 3, false],
        ['response_body', 0, true]
      ]
    )
  })
}

test('a body that is an async iterable comes as the test gives it', async (t) => {
  const filter = await scripted(t, { response_body: [{ op: 'body', of: 'response' }] }, { semantics: 'envoy' })
  let next: (chunk: string) => void = () => {}
  const chunk = () => new Promise<string>((resolve) => (next = resolve))
  async function* body() {
    for (let text = await chunk(); text !== ''; text = await chunk()) yield text
  }
  const exchange = await filter.begin({ response: { body: body() } })
  assert.match(exchange.waitsFor!.what, /the rest of the response body/)
  next('one')
  await filter.advance(0)
  assert.deepEqual(exchange.response.chunks.map(String), ['one'])
  next('two')
  await filter.advance(0)
  next('')
  await exchange.finish()
  assert.deepEqual(
    exchange.logs.map(({ message }) => message),
    ['response body=one', 'response body=two', 'response body missing']
  )
})

test('a local reply is shown as the filter gave it, and as the client receives it', async (t) => {
  const filter = await scripted(t, {
    request_headers: [
      set('response', 'x-early', '1'),
      { op: 'reply', status: 403, headers: [['x-why', 'no']], body: 'denied' },
      { op: 'pause' }
    ],
    response_headers: [set('response', 'x-late', '2')]
  })
  let called = false
  const exchange = await filter.exchange({
    response: () => {
      called = true
      return {}
    }
  })
  assert.deepEqual([called, exchange.forwarded], [false, false])
  assert.deepEqual(exchange.localReply, {
    filter: 'scripted',
    status: 403,
    headers: { 'x-why': 'no' },
    body: 'denied',
    details: '',
    grpcStatus: -1
  })
  assert.equal(exchange.response.status, 403)
  assert.deepEqual(exchange.response.headers, {
    'x-early': '1',
    'x-why': 'no',
    'content-type': 'text/plain',
    'content-length': '6',
    'x-late': '2'
  })
  assert.equal(exchange.response.body, 'denied')
})

test('a reply in the response headers stands in place of the response', async (t) => {
  const filter = await scripted(t, { response_headers: [{ op: 'reply', status: 502, headers: [], body: 'bad' }] })
  const exchange = await filter.exchange({ response: { headers: { 'x-secret': '1' }, body: 'secret' } })
  assert.equal(exchange.forwarded, true)
  assert.deepEqual([exchange.response.status, exchange.response.body], [502, 'bad'])
  assert.equal(exchange.response.headers['x-secret'], undefined)
})

test('a filter that closes the stream aborts the exchange', async (t) => {
  const filter = await scripted(t, { request_headers: [{ op: 'close', stream: 'request' }, { op: 'pause' }] })
  const { aborted, response } = await filter.exchange()
  assert.deepEqual([aborted, response.status], [true, 0])
})

test('actions say what each callback has answered', async (t) => {
  const filter = await scripted(t, { request_headers: [{ op: 'continue', stream: 'request' }, { op: 'pause' }] })
  const { actions } = await filter.exchange({ response: { status: 204 } })
  assert.deepEqual(actions, [
    { filter: 'scripted', callback: 'proxy_on_request_headers', action: 'Pause', size: 4, endOfStream: true },
    { filter: 'scripted', callback: 'proxy_on_response_headers', action: 'Continue', size: 2, endOfStream: true }
  ])
})

test('logs have their level, and are of the exchange and of the filter', async (t) => {
  const filter = await scripted(t, {
    start: [say('starts')],
    request_headers: [{ op: 'log', level: 'warn', text: 'beware' }],
    log: [{ op: 'log', level: 'critical', text: 'the end' }]
  })
  const { logs } = await filter.exchange()
  assert.deepEqual(logs, [
    { filter: 'scripted', level: 'warn', message: 'beware' },
    { filter: 'scripted', level: 'critical', message: 'the end' }
  ])
  assert.deepEqual(
    filter.logs.map(({ message }) => message),
    ['starts', 'beware', 'the end']
  )
})

test('trailers pass the filters, those of a request after its body', async (t) => {
  const module = new Guest()
  const stamp = (map: number) => module.call('proxy_add_header_map_value', map, module.text('x-seen'), module.text('1'))
  module
    .record('proxy_on_request_body')
    .on('proxy_on_request_trailers', stamp(1))
    .on('proxy_on_response_trailers', stamp(3))
  const filter = await guest(t, module, { semantics: 'envoy' })
  const exchange = await filter.exchange({
    request: { method: 'POST', body: 'abc', trailers: { 'x-a': '1' } },
    response: { body: ['a', 'b'], trailers: { 'grpc-status': '0' } }
  })
  assert.deepEqual(exchange.request.trailers, { 'x-a': '1', 'x-seen': '1' })
  assert.deepEqual(exchange.response.trailers, { 'grpc-status': '0', 'x-seen': '1' })
  assert.deepEqual(
    exchange.actions.map(({ callback, size, endOfStream }) => [callback.slice(9), size, endOfStream]),
    [
      ['request_body', 3, false],
      ['request_trailers', 1, true],
      ['response_trailers', 1, true]
    ]
  )
})

test('properties are those of the request, and those that the test gives; what filters set is shown', async (t) => {
  const property = (...path: string[]) => ({ op: 'property', path })
  const filter = await scripted(t, {
    request_headers: [
      property('request', 'path'),
      property('source', 'address'),
      property('remote_addr'),
      property('metadata', 'tenant'),
      property('route_name'),
      { op: 'set_property', path: ['a', 'b'], value: 'c' },
      property('a', 'b')
    ]
  })
  const { logs, properties } = await filter.exchange({
    request: { path: '/x?y' },
    properties: { 'source.address': '10.0.0.1:1234', 'metadata.tenant': 'größe 中' }
  })
  assert.deepEqual(
    logs.map(({ message }) => message),
    [
      'property request.path=/x?y',
      'property source.address=10.0.0.1:1234',
      'property remote_addr=127.0.0.1',
      'property metadata.tenant=größe 中',
      'property route_name missing',
      'property a.b=c'
    ]
  )
  assert.deepEqual(properties, { 'a.b': 'c' })
})

test('a request body that is too long for the filter is answered with 413', async (t) => {
  const filter = await scripted(t, { request_body: [] }, { semantics: 'envoy', limits: { body_mib: 1 } })
  const exchange = await filter.exchange({ request: { body: Buffer.alloc(2 ** 20 + 1) } })
  assert.deepEqual([exchange.response.status, exchange.forwarded], [413, false])
})

test('HEAD, 204 and 304 have no body', async (t) => {
  const filter = await scripted(t, { response_body: [say('called')] }, { semantics: 'envoy' })
  for (const exchange of [
    await filter.exchange({ request: { method: 'HEAD' }, response: { body: 'hello' } }),
    await filter.exchange({ response: { status: 304, body: 'hello' } })
  ]) {
    assert.deepEqual([exchange.response.body, exchange.logs], ['', []])
  }
})

test('filters in Go, Rust and AssemblyScript are tested the same way', async (t) => {
  for (const name of ['script-go', 'script-rust', 'script-as'] as const) {
    const filter = await scripted(t, { request_headers: [set('request', 'x-a', name)] }, {}, name)
    assert.equal((await filter.exchange()).request.headers['x-a'], name)
  }
})

test('a module is named by its path, its URL or its bytes, and the filter by that or by its name', async () => {
  const path = fixture('log')
  const options = { conf: 'x' }
  const { readFileSync } = await import('node:fs')
  const { pathToFileURL } = await import('node:url')
  const filters = [
    await loadFilter(path, options),
    await loadFilter(pathToFileURL(path), options),
    await loadFilter(readFileSync(path), options),
    await loadFilter(path, { ...options, name: 'mine' })
  ]
  assert.deepEqual(
    filters.map(({ name }) => name),
    ['log', 'log', 'filter', 'mine']
  )
  for (const filter of filters) {
    assert.equal((await filter.exchange()).logs[0]!.message, 'run plugin ctx 1 with conf x in http ctx 2')
    await filter.close()
  }
})
