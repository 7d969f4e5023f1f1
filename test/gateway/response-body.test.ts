import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { ReadableStream } from 'node:stream/web'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyReply } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { exchangeBytes } from '../http.ts'
import { type Script, scripted, wantsResponseBody } from './script.ts'

const watches: Script = {
  response_headers: [wantsResponseBody],
  response_body: [{ op: 'callback' }, { op: 'body', of: 'response' }]
}
const call = (size: number, text?: string) => [
  `response_body ctx=2 root=1 size=${size} eos=${size === 0}`,
  `response body${text === undefined ? ' missing' : `=${text}`}`
]
/** The calls for a body of these chunks. */
const calls = (...chunks: string[]) => [...chunks.flatMap((chunk) => call(Buffer.byteLength(chunk), chunk)), ...call(0)]

type Handler = (reply: FastifyReply) => unknown

async function* slowly(...chunks: (string | Buffer)[]) {
  for (const chunk of chunks) {
    await sleep(5)
    yield chunk
  }
}

function start(t: TestContext, conf: Script, handler: Handler, sdk = 'script-rust') {
  return startApp(t, { plugins: scripted({ name: 'a', file: fixture(sdk) }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, (_request, reply) => {
      const result = handler(reply)
      if (result !== reply) reply.send(result)
    })
  })
}

