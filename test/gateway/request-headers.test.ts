import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyRequest, FastifyServerOptions } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, type Step, scripted } from './script.ts'

const on = (map: string, op: string, name: string, value?: string): Step => ({
  op,
  map,
  name,
  ...(value !== undefined && { value })
})
const get = (name: string) => on('request', 'get', name)
const set = (name: string, value: string) => on('request', 'set', name, value)
const add = (name: string, value: string) => on('request', 'add', name, value)
const remove = (name: string) => on('request', 'remove', name)
const pairs: Step = { op: 'pairs', map: 'request' }

/** What a handler sees. */
const seen = async ({ headers, url, originalUrl, method, host, hostname, query }: FastifyRequest) => ({
  headers,
  url,
  originalUrl,
  method,
  host,
  hostname,
  query
})

function start(t: TestContext, steps: Step[] | Script, sdk = 'script-rust', server: FastifyServerOptions = {}) {
  const conf = Array.isArray(steps) ? { request_headers: steps } : steps
  return startApp(
    t,
    { plugins: scripted({ name: 'a', file: fixture(sdk), http_request_phase: 'rewrite' }) },
    (app) => {
      const route = { config: { wasm: { plugins: { a: { conf } } } } }
      app.get('/', route, seen)
      app.post('/', route, async (request) => ({ ...(await seen(request)), body: request.body }))
    },
    server
  )
}

/** Sends header lines as they are, latin1. */
async function send(port: number, lines: string[], requestLine = 'GET /?a=1 HTTP/1.1') {
  const head = [requestLine, ...lines, 'connection: close'].join('\r\n')
  const text = (await exchangeBytes(port, `${head}\r\n\r\n`)).toString()
  const body = text.slice(text.indexOf('\r\n\r\n') + 4)
  return { status: Number(text.slice(9, 12)), text, json: body.startsWith('{') ? JSON.parse(body) : undefined }
}

for (const sdk of ['script-go', 'script-rust', 'script-as']) {
  test(`a filter of ${sdk} sees pseudo-headers first, and names in lower case, repeated ones in their order`, async (t) => {
    const { port, filterLog } = await start(t, [pairs], sdk)
    await send(port, ['Host: example.org:8080', 'X-A: 1', 'Cookie: a=1', 'x-a: 2', 'COOKIE: b=2'])
    assert.deepEqual(filterLog(), [
      'request pairs: :method=GET|:path=/?a=1|:authority=example.org:8080|:scheme=http|x-a=1|cookie=a=1|x-a=2|cookie=b=2|connection=close'
    ])
  })
}

test('a value is looked up in any case, the first of many is answered, and `host` is `:authority`', async (t) => {
  const { port, filterLog } = await start(
    t,
    [get('X-A'), get('host'), get('Host'), get(':authority'), get('x-none')],
    'script-go'
  )
  await send(port, ['host: example.org', 'x-a: 1', 'x-a: 2'])
  assert.deepEqual(filterLog(), [
    'request X-A=1',
    'request host=example.org',
    'request Host=example.org',
    'request :authority=example.org',
    'request x-none missing'
  ])
})

test('a request without a host has an empty authority', async (t) => {
  const { port, filterLog } = await start(t, [get(':authority')])
  await send(port, [], 'GET / HTTP/1.0')
  assert.deepEqual(filterLog(), ['request :authority='])
})

test('set, add and remove are seen by the handler as Node would have grouped them', async (t) => {
  const { port } = await start(t, [
    set('x-set', 'new'),
    set('x-fresh', '1'),
    add('x-many', 'third'),
    add('cookie', 'c=3'),
    add('user-agent', 'second'),
    add('X-Case', 'yes'),
    remove('x-gone'),
    remove('x-never')
  ])
  const { json } = await send(port, [
    'host: a',
    'x-set: old',
    'x-set: older',
    'x-many: first',
    'x-many: second',
    'cookie: a=1',
    'cookie: b=2',
    'user-agent: first',
    'x-gone: 1',
    'x-gone: 2'
  ])
  assert.deepEqual(json.headers, {
    host: 'a',
    connection: 'close',
    'x-set': 'new',
    'x-fresh': '1',
    'x-many': 'first, second, third',
    cookie: 'a=1; b=2; c=3',
    'user-agent': 'first',
    'x-case': 'yes'
  })
})

