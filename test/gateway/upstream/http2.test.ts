import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  type ClientHttp2Session,
  connect,
  constants,
  type IncomingHttpHeaders,
  type OutgoingHttpHeaders
} from 'node:http2'
import { type TestContext, test } from 'node:test'
import {
  answerBytes,
  REFUSED,
  readAll,
  scripted,
  startNode,
  startProxy,
  startRecorder,
  until,
  valuesOf
} from './nodes.ts'

/** The application speaks HTTP/2, without TLS. */
const SERVER = { http2: true } as object

function open(t: TestContext, url: string): ClientHttp2Session {
  const session = connect(url)
  t.after(() => session.destroy())
  return session
}

interface Answer {
  headers: IncomingHttpHeaders & { ':status'?: number }
  trailers: IncomingHttpHeaders | undefined
  body: Buffer
}

async function send(session: ClientHttp2Session, headers: OutgoingHttpHeaders, body?: Buffer): Promise<Answer> {
  const stream = session.request(headers, { endStream: body === undefined })
  let trailers: IncomingHttpHeaders | undefined
  stream.on('trailers', (received) => {
    trailers = received
  })
  const responded = once(stream, 'response')
  if (body !== undefined) stream.end(body)
  const [received] = await responded
  const bytes = await readAll(stream)
  return { headers: received, trailers, body: bytes }
}

test('a request and a response pass between HTTP/2 and HTTP/1', async (t) => {
  const node = await startNode(t, async (incoming, response) => {
    response.writeHead(201, { 'x-node': '1', 'set-cookie': ['a=1', 'b=2'], connection: 'x-hop', 'x-hop': '1' })
    response.end(Buffer.concat([Buffer.from(`${incoming.method} ${incoming.url} `), await readAll(incoming)]))
  })
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const session = open(t, url)
  const body = randomBytes(200_000)
  const { headers, body: received } = await send(session, { ':method': 'POST', ':path': '//a?b' }, body)
  assert.equal(headers[':status'], 201)
  assert.deepEqual([headers['x-node'], headers['set-cookie'], headers['x-hop']], ['1', ['a=1', 'b=2'], undefined])
  assert.ok(received.equals(Buffer.concat([Buffer.from('POST //a?b '), body])))
})

test('the node is sent host for :authority, no pseudo-header, and cookies in one header', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const session = open(t, url)
  await send(session, {
    ':path': '/x',
    ':authority': 'shop.example:81',
    cookie: ['a=1', 'b=2'],
    'x-a': ['1', '2'],
    te: 'trailers'
  })
  const [seen] = node.seen
  assert.equal(seen!.headers.host, 'shop.example:81')
  assert.deepEqual(valuesOf(seen!.rawHeaders, 'cookie'), ['a=1; b=2'])
  assert.deepEqual(valuesOf(seen!.rawHeaders, 'x-a'), ['1', '2'])
  assert.equal(seen!.headers.te, undefined)
  assert.equal(seen!.rawHeaders.filter((name) => name.startsWith(':')).length, 0)
})

test('an upload without a length is sent chunked, and one with a length keeps it', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const session = open(t, url)
  await send(session, { ':method': 'POST' }, Buffer.from('body'))
  await send(session, { ':method': 'POST', 'content-length': 4 }, Buffer.from('body'))
  await send(session, { ':method': 'POST' })
  assert.deepEqual(
    node.seen.map(({ headers, body }) => [headers['transfer-encoding'], headers['content-length'], body.toString()]),
    [
      ['chunked', undefined, 'body'],
      [undefined, '4', 'body'],
      [undefined, '0', '']
    ]
  )
})

test('trailers of the node arrive at an HTTP/2 client', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-t\r\n\r\n4\r\nbody\r\n0\r\nX-T: 1\r\nx-u: 2\r\n\r\n'
  )
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const { trailers, body, headers } = await send(open(t, url), {})
  assert.equal(body.toString(), 'body')
  assert.deepEqual([trailers?.['x-t'], trailers?.['x-u']], ['1', '2'])
  assert.equal(headers.trailer, undefined)
})

for (const status of [204, 304]) {
  test(`HEAD and ${status} pass to an HTTP/2 client`, async (t) => {
    const node = await startNode(t, (incoming, response) => {
      if (incoming.method === 'HEAD') response.writeHead(200, { 'content-length': 12 }).end()
      else response.writeHead(status, { etag: '"1"' }).end()
    })
    const { url } = await startProxy(t, node.address, { server: SERVER })
    const session = open(t, url)
    const bodyless = await send(session, {})
    assert.deepEqual([bodyless.headers[':status'], bodyless.headers.etag, bodyless.body.length], [status, '"1"', 0])
    const head = await send(session, { ':method': 'HEAD' })
    assert.deepEqual([head.headers[':status'], head.headers['content-length'], head.body.length], [200, '12', 0])
  })
}

test('a failure is answered to an HTTP/2 client too', async (t) => {
  const { url } = await startProxy(t, REFUSED, { server: SERVER })
  const session = open(t, url)
  const { headers, body } = await send(session, { ':method': 'POST' }, Buffer.from('body'))
  assert.equal(headers[':status'], 502)
  assert.deepEqual(JSON.parse(body.toString()), { error_msg: 'the upstream failed: ECONNREFUSED' })
})

test('the head of an HTTP/2 response arrives before its body', async (t) => {
  const node = await startNode(t, (_incoming, response) => response.writeHead(200).flushHeaders())
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const stream = open(t, url).request({})
  const [headers] = await once(stream, 'response')
  assert.equal(headers[':status'], 200)
  stream.close(constants.NGHTTP2_CANCEL)
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('an HTTP/2 client that cancels its stream closes the connection to the node', async (t) => {
  let requests = 0
  const node = await startNode(t, (incoming) => {
    incoming.on('data', () => {})
    requests++
  })
  const { url } = await startProxy(t, node.address, { server: SERVER, ...scripted({ request_headers: [] }) })
  const session = open(t, url)
  const waiting = session.request({})
  await until(() => requests === 1, 'the node has the request')
  waiting.close(constants.NGHTTP2_CANCEL)
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')

  const uploading = session.request({ ':method': 'POST' })
  uploading.on('error', () => {}).write('begin')
  await until(() => requests === 2, 'the node has the upload')
  uploading.close(constants.NGHTTP2_CANCEL)
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a node that dies in its body resets the HTTP/2 stream, and the session goes on', async (t) => {
  const node = await startNode(t, (incoming, response) => {
    if (incoming.url === '/next') return response.end('next')
    response.write('half')
    return setTimeout(() => response.destroy(), 20)
  })
  const { url } = await startProxy(t, node.address, { server: SERVER })
  const session = open(t, url)
  await assert.rejects(send(session, { ':path': '/' }))
  const { body } = await send(session, { ':path': '/next' })
  assert.equal(body.toString(), 'next')
})
