import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { FastifyInstance, FastifyReply } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, type Step, scripted, wantsResponseBody } from './script.ts'

const on = (op: string, name: string, value?: string): Step => ({
  op,
  map: 'response',
  name,
  ...(value !== undefined && { value })
})
const get = (name: string) => on('get', name)
const set = (name: string, value: string) => on('set', name, value)
const add = (name: string, value: string) => on('add', name, value)
const remove = (name: string) => on('remove', name)
const pairs: Step = { op: 'pairs', map: 'response' }

function start(
  t: TestContext,
  conf: Step[] | Script,
  handler: (reply: FastifyReply) => unknown = () => 'hello',
  sdk = 'script-rust',
  before?: (app: FastifyInstance) => void
) {
  const script = Array.isArray(conf) ? { response_headers: conf } : conf
  return startApp(
    t,
    { plugins: scripted({ name: 'a', file: fixture(sdk) }) },
    (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf: script } } } } }, async (_request, reply) =>
        handler(reply)
      )
    },
    {},
    before
  )
}

for (const sdk of ['script-go', 'script-rust', 'script-as']) {
  test(`a filter of ${sdk} sees the status first, then all headers in lower case, set-cookie one by one`, async (t) => {
    const { url, filterLog } = await start(
      t,
      [pairs],
      (reply) => {
        reply.code(201).header('X-A', '1').header('Set-Cookie', 'a=1').header('set-cookie', 'b=2')
        return 'hello'
      },
      sdk
    )
    await request(url)
    assert.deepEqual(filterLog(), [
      'response pairs: :status=201|x-a=1|set-cookie=a=1|set-cookie=b=2|content-type=text/plain; charset=utf-8|content-length=5'
    ])
  })
}

test('C-120 set, add and remove arrive at the client, repeated headers repeated', async (t) => {
  const { url } = await start(
    t,
    [
      set('x-set', 'new'),
      add('x-many', 'second'),
      add('x-many', 'third'),
      add('X-Fresh', '1'),
      add('set-cookie', 'c=3'),
      remove('x-gone'),
      remove('x-never'),
      set('content-type', 'text/html')
    ],
    (reply) => {
      reply.header('x-set', 'old').header('x-many', 'first').header('x-gone', '1')
      reply.header('set-cookie', ['a=1', 'b=2'])
      return 'hello'
    }
  )
  const { rawHeaders } = await request(url)
  const kept = new Set(['x-set', 'x-many', 'x-fresh', 'set-cookie', 'x-gone', 'content-type', 'content-length'])
  const lines: string[] = []
  for (let i = 0; i < rawHeaders.length; i += 2) {
    if (kept.has(rawHeaders[i]!.toLowerCase())) lines.push(`${rawHeaders[i]}: ${rawHeaders[i + 1]}`)
  }
  assert.deepEqual(lines.sort(), [
    'content-length: 5',
    'content-type: text/html',
    'set-cookie: a=1',
    'set-cookie: b=2',
    'set-cookie: c=3',
    'x-fresh: 1',
    'x-many: first',
    'x-many: second',
    'x-many: third',
    'x-set: new'
  ])
})

test('replacing and removing set-cookie leave exactly what the filter left', async (t) => {
  const cookies = (reply: FastifyReply) => reply.header('set-cookie', ['a=1', 'b=2']).send('hello')
  const replaced = await start(t, [set('set-cookie', 'c=3')], cookies)
  assert.deepEqual((await request(replaced.url)).headers['set-cookie'], ['c=3'])
  const removed = await start(t, [remove('set-cookie')], cookies)
  assert.equal((await request(removed.url)).headers['set-cookie'], undefined)
})

