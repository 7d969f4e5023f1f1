import assert from 'node:assert/strict'
import { constants } from 'node:http2'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { GrpcTester, greet, startGrpcNode, untilQuiet } from './grpc-nodes.ts'
import { answerBytes, REFUSED, startRawNode, until } from './nodes.ts'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

const GREETED = ['initial content-type application/grpc', 'message hello world', 'trailing grpc-status 0', 'close 0']

test('a unary call goes to host:port as a POST of /service/method', async (t) => {
  const node = await startGrpcNode(t, greet)
  const tester = new GrpcTester(t)
  assert.deepEqual(await tester.call(node.address, 'world'), GREETED)
  const { ':method': method, ':path': path, ':scheme': scheme, ':authority': authority, te } = node.seen[0]!
  assert.deepEqual(
    [method, path, scheme, authority, te, node.seen[0]!['content-type']],
    ['POST', '/acme.Greeter/Greet', 'http', node.address, 'trailers', 'application/grpc']
  )
  assert.deepEqual(tester.log.lines, [])
})

test('metadata goes along, repeated and as bytes, without what is the host’s to say', async (t) => {
  const node = await startGrpcNode(t, greet)
  const metadata = [
    ...['x-a', '1', 'x-a', '2', 'x-b', '\xe9', '__proto__', 'p', 'x-bin', 'AAE='],
    ...['content-type', 'text/plain', 'content-length', '7', 'te', 'deflate', 'host', 'a.example'],
    ...['connection', 'x-hop', 'x-hop', '1', 'transfer-encoding', 'chunked']
  ]
  const tester = new GrpcTester(t)
  assert.deepEqual(await tester.call(node.address, 'world', { metadata }), GREETED)
  const seen = { ...node.seen[0]! }
  assert.equal(Object.getOwnPropertyDescriptor(seen, '__proto__')?.value, 'p')
  assert.deepEqual([seen['x-a'], seen['x-b'], seen['x-bin']], ['1, 2', '\xe9', 'AAE='])
  assert.equal(seen['content-type'], 'application/grpc')
  for (const name of ['content-length', 'host', 'x-hop', 'connection', 'transfer-encoding', 'grpc-timeout']) {
    assert.equal(seen[name], undefined, name)
  }
})

test('metadata of the answer comes as it was sent: repeated, and as bytes', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    exchange.head({ 'x-a': ['1', '2'], 'x-b': '\xe9' })
    exchange.end(0, { 'x-t': ['3', '4'] })
  })
  assert.deepEqual(await new GrpcTester(t).call(node.address, ''), [
    'initial content-type application/grpc x-a 1 x-a 2 x-b \xe9',
    'trailing grpc-status 0 x-t 3 x-t 4',
    'close 0'
  ])
})

test('headers that HTTP/2 has once fail the call when they are repeated', async (t) => {
  const node = await startGrpcNode(t, greet)
  const metadata = ['authorization', 'a', 'authorization', 'b']
  const events = await new GrpcTester(t).call(node.address, '', { metadata })
  assert.match(events.join(), /^close 13 .*authorization/)
  assert.deepEqual(await new GrpcTester(t).call(node.address, 'world'), GREETED)
})

test('a server stream is its messages in their order', async (t) => {
  const messages = Array.from({ length: 200 }, (_, i) => `${i} ${'x'.repeat(i * 50)}`)
  const node = await startGrpcNode(t, (exchange) => {
    exchange.onMessage = () => {
      exchange.head()
      exchange.send(...messages)
      exchange.end()
    }
  })
  const events = await new GrpcTester(t).call(node.address, 'all')
  assert.deepEqual(
    events.slice(1, -2),
    messages.map((message) => `message ${message}`)
  )
  await untilQuiet(node)
})

test('a client stream sends until it is half-closed', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    const received: string[] = []
    exchange.onMessage = (message) => received.push(message)
    exchange.onEnd = () => {
      exchange.head()
      exchange.send(received.join('+'))
      exchange.end()
    }
  })
  const { stream, closed } = new GrpcTester(t).open(node.address)
  for (const message of ['a', '', 'b']) stream.send(Buffer.from(message), false)
  await sleep(20)
  stream.send(Buffer.from('c'), false)
  stream.end()
  stream.send(Buffer.from('late'), false)
  assert.deepEqual((await closed)[1], 'message a++b+c')
})