test('a change is seen by the filters after it, in both phases', async (t) => {
  const plugins = scripted(
    { name: 'a', file: fixture('script-rust'), http_request_phase: 'rewrite' },
    { name: 'b', file: fixture('script-rust'), http_request_phase: 'rewrite' },
    { name: 'c', file: fixture('script-rust') }
  )
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const looks = { conf: { request_headers: [get('x-a')] } }
    const wasm = { plugins: { a: { conf: { request_headers: [set('x-a', '1')] } }, b: looks, c: looks } }
    app.get('/', { config: { wasm } }, seen)
  })
  await request(url)
  assert.deepEqual(filterLog(), ['request x-a=1', 'request x-a=1'])
})

test('request headers are there to be read in the response and in the log', async (t) => {
  const { url, filterLog } = await start(
    t,
    {
      request_headers: [set('x-a', '1')],
      response_headers: [get('x-a'), get(':path')],
      log: [get('x-a'), set('x-a', 'too late'), get('x-a')]
    },
    'script-go'
  )
  await request(`${url}/?q`)
  assert.deepEqual(filterLog(), [
    'request x-a=1',
    'request :path=/?q',
    'request x-a=1',
    'set failed: error status returned by host: bad argument',
    'request x-a=1'
  ])
})

test('bytes above 0x7f in a value are read as those bytes, and written ones reach the handler as latin1', async (t) => {
  const { port, filterLog } = await start(t, [get('x-a'), set('x-b', 'é')], 'script-go')
  // The bytes of é in UTF-8, which is what the filter logs.
  const { json } = await send(port, ['host: a', 'x-a: caf\u00c3\u00a9'])
  assert.deepEqual(filterLog(), ['request x-a=café'])
  assert.equal(json.headers['x-b'], '\u00c3\u00a9')
})

test('`:path` is the url that the handler sees, and the route and its query stay what Fastify has found', async (t) => {
  const { url } = await start(t, [set(':path', '/other?b=2'), get(':path')])
  const { headers: _, ...rest } = JSON.parse((await request(`${url}/?a=1`)).text)
  const { host, ...others } = rest
  assert.equal(host, new URL(url).host)
  assert.deepEqual(others, {
    url: '/other?b=2',
    originalUrl: '/?a=1',
    method: 'GET',
    hostname: '127.0.0.1',
    query: { a: '1' }
  })
})

for (const name of [':authority', 'host', 'Host']) {
  test(`\`${name}\` is the host that the handler sees`, async (t) => {
    const { url, filterLog } = await start(t, [set(name, 'example.org:81'), get(':authority'), get('host'), pairs])
    const seen = JSON.parse((await request(url)).text)
    assert.equal(seen.host, 'example.org:81')
    assert.equal(seen.hostname, 'example.org')
    assert.equal(seen.headers.host, 'example.org:81')
    assert.deepEqual(filterLog().slice(0, 2), ['request :authority=example.org:81', 'request host=example.org:81'])
    assert.match(
      filterLog()[2]!,
      /^request pairs: :method=GET\|:path=\/\|:authority=example.org:81\|:scheme=http\|connection=/
    )
  })
}

test('`:method` is the method that the handler sees, and the body is parsed by the method that came', async (t) => {
  const { url } = await start(t, [set(':method', 'PUT')])
  const headers = { 'content-type': 'application/json' }
  const posted = JSON.parse((await request(url, { method: 'POST', headers, body: '{"a":1}' })).text)
  assert.equal(posted.method, 'PUT')
  assert.deepEqual(posted.body, { a: 1 })
})

test('a GET that a filter makes a HEAD is answered with its body, and a HEAD that it makes a GET without', async (t) => {
  const { port } = await start(t, [
    { op: 'if_header', map: 'request', name: 'x-to', value: 'HEAD', steps: [set(':method', 'HEAD')] },
    { op: 'if_header', map: 'request', name: 'x-to', value: 'GET', steps: [set(':method', 'GET')] }
  ])
  const get = await send(port, ['host: a', 'x-to: HEAD'])
  assert.equal(get.json.method, 'HEAD')
  const head = await send(port, ['host: a', 'x-to: GET'], 'HEAD / HTTP/1.1')
  assert.equal(head.status, 200)
  assert.match(head.text, /\r\n\r\n$/)
})

