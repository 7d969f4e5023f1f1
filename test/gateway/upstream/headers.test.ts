import assert from 'node:assert/strict'
import { test } from 'node:test'
import { request } from '../../http.ts'
import { answerBytes, open, scripted, startNode, startProxy, startRecorder, until, valuesOf } from './nodes.ts'

const HOP_BY_HOP = [
  'keep-alive: timeout=5',
  'te: trailers',
  'proxy-authorization: Basic eDp5',
  'proxy-connection: keep-alive',
  'trailer: x-t',
  'x-hop: 1',
  'x-hop-too: 1'
]

test('hop-by-hop headers of the client, and those its connection header names, do not reach the node', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  const head = [
    'GET / HTTP/1.1',
    'host: a',
    'connection: close, X-Hop',
    ...HOP_BY_HOP,
    'connection: x-hop-too',
    'x-end: 1'
  ]
  const socket = open(t, port, `${head.join('\r\n')}\r\n\r\n`)
  await new Promise((resolve) => socket.once('close', resolve))
  assert.deepEqual(node.seen[0]!.rawHeaders, ['host', 'a', 'connection', 'keep-alive', 'x-end', '1'])
})

test('an upgrade that a client asks for goes no further', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  const head = [
    'GET / HTTP/1.1',
    'host: a',
    'connection: upgrade, http2-settings',
    'upgrade: h2c',
    'http2-settings: AAM'
  ]
  const socket = open(t, port, `${head.join('\r\n')}\r\n\r\n`)
  await until(() => socket.received().includes(node.address), 'the answer is there')
  assert.deepEqual(node.seen[0]!.rawHeaders, ['host', 'a', 'connection', 'keep-alive'])
})

test('hop-by-hop headers of the node do not reach the client', async (t) => {
  const node = await answerBytes(
    t,
    [
      'HTTP/1.1 200 OK',
      'connection: x-hop, close',
      'keep-alive: timeout=72',
      'proxy-authenticate: Basic',
      'proxy-connection: keep-alive',
      'trailer: x-t',
      'upgrade: h2c',
      'x-hop: 1',
      'x-end: 1',
      'content-length: 2',
      '',
      'ok'
    ].join('\r\n')
  )
  const { url } = await startProxy(t, node.address)
  const answer = await request(url)
  const names = answer.rawHeaders.filter((_, i) => i % 2 === 0).map((name) => name.toLowerCase())
  assert.deepEqual(names.sort(), ['connection', 'content-length', 'date', 'x-end'])
  assert.equal(answer.headers.connection, 'close') // the client's own connection, which asked for it
  assert.equal(answer.text, 'ok')
})

test('repeated request headers stay repeated, and in their order', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  const sent = ['X-A', '1', 'x-b', '2', 'x-a', '3', 'Cookie', 'a=1', 'accept', 'x/y', 'X-a', '', 'cookie', 'b=2']
  const head = sent.map((item, i) => (i % 2 === 0 ? `\r\n${item}: ` : item)).join('')
  const socket = open(t, port, `GET / HTTP/1.1\r\nhost: a\r\nconnection: close${head}\r\n\r\n`)
  await new Promise((resolve) => socket.once('close', resolve))
  const expected = sent.map((item, i) => (i % 2 === 0 ? item.toLowerCase() : item))
  assert.deepEqual(node.seen[0]!.rawHeaders.slice(4), expected)
})

test('repeated set-cookie, and other repeated headers of the response, stay repeated and in their order', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nvia: x\r\nSet-Cookie: b=2\r\nvia: y\r\nset-cookie: c=3\r\ncontent-length: 0\r\n\r\n'
  )
  const { url } = await startProxy(t, node.address)
  const { rawHeaders } = await request(url)
  assert.deepEqual(valuesOf(rawHeaders, 'set-cookie'), ['a=1', 'b=2', 'c=3'])
  assert.deepEqual(valuesOf(rawHeaders, 'via'), ['x', 'y'])
})

test('headers that are named like properties of every object pass', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\nconstructor: 1\r\n__proto__: 2\r\n__proto__: 3\r\nvalueof: 4\r\ncontent-length: 0\r\n\r\n'
  )
  const { url } = await startProxy(t, node.address)
  const answer = await request(url)
  assert.equal(answer.status, 200)
  assert.deepEqual([valuesOf(answer.rawHeaders, 'constructor'), valuesOf(answer.rawHeaders, 'valueof')], [['1'], ['4']])
})