test('a bidirectional stream is a conversation, which the upstream may end first', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    exchange.head()
    exchange.onMessage = (message) => {
      exchange.send(`re: ${message}`)
      if (message === 'bye') exchange.end(0, { said: 'bye' })
    }
  })
  const tester = new GrpcTester(t)
  const { stream, closed } = tester.open(node.address, {}, (event) => {
    if (event === 'message re: one') stream.send(Buffer.from('two'), false)
    if (event === 'message re: two') stream.send(Buffer.from('bye'), false)
  })
  stream.send(Buffer.from('one'), false)
  assert.deepEqual(await closed, [
    'initial content-type application/grpc',
    'message re: one',
    'message re: two',
    'message re: bye',
    'trailing grpc-status 0 said bye',
    'close 0'
  ])
  stream.send(Buffer.from('late'), true)
  await untilQuiet(node)
})

test('a status and its escaped message come from the trailers', async (t) => {
  for (const [sent, received] of [
    ['who%20are%20you%3F %C3%A9', 'who are you? é'],
    ['100%', '100%']
  ]) {
    const node = await startGrpcNode(t, (exchange) => {
      exchange.head()
      exchange.end(7, { 'grpc-message': sent! })
    })
    const tester = new GrpcTester(t)
    assert.equal((await tester.call(node.address, '')).at(-1), `close 7 ${received}`)
    // It is the filter's to say whether that is worth a line.
    assert.deepEqual(tester.log.lines, [])
  }
})

test('an answer of trailers only has no initial metadata', async (t) => {
  const node = await startGrpcNode(t, ({ stream }) => {
    stream.respond({ ':status': 200, 'grpc-status': '5', 'grpc-message': 'no such', date: 'x' }, { endStream: true })
  })
  assert.deepEqual(await new GrpcTester(t).call(node.address, ''), [
    'initial ',
    'trailing grpc-status 5 grpc-message no such date x',
    'close 5 no such'
  ])
})

for (const [http, grpc] of [
  [400, 13],
  [401, 16],
  [403, 7],
  [404, 12],
  [418, 2],
  [429, 14],
  [500, 2],
  [502, 14],
  [503, 14],
  [504, 14]
]) {
  test(`HTTP ${http} without a gRPC status is ${grpc}, and its body is not read`, async (t) => {
    for (const body of ['', 'x'.repeat(100_000)]) {
      const node = await startGrpcNode(t, ({ stream }) => {
        stream.respond({ ':status': http! })
        stream.end(body)
      })
      const events = await new GrpcTester(t).call(node.address, '')
      assert.deepEqual(events, ['initial ', `close ${grpc} the upstream answered ${http}`])
      await untilQuiet(node)
    }
  })
}

test('a stream that ends without a status, or with none that is a number, is unknown', async (t) => {
  const ends = [
    (end: (trailers?: object) => void) => end(),
    (end: (trailers?: object) => void) => end({ 'x-t': '1' }),
    (end: (trailers?: object) => void) => end({ 'grpc-status': 'ok' })
  ]
  for (const how of ends) {
    const node = await startGrpcNode(t, ({ stream }) => {
      how((trailers) => {
        stream.respond({ ':status': 200 }, { waitForTrailers: trailers !== undefined })
        if (trailers !== undefined) stream.once('wantTrailers', () => stream.sendTrailers({ ...trailers }))
        stream.end()
      })
    })
    assert.match((await new GrpcTester(t).call(node.address, '')).at(-1)!, /^close 2/)
  }
})

for (const [name, code, status] of [
  ['INTERNAL_ERROR', constants.NGHTTP2_INTERNAL_ERROR, 13],
  ['REFUSED_STREAM', constants.NGHTTP2_REFUSED_STREAM, 14],
  ['CANCEL', constants.NGHTTP2_CANCEL, 1],
  ['ENHANCE_YOUR_CALM', constants.NGHTTP2_ENHANCE_YOUR_CALM, 8],
  ['INADEQUATE_SECURITY', constants.NGHTTP2_INADEQUATE_SECURITY, 7],
  ['NO_ERROR', constants.NGHTTP2_NO_ERROR, 2]
] as const) {
  test(`a stream that is reset with ${name} is closed with ${status}, also after a message`, async (t) => {
    for (const begun of [false, true]) {
      const node = await startGrpcNode(t, (exchange) => {
        if (!begun) {
          exchange.stream.close(code)
          return
        }
        exchange.head()
        exchange.send('half')
        setTimeout(() => exchange.stream.close(code), 20)
      })
      const { stream, closed } = new GrpcTester(t).open(node.address)
      stream.send(Buffer.from('a'), false)
      const events = await closed
      assert.match(events.at(-1)!, new RegExp(`^close ${status} `))
      assert.equal(events.includes('message half'), begun)
    }
  })
}

