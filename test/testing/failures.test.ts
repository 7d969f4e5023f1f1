import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadChain, loadFilter } from '../../lib/testing/index.ts'
import { fixture } from '../app.ts'
import { say } from '../gateway/script.ts'
import { LOOPS, WHERE } from '../hostile.ts'
import { wat } from '../wat.ts'
import { scripted } from './load.ts'

const script = fixture('script-rust')
const panics = (text: string) => [{ op: 'panic', text }]

test('a trap is an error with the callback, and with what the filter has said', async (t) => {
  const filter = await scripted(t, { request_headers: [say('about to fail'), ...panics('boom')] })
  await assert.rejects(filter.exchange(), (error: Error & { code: string }) => {
    assert.equal(error.code, 'FST_WASM_TRAP')
    assert.match(error.message, /^plugin \[scripted\] trapped in proxy_on_request_headers: unreachable\n/)
    assert.match(error.message, /\[info\] about to fail\n {2}\[critical\] panicked at src\/runner\.rs:\d+:\d+:\nboom$/)
    return true
  })
})

test("what a panic of Go says is told, and not only the end of its runtime's stack", async (t) => {
  const filter = await scripted(t, { request_headers: panics('boom') }, {}, 'script-go')
  await assert.rejects(filter.exchange(), {
    code: 'FST_WASM_TRAP',
    message: /: unreachable\nthe filter has logged:\n {2}\[error\] panic: boom\n(?: {2}.*(?:\n|$)){1,9}$/
  })
})

test('each exchange after a trap has a fresh instance, at once, and only its own words', async (t) => {
  const filter = await scripted(t, {
    request_headers: [
      { op: 'if_header', map: 'request', name: 'x-fail', value: '1', steps: panics('boom') },
      say('well')
    ]
  })
  for (let i = 0; i < 3; i++) {
    const failing = filter.exchange({ request: { headers: { 'x-fail': '1' } } })
    await assert.rejects(failing, ({ message }: Error) => message.split('boom').length === 2)
  }
  assert.deepEqual(
    (await filter.exchange()).logs.map(({ message }) => message),
    ['well']
  )
})

test('a trap in a tick, at the end of an exchange, or at the end of the filter fails what led there', async () => {
  const ticking = await loadFilter(script, { conf: { start: [{ op: 'tick', ms: 10 }], tick: panics('tick') } })
  await assert.rejects(ticking.tick(), { code: 'FST_WASM_TRAP', message: /proxy_on_tick[\s\S]*tick$/ })
  const logging = await loadFilter(script, { conf: { log: panics('log') } })
  await assert.rejects(logging.exchange(), { code: 'FST_WASM_TRAP', message: /proxy_on_log/ })
  const ending = await loadFilter(script, { conf: { done: panics('done') } })
  await assert.rejects(ending.close(), { code: 'FST_WASM_TRAP', message: /proxy_on_done/ })
})

test('a filter that refuses its configuration, or does not start, is not loaded, and says why', async () => {
  await assert.rejects(loadFilter(script, { name: 'mine', conf: { start: [say('no such colour'), { op: 'fail' }] } }), {
    code: 'FST_WASM_CONFIGURE_FAILED',
    message: /^plugin \[mine\].*refused its configuration\nthe filter has logged:\n {2}\[info\] no such colour$/
  })
  await assert.rejects(loadFilter(script, { conf: { start: panics('at once') } }), {
    code: 'FST_WASM_TRAP',
    message: /trapped in proxy_on_configure[\s\S]*at once/
  })
  const module = await wat(`(module
    (memory (export "memory") 1)
    (func (export "proxy_abi_version_0_2_1"))
    (func (export "malloc") (param i32) (result i32) (i32.const 0))
    (func (export "_initialize") unreachable))`)
  await assert.rejects(loadFilter(module, { conf: 'x' }), { code: 'FST_WASM_START_FAILED' })
})

test('a filter that pauses for ever is told from one that waits', async (t) => {
  const filter = await scripted(t, { request_headers: [{ op: 'pause' }] })
  await assert.rejects(filter.exchange({ request: { path: '/a' } }), {
    code: 'FST_WASM_EXCHANGE_STALLED',
    message:
      'the exchange would never end: GET /a waits in proxy_on_request_headers of [scripted] to be resumed; it has no call ' +
      'under way, and it has set no tick'
  })
  const ticking = await scripted(t, { start: [{ op: 'tick', ms: 10 }], request_headers: [{ op: 'pause' }], tick: [] })
  await assert.rejects(ticking.exchange(), { message: /a tick might resume it: begin\(\), tick\(\), finish\(\)$/ })
})

test('a fake that never answers is named, in less time than test frameworks wait', async (t) => {
  const call = {
    op: 'call',
    upstream: 'auth',
    headers: [
      [':method', 'GET'],
      [':path', '/'],
      [':authority', 'a']
    ],
    timeout: 0
  }
  const filter = await scripted(
    t,
    { request_headers: [call, { op: 'pause' }] },
    { upstreams: { auth: () => new Promise<never>(() => {}) } }
  )
  await assert.rejects(filter.exchange(), {
    code: 'FST_WASM_EXCHANGE_STALLED',
    message: /for the answer of its http call to auth \(GET \/\)$/
  })
})

test('with fail: open the exchange goes on without the filter, and shows why it failed', async (t) => {
  const set = { op: 'set', map: 'request', name: 'x-a', value: '1' }
  const filter = await scripted(t, { request_headers: [set, ...panics('boom')] }, { fail: 'open' })
  const exchange = await filter.exchange({ response: { body: 'hello' } })
  assert.deepEqual([exchange.response.body, exchange.request.headers], ['hello', {}])
  assert.match(exchange.failures[0]!.message, /trapped in proxy_on_request_headers/)
  assert.ok(exchange.logs.some(({ message }) => message.includes('its requests go on without it')))
})

