import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type ClientHttp2Stream, connect, type IncomingHttpHeaders, type OutgoingHttpHeaders } from 'node:http2'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyServerOptions } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { type Script, type Step, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

const phases = ['rewrite', 'access'] as const

async function start(
  t: TestContext,
  phase: (typeof phases)[number],
  conf: Script,
  declare: (app: FastifyInstance, route: object) => void = (app, route) => {
    app.route({
      method: ['GET', 'POST'],
      url: '/',
      ...route,
      handler: async ({ headers, body, url, method, host }) => ({ headers, body, url, method, host })
    })
  },
  plugin: Record<string, unknown> = {}
) {
  const app = await startApp(
    t,
    { plugins: scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase, ...plugin }) },
    (app) => declare(app, { config: { wasm: { plugins: { a: { conf } } } } }),
    { http2: true } as unknown as FastifyServerOptions
  )
  const session = connect(app.url)
  session.on('error', () => {})
  t.after(() => session.destroy())
  const open = (headers: OutgoingHttpHeaders, endStream: boolean) => session.request(headers, { endStream })
  return { ...app, open }
}

async function answerOf(stream: ClientHttp2Stream) {
  const [headers] = (await once(stream, 'response')) as [IncomingHttpHeaders & { ':status': number }]
  const chunks: Buffer[] = []
  for await (const chunk of stream) chunks.push(chunk)
  const text = Buffer.concat(chunks).toString()
  return { status: headers[':status'], headers, text, json: () => JSON.parse(text) }
}

test('the pseudo-headers of HTTP/2 are seen once, and first', async (t) => {
  const { open, filterLog, port } = await start(t, 'rewrite', { request_headers: [{ op: 'pairs', map: 'request' }] })
  await answerOf(open({ 'x-b': '1', ':path': '/?a=1', cookie: ['a=1', 'b=2'] }, true))
  assert.deepEqual(filterLog(), [
    `request pairs: :method=GET|:path=/?a=1|:authority=127.0.0.1:${port}|:scheme=http|x-b=1|cookie=a=1|cookie=b=2`
  ])
})

test('a filter changes what an HTTP/2 handler sees of the request, and what its client sees of the response', async (t) => {
  const set = (map: string, name: string, value: string): Step => ({ op: 'set', map, name, value })
  const { open } = await start(t, 'access', {
    request_headers: [
      set('request', ':path', '/other'),
      set('request', ':authority', 'example.org'),
      set('request', ':method', 'PATCH'),
      set('request', 'x-a', '1')
    ],
    response_headers: [
      set('response', ':status', '418'),
      { op: 'add', map: 'response', name: 'set-cookie', value: 'a=1' },
      { op: 'add', map: 'response', name: 'set-cookie', value: 'b=2' },
      set('response', 'connection', 'close'),
      set('response', 'transfer-encoding', 'chunked')
    ]
  })
  const answer = await answerOf(open({ ':path': '/' }, true))
  assert.equal(answer.status, 418)
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
  const { url, host, method, headers } = answer.json()
  assert.deepEqual([url, host, method, headers['x-a']], ['/other', 'example.org', 'PATCH', '1'])
})