test('a connection that is refused is unavailable, and said in the log', async (t) => {
  const tester = new GrpcTester(t)
  const events = await tester.call(REFUSED, 'a')
  assert.match(events.join(), /^close 14 connect ECONNREFUSED/)
  assert.match(tester.log.messages('warn').join(), /^gRPC call to 127.0.0.1:1 failed: connect ECONNREFUSED/)
})

test('a connection that breaks is unavailable for all that is under way on it', async (t) => {
  for (const how of ['destroy', 'resetAndDestroy'] as const) {
    const node = await startGrpcNode(t, (exchange) => exchange.head())
    const tester = new GrpcTester(t)
    const [a, b] = [tester.open(node.address), tester.open(node.address)]
    await until(() => a.events.length === 1 && b.events.length === 1, 'both have begun')
    for (const socket of node.sockets) socket[how]()
    for (const { closed } of [a, b]) assert.match((await closed).at(-1)!, /^close 14/)
  }
})

test('a server that speaks no HTTP/2 is unavailable', async (t) => {
  const http1 = await answerBytes(t, 'HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n')
  const silent = await startRawNode(t, (socket) => socket.end())
  for (const { address } of [http1, silent]) {
    assert.match((await new GrpcTester(t).call(address, 'a')).at(-1)!, /^close 14/)
  }
})

test('a host that is no host is unavailable', async (t) => {
  for (const upstream of ['..', '1.2.3.4.5', 'nowhere.invalid']) {
    assert.match((await new GrpcTester(t).call(upstream, 'a')).at(-1)!, /^close 14/)
  }
})

test('what is no upstream cannot be called', (t) => {
  const tester = new GrpcTester(t)
  for (const upstream of ['', 'a|b', 'http://127.0.0.1', '127.0.0.1:0', '/a']) {
    assert.throws(() => tester.open(upstream), /cannot be called/)
  }
})

test('a call that is not answered in its time is closed with 4, and reset', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    if (exchange.headers[':path'] !== '/acme.Greeter/Mute') exchange.head()
  })
  const tester = new GrpcTester(t)
  for (const method of ['Mute', 'Slow']) {
    const events = await tester.call(node.address, 'a', { method, timeout: 60 })
    assert.equal(events.at(-1), 'close 4 no answer in 60 ms')
  }
  await untilQuiet(node)
  assert.deepEqual(
    node.streams.map(({ rstCode }) => rstCode),
    [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]
  )
  assert.equal(node.seen[0]!['grpc-timeout'], '60m')
})

test('a call times out while its connection is made, too', async (t) => {
  // It takes the connection, and never says anything in TLS.
  const node = await startRawNode(t, (socket) => void socket.resume())
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https' } as const
  const events = await new GrpcTester(t, upstream).call('configured', 'a', { timeout: 60 })
  assert.deepEqual(events, ['close 4 no answer in 60 ms'])
})

test('a node that takes too long to connect is unavailable', async (t) => {
  const node = await startRawNode(t, (socket) => void socket.resume())
  const upstream = { nodes: { [node.address]: 1 }, scheme: 'https', timeout: { connect: 0.06 } } as const
  const events = await new GrpcTester(t, upstream).call('configured', 'a')
  assert.deepEqual(events, ['close 14 no connection in 60 ms'])
  await until(() => node.sockets.size === 0, 'the connection is closed')
})

test('a timeout of more milliseconds than its header holds is said in seconds', async (t) => {
  const node = await startGrpcNode(t, greet)
  await new GrpcTester(t).call(node.address, 'world', { timeout: 0x7fffffff })
  assert.equal(node.seen[0]!['grpc-timeout'], '2147484S')
})

