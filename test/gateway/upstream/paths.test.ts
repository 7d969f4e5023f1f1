import assert from 'node:assert/strict'
import { test } from 'node:test'
import { exchangeBytes, request } from '../../http.ts'
import { scripted, startProxy, startRecorder } from './nodes.ts'

const PATHS = [
  '//x//y',
  '/a%2Fb',
  '/a/../b/./c',
  '/%2e%2e/x',
  '/a%20b;c=d,e',
  '/%E4%BD%A0',
  '/a?b=%zz&c',
  '/a??b=c?d&=&&',
  '/a?x=[1]&y={2}|`^\\"<>',
  "/a'(b)*!$&+,;=:@",
  '/a?url=http://b.test/c?d#',
  '/a?%00',
  `/${'long'.repeat(1000)}`
]

for (const path of PATHS) {
  test(`the target ${path.slice(0, 30)} reaches the node unchanged`, async (t) => {
    const node = await startRecorder(t)
    const { port } = await startProxy(t, node.address)
    await exchangeBytes(port, `GET ${path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
    assert.equal(node.seen[0]?.url, path)
  })
}

test('of a target that is a whole URL the node is sent the path', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  for (const target of ['http://a.test/x//y?z', 'http://a.test?z', 'HTTP://a.test:81/']) {
    await exchangeBytes(port, `GET ${target} HTTP/1.1\r\nhost: a.test\r\nconnection: close\r\n\r\n`)
  }
  assert.deepEqual(
    node.seen.map(({ url }) => url),
    ['/x//y?z', '/?z', '/']
  )
})

test('what a filter makes of path, method, authority and headers reaches the node', async (t) => {
  const node = await startRecorder(t)
  const set = (name: string, value: string) => ({ op: 'set', map: 'request', name, value })
  const { url } = await startProxy(
    t,
    node.address,
    scripted({
      request_headers: [
        set(':path', '/other//%2F?q=1'),
        set(':method', 'PATCH'),
        set(':authority', 'changed.example:81'),
        set('x-set', 'new'),
        { op: 'add', map: 'request', name: 'x-added', value: '1' },
        { op: 'add', map: 'request', name: 'x-added', value: '2' },
        { op: 'remove', map: 'request', name: 'x-gone' }
      ]
    })
  )
  const answer = await request(`${url}/first`, {
    method: 'POST',
    headers: { 'x-set': 'old', 'x-gone': '1' },
    body: 'b'
  })
  assert.equal(answer.status, 200)
  const [seen] = node.seen
  assert.deepEqual([seen!.method, seen!.url, seen!.headers.host], ['PATCH', '/other//%2F?q=1', 'changed.example:81'])
  assert.equal(seen!.headers['x-set'], 'new')
  assert.deepEqual(
    seen!.rawHeaders.filter((_, i, all) => all[i - 1] === 'x-added'),
    ['1', '2']
  )
  assert.equal(seen!.headers['x-gone'], undefined)
  assert.equal(seen!.body.toString(), 'b')
})

test('C-154 a body that a filter changed reaches the node with the length it has', async (t) => {
  const node = await startRecorder(t)
  const ask = { op: 'set_property', path: ['wasm_process_req_body'], value: '1' }
  const { url } = await startProxy(
    t,
    node.address,
    scripted({ request_headers: [ask], request_body: [{ op: 'append_body', of: 'request', value: ' and more' }] })
  )
  await request(`${url}/`, { method: 'POST', body: 'this', headers: { 'content-length': 4 } })
  await request(`${url}/`, { method: 'PUT', body: 'that', headers: { 'transfer-encoding': 'chunked' } })
  assert.deepEqual(
    node.seen.map(({ body, headers }) => [body.toString(), headers['content-length'], headers['transfer-encoding']]),
    [
      ['this and more', '13', undefined],
      ['that and more', '13', undefined]
    ]
  )
})

test('a filter of the rewrite phase changes the body as well', async (t) => {
  const node = await startRecorder(t)
  const ask = { op: 'set_property', path: ['wasm_process_req_body'], value: '1' }
  const script = { request_headers: [ask], request_body: [{ op: 'set_body', of: 'request', value: '{"new": 1}' }] }
  const { url } = await startProxy(t, node.address, scripted(script, { http_request_phase: 'rewrite' }))
  await request(`${url}/`, { method: 'POST', body: '{ "old" : 1 }', headers: { 'content-type': 'application/json' } })
  assert.equal(node.seen[0]!.body.toString(), '{"new": 1}')
  assert.equal(node.seen[0]!.headers['content-length'], '10')
})

test('a filter that removes content-length and leaves the body alone costs the node nothing', async (t) => {
  const node = await startRecorder(t)
  const remove = { op: 'remove', map: 'request', name: 'content-length' }
  const { url } = await startProxy(t, node.address, scripted({ request_headers: [remove] }))
  await request(`${url}/`, { method: 'POST', body: 'four', headers: { 'content-length': 4 } })
  assert.equal(node.seen[0]!.body.toString(), 'four')
  assert.equal(node.seen[0]!.headers['content-length'], '4')
})

test('an upload past 8 MiB passes a filter that does not ask for the body', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address, scripted({ request_headers: [{ op: 'callback' }] }))
  const body = Buffer.alloc(9 * 1024 * 1024, 'x')
  const { status } = await request(`${url}/`, { method: 'POST', body })
  assert.equal(status, 200)
  assert.equal(node.seen[0]!.body.length, body.length)
})

test('a route whose own handler calls the proxy forwards what Fastify has parsed', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address, {
    declare: (app) => {
      app.post('/own', { config: { wasm: { upstream: { nodes: { [node.address]: 1 } } } } }, (request, reply) =>
        app.wasmGateway.proxy(request, reply)
      )
    }
  })
  for (const body of ['{ "a" : 1 }', 'null', '"text"', '[1]']) {
    const headers = { 'content-type': 'application/json', 'content-length': body.length }
    assert.equal((await request(`${url}/own`, { method: 'POST', body, headers })).status, 200, body)
  }
  assert.deepEqual(
    node.seen.map(({ body }) => body.toString()),
    ['{"a":1}', 'null', '"text"', '[1]']
  )
})