/** The head of a response, and its body as it was framed on the wire. */
async function wire(port: number, method = 'GET') {
  const bytes = await exchangeBytes(port, `${method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
  const text = bytes.toString()
  const end = text.indexOf('\r\n\r\n')
  return { status: Number(text.slice(9, 12)), head: text.slice(0, end).toLowerCase(), body: text.slice(end + 4) }
}

const chunk = (text: string) => `${Buffer.byteLength(text).toString(16)}\r\n${text}\r\n`
const chunked = (...texts: string[]) => `${texts.map(chunk).join('')}0\r\n\r\n`

const whole: [string, Handler, string][] = [
  ['a string', () => 'hello €', 'hello €'],
  ['a Buffer', () => Buffer.from('hello'), 'hello'],
  ['a Uint8Array', () => new TextEncoder().encode('hello'), 'hello'],
  ['an object', () => ({ a: 1 }), '{"a":1}'],
  ['null, which Fastify serializes', () => null, 'null'],
  ['nothing', () => undefined, ''],
  ['an empty string', () => '', ''],
  ['an empty Buffer', () => Buffer.alloc(0), ''],
  ['null with a type of its own', (reply) => reply.type('text/plain').send(null), '']
]

const streams: [string, Handler, string[]][] = [
  [
    'a slow stream',
    () => Readable.from(slowly(Buffer.from('one'), Buffer.from('two')), { objectMode: false }),
    ['one', 'two']
  ],
  ['a stream of strings in object mode', () => Readable.from(slowly('one', 'zwö')), ['one', 'zwö']],
  ['an empty stream', () => Readable.from([]), []],
  ['a web stream', () => ReadableStream.from(slowly(Buffer.from('one'), Buffer.from('two'))), ['one', 'two']],
  ['a web stream of strings', () => ReadableStream.from(slowly('one', 'two')), ['one', 'two']],
  ['a Blob', () => new Blob(['one']).stream(), ['one']],
  ['a Response', () => new Response('one'), ['one']],
  [
    'a Response of a stream',
    () => new Response(ReadableStream.from(slowly(Buffer.from('one'), Buffer.from('two'))) as never),
    ['one', 'two']
  ]
]

for (const sdk of ['script-go', 'script-as']) {
  test(`a filter of ${sdk} is shown a body in one call, and the end in an empty one`, async (t) => {
    const { port, filterLog } = await start(t, watches, () => 'hello', sdk)
    assert.equal((await wire(port)).body, 'hello')
    assert.deepEqual(filterLog(), calls('hello'))
  })
}

for (const [what, handler, text] of whole) {
  test(`${what}: the filter is shown all of it, and the client gets it with its length`, async (t) => {
    const { port, app, filterLog } = await start(t, watches, handler)
    const answer = await wire(port)
    assert.equal(answer.status, 200)
    assert.equal(answer.body, text)
    assert.match(answer.head, new RegExp(`\r\ncontent-length: ${Buffer.byteLength(text)}(\r|$)`))
    assert.doesNotMatch(answer.head, /transfer-encoding/)
    const expected = text === '' ? call(0) : calls(text)
    assert.deepEqual(filterLog(), expected)
    const injected = await app.inject('/')
    assert.equal(injected.body, text)
    assert.deepEqual(filterLog(), [...expected, ...expected])
  })
}

for (const [what, handler, chunks] of streams) {
  test(`${what}: the filter is shown chunk by chunk, and the client gets them chunked`, async (t) => {
    const { port, app, filterLog } = await start(t, watches, handler)
    const answer = await wire(port)
    assert.equal(answer.status, 200)
    assert.equal(answer.body, chunked(...chunks))
    assert.match(answer.head, /\r\ntransfer-encoding: chunked(\r|$)/)
    assert.doesNotMatch(answer.head, /content-length/)
    assert.deepEqual(filterLog(), calls(...chunks))
    assert.equal((await app.inject('/')).body, chunks.join(''))
  })
}

for (const [change, steps, text] of [
  ['longer', [{ op: 'set_body', of: 'response', value: 'a longer body' }], 'a longer body'],
  ['shorter', [{ op: 'set_body', of: 'response', value: 'x' }], 'x'],
  ['emptied', [{ op: 'set_body', of: 'response', value: '' }], ''],
  ['prepended to', [{ op: 'prepend_body', of: 'response', value: 'é-' }], 'é-hello'],
  ['appended to', [{ op: 'append_body', of: 'response', value: '-é' }], 'hello-é']
] as const) {
  // The last call is for the end alone, and is not changed.
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [{ op: 'if_header', map: 'response', name: ':status', value: '200', steps: [...steps] }]
  }
  const atEnd =
    change === 'emptied'
      ? ''
      : { longer: 'a longer body', shorter: 'x', 'prepended to': 'é-', 'appended to': '-é' }[change]!

  test(`C-155 a body that is ${change} has its right length`, async (t) => {
    const { port } = await start(t, conf, (reply) => reply.header('content-length', 5).send('hello'))
    const answer = await wire(port)
    assert.equal(answer.body, text + atEnd)
    assert.match(answer.head, new RegExp(`\r\ncontent-length: ${Buffer.byteLength(text + atEnd)}(\r|$)`))
  })

  test(`a stream with a content-length, the body of which is ${change}, is sent chunked`, async (t) => {
    const { port } = await start(t, conf, (reply) =>
      reply.header('content-length', 5).send(Readable.from([Buffer.from('hello')], { objectMode: false }))
    )
    const answer = await wire(port)
    assert.doesNotMatch(answer.head, /content-length/)
    assert.equal(unchunked(answer.body), text + atEnd)
  })
}

test('the last call may add to a body what the filter has held back', async (t) => {
  const conf: Script = {
    response_headers: [wantsResponseBody],
    response_body: [
      { op: 'set_body', of: 'response', value: '' },
      { op: 'if_eos', steps: [{ op: 'set_body', of: 'response', value: 'all at the end' }] }
    ]
  }
  const buffer = await start(t, conf, () => 'hello')
  assert.equal((await wire(buffer.port)).body, 'all at the end')
  const stream = await start(t, conf, () => Readable.from(slowly('one', 'two')))
  assert.equal((await wire(stream.port)).body, chunked('all at the end'))
})

test('a content-length of the handler is kept where no filter asks for the body', async (t) => {
  const conf: Script = { response_headers: [], response_body: [{ op: 'callback' }] }
  const { port, filterLog } = await start(t, conf, (reply) =>
    reply.header('content-length', 5).send(Readable.from([Buffer.from('hello')], { objectMode: false }))
  )
  const answer = await wire(port)
  assert.match(answer.head, /\r\ncontent-length: 5(\r|$)/)
  assert.equal(answer.body, 'hello')
  assert.deepEqual(filterLog(), [])
})

test('a flag that is set in the request asks for the body of the response too', async (t) => {
  const { port, filterLog } = await start(
    t,
    { request_headers: [wantsResponseBody], response_body: [{ op: 'callback' }] },
    () => 'hello'
  )
  assert.equal((await wire(port)).body, 'hello')
  assert.equal(filterLog().length, 2)
})

test('two filters see and change a body in the order of their priority', async (t) => {
  const appends = (value: string): Script => ({
    response_headers: [wantsResponseBody],
    response_body: [
      { op: 'body', of: 'response' },
      { op: 'append_body', of: 'response', value }
    ]
  })
  const plugins = scripted(
    { name: 'a', priority: 1, file: fixture('script-rust') },
    { name: 'b', priority: 2, file: fixture('script-rust') },
    { name: 'c', priority: 3, file: fixture('script-rust') }
  )
  let body: () => unknown = () => 'x'
  const { port, filterLog, lines } = await startApp(t, { plugins }, (app) => {
    const wasm = {
      plugins: {
        a: { conf: appends('a') },
        b: { conf: appends('b') },
        c: { conf: { response_body: [{ op: 'callback' }] } }
      }
    }
    app.get('/', { config: { wasm } }, async () => body())
  })
  assert.equal((await wire(port)).body, 'xbbaa')
  assert.deepEqual(filterLog(), [
    'response body=x',
    'response body missing',
    'response body=xbb',
    'response body missing'
  ])
  lines.length = 0
  body = () => Readable.from(slowly('x', 'y'))
  assert.equal((await wire(port)).body, chunked('xba', 'yba', 'ba'))
  assert.deepEqual(filterLog('b'), ['response body=x', 'response body=y', 'response body missing'])
  assert.deepEqual(filterLog('a'), ['response body=xb', 'response body=yb', 'response body=b'])
  assert.deepEqual(filterLog('c'), [])
})

/** What was sent in chunks: Node 26 makes one of those that are written together. */
function unchunked(body: string): string {
  let rest = Buffer.from(body)
  const parts: Buffer[] = []
  for (;;) {
    const start = rest.indexOf('\r\n') + 2
    const length = Number.parseInt(rest.toString('latin1', 0, start), 16)
    if (length === 0) break
    parts.push(rest.subarray(start, start + length))
    assert.equal(rest.toString('latin1', start + length, start + length + 2), '\r\n')
    rest = rest.subarray(start + length + 2)
  }
  assert.equal(rest.toString(), '0\r\n\r\n')
  return Buffer.concat(parts).toString()
}
