import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { type Script, type Step, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

const deny: Step = { op: 'reply', status: 403, headers: [], body: 'denied' }

function start(t: TestContext, conf: Script, handler: () => unknown, phase: 'access' | 'rewrite' = 'access') {
  return startApp(t, { plugins: scripted({ name: 'a', http_request_phase: phase }) }, (app: FastifyInstance) => {
    const route = { config: { wasm: { plugins: { a: { conf } } } } }
    app.get('/', route, async () => handler())
    app.post('/', route, async () => handler())
  })
}

for (const phase of ['rewrite', 'access'] as const) {
  for (const [where, script] of [
    ['request headers', { request_headers: [deny] }],
    ['the request body', { request_headers: [wantsRequestBody], request_body: [deny] }]
  ] as const) {
    test(`C-162 a local response in ${where} of the ${phase} phase is sent in place of the handler's`, async (t) => {
      let reached = false
      const { url } = await start(t, script as unknown as Script, () => (reached = true), phase)
      const body = { method: 'POST', body: 'hello', headers: { 'content-type': 'text/plain' } }
      const answer = await request(url, body)
      assert.equal(answer.status, 403)
      assert.equal(answer.text, 'denied')
      assert.equal(answer.headers['content-type'], 'text/plain')
      assert.equal(answer.headers['content-length'], '6')
      assert.equal(reached, false)
    })
  }
}

test('repeated headers, a content type and an empty body of a local response arrive as the filter gave them', async (t) => {
  const headers = [
    ['Set-Cookie', 'a=1'],
    ['set-cookie', 'b=2'],
    ['x-a', '1'],
    ['x-a', '2'],
    ['content-type', 'application/json'],
    ['content-length', '999'],
    ['transfer-encoding', 'chunked']
  ]
  const { url } = await start(t, { request_headers: [{ op: 'reply', status: 401, headers }] }, () => '')
  const answer = await request(url)
  assert.equal(answer.status, 401)
  assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
  assert.equal(answer.headers['x-a'], '1, 2')
  assert.equal(answer.headers['content-type'], 'application/json')
  assert.equal(answer.headers['content-length'], '0')
  assert.equal(answer.text, '')
})

test('a local response in response headers stands in place of the whole response', async (t) => {
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const route = { config: { wasm: { plugins: { a: { conf: { response_headers: [deny] } } } } } }
    app.get('/', route, (_request, reply) => {
      reply.code(201).header('x-secret', '1').header('content-encoding', 'gzip').send({ secret: true })
    })
  })
  const answer = await request(url)
  assert.equal(answer.status, 403)
  assert.equal(answer.text, 'denied')
  assert.equal(answer.headers['x-secret'], undefined)
  assert.equal(answer.headers['content-encoding'], undefined)
})

test('a local response in the body callback of a response that is there as a whole stands in its place', async (t) => {
  const { url } = await start(t, { response_headers: [wantsResponseBody], response_body: [deny] }, () => 'hello')
  const answer = await request(url)
  assert.equal(answer.status, 403)
  assert.equal(answer.text, 'denied')
})

test('C-174 a local response in the first body callback of a stream is sent, in a later one the connection is closed', async (t) => {
  const { url } = await startApp(t, { plugins: scripted('first', 'last') }, (app) => {
    const at = (steps: Step[]) => ({ response_headers: [wantsResponseBody], response_body: steps })
    const stream = async function* () {
      yield 'hello'
      await sleep(50)
      yield 'world'
    }
    const first = { config: { wasm: { plugins: { first: { conf: at([deny]) } } } } }
    const last = { config: { wasm: { plugins: { last: { conf: at([{ op: 'if_eos', steps: [deny] }]) } } } } }
    app.get('/first', first, (_request, reply) => reply.header('x-secret', '1').send(Readable.from(stream())))
    app.get('/last', last, (_request, reply) => reply.send(Readable.from(stream())))
  })
  const answer = await request(`${url}/first`)
  assert.equal(answer.status, 403)
  assert.equal(answer.text, 'denied')
  assert.equal(answer.headers['x-secret'], undefined)
  await assert.rejects(request(`${url}/last`))
})

test('a local response from the answer of an http call is sent, and the handler does not run', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => 'hello')
  })
  let reached = false
  const call = { op: 'call', upstream: upstream.node, headers: [], then: [deny] }
  for (const script of [
    { request_headers: [call] },
    { request_headers: [call, { op: 'pause' }] },
    { response_headers: [call] }
  ]) {
    const { url } = await start(t, script, () => {
      reached = 'request_headers' in script
      return 'hello'
    })
    const answer = await request(url)
    assert.equal(answer.status, 403)
    assert.equal(answer.text, 'denied')
    assert.equal(reached, false)
  }
})

test('two local responses in one callback: the first one is sent', async (t) => {
  const second = { ...deny, status: 500 }
  const { url } = await start(t, { request_headers: [deny, second] }, () => '')
  assert.equal((await request(url)).status, 403)
})

test('a closed stream ends the connection without a response', async (t) => {
  let reached = false
  const { url } = await start(t, { request_headers: [{ op: 'close', stream: 'request' }] }, () => (reached = true))
  await assert.rejects(request(url))
  assert.equal(reached, false)
})

test('a stream closed in a response callback ends the connection', async (t) => {
  const { url } = await start(t, { response_headers: [{ op: 'close', stream: 'response' }] }, () => 'hello')
  await assert.rejects(request(url))
})

for (const phase of ['rewrite', 'access'] as const) {
  test(`the handler of a request denied in the ${phase} phase does not run when the client hangs up during onSend`, async (t) => {
    let reached = false
    let entered = () => {}
    const inOnSend = new Promise<void>((resolve) => {
      entered = resolve
    })
    const plugins = scripted({ name: 'a', http_request_phase: phase })
    const { port, quiet } = await startApp(t, { plugins }, (app) => {
      app.addHook('onSend', async () => {
        entered()
        await sleep(100)
      })
      app.get('/', { config: { wasm: { plugins: { a: { conf: { request_headers: [deny] } } } } } }, async () => {
        reached = true
        return 'secret'
      })
    })
    const socket = connect(port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await inOnSend
    socket.destroy()
    await once(socket, 'close')
    await sleep(200)
    await quiet()
    assert.equal(reached, false)
  })
}

test('the handler behind an async hook of the application that denies does not run when the client hangs up', async (t) => {
  // The application's own `return reply` is enough without us; with filters at work in onSend it would not be.
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => sleep(100))
  })
  let reached = false
  let denied = () => {}
  const answered = new Promise<void>((resolve) => {
    denied = resolve
  })
  const conf = { response_headers: [{ op: 'call', upstream: upstream.node, headers: [] }] }
  const { port, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.addHook('preHandler', async (_request, reply) => {
      reply.code(401).send('no')
      denied()
      return reply
    })
    app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => {
      reached = true
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 1\r\n\r\nx')
  await answered
  await sleep(20)
  socket.destroy()
  await sleep(200)
  await quiet()
  assert.equal(reached, false)
})
