import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { request } from '../../http.ts'
import { answerBytes, open, readAll, startNode, startProxy, startRecorder, until } from './nodes.ts'

const binary = randomBytes(300_000)

for (const framing of ['content-length', 'transfer-encoding'] as const) {
  test(`random bytes pass both ways unchanged, framed by ${framing}`, async (t) => {
    const node = await startNode(t, async (incoming, response) => {
      const body = await readAll(incoming)
      if (framing === 'content-length') response.setHeader('content-length', body.length)
      response.setHeader('x-framing', incoming.headers[framing] ?? 'none')
      response.write(body)
      response.end()
    })
    const { url } = await startProxy(t, node.address)
    const value = framing === 'content-length' ? binary.length : 'chunked'
    const answer = await request(url, { method: 'POST', body: binary, headers: { [framing]: value } })
    assert.ok(answer.body.equals(binary))
    assert.equal(answer.headers['x-framing'], String(value))
    assert.equal(answer.headers[framing], String(value))
  })
}

test('an empty body passes, and a POST without any says a length of 0', async (t) => {
  const node = await startRecorder(t)
  const { port } = await startProxy(t, node.address)
  for (const framing of ['content-length: 0\r\n\r\n', 'transfer-encoding: chunked\r\n\r\n0\r\n\r\n', '\r\n']) {
    const socket = open(t, port, `POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n${framing}`)
    await new Promise((resolve) => socket.once('close', resolve))
    assert.match(socket.received(), /^HTTP\/1\.1 200 OK/)
  }
  assert.deepEqual(
    node.seen.map(({ body, headers }) => [body.length, headers['content-length'], headers['transfer-encoding']]),
    Array(3).fill([0, '0', undefined])
  )
})

test('a GET without a body is sent without framing', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address)
  await request(url)
  assert.equal(node.seen[0]!.headers['content-length'], undefined)
  assert.equal(node.seen[0]!.headers['transfer-encoding'], undefined)
})

test('a GET and a DELETE with a body have it forwarded', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address)
  for (const method of ['GET', 'DELETE']) {
    await request(url, { method, body: 'query', headers: { 'content-length': 5 } })
    await request(url, { method, body: 'query', headers: { 'transfer-encoding': 'chunked' } })
  }
  assert.deepEqual(
    node.seen.map(({ method, body }) => `${method} ${body}`),
    ['GET query', 'GET query', 'DELETE query', 'DELETE query']
  )
})

test('a body passes whatever its content-type says', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address)
  const types = ['no type', '', 'application/json', 'application/json; charset="', 'text/plain', 'multipart/form-data']
  for (const type of types) {
    const { status } = await request(url, { method: 'POST', body: '{ no json', headers: { 'content-type': type } })
    assert.equal(status, 200, type)
  }
  assert.deepEqual(
    node.seen.map(({ body, headers }) => [body.toString(), headers['content-type']]),
    types.map((type) => ['{ no json', type])
  )
})

test('JSON passes as the text that it is, also past the limit that a parser would have', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address)
  const body = `{ "a" : 1.0,\n\t"a" : "\\u0041", "big":"${'x'.repeat(3 * 1024 * 1024)}" }\n`
  const headers = { 'content-type': 'application/json; charset=UTF-8', 'content-length': body.length }
  const { status } = await request(url, { method: 'POST', body, headers })
  assert.equal(status, 200)
  assert.equal(node.seen[0]!.body.toString(), body)
  assert.equal(node.seen[0]!.headers['content-type'], 'application/json; charset=UTF-8')
  assert.equal(node.seen[0]!.headers['content-length'], String(body.length))
})

test('a compressed body is not touched', async (t) => {
  const node = await startNode(t, async (incoming, response) => {
    response.setHeader('content-encoding', 'gzip')
    response.end(await readAll(incoming))
  })
  const { url } = await startProxy(t, node.address)
  const headers = { 'content-encoding': 'gzip', 'content-length': binary.length }
  const answer = await request(url, { method: 'PUT', body: binary, headers })
  assert.equal(answer.headers['content-encoding'], 'gzip')
  assert.ok(answer.body.equals(binary))
})

