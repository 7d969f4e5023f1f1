import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import { connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, type Step, scripted, wantsRequestBody } from './script.ts'

const phases = ['rewrite', 'access'] as const
type Phase = (typeof phases)[number]

const readsBody: Script = {
  request_headers: [wantsRequestBody],
  request_body: [{ op: 'callback' }, { op: 'body', of: 'request', size: 20 }]
}
const text = { 'content-type': 'text/plain' }

/** An application that answers the body that its handler is given. */
function start(
  t: TestContext,
  phase: Phase,
  conf: Script = readsBody,
  before?: (app: FastifyInstance) => void,
  plugin: Record<string, unknown> = {}
) {
  const plugins = scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase, ...plugin })
  const echo = async (request: FastifyRequest) => request.body ?? 'none'
  return startApp(
    t,
    { plugins },
    (app) => {
      const route = { config: { wasm: { plugins: { a: { conf } } } }, bodyLimit: 20_000_000 }
      app.post('/', route, echo)
      app.get('/', route, echo)
    },
    {},
    before
  )
}

for (const phase of phases) {
  for (const sdk of ['script-go', 'script-rust', 'script-as']) {
    test(`${phase}: a filter of ${sdk} is given the whole body in one call, at the end of the stream`, async (t) => {
      const { url, filterLog } = await start(t, phase, readsBody, undefined, { file: fixture(sdk) })
      const answer = await request(url, { method: 'POST', headers: text, body: 'hello world' })
      assert.equal(answer.text, 'hello world')
      assert.deepEqual(filterLog(), ['request_body ctx=2 root=1 size=11 eos=true', 'request body=hello world'])
    })
  }

  for (const method of ['POST', 'GET']) {
    test(`${phase}: the body callback runs, with no bytes, for a ${method} without a body`, async (t) => {
      const { url, filterLog } = await start(t, phase)
      const answer = await request(url, { method })
      assert.equal(answer.text, 'none')
      assert.deepEqual(filterLog(), ['request_body ctx=2 root=1 size=0 eos=true', 'request body missing'])
    })
  }

  test(`${phase}: a chunked upload in many slow pieces is one body`, async (t) => {
    const { url, filterLog } = await start(t, phase)
    const outgoing = httpRequest(url, { method: 'POST', headers: text, agent: false })
    const answered = once(outgoing, 'response')
    for (let i = 0; i < 10; i++) {
      outgoing.write(`${i}`.repeat(1000))
      await sleep(3)
    }
    outgoing.end()
    const [incoming] = await answered
    let received = ''
    for await (const chunk of incoming.setEncoding('latin1')) received += chunk
    assert.equal(received, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((i) => `${i}`.repeat(1000)).join(''))
    assert.deepEqual(filterLog(), [
      'request_body ctx=2 root=1 size=10000 eos=true',
      'request body=00000000000000000000'
    ])
  })

  for (const [what, headers, wire] of [
    ['chunked', 'transfer-encoding: chunked', '5\r\nhello\r\n0\r\n\r\n'],
    ['with a length', 'content-length: 5', 'hello']
  ] as const) {
    test(`${phase}: a body ${what} that arrived before the gateway's hook ran is read and passed on`, async (t) => {
      const { port, filterLog } = await start(t, phase, readsBody, (app) => {
        app.addHook('onRequest', () => sleep(50))
      })
      const head = `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\nconnection: close\r\n${headers}\r\n\r\n`
      const answer = await exchangeBytes(port, head + wire)
      assert.match(answer.toString(), /^HTTP\/1\.1 200[\s\S]*\r\n\r\nhello$/)
      assert.deepEqual(filterLog(), ['request_body ctx=2 root=1 size=5 eos=true', 'request body=hello'])
    })
  }

  test(`${phase}: five megabytes pass as they came`, async (t) => {
    const { url, filterLog } = await start(t, phase, {
      request_headers: [wantsRequestBody],
      request_body: [{ op: 'callback' }]
    })
    const body = Buffer.alloc(5_000_000, 'abcdefg')
    const answer = await request(url, { method: 'POST', headers: text, body })
    assert.ok(answer.body.equals(body))
    assert.deepEqual(filterLog(), ['request_body ctx=2 root=1 size=5000000 eos=true'])
  })

  for (const announced of [true, false]) {
    const how = announced ? 'with a length' : 'chunked'
    test(`C-087 ${phase}: a body ${how} over limits.body_mib is answered 413, and the connection ends`, async (t) => {
      const { port, filterLog } = await start(t, phase, readsBody, undefined, { limits: { body_mib: 1 } })
      const body = 'x'.repeat(1_200_000)
      const framing = announced ? 'content-length: 1200000' : 'transfer-encoding: chunked'
      const wire = announced ? body : `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`
      const answer = (
        await exchangeBytes(port, `POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n${framing}\r\n\r\n${wire}`)
      ).toString()
      assert.match(answer, /^HTTP\/1\.1 413 /)
      assert.match(answer, /\r\ncontent-type: application\/json/)
      const { error_msg } = JSON.parse(answer.slice(answer.indexOf('\r\n\r\n') + 4))
      assert.equal(typeof error_msg, 'string')
      assert.deepEqual(filterLog(), [])
    })

    test(`${phase}: a body ${how} over the limit is no matter to a filter that does not ask for it`, async (t) => {
      const script: Script = { request_body: [{ op: 'callback' }] }
      const { url, filterLog } = await start(t, phase, script, undefined, { limits: { body_mib: 1 } })
      const body = Buffer.alloc(1_200_000, 'x')
      const framing = announced ? { 'content-length': body.length } : { 'transfer-encoding': 'chunked' }
      const answer = await request(url, { method: 'POST', headers: { ...text, ...framing }, body })
      assert.ok(answer.body.equals(body))
      assert.deepEqual(filterLog(), [])
    })
  }

  test(`${phase}: a client that leaves in the middle of its body leaves nothing alive`, async (t) => {
    const { port, app, filterLog, quiet } = await start(t, phase, { ...readsBody, log: [{ op: 'log', text: 'over' }] })
    const socket = connect(port, '127.0.0.1')
    socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhello')
    await once(app.server, 'request')
    await sleep(20)
    socket.destroy()
    await quiet()
    // An access filter has not seen anything of it: Fastify had not read the body.
    assert.deepEqual(filterLog(), phase === 'rewrite' ? ['over'] : [])
  })

  test(`${phase}: inject() has its body read`, async (t) => {
    const { app, filterLog } = await start(t, phase)
    const answer = await app.inject({ method: 'POST', url: '/', headers: text, payload: 'hello' })
    assert.equal(answer.body, 'hello')
    const empty = await app.inject({ method: 'POST', url: '/' })
    assert.equal(empty.body, 'none')
    assert.deepEqual(filterLog(), [
      'request_body ctx=2 root=1 size=5 eos=true',
      'request body=hello',
      'request_body ctx=2 root=1 size=0 eos=true',
      'request body missing'
    ])
  })

  test(`${phase}: the headers callback is told whether a body follows`, async (t) => {
    const conf: Script = { request_headers: [{ op: 'if_eos', steps: [{ op: 'log', text: 'no body' }] }] }
    const { url, filterLog } = await start(t, phase, conf)
    await request(url, { method: 'POST', headers: text, body: 'hello' })
    assert.deepEqual(filterLog(), [])
    await request(url, { method: 'POST' })
    assert.deepEqual(filterLog(), ['no body'])
  })

  test(`${phase}: a pause in the body callback holds the request until it is resumed`, async (t) => {
    const steps: Step[] = [
      { op: 'set_body', of: 'request', value: 'resumed' },
      { op: 'continue', stream: 'request' }
    ]
    const call: Step = {
      op: 'call',
      upstream: '127.0.0.1:1',
      headers: [
        [':method', 'GET'],
        [':path', '/'],
        [':authority', 'a']
      ],
      then: steps
    }
    const conf: Script = { request_headers: [wantsRequestBody], request_body: [call, { op: 'pause' }] }
    const { url } = await start(t, phase, conf)
    const answer = await request(url, { method: 'POST', headers: text, body: 'hello' })
    assert.equal(answer.text, 'resumed')
  })
}

