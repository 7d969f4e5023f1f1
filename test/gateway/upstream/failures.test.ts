import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { request } from '../../http.ts'
import { answerBytes, open, REFUSED, readAll, scripted, startNode, startProxy, startRawNode, until } from './nodes.ts'

// Every failure is answered once, as JSON, and the gateway serves the next request.
async function assertAnswer(url: string, status: number, message: RegExp, options: object = {}): Promise<void> {
  const answer = await request(`${url}/`, options)
  assert.equal(answer.status, status)
  assert.match(answer.headers['content-type'] ?? '', /^application\/json/)
  const body = JSON.parse(answer.text)
  assert.deepEqual(Object.keys(body), ['error_msg'])
  assert.match(body.error_msg, message)
}

test('a node that refuses the connection: 502', async (t) => {
  const { url } = await startProxy(t, REFUSED)
  await assertAnswer(url, 502, /^the upstream failed: ECONNREFUSED$/)
  await assertAnswer(url, 502, /ECONNREFUSED/, { method: 'POST', body: 'x'.repeat(1_000_000) })
})

test('a node whose name is not found: 502', async (t) => {
  // No label of a name is longer than 63 characters: nobody has to be asked.
  const { url } = await startProxy(t, { nodes: { [`${'x'.repeat(64)}.invalid:80`]: 1 } })
  await assertAnswer(url, 502, /^the upstream failed: E/)
})

test('a node that resets the connection before it answers: 502', async (t) => {
  const node = await startRawNode(t, (socket) => socket.once('data', () => socket.resetAndDestroy()))
  const { url } = await startProxy(t, node.address)
  await assertAnswer(url, 502, /^the upstream failed: /)
})

test('a node that closes the connection before it answers: 502', async (t) => {
  const node = await startRawNode(t, (socket) => socket.once('data', () => socket.end()))
  const { url } = await startProxy(t, node.address)
  await assertAnswer(url, 502, /^the upstream failed: /)
})

const ODD_ANSWERS = {
  'no HTTP': 'SSH-2.0-OpenSSH_9.2\r\n',
  'half a head': 'HTTP/1.1 200 OK\r\nx-a: 1\r\n',
  'two lengths': 'HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab',
  'a control character in a header': 'HTTP/1.1 200 OK\r\nx-a: \x01\r\ncontent-length: 0\r\n\r\n',
  'a NUL in a header': 'HTTP/1.1 200 OK\r\nx-a: a\0b\r\ncontent-length: 0\r\n\r\n',
  'a deletion in a header': 'HTTP/1.1 200 OK\r\nx-a: a\x7fb\r\ncontent-length: 0\r\n\r\n',
  'a space in a header name': 'HTTP/1.1 200 OK\r\nx a: 1\r\ncontent-length: 0\r\n\r\n',
  'a status of 600': 'HTTP/1.1 600 Odd\r\ncontent-length: 0\r\n\r\n',
  'a status of 999': 'HTTP/1.1 999 Odd\r\ncontent-length: 3\r\n\r\nodd',
  'a status of 0': 'HTTP/1.1 000 Odd\r\ncontent-length: 0\r\n\r\n',
  'a status of four digits': 'HTTP/1.1 2000 Odd\r\ncontent-length: 0\r\n\r\n',
  'a switch of protocols that nobody asked for':
    'HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n',
  'an interim response and nothing after it': 'HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n',
  'a head without end': `HTTP/1.1 200 OK\r\n${'x-a: 1\r\n'.repeat(10_000)}`
}

for (const [what, bytes] of Object.entries(ODD_ANSWERS)) {
  test(`a node that answers ${what}: 502, once`, async (t) => {
    const node = await answerBytes(t, bytes)
    const { port, url } = await startProxy(t, node.address)
    await assertAnswer(url, 502, /^the upstream failed: /)
    // On one connection, to see that nothing stands behind the answer.
    const socket = open(
      t,
      port,
      'GET / HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n'
    )
    await new Promise((resolve) => socket.on('close', resolve))
    const heads = socket.received().match(/HTTP\/1\.1 \d+/g)
    assert.deepEqual(heads, ['HTTP/1.1 502', 'HTTP/1.1 502'])
  })
}

test('a node that breaks off between the head and the body: 502', async (t) => {
  const node = await answerBytes(t, 'HTTP/1.1 200 OK\r\nx-theirs: 1\r\ncontent-length: 10\r\n\r\n')
  const { url } = await startProxy(t, node.address)
  const answer = await request(`${url}/`).catch((error) => error)
  // Whichever comes first: the head on its way to the client, or the end of the connection.
  if (answer instanceof Error) return
  assert.equal(answer.status, 502)
  assert.match(JSON.parse(answer.text).error_msg, /^the upstream failed: /)
  assert.equal(answer.headers['x-theirs'], undefined)
})