test('HEAD keeps the length of the body that a GET would have', async (t) => {
  const node = await startNode(t, (incoming, response) => {
    response.setHeader('x-method', incoming.method!)
    response.setHeader('content-length', 1234)
    response.end()
  })
  const { url } = await startProxy(t, node.address)
  const answer = await request(url, { method: 'HEAD' })
  assert.equal(answer.status, 200)
  assert.equal(answer.headers['x-method'], 'HEAD')
  assert.equal(answer.headers['content-length'], '1234')
  assert.equal(answer.body.length, 0)
})

for (const status of [204, 304]) {
  test(`${status} passes without a body`, async (t) => {
    const node = await startNode(t, (_incoming, response) => {
      response.writeHead(status, { etag: '"1"' })
      response.end()
    })
    const { url } = await startProxy(t, node.address)
    const answer = await request(url)
    assert.equal(answer.status, status)
    assert.equal(answer.headers.etag, '"1"')
    assert.equal(answer.headers['transfer-encoding'], undefined)
    assert.equal(answer.body.length, 0)
  })
}

for (const status of [200, 201, 206, 301, 404, 418, 500, 503, 599]) {
  test(`the status ${status} and the body with it pass, sent for once`, async (t) => {
    let requests = 0
    const node = await startNode(t, (_incoming, response) => {
      requests++
      response.writeHead(status, { 'retry-after': '1', location: '/elsewhere' })
      response.end('body')
    })
    const { url } = await startProxy(t, node.address)
    const answer = await request(url)
    assert.deepEqual([answer.status, answer.text, answer.headers.location], [status, 'body', '/elsewhere'])
    assert.equal(requests, 1)
  })
}

test('a body that ends with the connection arrives whole', async (t) => {
  const node = await startNode(t, (_incoming, response) => {
    response.useChunkedEncodingByDefault = false
    response.writeHead(200, { connection: 'close' })
    response.write(binary)
    response.end()
  })
  const { url } = await startProxy(t, node.address)
  assert.ok((await request(url)).body.equals(binary))
})

test('a node that answers while the upload is still running: the client gets the answer', async (t) => {
  const node = await startNode(t, (_incoming, response) => {
    response.writeHead(413, { connection: 'close' })
    response.end('too much')
  })
  const { url } = await startProxy(t, node.address)
  const body = Buffer.alloc(20_000_000)
  for (let i = 0; i < 3; i++) {
    const answer = await request(url, { method: 'POST', body, headers: { 'content-length': body.length } })
    assert.deepEqual([answer.status, answer.text], [413, 'too much'])
  }
})

test('after an early answer the client’s connection serves the next request', async (t) => {
  const node = await startNode(t, (incoming, response) => {
    if (incoming.url === '/next') return response.end('next')
    response.writeHead(413)
    return response.end('too much')
  })
  const { port } = await startProxy(t, node.address)
  const socket = open(t, port, 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 400000\r\n\r\n')
  socket.write('x'.repeat(100_000))
  await until(() => socket.received().includes('too much'), 'the answer is there')
  socket.write('x'.repeat(300_000))
  socket.write('GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(socket.received(), /^HTTP\/1\.1 413 .*HTTP\/1\.1 200 OK\r\n.*next$/s)
})

test('a 304 keeps the length that the body of a 200 would have', async (t) => {
  const node = await answerBytes(t, 'HTTP/1.1 304 Not Modified\r\netag: "1"\r\ncontent-length: 1234\r\n\r\n', false)
  const { url, lines } = await startProxy(t, node.address)
  for (let i = 0; i < 3; i++) {
    const answer = await request(url)
    assert.deepEqual([answer.status, answer.headers.etag, answer.body.length], [304, '"1"', 0])
  }
  assert.deepEqual(
    lines.filter(({ level }) => level > 30),
    []
  )
})