test('a message that is compressed, too long, or cut off is an internal error', async (t) => {
  const prefix = (flag: number, length: number) => {
    const bytes = Buffer.from([flag, 0, 0, 0, 0])
    bytes.writeUInt32BE(length, 1)
    return bytes
  }
  for (const [bytes, reason] of [
    [prefix(1, 0), 'a message is compressed'],
    [prefix(0, 4 * 1024 * 1024 + 1), 'a message is longer than 4194304 bytes'],
    [prefix(0, 0xffffffff), 'a message is longer than 4194304 bytes'],
    [prefix(0, 10), 'the last message is not complete'],
    [Buffer.from([0, 0]), 'the last message is not complete']
  ] as const) {
    const node = await startGrpcNode(t, (exchange) => {
      exchange.head()
      exchange.stream.write(bytes)
      exchange.end()
    })
    assert.equal((await new GrpcTester(t).call(node.address, '')).at(-1), `close 13 ${reason}`)
    await untilQuiet(node)
  }
})

test('a message may be as long as allowed, both ways', async (t) => {
  const node = await startGrpcNode(t, greet)
  const message = 'x'.repeat(4 * 1024 * 1024 - 6)
  const events = await new GrpcTester(t).call(node.address, message)
  assert.equal(events[1], `message hello ${message}`)
})

test('what an upstream does not take is not kept without end', async (t) => {
  const node = await startGrpcNode(t, ({ stream }) => stream.pause())
  const { stream, closed } = new GrpcTester(t).open(node.address)
  let over = false
  closed.then(() => {
    over = true
  })
  for (let i = 0; i < 100 && !over; i++) {
    stream.send(Buffer.alloc(1024 * 1024), false)
    await new Promise((resolve) => setImmediate(resolve))
  }
  assert.match((await closed).at(-1)!, /^close 8 /)
  // The same while there is no connection.
  const silent = await startRawNode(t, (socket) => void socket.resume())
  const upstream = { nodes: { [silent.address]: 1 }, scheme: 'https' } as const
  const waiting = new GrpcTester(t, upstream).open('configured')
  for (let i = 0; i < 20; i++) waiting.stream.send(Buffer.alloc(1024 * 1024), false)
  assert.match((await waiting.closed).at(-1)!, /^close 8 /)
})

test('small messages that an upstream does not take hold little more than their bytes', async (t) => {
  const node = await startGrpcNode(t, ({ stream }) => stream.pause())
  const silent = await startRawNode(t, (socket) => void socket.resume())
  const connected = new GrpcTester(t).open(node.address)
  await until(() => node.streams.length === 1, 'the exchange has begun')
  const upstream = { nodes: { [silent.address]: 1 }, scheme: 'https' } as const
  for (const { stream } of [connected, new GrpcTester(t, upstream).open('configured')]) {
    collectGarbage()
    const before = process.memoryUsage()
    for (let i = 0; i < 200_000; i++) {
      stream.send(Buffer.alloc(0), false)
      // The stream is given a piece at a time.
      if (i % 100 === 0) await new Promise((resolve) => setImmediate(resolve))
    }
    collectGarbage()
    const after = process.memoryUsage()
    const held = after.heapUsed - before.heapUsed + after.external - before.external
    assert.ok(held < 12 * 1024 * 1024, `1 MB of messages holds ${held} bytes`)
    stream.cancel()
  }
})

test('nothing comes of an exchange that is cancelled, before or after it has begun', async (t) => {
  const node = await startGrpcNode(t, (exchange) => {
    exchange.head()
    exchange.send('one', 'two')
  })
  const tester = new GrpcTester(t)
  const early = tester.open(node.address)
  early.stream.cancel()
  const begun = tester.open(node.address, {}, (event) => {
    if (event === 'message one') begun.stream.cancel()
  })
  await until(() => begun.events.length === 2, 'the first message has come')
  begun.stream.cancel()
  begun.stream.send(Buffer.from('late'), true)
  begun.stream.end()
  await untilQuiet(node)
  await sleep(30)
  assert.deepEqual(early.events, [])
  assert.deepEqual(begun.events, ['initial content-type application/grpc', 'message one'])
  assert.equal(node.seen.length, 1)
})
