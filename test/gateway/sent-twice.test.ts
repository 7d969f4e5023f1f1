import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { scripted, wantsResponseBody } from './script.ts'

const redact = {
  response_headers: [wantsResponseBody],
  response_body: [
    { op: 'set_body', of: 'response', value: '' },
    { op: 'if_eos', steps: [{ op: 'set_body', of: 'response', value: '***' }] }
  ]
}

test('what a handler sends a second time does not overtake the filters', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => sleep(30))
  })
  const deny = {
    op: 'call',
    upstream: upstream.node,
    headers: [],
    then: [{ op: 'reply', status: 403, headers: [], body: 'denied' }]
  }
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const redacted = { config: { wasm: { plugins: { a: { conf: redact as object } } } } }
    const denied = { config: { wasm: { plugins: { a: { conf: { response_headers: [deny] } as object } } } } }
    for (const [path, route] of [
      ['/redacted', redacted],
      ['/denied', denied]
    ] as const) {
      app.get(path, route, async (_request, reply) => {
        reply.send('secret')
        return 'secret'
      })
      app.get(`${path}/undefined`, route, async (_request, reply) => {
        reply.send('secret')
      })
    }
  })
  for (const path of ['/redacted', '/redacted/undefined']) {
    const answer = await request(url + path)
    assert.equal(answer.status, 200)
    assert.equal(answer.text, '***', path)
  }
  for (const path of ['/denied', '/denied/undefined']) {
    const answer = await request(url + path)
    assert.equal(answer.status, 403, path)
    assert.equal(answer.text, 'denied', path)
  }
})

test('the answer of a handlerTimeout is sent while a filter holds the response', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => sleep(300))
  })
  const hold = { op: 'call', upstream: upstream.node, headers: [], timeout: 5000 }
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const config = { wasm: { plugins: { a: { conf: { response_headers: [hold] } } } } }
    app.get('/', { config, handlerTimeout: 100 }, async () => 'hello')
  })
  const answer = await request(url)
  assert.equal(answer.status, 503)
  assert.match(answer.text, /FST_ERR_HANDLER_TIMEOUT/)
  await sleep(300)
})

test('a local response is sent whole when the handler has answered, and another hook still works on that', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => sleep(50))
  })
  const call = {
    op: 'call',
    upstream: upstream.node,
    headers: [],
    then: [{ op: 'reply', status: 403, headers: [], body: 'no' }]
  }
  for (const http_request_phase of ['rewrite', 'access'] as const) {
    const { url } = await startApp(
      t,
      { plugins: scripted({ name: 'a', http_request_phase }) },
      (app) => {
        const conf = { request_headers: [call, { op: 'continue', stream: 'request' }, { op: 'pause' }] }
        app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
          return reply.header('x-secret', '1').send({ secret: 1 })
        })
      },
      {},
      (app) => {
        app.addHook('onSend', async () => {
          await sleep(150)
        })
      }
    )
    const answer = await request(url)
    assert.equal(answer.status, 403)
    assert.equal(answer.text, 'no')
    assert.equal(answer.headers['x-secret'], undefined)
    assert.equal(answer.headers['content-type'], 'text/plain')
  }
})

test('what a filter has answered before it failed is not the answer of the next filter', async (t) => {
  const { url } = await startApp(t, { plugins: scripted('a', 'b') }, (app) => {
    const steps = [
      { op: 'reply', status: 403, headers: [], body: 'A' },
      { op: 'panic', text: 'oh' }
    ]
    const b = { conf: { response_headers: [{ op: 'set', map: 'response', name: 'x-b', value: '1' }] } }
    for (const phase of ['request_headers', 'response_headers']) {
      app.get(
        `/${phase}`,
        { config: { wasm: { plugins: { a: { conf: { [phase]: steps } }, b } } } },
        async () => 'hello'
      )
    }
  })
  for (const phase of ['request_headers', 'response_headers']) {
    const answer = await request(`${url}/${phase}`)
    assert.equal(answer.status, 503, phase)
    assert.match(answer.text, /plugin \[a\] failed/, phase)
    assert.equal(answer.headers['x-b'], '1', phase)
  }
})
