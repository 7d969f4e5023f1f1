import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { connect } from 'node:net'
import { PassThrough, Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { createGzip, gunzipSync } from 'node:zlib'
import type { FastifyReply } from 'fastify'
import { fixture, startApp, startUpstream } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, type Step, scripted, wantsResponseBody } from './script.ts'

const looks: Script = { response_headers: [wantsResponseBody], response_body: [{ op: 'property', path: ['uri'] }] }

function start(t: TestContext, conf: Script, handler: (reply: FastifyReply) => unknown, sdk = 'script-rust') {
  return startApp(t, { plugins: scripted({ name: 'a', file: fixture(sdk) }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, (_request, reply) => {
      const result = handler(reply)
      if (result !== reply) reply.send(result)
    })
  })
}

const call = (node: string, then: Step[]): Step => ({
  op: 'call',
  upstream: node,
  headers: [
    [':method', 'GET'],
    [':path', '/'],
    [':authority', 'a']
  ],
  then
})

/** Opens a GET and answers its response, the body of which is the caller's to read. */
async function open(url: string): Promise<IncomingMessage> {
  const outgoing = httpRequest(url, { agent: false })
  outgoing.end()
  const [incoming] = await once(outgoing, 'response')
  return incoming as IncomingMessage
}

const sources: [string, (pulled: () => void, ended: () => void) => unknown][] = [
  [
    'a stream',
    (pulled, ended) =>
      new Readable({
        highWaterMark: 65_536,
        read() {
          pulled()
          this.push(Buffer.alloc(65_536))
        },
        destroy(error, callback) {
          ended()
          callback(error)
        }
      })
  ],
  [
    'a web stream',
    (pulled, ended) =>
      new ReadableStream({
        pull(controller) {
          pulled()
          controller.enqueue(Buffer.alloc(65_536))
        },
        cancel: ended
      })
  ]
]

for (const [what, source] of sources) {
  test(`${what} without an end is read no faster than its client reads, and closed when the client leaves`, async (t) => {
    let pulls = 0
    let ended = false
    const { port, quiet } = await start(t, looks, () =>
      source(
        () => pulls++,
        () => {
          ended = true
        }
      )
    )
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.pause()
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    let before = -1
    while (pulls !== before) {
      before = pulls
      await sleep(100)
    }
    // What the sockets of both sides hold, not more.
    assert.ok(pulls > 0 && pulls < 1000, `${pulls} chunks of 64 KiB`)
    assert.equal(ended, false)
    socket.destroy()
    await quiet()
    for (let i = 0; i < 100 && !ended; i++) await sleep(10)
    assert.equal(ended, true)
  })
}

for (const sdk of ['script-rust', 'script-go']) {
  test(`server-sent events pass a filter of ${sdk} one by one, as they come`, async (t) => {
    const events = new PassThrough()
    const conf: Script = {
      response_headers: [wantsResponseBody],
      response_body: [{ op: 'callback' }, { op: 'prepend_body', of: 'response', value: ':\n' }]
    }
    const { url, filterLog } = await start(t, conf, (reply) => reply.type('text/event-stream').send(events), sdk)
    events.write('data: 0\n\n')
    const incoming = await open(url)
    assert.equal(incoming.headers['content-type'], 'text/event-stream')
    for (let i = 0; i < 3; i++) {
      if (i > 0) events.write(`data: ${i}\n\n`)
      const [chunk] = await once(incoming, 'data')
      assert.equal(String(chunk), `:\ndata: ${i}\n\n`)
      assert.equal(filterLog().length, i + 1)
    }
    const ended = once(incoming, 'end')
    events.end()
    const [last] = await once(incoming, 'data')
    assert.equal(String(last), ':\n')
    await ended
  })
}

test('a stream that fails before its first byte is answered with one error, and the filters run once', async (t) => {
  const conf: Script = {
    response_headers: [{ op: 'callback' }, { op: 'get', map: 'response', name: ':status' }, wantsResponseBody],
    response_body: [{ op: 'callback' }]
  }
  const failing = () =>
    new Readable({
      read() {
        this.destroy(new Error('the source is broken'))
      }
    })
  const { url, app, lines } = await start(t, conf, failing)
  const answer = await request(url)
  assert.equal(answer.status, 500)
  assert.equal(JSON.parse(answer.text).message, 'the source is broken')
  assert.equal((await app.inject('/')).statusCode, 500)
  assert.equal(lines.filter(({ msg }) => msg === 'response :status=200').length, 2)
})