test('bytes above 0x7f pass in headers of both directions', async (t) => {
  const bytes = Array.from({ length: 128 }, (_, i) => String.fromCharCode(i + 128)).join('')
  const node = await startNode(t, (incoming, response) => {
    response.setHeader('x-echo', valuesOf(incoming.rawHeaders, 'x-bytes')[0]!)
    if (incoming.url === '/late') setTimeout(() => response.end('body'), 50)
    response.write(Buffer.alloc(0))
    if (incoming.url !== '/late') response.end(incoming.url === '/empty' ? undefined : 'body')
  })
  const { url } = await startProxy(t, node.address)
  for (const path of ['/', '/empty', '/late']) {
    const answer = await request(url + path, { headers: { 'x-bytes': bytes } })
    assert.equal(valuesOf(answer.rawHeaders, 'x-echo')[0], bytes, path)
  }
})

test('content-length is kept as long as nobody changes the body', async (t) => {
  const node = await startNode(t, (_incoming, response) => {
    response.setHeader('content-length', 4)
    response.end('four')
  })
  const { url } = await startProxy(t, node.address, scripted({ response_headers: [{ op: 'callback' }] }))
  const answer = await request(url)
  assert.equal(answer.headers['content-length'], '4')
  assert.equal(answer.headers['transfer-encoding'], undefined)
})

test('interim responses are dropped, and the response arrives', async (t) => {
  const node = await startNode(t, (_incoming, response) => {
    response.writeProcessing()
    response.writeEarlyHints({ link: '</style.css>; rel=preload' })
    response.end('final')
  })
  const { port } = await startProxy(t, node.address)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /^HTTP\/1\.1 200 OK\r\n.*final$/s)
  assert.doesNotMatch(socket.received(), /link/)
})

test('trailers of the node arrive behind a chunked body', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n4\r\nbody\r\n0\r\nX-T: 1\r\nx-u: \xe9\r\nx-t: 2\r\nte: x\r\n\r\n'
  )
  const { port } = await startProxy(t, node.address)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /\r\n4\r\nbody\r\n0\r\nx-t: 1\r\nx-u: \xe9\r\nx-t: 2\r\n\r\n$/)
})

test('trailers arrive behind a body that a filter has changed', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-t: 1\r\n\r\n'
  )
  const ask = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
  const steps = { response_headers: [ask], response_body: [{ op: 'append_body', of: 'response', value: '!' }] }
  const { url } = await startProxy(t, node.address, scripted(steps))
  const answer = await request(url)
  assert.deepEqual([answer.text.startsWith('body!'), answer.trailers], [true, { 'x-t': '1' }])
})

test('trailers for a client that cannot read them are left out, and the body is whole', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-t: 1\r\n\r\n'
  )
  const { port } = await startProxy(t, node.address)
  const socket = open(t, port, 'GET / HTTP/1.0\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /\r\n\r\nbody$/)
})

test('a client that expects 100-continue gets it, and the node sees nothing of it', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  const head = 'POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 4\r\nconnection: close\r\n\r\n'
  const socket = open(t, port, head)
  await until(() => socket.received() !== '', 'the gateway says something')
  assert.equal(socket.received(), 'HTTP/1.1 100 Continue\r\n\r\n')
  socket.write('body')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /\r\n\r\nHTTP\/1\.1 200 OK\r\n/)
  assert.equal(node.seen[0]!.headers.expect, undefined)
  assert.equal(node.seen[0]!.body.toString(), 'body')
})

test('a client cannot have taken away what a filter adds, by naming it in its connection header', async (t) => {
  const node = await startRecorder(t)
  const add = (name: string) => ({ op: 'set', map: 'request', name, value: 'filter' })
  const { port } = await startProxy(t, node.address, scripted({ request_headers: [add('x-user'), add('x-role')] }))
  const head = 'connection: close, x-user, x-role, x-own, cookie\r\nx-role: client\r\nx-own: client\r\n\r\n'
  const socket = open(t, port, `GET / HTTP/1.1\r\nhost: a\r\n${head}`)
  await new Promise((resolve) => socket.once('close', resolve))
  const { headers } = node.seen[0]!
  assert.deepEqual([headers['x-user'], headers['x-role'], headers['x-own']], ['filter', 'filter', undefined])
})
