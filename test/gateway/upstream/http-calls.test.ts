import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { WasmGatewayOptions } from '../../../lib/index.ts'
import { fixture, startApp, type TestApp } from '../../app.ts'
import { request } from '../../http.ts'
import { answerBytes, open, REFUSED, startNode, startRawNode, startRecorder, until, valuesOf } from './nodes.ts'

const GET = [
  [':method', 'GET'],
  [':path', '/'],
  [':authority', 'a']
]
/** What the answer was, as lines of the log. */
const SHOW = [
  { op: 'callback' },
  { op: 'get', map: 'call', name: ':status' },
  { op: 'body', of: 'call' },
  { op: 'continue', stream: 'request' }
]

/** Starts an application with a route whose filter sends calls and waits for them. */
function startCaller(t: TestContext, calls: object[], options: WasmGatewayOptions = {}): Promise<TestApp> {
  const steps = calls.map((call) => ({ op: 'call', headers: GET, ...call }))
  const plugins = [{ name: 'script', file: fixture('script-go') }]
  return startApp(t, { ...options, plugins }, (app) => {
    const conf = { request_headers: [...steps, { op: 'pause' }], call: SHOW }
    app.get('/', { config: { wasm: { plugins: { script: { conf } } } } }, () => 'done')
  })
}

const answered = (lines: string[]) => lines.filter((line) => !line.startsWith('call ctx='))

test('a call goes to host:port, and the filter sees status and body', async (t) => {
  const node = await startRecorder(t)
  const { url, filterLog } = await startCaller(t, [{ upstream: node.address }])
  assert.equal((await request(url)).text, 'done')
  assert.deepEqual(answered(filterLog()), ['call :status=200', `call body=${node.address}`])
})

test('C-204 method, path, headers and body arrive exactly', async (t) => {
  const node = await startRecorder(t)
  const headers = [
    [':method', 'PATCH'],
    [':path', '//a?b=%2F&c'],
    [':authority', 'some.example:81'],
    ['X-Mixed', '1'],
    ['x-twice', 'a'],
    ['x-twice', 'b'],
    ['content-length', '99'],
    ['connection', 'x-hop'],
    ['x-hop', '1'],
    ['te', 'trailers']
  ]
  const { url } = await startCaller(t, [{ upstream: node.address, headers, body: '{ "a" : 1 }\n' }])
  await request(url)
  const [seen] = node.seen
  assert.deepEqual([seen!.method, seen!.url, seen!.body.toString()], ['PATCH', '//a?b=%2F&c', '{ "a" : 1 }\n'])
  const sent = ['host', 'some.example:81', 'connection', 'keep-alive', 'x-mixed', '1', 'x-twice', 'a', 'x-twice', 'b']
  assert.deepEqual(seen!.rawHeaders, [...sent, 'content-length', '12'])
})

test('host serves for :authority, GET for the method and / for the path', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startCaller(t, [{ upstream: node.address, headers: [['host', 'said.example']] }])
  await request(url)
  const [seen] = node.seen
  assert.deepEqual([seen!.method, seen!.url, seen!.headers.host], ['GET', '/', 'said.example'])
})

test('without an authority the node is sent its own', async (t) => {
  const node = await startRecorder(t)
  const upstreams = [{ id: 'by-id', nodes: { [node.address]: 1 } }]
  const calls = [
    { upstream: node.address, headers: [] },
    { upstream: 'by-id', headers: [] }
  ]
  const { url } = await startCaller(t, calls, { upstreams })
  await request(url)
  assert.deepEqual(
    node.seen.map(({ headers }) => headers.host),
    [node.address, node.address]
  )
})

for (const id of ['auth', '7', 'a.b_c-d', '-_.', 'x'.repeat(64)]) {
  test(`a call goes to the upstream with the id ${id.slice(0, 10)}`, async (t) => {
    const node = await startRecorder(t)
    const upstreams = [{ id, nodes: { [node.address]: 1 } }]
    const { url, filterLog } = await startCaller(t, [{ upstream: id }], { upstreams })
    await request(url)
    assert.equal(node.seen.length, 1)
    assert.deepEqual(answered(filterLog()), ['call :status=200', `call body=${node.address}`])
  })
}

test('an upstream is called with its pass_host, and its nodes take turns', async (t) => {
  const [a, b] = [await startRecorder(t), await startRecorder(t)]
  const nodes = { [a.address]: 1, [b.address]: 1 }
  const upstreams = [{ id: 'auth', nodes, pass_host: 'rewrite' as const, upstream_host: 'inner.example' }]
  const { url } = await startCaller(t, [{ upstream: 'auth' }, { upstream: 'auth' }], { upstreams })
  await request(url)
  assert.deepEqual([a.seen[0]!.headers.host, b.seen[0]!.headers.host], ['inner.example', 'inner.example'])
})

test('an upstream whose first node refuses is called on the other one', async (t) => {
  const node = await startRecorder(t)
  const upstreams = [{ id: 'auth', nodes: { [REFUSED]: 10, [node.address]: 1 } }]
  const { url } = await startCaller(t, [{ upstream: 'auth' }], { upstreams })
  await request(url)
  assert.equal(node.seen.length, 1)
})

test('a host without a port has that of its :scheme', async (t) => {
  // Nothing listens there: what is told apart is how the calls fail.
  const https = [...GET, [':scheme', 'https']]
  const calls = [{ upstream: '127.0.0.1' }, { upstream: '127.0.0.1', headers: https }]
  const { url, lines } = await startCaller(t, calls)
  await request(url)
  const ports = lines.flatMap(({ msg, err }) => (msg.startsWith('http call to') ? [JSON.stringify(err)] : []))
  assert.equal(ports.length, 2)
  assert.ok(ports.some((text) => text.includes(':80')))
  assert.ok(ports.some((text) => text.includes(':443')))
})