test('headers that are set in the request callbacks go onto the response that follows', async (t) => {
  const conf: Script = {
    request_headers: [set('x-a', 'filter'), add('set-cookie', 'f=1'), add('x-b', '1'), get('x-a')],
    response_headers: [get('x-a'), get('x-b')]
  }
  const { url, filterLog } = await start(
    t,
    conf,
    (reply) => reply.header('set-cookie', 'h=1').send('hello'),
    'script-go'
  )
  const answer = await request(url)
  assert.equal(answer.headers['x-a'], 'filter')
  assert.deepEqual(answer.headers['set-cookie'], ['f=1', 'h=1'])
  // There is no response to be read yet.
  assert.deepEqual(filterLog(), ['response x-a missing', 'response x-a=filter', 'response x-b=1'])
})

test('a status that is set in the request callbacks is that of the response that follows', async (t) => {
  const { url } = await start(t, { request_headers: [set(':status', '418')] })
  const answer = await request(url)
  assert.equal(answer.status, 418)
  assert.equal(answer.text, 'hello')
})

for (const status of [200, 201, 299, 302, 404, 418, 503, 599, 600, 799, 999]) {
  test(`the status that a filter sets is sent: ${status}`, async (t) => {
    const { url, filterLog } = await start(t, [set(':status', String(status)), get(':status')])
    const answer = await request(url)
    assert.equal(answer.status, status)
    assert.equal(answer.text, 'hello')
    assert.deepEqual(filterLog(), [`response :status=${status}`])
  })
}

for (const [what, step] of [
  ['a status that is no number', set(':status', 'abc')],
  ['an interim status', set(':status', '103')],
  ['a status of four digits', set(':status', '2000')],
  ['an empty status', set(':status', '')],
  ['a line feed in a value', set('x-a', 'a\nb: c')],
  ['a carriage return in a value', add('x-a', 'a\rb')],
  ['a NUL in a value', set('x-a', 'a\0b')],
  ['a line feed in a name', set('x-a\nb', '1')],
  ['a pseudo-header that there is not', set(':path', '/')],
  ['a whole map with a NUL', { op: 'set_pairs', map: 'response', pairs: [['x-a', '\0']] }]
] as [string, Step][]) {
  test(`${what} is refused, and nothing is changed`, async (t) => {
    const { url, filterLog } = await start(t, [step], (reply) => reply.header('x-a', 'old').send('hello'), 'script-go')
    const answer = await request(url)
    assert.equal(answer.status, 200)
    assert.equal(answer.headers['x-a'], 'old')
    assert.deepEqual(filterLog(), [`${step.op} failed: error status returned by host: bad argument`])
  })
}

test('a whole map is put in place of the other, and the status stays where the map lacks it', async (t) => {
  const whole: Step = {
    op: 'set_pairs',
    map: 'response',
    pairs: [
      ['X-New', '1'],
      ['set-cookie', 'c=3'],
      ['set-cookie', 'd=4']
    ]
  }
  const { url, filterLog } = await start(t, [whole, pairs], (reply) =>
    reply.code(201).header('x-old', '1').header('set-cookie', ['a=1', 'b=2']).send('hello')
  )
  const answer = await request(url)
  assert.equal(answer.status, 201)
  assert.deepEqual(filterLog(), ['response pairs: :status=201|x-new=1|set-cookie=c=3|set-cookie=d=4'])
  assert.deepEqual(answer.headers['set-cookie'], ['c=3', 'd=4'])
  assert.equal(answer.headers['x-new'], '1')
  assert.equal('x-old' in answer.headers, false)
  assert.equal('content-type' in answer.headers, false)
  assert.equal(answer.text, 'hello')
})

