import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { fixture } from '../../app.ts'
import { type Gateway, startGateway } from './gateway.ts'

// APISIX's forward-auth.t, through the Admin API. Where it writes paths anew, the backend serves both.

const plugins = [{ name: 'wasm-forward-auth', priority: 7997, file: fixture('forward-auth') }]

async function start(t: TestContext): Promise<Gateway & { seen: Record<string, unknown>[] }> {
  const seen: Record<string, unknown>[] = []
  const backend = (app: FastifyInstance) => {
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
    for (const path of ['/hello', '/empty']) app.get(path, async (request) => request.headers)
  }
  const gateway = await startGateway(t, plugins, backend)
  // The filter calls the gateway itself, which forwards to the service.
  const uri = `${gateway.url}/auth`
  const entry = (conf: object) => ({ 'wasm-forward-auth': { conf: JSON.stringify({ uri, ...conf }, null, 2) } })
  await gateway.put('/upstreams/u1', { nodes: { [gateway.node]: 1 }, type: 'roundrobin' })
  await gateway.put('/routes/auth', { upstream_id: 'u1', uri: '/auth' })
  await gateway.put('/routes/1', {
    plugins: entry({
      request_headers: ['Authorization'],
      client_headers: ['X-User-ID'],
      upstream_headers: ['X-User-ID']
    }),
    upstream_id: 'u1',
    uri: '/hello'
  })
  await gateway.put('/routes/2', {
    plugins: entry({ request_headers: ['Authorization'] }),
    upstream_id: 'u1',
    uri: '/empty'
  })
  return { ...gateway, seen }
}

test('TEST 1–2: an accepted request goes on with its header', async (t) => {
  const { get } = await start(t)
  const { status, text } = await get('/hello', { authorization: '111' })
  assert.equal(status, 200)
  assert.match(text, /"authorization":"111"/)
})

test('TEST 3: a header of the answer is copied to the request', async (t) => {
  const { get } = await start(t)
  assert.match((await get('/hello', { authorization: '222' })).text, /"x-user-id":"i-am-an-user"/)
})

test('TEST 4: a refused request is answered 403 with the header for the client', async (t) => {
  const { get } = await start(t)
  const { status, headers } = await get('/hello', { authorization: '333' })
  assert.deepEqual([status, headers['x-user-id']], [403, 'i-am-an-user'])
})

test('TEST 5: the service sees what was asked for, and nothing that the client claims about it', async (t) => {
  const { get, seen } = await start(t)
  const { status } = await get('/hello', {
    authorization: '444',
    host: 'localhost',
    'X-Forwarded-Host': 'apisix.apache.org'
  })
  assert.equal(status, 403)
  const forwarded = ['proto', 'method', 'host', 'uri', 'for'].map((name) => seen[0]?.[`x-forwarded-${name}`])
  assert.deepEqual(forwarded, ['http', 'GET', 'localhost', '/hello', '127.0.0.1'])
})

test('TEST 6: without upstream_headers nothing is copied to the request', async (t) => {
  const { get } = await start(t)
  const { status, text } = await get('/empty', { authorization: '222' })
  assert.equal(status, 200)
  assert.doesNotMatch(text, /x-user-id/)
})

test('TEST 7: without client_headers nothing is copied to the response', async (t) => {
  const { get } = await start(t)
  const { status, headers } = await get('/empty', { authorization: '333' })
  assert.deepEqual([status, headers['x-user-id']], [403, undefined])
})

test('a configuration with raw newlines in the JSON of the request itself is refused', async (t) => {
  const { admin } = await start(t)
  const body = '{"uri": "/x", "plugins": {"wasm-forward-auth": {"conf": "{\n\\"uri\\": \\"http://a/\\"\n}"}}}'
  const { status, body: answer } = await admin('PUT', '/routes/3', body)
  assert.equal(status, 400)
  assert.match(answer.error_msg, /^invalid request body: /)
})
