import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture, startApp, startUpstream, type TestApp } from '../app.ts'
import { LOOPS, TRAPS, WHERE, type Where } from '../hostile.ts'
import { request } from '../http.ts'
import { say, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

const hostile = (fail: 'open' | 'closed', more: object = {}) => ({
  name: 'hostile',
  file: fixture('hostile'),
  priority: 100,
  fail,
  limits: { call_ms: 50, start_ms: 50 },
  ...more
})

const MARK = {
  request_headers: [{ op: 'set', map: 'request', name: 'x-other', value: '1' }, wantsRequestBody],
  request_body: [{ op: 'append_body', of: 'request', value: '!' }],
  response_headers: [{ op: 'set', map: 'response', name: 'x-marked', value: '1' }, wantsResponseBody],
  response_body: [{ op: 'if_eos', steps: [{ op: 'append_body', of: 'response', value: '?' }] }]
}

/** A route to an upstream that echoes, with the hostile filter and then one that marks what passes. */
async function start(t: TestContext, fail: 'open' | 'closed', conf: string): Promise<TestApp> {
  const { node } = await startUpstream(t, (app) => {
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    app.post('/*', async ({ body, headers }) => `${body} ${headers['x-other']} ${headers['x-bad'] ?? '-'}`)
  })
  return startApp(
    t,
    {
      plugins: [hostile(fail), ...scripted({ name: 'mark', priority: 1 })],
      routes: [
        {
          id: 1,
          uri: '/*',
          plugins: { hostile: { conf }, mark: { conf: MARK } },
          upstream: { nodes: { [node]: 1 } }
        }
      ]
    },
    () => {}
  )
}

const post = (url: string) =>
  request(`${url}/x`, { method: 'POST', body: 'body', headers: { 'x-a': 'one', 'content-type': 'text/x' } })

const IN_REQUEST: readonly Where[] = ['allocator', 'configure', 'context_create', 'request_headers', 'request_body']
const IN_RESPONSE: readonly Where[] = ['response_headers', 'response_body']
const AFTER: readonly Where[] = ['done', 'log', 'delete']

for (const where of [...IN_REQUEST, ...IN_RESPONSE, ...AFTER]) {
  for (const [what, letter] of [
    ['a trap', TRAPS.unreachable],
    ['a loop', LOOPS['a plain loop']]
  ] as const) {
    test(`C-068 fail: open, ${what} in ${where}: every request goes on as if the filter was not there`, async (t) => {
      const { url, app } = await start(t, 'open', WHERE[where] + letter)
      for (let i = 0; i < 4; i++) {
        const { status, headers, text } = await post(url)
        assert.deepEqual([status, headers['x-marked'], text], [200, '1', 'body! 1 -?'])
      }
      assert(app.wasmGateway.status().plugins[0]!.failures > 0)
      assert.equal(app.wasmGateway.status().plugins[1]!.failures, 0)
    })
  }
}

for (const where of IN_REQUEST) {
  test(`C-070 fail: closed, a trap in ${where}: 503 each time, and the other filter sees the response`, async (t) => {
    const { url, app } = await start(t, 'closed', WHERE[where] + TRAPS.unreachable)
    for (let i = 0; i < 4; i++) {
      const { status, headers, text } = await post(url)
      assert.deepEqual([status, headers['x-marked']], [503, '1'])
      assert.match(text, /plugin \[hostile\] failed to run/)
    }
    // At once the first time, and then it waits.
    assert.equal(app.wasmGateway.status().plugins[0]!.instances, 2)
  })
}

for (const where of AFTER) {
  test(`fail: closed, a trap in ${where} hurts no request`, async (t) => {
    const { url } = await start(t, 'closed', WHERE[where] + TRAPS.unreachable)
    for (let i = 0; i < 4; i++) assert.equal((await post(url)).status, 200)
  })
}

test('what a filter has changed in the callback that it failed in is as it was before', async (t) => {
  const conf = {
    request_headers: [{ op: 'set', map: 'request', name: 'x-good', value: '1' }, wantsRequestBody],
    request_body: [
      { op: 'set', map: 'request', name: 'x-bad', value: '1' },
      { op: 'set', map: 'request', name: 'user-agent', value: 'bad' },
      { op: 'remove', map: 'request', name: 'x-mine' },
      { op: 'set', map: 'request', name: ':path', value: '/bad' },
      { op: 'set', map: 'response', name: 'x-bad', value: '1' },
      { op: 'set_body', of: 'request', value: 'bad' },
      { op: 'reply', status: 418, body: 'bad' },
      { op: 'panic', text: 'now' }
    ]
  }
  const { url } = await startApp(t, { plugins: scripted({ name: 'a', fail: 'open' }) }, (app) => {
    app.addContentTypeParser('text/x', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    app.post('/*', { config: { wasm: { plugins: { a: { conf } } } } }, async ({ url, headers, body }) => {
      const { 'x-good': good, 'x-bad': bad, 'user-agent': agent, 'x-mine': mine } = headers
      return [url, good, bad ?? '-', agent, mine, body].join(' ')
    })
  })
  const headers = { 'content-type': 'text/x', 'user-agent': 'me', 'x-mine': '1' }
  const answer = await request(`${url}/x`, { method: 'POST', body: 'body', headers })
  assert.deepEqual([answer.status, answer.text, answer.headers['x-bad']], [200, '/x 1 - me 1 body', undefined])
})

test('what an Envoy filter holds of a response passes when it fails, in its order', async (t) => {
  const conf = {
    response_body: [{ op: 'if_eos', steps: [{ op: 'panic', text: 'at the end' }] }, { op: 'pause' }]
  }
  const plugins = scripted({ name: 'a', fail: 'open', semantics: 'envoy' })
  const { url } = await startApp(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
      const { Readable } = await import('node:stream')
      return reply.send(Readable.from(['one ', 'two ', 'three']))
    })
  })
  const { status, text } = await request(url)
  assert.deepEqual([status, text], [200, 'one two three'])
})

test('an exchange that waits for a filter goes on when another exchange brings its instance down', async (t) => {
  const conf = {
    request_headers: [
      { op: 'if_header', map: 'request', name: 'x-do', value: 'wait', steps: [say('waits'), { op: 'pause' }] },
      { op: 'if_header', map: 'request', name: 'x-do', value: 'panic', steps: [{ op: 'panic', text: 'x' }] }
    ]
  }
  const { url, filterLog } = await startApp(t, { plugins: scripted({ name: 'a', fail: 'open' }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  const waiting = request(url, { headers: { 'x-do': 'wait' } })
  while (!filterLog().includes('waits')) await new Promise((resolve) => setTimeout(resolve, 5))
  assert.equal((await request(url, { headers: { 'x-do': 'panic' } })).text, 'hello')
  assert.equal((await waiting).text, 'hello')
})

test('properties that a filter has set in the callback that it failed in are as they were before', async (t) => {
  const set = (value: string) => ({ op: 'set_property', path: ['user'], value })
  const a = {
    request_headers: [wantsRequestBody, set('nobody')],
    request_body: [set('admin'), { op: 'panic', text: 'x' }]
  }
  const b = { request_headers: [{ op: 'property', path: ['user'] }] }
  const plugins = scripted({ name: 'a', fail: 'open', priority: 2 }, { name: 'b', priority: 1 })
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.post('/', { config: { wasm: { plugins: { a: { conf: a }, b: { conf: b } } } } }, async () => 'hello')
  })
  await request(url, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } })
  assert.match(filterLog('b').join(), /nobody/)
})