for (const phase of phases) {
  const changes: Script = {
    request_headers: [wantsRequestBody],
    request_body: [{ op: 'callback' }, { op: 'append_body', of: 'request', value: '!' }]
  }

  for (const length of ['with a length', 'without one']) {
    test(`${phase}: an HTTP/2 body ${length} is read, changed and parsed`, async (t) => {
      const { open, filterLog } = await start(t, phase, changes)
      const stream = open(
        {
          ':path': '/',
          ':method': 'POST',
          'content-type': 'text/plain',
          ...(length === 'with a length' && { 'content-length': '11' })
        },
        false
      )
      stream.write('hello')
      await sleep(10)
      stream.end(' world')
      const answer = (await answerOf(stream)).json()
      assert.equal(answer.body, 'hello world!')
      assert.equal(answer.headers['content-length'], '12')
      assert.deepEqual(filterLog(), ['request_body ctx=2 root=1 size=11 eos=true'])
    })
  }

  test(`${phase}: an HTTP/2 request without a body has an empty one, and a filter may give it one`, async (t) => {
    const { open, filterLog } = await start(t, phase, {
      ...changes,
      request_headers: [
        wantsRequestBody,
        { op: 'if_eos', steps: [{ op: 'log', text: 'nothing follows' }] },
        { op: 'set', map: 'request', name: 'content-type', value: 'text/plain' }
      ]
    })
    const answer = await answerOf(open({ ':path': '/', ':method': 'POST' }, true))
    assert.equal(answer.json().body, '!')
    assert.deepEqual(filterLog(), ['nothing follows', 'request_body ctx=2 root=1 size=0 eos=true'])
  })

  test(`${phase}: an HTTP/2 body over the limit is answered 413, and the session goes on`, async (t) => {
    const { open } = await start(
      t,
      phase,
      changes,
      (app, route) => app.post('/', { bodyLimit: 5_000_000, ...route }, async ({ body }) => body),
      { limits: { body_mib: 1 } }
    )
    const stream = open({ ':path': '/', ':method': 'POST', 'content-type': 'text/plain' }, false)
    stream.end(Buffer.alloc(1_200_000, 'x'))
    const answer = await answerOf(stream)
    assert.equal(answer.status, 413)
    assert.equal(typeof answer.json().error_msg, 'string')
    const small = open({ ':path': '/', ':method': 'POST', 'content-type': 'text/plain' }, false)
    small.end('hello')
    assert.equal((await answerOf(small)).text, 'hello!')
  })

  test(`${phase}: an HTTP/2 client that cancels in the middle of its body leaves nothing alive`, async (t) => {
    const { open, app, quiet } = await start(t, phase, changes)
    const stream = open({ ':path': '/', ':method': 'POST', 'content-type': 'text/plain' }, false)
    stream.on('error', () => {})
    stream.write('hello')
    await once(app.server, 'request')
    await sleep(20)
    stream.close(8)
    await quiet()
  })
}

for (const [what, payload, chunks] of [
  ['a string', () => 'hello', ['hello']],
  ['a stream', () => Readable.from(['one', 'two']), ['one', 'two']],
  ['a Response', () => new Response('hello'), ['hello']]
] as const) {
  test(`an HTTP/2 response body passes the filter and is changed: ${what}`, async (t) => {
    const conf: Script = {
      response_headers: [wantsResponseBody],
      response_body: [{ op: 'callback' }, { op: 'append_body', of: 'response', value: '.' }]
    }
    const { open, filterLog } = await start(t, 'access', conf, (app, route) => {
      app.get('/', route, async () => payload())
    })
    const answer = await answerOf(open({ ':path': '/' }, true))
    assert.equal(answer.text, `${chunks.join('.')}..`)
    assert.equal(filterLog().length, chunks.length + 1)
    const head = await answerOf(open({ ':path': '/', ':method': 'HEAD' }, true))
    assert.equal(head.status, 200)
    assert.equal(head.text, '')
  })
}

test('an HTTP/2 client that cancels a stream has its source closed', async (t) => {
  let ended = false
  const conf: Script = { response_headers: [wantsResponseBody], response_body: [{ op: 'callback' }] }
  const { open, quiet } = await start(t, 'access', conf, (app, route) => {
    app.get(
      '/',
      route,
      async () =>
        new Readable({
          async read() {
            await sleep(5)
            this.push('x')
          },
          destroy(_error, callback) {
            ended = true
            callback(null)
          }
        })
    )
  })
  const stream = open({ ':path': '/' }, true)
  stream.on('error', () => {})
  await once(stream, 'data')
  stream.close(8)
  await quiet()
  for (let i = 0; i < 100 && !ended; i++) await sleep(10)
  assert.equal(ended, true)
})

test('a byte above 0x7f in a header of an HTTP/2 response arrives as that byte', async (t) => {
  const conf: Script = { response_headers: [{ op: 'set', map: 'response', name: 'x-a', value: 'é' }] }
  const { open } = await start(t, 'access', conf, (app, route) => {
    app.get('/', route, async () => 'hello')
  })
  const answer = await answerOf(open({ ':path': '/' }, true))
  // The two bytes of the filter's UTF-8: Node writes and reads a byte for a character.
  assert.equal(answer.headers['x-a'], '\u00c3\u00a9')
})
