import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { type ChainMember, loadChain, type Surroundings } from '../../lib/testing/index.ts'
import { fixture } from '../app.ts'
import { type Script, say, wantsRequestBody, wantsResponseBody } from '../gateway/script.ts'

async function chain(t: TestContext, members: (Omit<ChainMember, 'conf'> & { conf: Script })[], around?: Surroundings) {
  const filters = members.map((member) => ({ file: fixture('script-rust'), ...member }))
  const chain = await loadChain(filters, around)
  t.after(() => chain.close())
  return chain
}

const told = (name: string): Script => ({
  request_headers: [say(`${name} request headers`), wantsRequestBody, wantsResponseBody],
  request_body: [say(`${name} request body`), { op: 'append_body', of: 'request', value: name }],
  response_headers: [say(`${name} response headers`)],
  response_body: [
    { op: 'if_eos', steps: [say(`${name} response body`), { op: 'append_body', of: 'response', value: name }] }
  ],
  log: [say(`${name} log`)]
})

test('requests pass the filters by phase and priority, responses by priority, in the same order', async (t) => {
  const filters = await chain(t, [
    { name: 'low', priority: 1, conf: told('low') },
    { name: 'early', priority: 0, http_request_phase: 'rewrite', conf: told('early') },
    { name: 'high', priority: 2, conf: told('high') }
  ])
  const exchange = await filters.exchange({ request: { method: 'POST', body: '-' }, response: { body: '-' } })
  assert.deepEqual(
    exchange.logs.map(({ message }) => message),
    [
      ...['early request headers', 'early request body', 'high request headers', 'high request body'],
      ...['low request headers', 'low request body'],
      ...['high response headers', 'low response headers', 'early response headers'],
      ...['high response body', 'low response body', 'early response body'],
      ...['high log', 'low log', 'early log']
    ]
  )
  assert.deepEqual([exchange.request.body, exchange.response.body], ['-earlyhighlow', '-highlowearly'])
})

test('what one filter changes of a request the next one sees; each has its own view', async (t) => {
  const filters = await chain(t, [
    { name: 'first', priority: 1, conf: { request_headers: [{ op: 'set', map: 'request', name: 'x-a', value: '1' }] } },
    { name: 'second', conf: { request_headers: [{ op: 'get', map: 'request', name: 'x-a' }] } }
  ])
  await filters.exchange()
  assert.deepEqual(
    filters.filter('second').logs.map(({ message }) => message),
    ['request x-a=1']
  )
  assert.deepEqual(filters.filter('first').logs, [])
  assert.throws(() => filters.filter('third'), { code: 'FST_WASM_TEST_INVALID', message: /first, second/ })
})

test('a filter that answers stops the request; the others see its response', async (t) => {
  const filters = await chain(t, [
    {
      name: 'guard',
      priority: 1,
      conf: { request_headers: [{ op: 'reply', status: 401, headers: [], body: 'no' }, { op: 'pause' }] }
    },
    {
      name: 'behind',
      conf: { request_headers: [say('request')], response_headers: [{ op: 'get', map: 'response', name: ':status' }] }
    }
  ])
  const exchange = await filters.exchange()
  assert.deepEqual([exchange.localReply?.filter, exchange.response.status], ['guard', 401])
  assert.deepEqual(
    exchange.logs.map(({ message }) => message),
    ['response :status=401']
  )
})

test('filters share what has the same vm_id', async (t) => {
  const count: Script = {
    request_headers: [{ op: 'shared_count', name: 'n' }],
    start: [{ op: 'define_metric', type: 'counter', name: 'm' }],
    log: [{ op: 'increment_metric', name: 'm' }]
  }
  const filters = await chain(t, [
    { name: 'a', vm_id: 'one', conf: count },
    { name: 'b', vm_id: 'one', conf: count },
    { name: 'c', vm_id: 'two', conf: count }
  ])
  await filters.exchange()
  assert.deepEqual(
    ['a', 'b', 'c'].map((name) => String(filters.filter(name).sharedData.get('n'))),
    ['2', '2', '1']
  )
  assert.deepEqual(
    ['a', 'b', 'c'].map((name) => filters.filter(name).metrics),
    [{ m: 2 }, { m: 2 }, { m: 1 }]
  )
})