for (const [what, body] of [
  ['a string', () => 'hello'],
  ['a stream', () => Readable.from([Buffer.from('hello')], { objectMode: false })]
] as const) {
  for (const asks of [true, false]) {
    test(`what frames ${what} is not the filter's to set, ${asks ? 'with' : 'without'} its body`, async (t) => {
      const { port } = await start(
        t,
        [
          ...(asks ? [wantsResponseBody] : []),
          set('content-length', '3'),
          set('transfer-encoding', 'gzip'),
          set('connection', 'keep-alive'),
          set('keep-alive', 'timeout=1000'),
          set('trailer', 'x-t'),
          set('upgrade', 'h2c')
        ],
        body
      )
      const text = (await exchangeBytes(port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')).toString()
      const [head, sent] = [text.slice(0, text.indexOf('\r\n\r\n')), text.slice(text.indexOf('\r\n\r\n') + 4)]
      assert.doesNotMatch(head, /gzip|timeout=1000|x-t|h2c|keep-alive|content-length: 3/i)
      assert.match(head, what === 'a string' ? /content-length: 5/ : /transfer-encoding: chunked/i)
      assert.equal(sent, what === 'a string' ? 'hello' : '5\r\nhello\r\n0\r\n\r\n')
    })
  }
}

for (const where of ['onRequest', 'onSend', 'raw'] as const) {
  test(`headers that the application's own hook has set (${where}) are seen by a filter, and kept`, async (t) => {
    const conf = [get('x-frame-options'), get('content-security-policy'), remove('x-powered-by')]
    const { url, filterLog } = await start(t, conf, undefined, 'script-go', (app) => {
      const headers = {
        'X-Frame-Options': 'DENY',
        'Content-Security-Policy': "default-src 'self'",
        'x-powered-by': 'me'
      }
      if (where === 'onSend') {
        app.addHook('onSend', async (_request, reply) => {
          reply.headers(headers)
        })
      } else {
        app.addHook('onRequest', async (_request, reply) => {
          // As middleware does, helmet among it.
          if (where === 'raw') for (const [name, value] of Object.entries(headers)) reply.raw.setHeader(name, value)
          else reply.headers(headers)
        })
      }
    })
    const answer = await request(url)
    assert.deepEqual(filterLog(), [
      'response x-frame-options=DENY',
      "response content-security-policy=default-src 'self'"
    ])
    assert.equal(answer.headers['x-frame-options'], 'DENY')
    assert.equal(answer.headers['content-security-policy'], "default-src 'self'")
    assert.equal('x-powered-by' in answer.headers, false)
  })
}

test('response headers can be read in the log, and not be changed any more', async (t) => {
  const { url, filterLog, quiet } = await start(
    t,
    { log: [get(':status'), get('x-a'), set('x-a', 'late'), get('x-a')] },
    (reply) => reply.code(203).header('x-a', '1').send('hello'),
    'script-go'
  )
  await request(url)
  await quiet()
  assert.deepEqual(filterLog(), [
    'response :status=203',
    'response x-a=1',
    'set failed: error status returned by host: bad argument',
    'response x-a=1'
  ])
})

test('the headers of a stream may be changed until its first byte is sent, and no later', async (t) => {
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [{ op: 'if_eos', steps: [set('x-late', '1')] }]
  }
  const { url, filterLog } = await start(t, conf, () => Readable.from(['one', 'two']), 'script-go')
  const answer = await request(url)
  assert.equal(answer.text, 'onetwo')
  assert.equal('x-late' in answer.headers, false)
  assert.deepEqual(filterLog(), ['set failed: error status returned by host: bad argument'])
})

test('the headers of a body that is there as a whole may be changed in its body callback', async (t) => {
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [{ op: 'if_eos', steps: [set('x-late', '1'), set(':status', '202')] }]
  }
  const { url } = await start(t, conf)
  const answer = await request(url)
  assert.equal(answer.headers['x-late'], '1')
  assert.equal(answer.status, 202)
})

test('inject() has its headers seen and changed', async (t) => {
  const { app, filterLog } = await start(t, [
    get(':status'),
    get('content-type'),
    add('set-cookie', 'a=1'),
    set(':status', '299')
  ])
  const answer = await app.inject('/')
  assert.equal(answer.statusCode, 299)
  assert.equal(answer.headers['set-cookie'], 'a=1')
  assert.deepEqual(filterLog(), ['response :status=200', 'response content-type=text/plain; charset=utf-8'])
})
