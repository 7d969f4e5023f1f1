import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture, startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'

// The observations of APISIX's own tests of this filter.

async function start(t: TestContext) {
  const seen: Record<string, unknown>[] = []
  const auth = await startUpstream(t, (app) => {
    app.get('/auth', async (request, reply) => {
      seen.push(request.headers)
      switch (request.headers.authorization) {
        case '111':
          return ''
        case '222':
          return reply.header('X-User-ID', 'i-am-an-user').send('')
        case '333':
          return reply.code(401).header('X-User-ID', 'i-am-an-user').send('')
        default:
          return reply.code(403).send('')
      }
    })
    app.get('/hello', async (request) => request.headers)
  })
  const plugins = [{ name: 'wasm-forward-auth', priority: 7997, file: fixture('forward-auth') }]
  const uri = `http://${auth.node}/auth`
  const full = {
    uri,
    request_headers: ['Authorization'],
    client_headers: ['X-User-ID'],
    upstream_headers: ['X-User-ID']
  }
  const { url, lines } = await startApp(
    t,
    { plugins, upstreams: [{ id: 'echo', nodes: { [auth.node]: 1 } }] },
    (app) => {
      const wasm = (conf: object) => ({
        wasm: { plugins: { 'wasm-forward-auth': { conf: conf as Record<string, unknown> } }, upstream_id: 'echo' }
      })
      app.get('/hello', { config: wasm(full), handler: app.wasmGateway.proxy })
      app.get('/handler', { config: wasm(full) }, async (request) => request.headers)
      app.get(
        '/empty',
        { config: wasm({ uri, request_headers: ['Authorization'] }) },
        async (request) => request.headers
      )
      app.get('/gone', { config: wasm({ ...full, uri: 'http://127.0.0.1:1/auth' }) }, async () => 'reached')
    }
  )
  return { seen, lines, get: (path: string, headers: Record<string, string>) => request(url + path, { headers }) }
}

test('an accepted request goes on to the upstream with its headers', async (t) => {
  const { get } = await start(t)
  const response = await get('/hello', { authorization: '111' })
  assert.equal(response.status, 200)
  assert.match(response.text, /"authorization":"111"/)
})

test('a header of the answer is copied to the request, for the upstream and for a handler', async (t) => {
  const { get } = await start(t)
  for (const path of ['/hello', '/handler']) {
    const response = await get(path, { authorization: '222' })
    assert.match(response.text, /"x-user-id":"i-am-an-user"/, path)
  }
})

test('a refused request is answered 403 with the header of the answer for the client', async (t) => {
  const { get } = await start(t)
  const response = await get('/hello', { authorization: '333' })
  assert.equal(response.status, 403)
  assert.equal(response.headers['x-user-id'], 'i-am-an-user')
})

test('the auth service sees what was asked for, and nothing that the client claims about it', async (t) => {
  const { get, seen } = await start(t)
  const response = await get('/hello', {
    authorization: '444',
    host: 'localhost',
    'X-Forwarded-Host': 'apisix.apache.org'
  })
  assert.equal(response.status, 403)
  const [headers] = seen
  assert.equal(headers!['x-forwarded-proto'], 'http')
  assert.equal(headers!['x-forwarded-method'], 'GET')
  assert.equal(headers!['x-forwarded-host'], 'localhost')
  assert.equal(headers!['x-forwarded-uri'], '/hello')
  assert.equal(headers!['x-forwarded-for'], '127.0.0.1')
})

test('without upstream_headers nothing is copied to the request', async (t) => {
  const { get } = await start(t)
  const response = await get('/empty', { authorization: '222' })
  assert.equal(response.status, 200)
  assert.doesNotMatch(response.text, /x-user-id/)
})

test('without client_headers nothing is copied to the response', async (t) => {
  const { get } = await start(t)
  const response = await get('/empty', { authorization: '333' })
  assert.equal(response.status, 403)
  assert.equal(response.headers['x-user-id'], undefined)
})

test('when the auth service cannot be reached the filter lets the request go on', async (t) => {
  const { get, lines } = await start(t)
  const response = await get('/gone', { authorization: '111' })
  assert.equal(response.text, 'reached')
  assert.ok(lines.some(({ msg }) => msg.startsWith('callback err: ')))
})