test('ticks are of one filter; the clock is of all', async (t) => {
  const ticks = (name: string, ms: number): Script => ({ start: [{ op: 'tick', ms }], tick: [say(name)] })
  const filters = await chain(t, [
    { name: 'a', conf: ticks('a', 100) },
    { name: 'b', conf: ticks('b', 250) }
  ])
  await filters.filter('b').tick()
  assert.deepEqual(
    filters.logs.map(({ message }) => message),
    ['a', 'a', 'b']
  )
})

const asks: Script = {
  request_headers: [
    { op: 'get', map: 'request', name: ':path' },
    {
      op: 'call',
      upstream: 'auth',
      headers: [
        [':method', 'GET'],
        [':path', '/'],
        [':authority', 'a']
      ],
      then: [{ op: 'continue', stream: 'request' }]
    },
    { op: 'pause' }
  ]
}

test('two exchanges are under way at once, and end in the order in which they are answered', async (t) => {
  const answers: (() => void)[] = []
  const auth = () => new Promise<object>((resolve) => answers.push(() => resolve({})))
  const filters = await chain(t, [{ name: 'asks', conf: asks }], { upstreams: { auth } })
  const first = await filters.begin({ request: { path: '/1' } })
  const second = await filters.begin({ request: { path: '/2' } })
  assert.deepEqual(first.waitsFor, {
    filter: 'asks',
    callback: 'proxy_on_request_headers',
    what: 'GET /1 waits in proxy_on_request_headers of [asks] for the answer of its http call to auth (GET /)'
  })
  assert.deepEqual([first.calls.length, second.calls.length], [1, 1])
  answers[1]!()
  await second.finish()
  assert.deepEqual([second.waitsFor, second.response.status, first.response.status], [undefined, 200, 0])
  assert.ok(first.waitsFor)
  answers[0]!()
  await first.finish()
  assert.deepEqual(
    first.logs.map(({ message }) => message),
    ['request :path=/1']
  )
})

test('an exchange waits for an upstream that takes its time', async (t) => {
  let answer: (response: object) => void = () => {}
  const filters = await chain(t, [{ name: 'a', conf: { response_headers: [say('response')] } }])
  const exchange = await filters.begin({ response: () => new Promise((resolve) => (answer = resolve)) })
  assert.deepEqual(exchange.waitsFor, { filter: '', callback: '', what: 'GET / waits for the response' })
  assert.equal(exchange.forwarded, true)
  answer({ status: 418 })
  await exchange.finish()
  assert.equal(exchange.response.status, 418)
})

test('an upstream decides by the request as the filters have made it', async (t) => {
  const rewrite = [{ op: 'set', map: 'request', name: ':path', value: '/new' }]
  const filters = await chain(t, [{ name: 'a', conf: { request_headers: rewrite } }])
  const exchange = await filters.exchange({ response: async ({ path }) => ({ body: path }) })
  assert.equal(exchange.response.body, '/new')
})

test('a filter may answer while the upstream is at work', async (t) => {
  const call = { ...asks.request_headers![1]!, then: [{ op: 'reply', status: 429, headers: [], body: 'late' }] }
  const filters = await chain(t, [{ name: 'a', semantics: 'envoy', conf: { request_headers: [call] } }], {
    upstreams: { auth: {} }
  })
  const exchange = await filters.exchange({ response: () => new Promise(() => {}) })
  assert.deepEqual([exchange.response.status, exchange.response.body, exchange.forwarded], [429, 'late', true])
})

test('a filter that holds back a body lets go of it with what follows', async (t) => {
  const holds = { response_body: [{ op: 'callback' }, { op: 'pause' }] }
  const filters = await chain(t, [{ name: 'a', semantics: 'envoy', conf: holds }])
  const exchange = await filters.begin({ response: { body: ['a', 'b'] } })
  assert.deepEqual(
    exchange.actions.slice(-3).map(({ size, action }) => [size, action]),
    [
      [1, 'Pause'],
      [2, 'Pause'],
      [2, 'Pause']
    ]
  )
  await assert.rejects(exchange.finish(), {
    code: 'FST_WASM_EXCHANGE_STALLED',
    message: /proxy_on_response_body of \[a\]/
  })
})
