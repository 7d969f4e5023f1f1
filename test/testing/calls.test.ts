import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadFilter, type Upstream } from '../../lib/testing/index.ts'
import { fixture } from '../app.ts'
import { say } from '../gateway/script.ts'
import { scripted } from './load.ts'

const call = (upstream: string, more: object = {}) => ({
  op: 'call',
  upstream,
  headers: [
    [':method', 'POST'],
    [':path', '/check?a'],
    [':authority', 'auth.test'],
    ['x-a', '1']
  ],
  body: 'asks',
  then: [
    { op: 'get', map: 'call', name: ':status' },
    { op: 'body', of: 'call' },
    { op: 'continue', stream: 'request' }
  ],
  ...more
})
const asks = (upstream: string, more?: object) => ({ request_headers: [call(upstream, more), { op: 'pause' }] })
const messages = ({ logs }: { logs: readonly { message: string }[] }) => logs.map(({ message }) => message)

test('a faked upstream sees what the filter sends, and the filter what it answers', async (t) => {
  const seen: unknown[] = []
  const auth: Upstream = (request) => {
    seen.push(request)
    return { status: 201, headers: { 'x-b': '2' }, body: 'fine', trailers: { 'x-t': '1' } }
  }
  const filter = await scripted(t, asks('auth'), { upstreams: { auth } })
  const exchange = await filter.exchange()
  const sent = {
    upstream: 'auth',
    method: 'POST',
    path: '/check?a',
    scheme: 'http',
    authority: 'auth.test',
    headers: { 'x-a': '1' },
    body: 'asks',
    bytes: Buffer.from('asks'),
    trailers: {},
    timeout: 1000
  }
  assert.deepEqual(seen, [sent])
  assert.deepEqual(exchange.calls, [{ filter: 'scripted', ...sent, state: 'answered' }])
  assert.deepEqual(messages(exchange), ['call :status=201', 'call body=fine'])
  assert.equal(exchange.forwarded, true)
})

test('a faked upstream may be its answer, or a promise of one; * stands for all others', async (t) => {
  const upstreams = { a: { status: 204 }, b: async () => ({ body: 'b' }), '*': { status: 599 } }
  for (const [upstream, status] of [
    ['a', 204],
    ['b', 200],
    ['c.test:80', 599]
  ] as const) {
    const filter = await scripted(t, asks(upstream), { upstreams })
    assert.equal(messages(await filter.exchange())[0], `call :status=${status}`)
  }
})

test('an Error is no answer: the call fails', async (t) => {
  const filter = await scripted(t, asks('auth'), { upstreams: { auth: () => new Error('connection refused') } })
  const exchange = await filter.exchange()
  assert.deepEqual(
    exchange.calls.map(({ state, reason }) => [state, reason]),
    [['failed', 'connection refused']]
  )
  assert.equal(messages(exchange)[0], 'call :status missing')
})

test('what nobody fakes is refused, and said', async (t) => {
  const filter = await scripted(t, { request_headers: [call('nobody')] }, {}, 'script-go')
  const exchange = await filter.exchange()
  assert.equal(exchange.calls[0]!.state, 'refused')
  assert.equal(messages(exchange)[0], 'an http call is refused: no upstream `nobody` is faked')
})

test('hosts of the declaration count', async (t) => {
  const upstreams = { auth: {}, 'a.test:80': {}, 'b.test:80': {} }
  for (const [upstream, state] of [
    ['auth', 'answered'],
    ['a.test:80', 'answered'],
    ['b.test:80', 'refused']
  ] as const) {
    const filter = await scripted(
      t,
      { request_headers: [call(upstream)] },
      { upstreams, hosts: ['auth', 'a.test'] },
      'script-go'
    )
    assert.equal((await filter.exchange()).calls[0]!.state, state, upstream)
  }
})

