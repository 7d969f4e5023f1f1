import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { constants } from 'node:http2'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Http2Connections } from '../../../lib/gateway/upstream/http2-connections.ts'
import { GrpcTester, greet, startGrpcNode } from './grpc-nodes.ts'
import { REFUSED, startRawNode, until } from './nodes.ts'

const GREETED = ['initial content-type application/grpc', 'message hello world', 'trailing grpc-status 0', 'close 0']

test('all exchanges with a node share one connection', async (t) => {
  const node = await startGrpcNode(t, greet)
  const tester = new GrpcTester(t, { nodes: { [node.address]: 1 } })
  const names = Array.from({ length: 50 }, (_, i) => String(i))
  const answers = await Promise.all(
    names.map((name, i) => tester.call(i % 2 === 0 ? node.address : 'configured', name))
  )
  assert.deepEqual(
    answers.map((events) => events[1]),
    names.map((name) => `message hello ${name}`)
  )
  assert.equal(node.accepted(), 1)
})

test('a connection is made anew after it was closed, or told to go away', async (t) => {
  const node = await startGrpcNode(t, greet)
  const tester = new GrpcTester(t)
  await tester.call(node.address, 'world')
  const sessions: (() => void)[] = [
    () => node.streams.at(-1)?.session?.close(),
    () => node.streams.at(-1)?.session?.goaway(constants.NGHTTP2_ENHANCE_YOUR_CALM),
    () => {
      for (const socket of node.sockets) socket.destroy()
    }
  ]
  for (const [i, end] of sessions.entries()) {
    const stream = node.streams.at(-1)
    // The session is the stream's only while it is open.
    const { stream: open, closed } = tester.open(node.address)
    await until(() => node.streams.at(-1) !== stream, 'the node has the stream')
    end()
    open.send(Buffer.from('world'), true)
    await closed
    await sleep(20)
    assert.deepEqual(await tester.call(node.address, 'world'), GREETED, String(i))
    assert.equal(node.accepted(), i + 2)
  }
})

test('an exchange goes on after GOAWAY, and the next one takes another connection', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    exchange.head()
    exchange.onMessage = (message) => {
      if (message === 'go') exchange.stream.session!.goaway()
      else {
        exchange.send(`hello ${message}`)
        exchange.end()
      }
    }
  })
  const tester = new GrpcTester(t)
  const first = tester.open(node.address)
  first.stream.send(Buffer.from('go'), false)
  await until(() => first.events.length > 0, 'it has begun')
  await sleep(30)
  assert.deepEqual(await tester.call(node.address, 'world'), GREETED)
  first.stream.send(Buffer.from('world'), false)
  assert.deepEqual(await first.closed, GREETED)
  assert.equal(node.accepted(), 2)
})

test('the nodes of an upstream take turns, and one that refuses is passed over', async (t) => {
  const [a, b] = [await startGrpcNode(t, greet), await startGrpcNode(t, greet)]
  const nodes = { [a.address]: 1, [b.address]: 1, [REFUSED]: 1 }
  const tester = new GrpcTester(t, { nodes })
  for (let i = 0; i < 6; i++) assert.deepEqual(await tester.call('configured', 'world'), GREETED)
  assert.ok(a.seen.length >= 2 && b.seen.length >= 2)
  assert.equal(a.seen.length + b.seen.length, 6)
  assert.deepEqual(tester.log.lines, [])
})

test('without retries, and without nodes, an exchange is unavailable', async (t) => {
  const node = await startGrpcNode(t, greet)
  const once = new GrpcTester(t, { nodes: { [REFUSED]: 9, [node.address]: 1 }, retries: 0 })
  assert.match((await once.call('configured', 'a')).at(-1)!, /^close 14 connect ECONNREFUSED/)
  const none = new GrpcTester(t, { nodes: { [node.address]: 0 } })
  assert.deepEqual(await none.call('configured', 'a'), ['close 14 the upstream has no node with a weight above 0'])
})