test('rewrite: a client is sent 413 when it has sent too much, not when it has sent all', async (t) => {
  const { url } = await start(t, 'rewrite', readsBody, undefined, { limits: { body_mib: 1 } })
  const outgoing = httpRequest(url, { method: 'POST', headers: text, agent: false })
  outgoing.on('error', () => {})
  outgoing.write(Buffer.alloc(1_200_000))
  const [incoming] = await once(outgoing, 'response')
  assert.equal(incoming.statusCode, 413)
  assert.equal(incoming.headers.connection, 'close')
  outgoing.destroy()
})

test('rewrite: a client that goes on sending is sent its 413 all the same, and then let go of', async (t) => {
  const { port, quiet } = await start(t, 'rewrite', readsBody, undefined, { limits: { body_mib: 1 } })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  const closed = once(socket, 'close')
  let received = ''
  socket.on('data', (bytes) => {
    received += bytes
  })
  socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 1000000000\r\n\r\n')
  const more = Buffer.alloc(100_000, 'x')
  for (let i = 0; i < 40; i++) {
    socket.write(more)
    await sleep(1)
  }
  await eventually('it has the whole answer', () => received.endsWith('}'))
  assert.match(received, /^HTTP\/1\.1 413 .*\r\nconnection: close\r\n/s)
  await quiet()
  await closed
})

test('a body is handed to the parser once when no filter changes it, in either phase', async (t) => {
  let parsed = 0
  const plugins = scripted(
    { name: 'a', http_request_phase: 'rewrite', file: fixture('script-rust') },
    { name: 'b', http_request_phase: 'access', file: fixture('script-rust') }
  )
  const { url } = await startApp(t, { plugins }, (app) => {
    app.addContentTypeParser('text/x', { parseAs: 'string' }, (_request, body, done) => {
      parsed++
      done(null, body)
    })
    const handler = async (request: FastifyRequest) => request.body
    for (const [path, conf] of [
      ['/reads', readsBody],
      ['/asks-not', { request_body: [{ op: 'set_body', of: 'request', value: 'never' }] }]
    ] as const) {
      const wasm = { plugins: { a: { conf }, b: { conf } } }
      app.post(path, { config: { wasm: wasm as never } }, handler)
    }
  })
  for (const path of ['/reads', '/asks-not']) {
    parsed = 0
    const answer = await request(url + path, { method: 'POST', headers: { 'content-type': 'text/x' }, body: 'hello' })
    assert.equal(answer.text, 'hello')
    assert.equal(parsed, 1, path)
  }
})