for (const upstream of ['unknown upstream', '', 'a|b', 'http://127.0.0.1', '127.0.0.1:0', '127.0.0.1:65536', '/a']) {
  test(`a call to "${upstream}" is refused, and calls nothing back`, async (t) => {
    const steps = [{ op: 'call', upstream, headers: GET, then: [{ op: 'log', text: 'called back' }] }]
    const plugins = [{ name: 'script', file: fixture('script-go') }]
    const { url, filterLog } = await startApp(t, { plugins }, (app) => {
      const wasm = { plugins: { script: { conf: { request_headers: steps } } } }
      app.get('/', { config: { wasm } }, () => 'done')
    })
    assert.equal((await request(url)).text, 'done')
    assert.match(filterLog().join(), /^call refused: [^,]+$/)
  })
}

test('several calls at once are answered each with its own answer', async (t) => {
  const node = await startNode(t, (incoming, response) => {
    const delay = Number(incoming.url!.slice(1))
    setTimeout(() => response.end(`answer ${delay}`), delay)
  })
  const delays = [60, 30, 0]
  const calls = delays.map((delay) => ({
    upstream: node.address,
    headers: [[':path', `/${delay}`]],
    then: [{ op: 'body', of: 'call' }, ...(delay === 60 ? [{ op: 'continue', stream: 'request' }] : [])]
  }))
  const { url, filterLog } = await startCaller(t, calls)
  assert.equal((await request(url)).text, 'done')
  assert.deepEqual(filterLog(), ['call body=answer 0', 'call body=answer 30', 'call body=answer 60'])
})

/** The filter was called back as failed: without headers and without a body. */
function assertFailed(log: string[]): void {
  assert.match(log[0]!, /^call ctx=\d+ root=\d+ headers=0 size=0$/)
  assert.equal(
    log.some((line) => /:status=|body=/.test(line)),
    false
  )
}

test('a call that is refused the connection is called back as failed', async (t) => {
  const { url, filterLog } = await startCaller(t, [{ upstream: REFUSED }])
  assert.equal((await request(url)).text, 'done')
  assertFailed(filterLog())
})

test('a call that is not answered within its timeout is called back as failed, and the connection closed', async (t) => {
  const node = await startNode(t, () => {})
  const { url, filterLog } = await startCaller(t, [{ upstream: node.address, timeout: 100 }])
  assert.equal((await request(url)).text, 'done')
  assertFailed(filterLog())
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a call whose answer stops half way is called back as failed', async (t) => {
  const slow = await startNode(t, (_incoming, response) => void response.write('half'))
  const late = await startCaller(t, [{ upstream: slow.address, timeout: 100 }])
  assert.equal((await request(late.url)).text, 'done')
  assertFailed(late.filterLog())

  const dying = await answerBytes(t, 'HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf')
  const broken = await startCaller(t, [{ upstream: dying.address }])
  assert.equal((await request(broken.url)).text, 'done')
  assertFailed(broken.filterLog())
})

test('an answer that comes after the timeout is ignored', async (t) => {
  let answered = false
  const node = await startRawNode(t, (socket) => {
    socket.once('data', () => {
      setTimeout(() => {
        answered = true
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate')
      }, 200)
    })
  })
  const { url, filterLog } = await startCaller(t, [{ upstream: node.address, timeout: 50 }])
  await request(url)
  await until(() => answered, 'the node answers')
  await new Promise((resolve) => setTimeout(resolve, 50))
  assert.equal(filterLog().filter((line) => line.startsWith('call ctx=')).length, 1)
  assertFailed(filterLog())
})

test('an answer that is longer than can be held for a filter fails', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.end(Buffer.alloc(9 * 1024 * 1024)))
  const { url, filterLog } = await startCaller(t, [{ upstream: node.address }])
  assert.equal((await request(url)).text, 'done')
  assertFailed(filterLog())
})

test('headers of the answer are seen in their order, with bytes above 0x7f and without changes', async (t) => {
  const node = await answerBytes(
    t,
    'HTTP/1.1 418 Teapot\r\nX-A: 1\r\nset-cookie: a=1\r\nx-a: 2\r\nset-cookie: b=2\r\ncontent-length: 0\r\n\r\n'
  )
  const { url, filterLog } = await startCaller(t, [
    {
      upstream: node.address,
      then: [
        { op: 'pairs', map: 'call' },
        { op: 'continue', stream: 'request' }
      ]
    }
  ])
  await request(url)
  assert.deepEqual(filterLog(), ['call pairs: :status=418|x-a=1|set-cookie=a=1|x-a=2|set-cookie=b=2|content-length=0'])
})

test('a client that leaves takes its calls with it', async (t) => {
  let requests = 0
  const node = await startNode(t, () => requests++)
  const { port, quiet } = await startCaller(t, [{ upstream: node.address, timeout: 60_000 }])
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => requests === 1, 'the node has the call')
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
  await quiet()
})

test('a method, path or header that cannot be sent fails the call, and nothing else', async (t) => {
  const node = await startRecorder(t)
  for (const header of [
    [':method', 'NO METHOD'],
    [':method', 'CONNECT'],
    [':path', 'no path'],
    [':authority', 'a\u0007b']
  ]) {
    const { url } = await startCaller(t, [{ upstream: node.address, headers: [header] }, { upstream: node.address }])
    assert.equal((await request(url)).status, 200, header.join())
  }
  assert.ok(node.seen.length >= 4)
  assert.deepEqual(valuesOf(node.seen[0]!.rawHeaders, 'host'), ['a'])
})