test('an upstream is called with its pass_host', async (t) => {
  const node = await startGrpcNode(t, greet)
  const upstream = { nodes: { [node.address]: 1 }, pass_host: 'rewrite', upstream_host: 'inner.example' } as const
  await new GrpcTester(t, upstream).call('configured', 'a')
  assert.equal(node.seen[0]![':authority'], 'inner.example')
})

test('over TLS certificates are verified, unless the upstream says otherwise', async (t) => {
  const node = await startGrpcNode(t, greet, true)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https' } as const
  const refused = await new GrpcTester(t, upstream).call('configured', 'a')
  assert.match(refused.at(-1)!, /^close 14 .*self-signed certificate/)
  const trusting = new GrpcTester(t, { ...upstream, tls: { verify: false } })
  assert.deepEqual(await trusting.call('configured', 'world'), GREETED)
  assert.equal(node.seen[0]![':scheme'], 'https')
})

test('over TLS a certificate must be for the node, or for the host that the upstream is rewritten to', async (t) => {
  const node = await startGrpcNode(t, greet, true)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https' } as const
  const rewritten = { ...upstream, pass_host: 'rewrite' } as const
  const upstreams = [
    upstream,
    { ...rewritten, upstream_host: 'localhost' },
    { ...rewritten, upstream_host: 'evil.example' },
    { ...rewritten, upstream_host: '127.0.0.2' }
  ]
  // Whose certificates Node trusts is decided when it starts.
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'grpc-verified-calls.ts'), JSON.stringify(upstreams)],
    { env: { ...process.env, NODE_EXTRA_CA_CERTS: join(import.meta.dirname, 'certificate', 'cert.pem') } }
  )
  const closes: string[] = JSON.parse(stdout)
  assert.deepEqual(closes.slice(0, 2), ['close 0', 'close 0'])
  for (const close of closes.slice(2)) assert.match(close, /^close 14 .*altnames/)
})

test('a server over TLS that speaks no HTTP/2 is unavailable', async (t) => {
  const { createServer } = await import('node:https')
  const { readFileSync } = await import('node:fs')
  const read = (name: string) => readFileSync(join(import.meta.dirname, 'certificate', name))
  const server = createServer({ key: read('key.pem'), cert: read('cert.pem') }, (_request, response) => response.end())
  const { listen } = await import('./nodes.ts')
  const node = await listen(t, server as never)
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https', tls: { verify: false } } as const
  assert.match((await new GrpcTester(t, upstream).call('configured', 'a')).at(-1)!, /^close 14/)
})

test('a connection that no exchange is left to wait for is let go of', async (t) => {
  const { port, sockets } = await startRawNode(t, () => {})
  const connections = new Http2Connections()
  const target = {
    ...({ scheme: 'http', host: '127.0.0.1', port, tls: { verify: true }, connectionKey: '' } as const),
    serverName: '127.0.0.1',
    connectTimeout: 5000
  }
  const called: unknown[] = []
  const wait = () => connections.get(target, (error) => called.push(error))
  for (const unwait of [wait(), wait()]) unwait()
  await sleep(50)
  assert.deepEqual([sockets.size, called], [0, []])
  const unwait = wait()
  wait()
  unwait()
  await until(() => called.length > 0, 'who waits is told')
  assert.deepEqual([sockets.size, called], [1, [null]])
  connections.close()
})

test('of connections that no exchange is on some are kept, not all', async (t) => {
  const nodes = await Promise.all(Array.from({ length: 70 }, () => startGrpcNode(t, greet)))
  const tester = new GrpcTester(t)
  for (const { address } of nodes) assert.equal((await tester.call(address, 'x')).at(-1), 'close 0')
  const open = () => nodes.filter(({ sockets }) => sockets.size > 0)
  await until(() => open().length === 64, 'the first ones are closed')
  assert.equal(nodes[0]!.sockets.size, 0)
})
