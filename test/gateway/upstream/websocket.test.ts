import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createServer, type IncomingMessage } from 'node:http'
import { createServer as createSecureServer } from 'node:https'
import { type Duplex, Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { WebSocket } from 'undici'
import type { Route, WasmGatewayOptions } from '../../../lib/index.ts'
import { startApp } from '../../app.ts'
import { request } from '../../http.ts'
import { say, scripted } from '../script.ts'
import { certificate } from './certificate.ts'
import { type Node, open, REFUSED, startNode, startRawNode, until } from './nodes.ts'

interface Echo extends Node {
  /** The requests for websockets that it got. */
  requests: IncomingMessage[]
  tunnels: Set<Duplex>
}

/** Agrees to websockets and sends back what it is sent; answers other requests with their url. */
async function startEcho(t: TestContext, server = createServer()): Promise<Echo> {
  const requests: IncomingMessage[] = []
  const tunnels = new Set<Duplex>()
  server.on('upgrade', (request, socket) => {
    requests.push(request)
    tunnels.add(socket)
    socket.on('close', () => tunnels.delete(socket))
    socket.on('error', () => {})
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Node: echo\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n` +
        `Sec-WebSocket-Accept: ${accept(request.headers['sec-websocket-key'] as string)}\r\n\r\n`
    )
    socket.pipe(socket)
  })
  const node = await startNode(t, (request, response) => response.end(`plain ${request.url}`), server)
  return { ...node, requests, tunnels }
}

const accept = (key: string) => createHash('sha1').update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64')

const handshake = (path: string, more: string = '') =>
  `GET ${path} HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
  `Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n${more}\r\n`

function start(t: TestContext, route: Partial<Route>, options: Partial<WasmGatewayOptions> = {}) {
  return startApp(t, { routes: [{ id: 1, uri: '/*', enable_websocket: true, ...route }], ...options }, () => {})
}

test('bytes pass both ways, those that came with the handshake first, until one side closes', async (t) => {
  const node = await startEcho(t)
  const { port, app } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const client = open(t, port, `${handshake('/chat?x=1')}early`)
  await until(() => client.received().endsWith('early'), 'what was sent early is echoed')
  const head = client.received().split('\r\n\r\n')[0]!
  assert.match(head, /^HTTP\/1\.1 101 Switching Protocols\r\n/)
  assert.match(head, /x-node: echo/)
  assert.match(head, /set-cookie: a=1\r\nset-cookie: b=2/)
  assert.match(head, /sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/)
  const [seen] = node.requests
  assert.deepEqual([seen!.url, seen!.headers.host, seen!.headers.upgrade], ['/chat?x=1', 'gateway.test', 'websocket'])
  client.write('more')
  await until(() => client.received().endsWith('earlymore'), 'more is echoed')
  assert.equal(app.wasmGateway.status().upstreams[0]!.nodes[0]!.requests, 1)
  client.end()
  await until(() => node.tunnels.size === 0 && client.destroyed, 'both sides are closed')
  await until(() => app.wasmGateway.status().upstreams[0]!.nodes[0]!.requests === 0, 'nothing is under way')
})

test('when the node closes the client is told', async (t) => {
  const node = await startEcho(t)
  const { port } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const client = open(t, port, `${handshake('/')}x`)
  await until(() => client.received().endsWith('x'), 'it is open')
  for (const tunnel of node.tunnels) tunnel.destroy()
  await until(() => client.destroyed, 'the client’s connection is closed')
})

test('a client that ends its side ends the websocket, whatever the node does', async (t) => {
  const server = createServer()
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => {})
    const key = accept(request.headers['sec-websocket-key'] as string)
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${key}\r\n\r\n`
    )
    socket.resume()
  })
  const node = await startNode(t, () => {}, server)
  const { app, port } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const client = open(t, port, handshake('/'))
  await until(() => client.received().includes('101'), 'it is open')
  client.end('bye')
  await until(() => app.wasmGateway.status().upstreams[0]!.nodes[0]!.requests === 0, 'nothing is under way')
  await until(() => client.destroyed, 'both sides are closed')
})

test('a client that speaks the protocol talks to a node through the gateway', async (t) => {
  const server = createServer()
  server.on('upgrade', (request, socket) => {
    socket.on('error', () => {})
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Accept: ${accept(request.headers['sec-websocket-key'] as string)}\r\n\r\n`
    )
    // One text frame.
    socket.write(Buffer.concat([Buffer.from([0x81, 5]), Buffer.from('hello')]))
  })
  const node = await startNode(t, () => {}, server)
  const { port } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const socket = new WebSocket(`ws://127.0.0.1:${port}/`)
  const message = await new Promise((resolve, reject) => {
    socket.onmessage = ({ data }) => resolve(data)
    socket.onerror = ({ message }) => reject(new Error(message))
  })
  assert.equal(message, 'hello')
  socket.close()
})