for (const framing of ['content-length: 10\r\n\r\nhalf', 'transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n']) {
  test(`a node that dies in its body (${framing.split(':')[0]}) closes the client's connection`, async (t) => {
    const node = await startRawNode(t, (socket) => {
      socket.once('data', () => socket.write(`HTTP/1.1 200 OK\r\n${framing}`))
    })
    const { port } = await startProxy(t, node.address)
    const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await until(() => socket.received().includes('half'), 'the first half arrives')
    for (const connection of node.sockets) connection.destroy()
    await new Promise((resolve) => socket.once('close', resolve))
    assert.doesNotMatch(socket.received(), /half\r\n0\r\n/)
  })
}

test('a broken chunk in the body closes the client’s connection', async (t) => {
  const node = await answerBytes(t, 'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n', false)
  const { url } = await startProxy(t, node.address)
  const answer = await request(`${url}/`).catch((error) => error)
  assert.ok(answer instanceof Error || answer.status === 502)
})

test('a route without an upstream: 503', async (t) => {
  const { url } = await startProxy(t, REFUSED, {
    declare: (app) => {
      app.get('/bare', app.wasmGateway.proxy)
      app.get('/none', { config: { wasm: {} } }, app.wasmGateway.proxy)
    }
  })
  for (const path of ['/bare', '/none']) {
    const answer = await request(url + path)
    assert.equal(answer.status, 503)
    assert.match(JSON.parse(answer.text).error_msg, /^no upstream node is available: the route has no upstream/)
  }
})

test('an upstream without nodes, and one of which all weights are 0: 503', async (t) => {
  const none = await startProxy(t, { nodes: [] })
  await assertAnswer(none.url, 503, /^no upstream node is available: /)
  const zero = await startProxy(t, { nodes: { [REFUSED]: 0 } })
  await assertAnswer(zero.url, 503, /no node with a weight above 0/)
  await assertAnswer(zero.url, 503, /no node/, { method: 'POST', body: 'body' })
})

test('a refused upload leaves the connection to the client usable', async (t) => {
  const node = await startNode(t, (incoming, response) => readAll(incoming).then((body) => response.end(body)))
  const { port } = await startProxy(t, REFUSED, {
    declare: (app) => {
      const wasm = { upstream: { nodes: { [node.address]: 1 } } }
      app.post('/echo', { config: { wasm } }, app.wasmGateway.proxy)
    }
  })
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.setEncoding('latin1').on('data', (text) => {
    received += text
  })
  t.after(() => socket.destroy())
  const body = 'x'.repeat(3_000_000)
  socket.write(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${body.length}\r\n\r\n${body}`)
  socket.write('POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\nconnection: close\r\n\r\nsecond')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(received, /^HTTP\/1\.1 502 /)
  assert.match(received, /HTTP\/1\.1 200 OK\r\n.*second$/s)
})

test('OPTIONS * and a filter that asks for CONNECT are answered, and nothing hangs', async (t) => {
  const node = await startNode(t, (_incoming, response) => response.end())
  const set = { op: 'set', map: 'request', name: ':method', value: 'CONNECT' }
  const { url, port } = await startProxy(t, node.address, scripted({ request_headers: [set] }))
  await assertAnswer(url, 502, /^the upstream failed: /)
  const socket = open(t, port, 'OPTIONS * HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /^HTTP\/1\.1 (502|404) /)
})

test('an upgrade that a node agrees to is answered with 502', async (t) => {
  const node = await answerBytes(t, 'HTTP/1.1 200 OK\r\n\r\n')
  const set = { op: 'set', map: 'request', name: ':method', value: 'CONNECT' }
  const { url } = await startProxy(t, node.address, scripted({ request_headers: [set] }))
  await assertAnswer(url, 502, /^the upstream failed: it opened a tunnel/)
})

test('a node that dies while a filter holds the head of its response: 502', async (t) => {
  const node = await startRawNode(t, (socket) => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 200 OK\r\nx-theirs: 1\r\ncontent-length: 10\r\n\r\nhalf')
      setTimeout(() => socket.resetAndDestroy(), 50)
    })
  })
  const slow = await startNode(t, (_incoming, response) => void setTimeout(() => response.end(), 200))
  const then = [{ op: 'continue', stream: 'response' }]
  const call = { op: 'call', upstream: slow.address, headers: [[':path', '/']], timeout: 5000, then }
  const { url } = await startProxy(t, node.address, scripted({ response_headers: [call, { op: 'pause' }] }))
  await assertAnswer(url, 502, /^the upstream failed: /)
})

test('a filter that answers in place of the node closes the connection of the body that nobody wants', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write('endless'))
  const reply = { op: 'reply', status: 418, headers: [], body: 'mine' }
  const { url } = await startProxy(t, node.address, scripted({ response_headers: [reply] }))
  const answer = await request(url)
  assert.deepEqual([answer.status, answer.text], [418, 'mine'])
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})