test('an endless loop ends with its time', async (t) => {
  const conf = WHERE.request_headers + LOOPS['a plain loop']
  const filter = await loadFilter(fixture('hostile'), { conf, limits: { call_ms: 50 } })
  t.after(() => filter.close())
  await assert.rejects(filter.exchange(), { code: 'FST_WASM_TRAP', message: /it ran for more than 50 ms/ })
})

test('a filter that refuses its configuration, and traps at its end, has refused it', async () => {
  await assert.rejects(loadFilter(fixture('script-as'), { conf: 'no script' }), {
    code: 'FST_WASM_CONFIGURE_FAILED',
    message: /refused its configuration\nthe filter has logged:\n {2}\[error\] bad configuration/
  })
})

test('that holds though the clock of the test framework stands still', async (t) => {
  t.mock.method(performance, 'now', () => 1)
  const conf = WHERE.request_headers + LOOPS['a plain loop']
  const filter = await loadFilter(fixture('hostile'), { conf, limits: { call_ms: 50 } })
  t.after(() => filter.close())
  await assert.rejects(filter.exchange(), { code: 'FST_WASM_TRAP', message: /it ran for more than 50 ms/ })
})

test('options are those of the declaration, and what is wrong is named with its place', async () => {
  const rejects = (options: object, message: RegExp) =>
    assert.rejects(loadFilter(script, options as never), { code: 'FST_WASM_OPTIONS_INVALID', message })
  await rejects({}, /test\.plugins\.script-rust: property "conf" is required/)
  await rejects({ conf: '' }, /conf must be a non-empty string/)
  await rejects({ conf: 'x', semantic: 'envoy' }, /plugins\[0\]\.semantic: is no known key/)
  await rejects({ conf: 'x', semantics: 'nginx' }, /plugins\[0\]\.semantics/)
  await rejects({ conf: 'x', now: 'soon' }, /now/)
  await rejects({ conf: 'x', upstreams: null }, /upstreams: must be object/)
  await rejects({ conf: 'x', grpc_upstreams: 'auth' }, /grpc_upstreams: must be object/)
  await rejects({ conf: 'x', foreign_functions: { f: 1 } }, /foreign_functions\.f must be a function/)
  await assert.rejects(loadChain([], { upstream: {} } as never), /upstream: is no known key/)
  await assert.rejects(loadFilter('nowhere.wasm', { conf: 'x' }), { code: 'FST_WASM_FILE_UNREADABLE' })
})

test('what is no header or no request is refused', async (t) => {
  const filter = await scripted(t, { tick: [] })
  await assert.rejects(filter.exchange({ request: { headers: { 'x a': '1' } } }), /request\.headers\.x a/)
  await assert.rejects(filter.exchange({ response: { headers: { 'x-a': 'a\nb' } } }), /response\.headers\.x-a/)
  await assert.rejects(filter.exchange({ reqest: {} } as never), /reqest: is no known key/)
  await assert.rejects(filter.exchange({ response: { code: 1 } as never }), /response\.code: is no known key/)
  await assert.rejects(filter.exchange({ request: { path: 'a' } }), /request\.path/)
  const invalid = async (input: object, message: RegExp) =>
    assert.rejects(filter.exchange(input), { code: 'FST_WASM_OPTIONS_INVALID', message })
  await invalid({ request: { body: { a: 1 } } }, /request\.body: must be text or bytes/)
  await invalid({ response: { body: { a: 1 } } }, /response\.body: must be text or bytes/)
  await invalid({ response: { body: [1] } }, /a chunk of response\.body: must be text or bytes/)
  for (const value of [{}, null, 1.5]) await invalid({ properties: { 'a.b': value } }, /properties\.a\.b: must be/)
  for (const time of [Number.NaN, -1, Number.POSITIVE_INFINITY]) {
    await assert.rejects(filter.advance(time), { code: 'FST_WASM_TEST_INVALID', message: /advance\(\) wants/ })
  }
})

test('a filter that is closed is told of, once, and takes no more', async () => {
  const filter = await loadFilter(script, { conf: { done: [say('done')] } })
  const exchange = await filter.begin({ response: () => new Promise(() => {}) })
  await filter.close()
  await filter.close()
  assert.equal(exchange.aborted, true)
  assert.deepEqual(
    filter.logs.map(({ message }) => message),
    ['done']
  )
  await assert.rejects(filter.exchange(), { code: 'FST_WASM_TEST_INVALID', message: /closed/ })
})

test('an exchange whose response never comes, or never ends, can be aborted', async (t) => {
  const filter = await scripted(t, { request_headers: [say('called')] })
  const never = () => new Promise<never>(() => {})
  async function* endless() {
    yield 'a'
    await never()
  }
  for (const response of [never, { body: endless() }]) {
    const exchange = await filter.begin({ response })
    await exchange.abort()
    assert.deepEqual([exchange.aborted, exchange.waitsFor], [true, undefined])
  }
  assert.equal((await filter.exchange()).response.status, 200)
})

test('after a trap a tick, too, is that of a fresh instance', async (t) => {
  const filter = await scripted(t, {
    start: [{ op: 'tick', ms: 10 }],
    tick: [say('tick')],
    request_headers: panics('boom')
  })
  for (let i = 0; i < 3; i++) {
    await assert.rejects(filter.exchange(), { code: 'FST_WASM_TRAP' })
    await filter.tick()
  }
  assert.equal(filter.logs.filter(({ message }) => message === 'tick').length, 3)
})