test('filters see the request and may change or refuse it, and see the head of the answer', async (t) => {
  const node = await startEcho(t)
  const conf = {
    request_headers: [
      { op: 'get', map: 'request', name: 'upgrade' },
      { op: 'set', map: 'request', name: 'x-user', value: 'me' },
      { op: 'set', map: 'request', name: ':path', value: '/other' },
      {
        op: 'if_header',
        map: 'request',
        name: 'x-refuse',
        value: '1',
        steps: [{ op: 'reply', status: 403, body: 'no' }, { op: 'pause' }]
      }
    ],
    response_headers: [
      { op: 'get', map: 'response', name: ':status' },
      { op: 'set', map: 'response', name: 'x-filter', value: 'seen' }
    ],
    log: [say('it is over')]
  }
  const options = { plugins: scripted('a') }
  const route = { plugins: { a: { conf } }, upstream: { nodes: { [node.address]: 1 } } }
  const { port, filterLog } = await start(t, route, options)
  const client = open(t, port, `${handshake('/chat')}x`)
  await until(() => client.received().endsWith('\r\n\r\nx'), 'it is open')
  assert.match(client.received(), /x-filter: seen/)
  assert.deepEqual([node.requests[0]!.url, node.requests[0]!.headers['x-user']], ['/other', 'me'])
  assert.deepEqual(filterLog(), ['request upgrade=websocket', 'response :status=101'])
  client.destroy()
  await until(() => filterLog().includes('it is over'), 'the filter is told of the end')

  const refused = open(t, port, handshake('/chat', 'X-Refuse: 1\r\n'))
  await until(() => refused.destroyed, 'the connection is closed behind the answer')
  assert.match(refused.received(), /^HTTP\/1\.1 403 [\s\S]*\r\n\r\nno$/)
  assert.equal(node.requests.length, 1)
})

test('a filter may answer in place of the node’s agreement', async (t) => {
  const node = await startEcho(t)
  const conf = { response_headers: [{ op: 'reply', status: 418, body: 'tea' }] }
  const route = { plugins: { a: { conf } }, upstream: { nodes: { [node.address]: 1 } } }
  const { port } = await start(t, route, { plugins: scripted('a') })
  const client = open(t, port, handshake('/'))
  await until(() => client.destroyed, 'it is answered')
  assert.match(client.received(), /^HTTP\/1\.1 418 [\s\S]*\r\n\r\ntea$/)
  await until(() => node.tunnels.size === 0, 'the node’s connection is closed')
})

test('what a node answers otherwise is a response like others', async (t) => {
  const node = await startNode(t, (_request, response) => {
    response.writeHead(401, { 'x-why': 'who' })
    response.end('go away')
  })
  const { port } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const client = open(t, port, handshake('/'))
  await until(() => client.destroyed, 'it is answered')
  assert.match(client.received(), /^HTTP\/1\.1 401 [\s\S]*x-why: who[\s\S]*\r\n\r\n[\s\S]*go away/)
})

test('a node that refuses is passed over; when all do, or none answers in time, the client is told', async (t) => {
  const node = await startEcho(t)
  const { port } = await start(t, { upstream: { nodes: { [REFUSED]: 10, [node.address]: 1 } } })
  const client = open(t, port, `${handshake('/')}x`)
  await until(() => client.received().endsWith('\r\n\r\nx'), 'it is open')
  const refused = await start(t, { upstream: { nodes: { [REFUSED]: 1 } } })
  const second = open(t, refused.port, handshake('/'))
  await until(() => second.destroyed, 'it is answered')
  assert.match(second.received(), /^HTTP\/1\.1 502 [\s\S]*ECONNREFUSED/)
  const silent = await startRawNode(t, () => {})
  const timeout = { connect: 1, send: 1, read: 0.2 }
  const slow = await start(t, { upstream: { nodes: { [silent.address]: 1 }, timeout } })
  const third = open(t, slow.port, handshake('/'))
  await until(() => third.destroyed, 'it is answered')
  assert.match(third.received(), /^HTTP\/1\.1 504 /)
})

