import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fixture, startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { say, scripted } from './script.ts'

for (const language of ['script-go', 'script-rust', 'script-as']) {
  test(`fifty requests held by http calls at once see their own headers in the answers (${language})`, async (t) => {
    let waiting: (() => void)[] = []
    const upstream = await startUpstream(t, (app) => {
      app.get('/', async (request) => {
        await new Promise<void>((resolve) => {
          waiting.push(resolve)
          // In another order than they came, and none before all have come.
          if (waiting.length === 50) for (const answer of waiting.reverse()) answer()
        })
        return request.headers['x-number'] ?? ''
      })
    })
    const call = { op: 'call', upstream: upstream.node, headers: [], timeout: 5000 }
    const conf = {
      request_headers: [call, { op: 'pause' }],
      call: [
        { op: 'get', map: 'request', name: 'x-number' },
        { op: 'add', map: 'response', name: 'x-answered', value: 'yes' },
        { op: 'continue', stream: 'request' }
      ]
    }
    const plugins = [{ name: 'a', file: fixture(language) }]
    const { url, lines, app } = await startApp(t, { plugins }, (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (request) => request.headers['x-number'])
    })
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, i) => request(url, { headers: { 'x-number': String(i) } }))
    )
    answers.forEach((answer, i) => {
      assert.equal(answer.text, String(i))
      assert.equal(answer.headers['x-answered'], 'yes')
    })
    // The line of each answer went through its own request's logger.
    for (const line of lines.filter(({ msg }) => msg.startsWith('request x-number='))) {
      const incoming = lines.find(({ reqId, msg }) => reqId === line.reqId && msg === 'incoming request')
      assert.ok(incoming)
    }
    assert.equal(
      new Set(lines.filter(({ msg }) => msg.startsWith('request x-number=')).map(({ reqId }) => reqId)).size,
      50
    )
    assert.equal(app.wasmGateway.status().plugins[0]!.calls, 0)
    waiting = []
  })
}

test('a Continue with calls outstanding waits for all of them, also for those dispatched by an answer', async (t) => {
  const order: string[] = []
  const upstream = await startUpstream(t, (app) => {
    app.get('/:name', async (request) => {
      const { name } = request.params as { name: string }
      if (name === 'slow') await sleep(60)
      order.push(name)
      return name
    })
  })
  const call = (name: string, then: object[] = []) => ({
    op: 'call',
    upstream: upstream.node,
    headers: [[':path', `/${name}`]],
    then: [say(name), ...then]
  })
  const conf = { request_headers: [call('slow'), call('fast', [call('nested')])] }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => {
      order.push('handler')
      return 'hello'
    })
  })
  assert.equal((await request(url)).text, 'hello')
  assert.deepEqual(order, ['fast', 'nested', 'slow', 'handler'])
  assert.deepEqual(filterLog(), ['fast', 'nested', 'slow'])
})

test('calls wait in every callback, and the response goes on when they are answered', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => 'called')
  })
  const call = { op: 'call', upstream: upstream.node, headers: [], then: [{ op: 'body', of: 'call' }] }
  const wants = (what: string) => ({ op: 'set_property', path: [what], value: '1' })
  const conf = {
    request_headers: [wants('wasm_process_req_body'), call],
    request_body: [call],
    response_headers: [wants('wasm_process_resp_body'), call],
    response_body: [{ op: 'if_eos', steps: [call] }]
  }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (request) => request.body)
  })
  const answer = await request(url, { method: 'POST', body: 'hello', headers: { 'content-type': 'text/plain' } })
  assert.equal(answer.text, 'hello')
  assert.deepEqual(filterLog(), new Array(4).fill('call body=called'))
})

test('a client that leaves while its request is held ends the call, which is answered as failed, and the contexts', async (t) => {
  let aborted = false
  let called = () => {}
  const arrived = new Promise<void>((resolve) => {
    called = resolve
  })
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async (_request, reply) => {
      reply.raw.once('close', () => {
        aborted = true
      })
      called()
      await sleep(1000)
    })
  })
  let reached = false
  const conf = {
    request_headers: [{ op: 'call', upstream: upstream.node, headers: [], timeout: 5000 }, { op: 'pause' }],
    call: [
      { op: 'get', map: 'call', name: ':status' },
      { op: 'continue', stream: 'request' }
    ],
    log: [say('log')]
  }
  const { port, filterLog, quiet, app } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => {
      reached = true
      return ''
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await arrived
  socket.destroy()
  for (let i = 0; i < 100 && !aborted; i++) await sleep(10)
  await quiet()
  assert.equal(aborted, true)
  assert.equal(reached, false)
  assert.deepEqual(filterLog(), ['call :status missing', 'log'])
  assert.equal(app.wasmGateway.status().plugins[0]!.calls, 0)
})

test('a call that a plugin makes when it starts is answered', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/keys', async () => 'k1')
  })
  const conf = {
    start: [{ op: 'call', upstream: 'keys', headers: [[':path', '/keys']], then: [{ op: 'body', of: 'call' }] }],
    request_headers: [say('request')]
  }
  const upstreams = [{ id: 'keys', nodes: { [upstream.node]: 1 } }]
  const { url, lines } = await startApp(t, { plugins: scripted('a'), upstreams }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => '')
  })
  await request(url)
  for (let i = 0; i < 100 && !lines.some(({ msg }) => msg === 'call body=k1'); i++) await sleep(10)
  assert.ok(lines.some(({ msg }) => msg === 'call body=k1'))
})