for (const [what, source] of [
  [
    'a stream',
    () =>
      Readable.from(
        (async function* () {
          yield Buffer.from('one')
          await sleep(20)
          throw new Error('broken')
        })()
      )
  ],
  [
    'a web stream',
    () => {
      let pulls = 0
      return new ReadableStream(
        {
          async pull(controller) {
            if (pulls++ === 0) return controller.enqueue(Buffer.from('one'))
            await sleep(20)
            controller.error(new Error('broken'))
          }
        },
        { highWaterMark: 0 }
      )
    }
  ]
] as const) {
  test(`${what} that fails after its first byte closes the connection, without the end of the body`, async (t) => {
    const { port, url, quiet } = await start(t, looks, source)
    const bytes = await exchangeBytes(port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n').catch((error) => {
      assert.equal(error.code, 'ECONNRESET')
      return Buffer.from('')
    })
    assert.doesNotMatch(bytes.toString(), /\r\n0\r\n\r\n$/)
    await assert.rejects(request(url))
    await quiet()
  })
}

test('a pause in a response body callback holds the chunk until it is resumed', async (t) => {
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const { node } = await startUpstream(t, (app) => {
    app.get('/', async () => {
      await released
      return ''
    })
  })
  const holds: Step[] = [call(node, [{ op: 'continue', stream: 'response' }]), { op: 'pause' }]
  const conf: Script = {
    response_headers: [wantsResponseBody, { op: 'set', map: 'response', name: 'x-hold', value: 'yes' }],
    response_body: [{ op: 'callback' }, ...holds]
  }
  const { url, filterLog } = await start(t, conf, () => 'hello')
  let answered = false
  const answer = request(url).then((answer) => {
    answered = true
    return answer
  })
  await sleep(50)
  assert.equal(answered, false)
  assert.equal(filterLog().length, 1)
  release()
  assert.equal((await answer).text, 'hello')
  assert.equal(filterLog().length, 2)
})

test('a pause in the middle of a stream lets what came before go, and holds what follows', async (t) => {
  const { node } = await startUpstream(t, (app) => {
    app.get('/', async () => {
      await sleep(30)
      return ''
    })
  })
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [
      { op: 'callback' },
      call(node, [
        { op: 'append_body', of: 'response', value: '.' },
        { op: 'continue', stream: 'response' }
      ]),
      { op: 'pause' }
    ]
  }
  const { url } = await start(t, conf, () => Readable.from(['one', 'two']))
  const incoming = await open(url)
  const chunks: string[] = []
  for await (const chunk of incoming) chunks.push(String(chunk))
  assert.deepEqual(chunks, ['one.', 'two.', '.'])
})

test('a client that leaves while a chunk is held closes the source, and leaves nothing alive', async (t) => {
  let ended = false
  const { node } = await startUpstream(t, (app) => {
    app.get('/', () => new Promise(() => {}))
  })
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [call(node, [{ op: 'continue', stream: 'response' }]), { op: 'pause' }]
  }
  const { port, quiet, filterLog } = await start(
    t,
    { ...conf, log: [{ op: 'log', text: 'over' }] },
    () =>
      new Readable({
        read() {
          this.push('x')
        },
        destroy(_error, callback) {
          ended = true
          callback(null)
        }
      })
  )
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await sleep(50)
  socket.destroy()
  await quiet()
  for (let i = 0; i < 100 && !ended; i++) await sleep(10)
  assert.equal(ended, true)
  assert.deepEqual(filterLog(), ['over'])
})

test('a response that the application has compressed passes as it is, shown or not', async (t) => {
  for (const conf of [looks, { response_headers: [] }]) {
    const { url } = await start(t, conf, (reply) => {
      const gzip = createGzip()
      gzip.end('hello '.repeat(1000))
      return reply.header('content-encoding', 'gzip').type('text/plain').send(gzip)
    })
    const answer = await request(url)
    assert.equal(answer.headers['content-encoding'], 'gzip')
    assert.equal(gunzipSync(answer.body).toString(), 'hello '.repeat(1000))
  }
})

test('an onSend hook of the application, before or after the gateway, may replace the body by a stream', async (t) => {
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [{ op: 'append_body', of: 'response', value: '!' }]
  }
  for (const where of ['before', 'after']) {
    const hook = (app: Parameters<Parameters<typeof startApp>[2]>[0]) => {
      app.addHook('onSend', async (_request, reply, payload) => {
        reply.removeHeader('content-length')
        if (payload instanceof Readable) return payload.pipe(new PassThrough())
        return Readable.from([`<${payload}>`])
      })
    }
    const { url } = await startApp(
      t,
      { plugins: scripted({ name: 'a', file: fixture('script-rust') }) },
      (app) => {
        if (where === 'after') hook(app)
        app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
      },
      {},
      where === 'before' ? hook : undefined
    )
    assert.equal((await request(url)).text, where === 'before' ? '<hello>!!' : '<hello!!>')
  }
})

test('trailers of the application follow a body that a filter changes', async (t) => {
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [{ op: 'append_body', of: 'response', value: '!' }]
  }
  for (const body of [() => 'hello', () => Readable.from(['hello'])]) {
    const { url } = await start(t, conf, (reply) => {
      reply.trailer('x-end', async () => 'yes')
      return body()
    })
    const answer = await request(url)
    assert.equal(answer.text, 'hello!!')
    assert.equal(answer.trailers['x-end'], 'yes')
    assert.equal('content-length' in answer.headers, false)
  }
})