test('without enable_websocket, and with another protocol, the request is forwarded as an ordinary one', async (t) => {
  const node = await startEcho(t)
  const upstream = { nodes: { [node.address]: 1 } }
  const routes = [
    { id: 1, uri: '/plain', upstream },
    { id: 2, uri: '/ws', upstream, enable_websocket: true }
  ]
  const { port, url } = await startApp(t, { routes }, (app) => {
    app.get('/own', async () => 'own')
  })
  const answerTo = async (bytes: string) => {
    const client = open(t, port, bytes)
    await until(() => client.destroyed, 'it is answered')
    return client.received()
  }
  assert.match(await answerTo(handshake('/plain')), /^HTTP\/1\.1 200 [\s\S]*plain \/plain/)
  const other = handshake('/ws').replace('websocket', 'h2c').replace('Upgrade\r\n', 'Upgrade, close\r\n')
  assert.match(await answerTo(other), /^HTTP\/1\.1 200 [\s\S]*plain \/ws/)
  assert.match(await answerTo(handshake('/own')), /^HTTP\/1\.1 200 [\s\S]*own/)
  assert.match(await answerTo(handshake('/nowhere')), /^HTTP\/1\.1 404 /)
  assert.equal((await request(`${url}/ws`)).text, 'plain /ws')
  assert.equal(node.requests.length, 0)
})

test('a service says enable_websocket for its routes, and so does config.wasm of a route of the application', async (t) => {
  const node = await startEcho(t)
  const upstream = { nodes: { [node.address]: 1 } }
  const services = [{ id: 's', upstream, enable_websocket: true }]
  const { port } = await startApp(t, { services, routes: [{ id: 1, uri: '/a', service_id: 's' }] }, (app) => {
    app.get('/b', { config: { wasm: { upstream, enable_websocket: true } } }, app.wasmGateway.proxy)
  })
  for (const path of ['/a', '/b']) {
    const client = open(t, port, `${handshake(path)}x`)
    await until(() => client.received().endsWith('\r\n\r\nx'), `${path} is open`)
  }
})

test('a reload lets websockets go on, and begins or ends to take them', async (t) => {
  const node = await startEcho(t)
  const options = (enable_websocket: boolean) => ({
    routes: [{ id: 1, uri: '/*', upstream: { nodes: { [node.address]: 1 } }, enable_websocket }]
  })
  const { app, port } = await startApp(t, options(false), () => {})
  await app.wasmGateway.reload(options(true))
  const client = open(t, port, `${handshake('/')}x`)
  await until(() => client.received().endsWith('\r\n\r\nx'), 'it is open')
  await app.wasmGateway.reload(options(false))
  client.write('y')
  await until(() => client.received().endsWith('xy'), 'it goes on')
  const other = open(t, port, handshake('/'))
  await until(() => other.received().includes('plain /'), 'it is answered as an ordinary request')
})

test('an application that closes ends its websockets', async (t) => {
  const node = await startEcho(t)
  const { app, port } = await start(t, { upstream: { nodes: { [node.address]: 1 } } })
  const client = open(t, port, `${handshake('/')}x`)
  await until(() => client.received().endsWith('\r\n\r\nx'), 'it is open')
  await app.close()
  await until(() => client.destroyed && node.tunnels.size === 0, 'both sides are closed')
})

test('a websocket to a node of https is a connection of TLS, verified as others', async (t) => {
  const node = await startEcho(t, createSecureServer(certificate) as never)
  const upstream = { scheme: 'https' as const, nodes: { [node.address]: 1 } }
  const { port } = await start(t, { upstream: { ...upstream, tls: { verify: false } } })
  const client = open(t, port, `${handshake('/')}x`)
  await until(() => client.received().endsWith('\r\n\r\nx'), 'it is open')
  const verified = await start(t, { upstream })
  const refused = open(t, verified.port, handshake('/'))
  await until(() => refused.destroyed, 'it is answered')
  assert.match(refused.received(), /^HTTP\/1\.1 502 /)
})

/** Echoes bodies, is long under `/long`, and says nothing under `/silent`. */
function startPlain(t: TestContext): Promise<Node> {
  return startNode(t, (incoming, response) => {
    if (incoming.url!.endsWith('/silent')) return
    if (incoming.url!.endsWith('/long')) response.end(Buffer.alloc(LONG, 'x'))
    else incoming.pipe(response)
  })
}

const LONG = 8 * 1024 * 1024