test('removing a pseudo-header leaves it, and adding one replaces it', async (t) => {
  const { url, filterLog } = await start(
    t,
    [remove(':path'), get(':path'), add(':path', '/b'), get(':path'), pairs],
    'script-go'
  )
  await request(url)
  assert.deepEqual(filterLog().slice(0, 2), ['request :path=/', 'request :path=/b'])
  assert.equal(filterLog()[2]!.match(/:path=/g)?.length, 1)
})

test('a whole map is put in place of the other, and pseudo-headers that it lacks stay', async (t) => {
  const whole: Step = {
    op: 'set_pairs',
    map: 'request',
    pairs: [
      ['X-New', '1'],
      ['x-new', '2'],
      [':path', '/whole'],
      ['cookie', 'a=1']
    ]
  }
  const { port, filterLog } = await start(t, [whole, pairs])
  const { json } = await send(port, ['host: a', 'x-old: 1', 'cookie: b=1'])
  assert.deepEqual(filterLog(), [
    'request pairs: :method=GET|:path=/whole|:authority=a|:scheme=http|x-new=1|x-new=2|cookie=a=1'
  ])
  assert.equal(json.url, '/whole')
  assert.equal(json.headers['x-new'], '1, 2')
  assert.equal(json.headers.cookie, 'a=1')
  assert.equal('x-old' in json.headers, false)
  assert.equal(json.headers.host, 'a')
})

const refused: [string, Step][] = [
  ['a line feed in a value', set('x-a', 'a\nb: c')],
  ['a carriage return in a value', add('x-a', 'a\rb')],
  ['a NUL in a value', set('x-a', 'a\0b')],
  ['a line feed in a name', set('x-a\nb', '1')],
  ['a space in a name', add('x a', '1')],
  ['an empty name', set('', '1')],
  ['a pseudo-header that there is not', set(':status', '200')],
  ['a path that is none', set(':path', 'no slash')],
  ['a path with a space', set(':path', '/a b')],
  ['a method that is none', set(':method', 'G T')],
  ['an authority with a line feed', set(':authority', 'a\r\nx: y')],
  ['a whole map with a line feed', { op: 'set_pairs', map: 'request', pairs: [['x-a', 'a\nb']] }]
]

for (const [what, step] of refused) {
  test(`${what} is refused, and nothing is changed`, async (t) => {
    const { port, filterLog } = await start(t, [step, pairs], 'script-go')
    const { json } = await send(port, ['host: a', 'x-a: old'])
    assert.deepEqual(filterLog(), [
      `${step.op} failed: error status returned by host: bad argument`,
      'request pairs: :method=GET|:path=/?a=1|:authority=a|:scheme=http|x-a=old|connection=close'
    ])
    assert.deepEqual(json.headers, { host: 'a', 'x-a': 'old', connection: 'close' })
  })
}

test("what belongs to the connection or frames the body is not the filter's to set", async (t) => {
  const { port } = await start(t, [
    set('content-length', '999'),
    set('transfer-encoding', 'chunked'),
    set('connection', 'upgrade'),
    set('expect', '100-continue')
  ])
  const head = ['POST / HTTP/1.1', 'host: a', 'content-type: text/plain', 'content-length: 5', 'connection: close']
  const text = (await exchangeBytes(port, `${head.join('\r\n')}\r\n\r\nhello`)).toString()
  assert.match(text, /^HTTP\/1\.1 200 /)
  const { body, headers } = JSON.parse(text.slice(text.indexOf('\r\n\r\n')))
  assert.equal(body, 'hello')
  assert.equal(headers['content-length'], '5')
  assert.equal('transfer-encoding' in headers, false)
  assert.equal(headers.connection, 'close')
})

test('the scheme is what a trusted proxy says', async (t) => {
  const { port, filterLog } = await start(t, [get(':scheme')], 'script-rust', { trustProxy: true })
  await send(port, ['host: a', 'x-forwarded-proto: https'])
  assert.deepEqual(filterLog(), ['request :scheme=https'])
})

test('inject() has its headers seen and changed', async (t) => {
  const { app, filterLog } = await start(t, [get('x-a'), get(':authority'), set('x-b', '1'), remove('x-a')])
  const answer = await app.inject({ url: '/', headers: { 'X-A': '1', host: 'example.org' } })
  const { headers } = answer.json()
  assert.deepEqual(filterLog(), ['request x-a=1', 'request :authority=example.org'])
  assert.equal(headers['x-b'], '1')
  assert.equal('x-a' in headers, false)
})