test('a call that is not answered in its time fails when the clock gets there', async (t) => {
  const upstreams = { auth: () => new Promise<never>(() => {}) }
  const filter = await scripted(t, asks('auth'), { upstreams })
  const exchange = await filter.begin()
  await filter.advance(999)
  assert.equal(exchange.calls[0]!.state, 'pending')
  await filter.advance(1)
  await exchange.finish()
  assert.deepEqual([exchange.calls[0]!.state, exchange.calls[0]!.reason], ['failed', 'no answer in 1000 ms'])
})

test('what a fake throws fails the test that waits', async (t) => {
  const upstreams = {
    auth: () => {
      assert.fail('not like this')
    }
  }
  const filter = await scripted(t, asks('auth'), { upstreams })
  await assert.rejects(filter.exchange(), { message: 'not like this' })
  const ticking = await scripted(t, { start: [{ op: 'tick', ms: 10 }], tick: [call('auth')] }, { upstreams })
  await assert.rejects(ticking.tick(), { message: 'not like this' })
})

test('a fake that answers what is no answer is told so', async (t) => {
  const filter = await scripted(t, asks('auth'), { upstreams: { auth: (() => undefined) as never } })
  await assert.rejects(filter.exchange(), /the faked upstream auth must answer \{ status, headers, body \} or an Error/)
})

test('a fake whose answer has a key that nobody reads is told so, and its filter no 200', async (t) => {
  const filter = await scripted(t, asks('auth'), { upstreams: { auth: { statusCode: 401 } as never } })
  await assert.rejects(filter.exchange(), { message: /upstreams\.auth\.statusCode: is no known key/ })
  assert.equal(filter.calls[0]!.state, 'failed')
})

test('a filter that calls again whenever it is answered holds up no test', async (t) => {
  const again = call('auth', { then: undefined })
  const script = { request_headers: [again, { op: 'pause' }], call: [again] }
  const filter = await scripted(t, script, { upstreams: { auth: () => new Error('not now') } })
  await assert.rejects(filter.exchange(), {
    code: 'FST_WASM_EXCHANGE_STALLED',
    message: /in proxy_on_request_headers of \[scripted\] for the answer of its http call to auth/
  })
  await filter.close()
  const { length } = filter.calls
  await new Promise(setImmediate)
  assert.equal(filter.calls.length, length)
})

test('calls of ticks belong to the filter, and to no exchange', async (t) => {
  const script = { start: [{ op: 'tick', ms: 1000 }], tick: [call('auth', { then: [say('told')] })] }
  const filter = await scripted(t, script, { upstreams: { auth: {} } })
  await filter.tick()
  assert.deepEqual(
    filter.calls.map(({ path, state }) => [path, state]),
    [['/check?a', 'answered']]
  )
  assert.deepEqual(messages(filter), ['told'])
  assert.deepEqual((await filter.exchange()).calls, [])
})

test('a client that leaves aborts the calls that are under way', async (t) => {
  const filter = await scripted(t, asks('auth'), { upstreams: { auth: () => new Promise<never>(() => {}) } })
  const exchange = await filter.begin()
  await exchange.abort()
  assert.deepEqual([exchange.aborted, exchange.calls[0]!.state, exchange.waitsFor], [true, 'aborted', undefined])
})

test("APISIX's forward-auth filter, as somebody who writes it would test it", async (t) => {
  const conf = { uri: 'http://auth.test:80/check', request_headers: ['authorization'], upstream_headers: ['x-user'] }
  const filter = await loadFilter(fixture('forward-auth'), {
    conf,
    upstreams: {
      'auth.test:80': ({ headers }) =>
        headers['authorization'] === 'open sesame' ? { headers: { 'x-user': 'ali' } } : { status: 401 }
    }
  })
  t.after(() => filter.close())
  const ali = await filter.exchange({ request: { headers: { authorization: 'open sesame' } } })
  assert.equal(ali.request.headers['x-user'], 'ali')
  const thief = await filter.exchange({ request: { headers: { authorization: 'guess' } } })
  assert.deepEqual([thief.forwarded, thief.localReply?.status], [false, 403])
})