for (const [what, framing, body] of [
  ['a length', 'Content-Length: 11', 'hello=world'],
  ['chunks', 'Transfer-Encoding: chunked', '5\r\nhello\r\n6\r\n=world\r\n0\r\n\r\n']
] as const) {
  for (const upgrade of ['h2c', 'websocket']) {
    test(`a request with a body, by ${what}, that offers ${upgrade} is one like others, and the connection stays`, async (t) => {
      const node = await startPlain(t)
      const { port } = await startApp(
        t,
        {
          routes: [
            { id: 1, uri: '/w', enable_websocket: true, upstream: { nodes: { [node.address]: 1 } } },
            { id: 2, uri: '/p', upstream: { nodes: { [node.address]: 1 } } }
          ]
        },
        (app) => {
          app.addContentTypeParser('text/plain', { parseAs: 'string' }, (_request, body, done) => done(null, body))
          app.post('/own', async ({ body, headers }) => `${body} ${headers.upgrade} ${headers.connection}`)
        }
      )
      const offer = `Connection: Upgrade, x-a\r\nUpgrade: ${upgrade}\r\nContent-Type: text/plain\r\n${framing}\r\n`
      for (const path of ['/w', '/p', '/own']) {
        const client = open(t, port, `POST ${path} HTTP/1.1\r\nHost: gateway.test\r\n${offer}\r\n${body}`)
        await until(() => client.received().includes('hello=world'), `${path} is answered`)
        assert.match(client.received(), /^HTTP\/1\.1 200 /)
        // Where Node keeps the request it says what the client did.
        if (path === '/own') assert.match(client.received(), new RegExp(`hello=world ${upgrade} (Upgrade, )?x-a$`))
        client.write('GET /p HTTP/1.1\r\nHost: gateway.test\r\nConnection: close\r\n\r\n')
        await until(() => client.destroyed, 'the next request on the connection is answered')
        assert.equal(client.received().match(/HTTP\/1\.1 200 /g)!.length, 2)
      }
    })
  }
}

for (const upgrade of ['h2c', 'websocket']) {
  test(`a long response to a request that offers ${upgrade} arrives whole, on any route`, async (t) => {
    const node = await startPlain(t)
    const routes = [
      { id: 1, uri: '/w/*', enable_websocket: true, upstream: { nodes: { [node.address]: 1 } } },
      { id: 2, uri: '/p/*', upstream: { nodes: { [node.address]: 1 } } }
    ]
    const { port, app } = await startApp(t, { routes }, (app) => {
      app.get('/own', async () =>
        Readable.from(
          (function* () {
            for (let i = 0; i < 128; i++) yield Buffer.alloc(65536, 'x')
          })()
        )
      )
    })
    for (const path of ['/w/long', '/p/long', '/own']) {
      const client = open(t, port, handshake(path).replace('Upgrade: websocket', `Upgrade: ${upgrade}`))
      await until(() => client.received().length > LONG, `${path} arrives`)
      client.destroy()
    }
    const left = open(t, port, handshake('/p/long').replace('Upgrade: websocket', `Upgrade: ${upgrade}`))
    left.pause()
    await until(() => app.wasmGateway.status().upstreams.length >= 0, 'it is under way')
    left.destroy()
  })
}

test('a client that leaves before its websocket is agreed to is noticed, also when it only ends its side', async (t) => {
  const node = await startPlain(t)
  const { port, app } = await start(t, { upstream_id: 'u' }, { upstreams: [{ id: 'u', nodes: { [node.address]: 1 } }] })
  const underWay = () => app.wasmGateway.status().upstreams[0]!.nodes[0]!.requests
  for (const leave of ['end', 'destroy'] as const) {
    const client = open(t, port, `${handshake('/silent')}early`)
    await until(() => underWay() === 1, 'the node is asked')
    client[leave]()
    await until(() => underWay() === 0, `${leave}: nothing is under way`)
  }
})

test('a request for a websocket, or with another offer, waits for the responses before it on its connection', async (t) => {
  const node = await startEcho(t)
  const upstream = { nodes: { [node.address]: 1 } }
  const { port } = await startApp(t, { routes: [{ id: 1, uri: '/ws', upstream, enable_websocket: true }] }, (app) => {
    app.get('/slow', async () => {
      await new Promise((resolve) => setTimeout(resolve, 50))
      return 'slow'
    })
  })
  const slow = 'GET /slow HTTP/1.1\r\nHost: a\r\n\r\n'
  const client = open(t, port, `${slow}${handshake('/ws')}early`)
  await until(() => client.received().endsWith('early'), 'it is echoed')
  assert.match(client.received(), /^HTTP\/1\.1 200 [\s\S]*slowHTTP\/1\.1 101 /)
  const other = open(t, port, slow + handshake('/ws').replace('websocket', 'h2c') + slow)
  await until(() => other.received().match(/HTTP\/1\.1 200 /g)?.length === 3, 'all three are answered')
  assert.match(other.received(), /slow[\s\S]*plain \/ws[\s\S]*slow$/)
  const left = open(t, port, slow + handshake('/ws'))
  await new Promise((resolve) => setTimeout(resolve, 10))
  left.destroy()
})
