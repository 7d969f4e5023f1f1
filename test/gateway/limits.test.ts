import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture, Level, type LogLine, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import { wat } from '../wat.ts'
import { type Script, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

// What real filters do when they are refused something: they go on, and so do their requests.

const LANGUAGES = ['script-go', 'script-rust', 'script-as']
const warnings = (lines: LogLine[]) => lines.filter(({ level }) => level === Level.warn).map(({ msg }) => msg)

const own = (name: string, conf: Script) => ({ config: { wasm: { plugins: { [name]: { conf } } } } })

/** Sets keys of 1 MiB each, defines metrics, registers queues, and fills one of these: until each of them is refused. */
const FILLER = `(module
  (import "env" "proxy_set_shared_data" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_define_metric" (func $define (param i32 i32 i32 i32) (result i32)))
  (import "env" "proxy_get_metric" (func $get (param i32 i32) (result i32)))
  (import "env" "proxy_increment_metric" (func $increment (param i32 i64) (result i32)))
  (import "env" "proxy_register_shared_queue" (func $register (param i32 i32 i32) (result i32)))
  (import "env" "proxy_enqueue_shared_queue" (func $enqueue (param i32 i32 i32) (result i32)))
  (memory (export "memory") 20)
  (global $i (mut i32) (i32.const 0))
  (func (export "proxy_abi_version_0_2_1"))
  (func (export "malloc") (param i32) (result i32) (i32.const 16))
  (func (export "proxy_on_context_create") (param i32 i32))
  (func $name ;; three digits of 7 bits: UTF-8
    (global.set $i (i32.add (global.get $i) (i32.const 1)))
    (i32.store8 (i32.const 32) (i32.and (global.get $i) (i32.const 127)))
    (i32.store8 (i32.const 33) (i32.and (i32.shr_u (global.get $i) (i32.const 7)) (i32.const 127)))
    (i32.store8 (i32.const 34) (i32.and (i32.shr_u (global.get $i) (i32.const 14)) (i32.const 127))))
  (func (export "proxy_on_configure") (param i32 i32) (result i32)
    (loop $more (call $name)
      (br_if $more (i32.eqz (call $set (i32.const 32) (i32.const 4) (i32.const 65536) (i32.const 1048576) (i32.const 0)))))
    (loop $more (call $name)
      (br_if $more (i32.eqz (call $set (i32.const 32) (i32.const 4) (i32.const 65536) (i32.const 1) (i32.const 0)))))
    (drop (call $register (i32.const 32) (i32.const 4) (i32.const 40)))
    (loop $more
      (br_if $more (i32.eqz (call $enqueue (i32.load (i32.const 40)) (i32.const 65536) (i32.const 1048576)))))
    (loop $more
      (br_if $more (i32.eqz (call $enqueue (i32.load (i32.const 40)) (i32.const 65536) (i32.const 64)))))
    (loop $more (call $name) (drop (call $define (i32.const 0) (i32.const 32) (i32.const 4) (i32.const 44)))
      (drop (call $increment (i32.load (i32.const 44)) (i64.const 1)))
      (drop (call $get (i32.load (i32.const 44)) (i32.const 48)))
      (br_if $more (i64.eq (i64.load (i32.const 48)) (i64.const 1))))
    (i32.const 1)))`

for (const language of LANGUAGES) {
  test(`a filter with more calls than limits.http_calls is refused some, and its requests go on (${language})`, async (t) => {
    const { node } = await startUpstream(t, (upstream) => {
      upstream.get('/', async () => 'answered')
    })
    const call = { op: 'call', upstream: node, then: [{ op: 'body', of: 'call' }] }
    const plugins = [{ name: 'a', file: fixture(language), limits: { http_calls: 2 } }]
    const script = { request_headers: new Array(5).fill(call) }
    const { url, lines, filterLog } = await startApp(t, { plugins }, (app) => {
      app.get('/', own('a', script), async () => 'hello')
    })
    for (let i = 0; i < 3; i++) assert.equal((await request(url)).text, 'hello')
    const count = (text: string) => filterLog('a').filter((line) => line.startsWith(text)).length
    assert.equal(count('call refused'), 9)
    assert.equal(count('call body=answered'), 6)
    const refused = warnings(lines).filter((line) => line.includes('limits.http_calls'))
    assert.equal(refused.length, 1, 'it is said once a minute')
  })

  test(`a filter that logs more than limits.log_lines has some lines dropped, and its requests go on (${language})`, async (t) => {
    const plugins = [{ name: 'a', file: fixture(language), limits: { log_lines: 7 } }, ...scripted('b')]
    const many = (text: string) => ({ request_headers: new Array(40).fill({ op: 'log', text }) })
    const { url, lines, filterLog } = await startApp(t, { plugins }, (app) => {
      app.get('/', own('a', many('line')), async () => 'hello')
      app.get('/b', own('b', many('other')), async () => 'hello')
    })
    assert.equal((await request(url)).text, 'hello')
    assert.equal((await request(`${url}/b`)).text, 'hello')
    assert.equal(filterLog('a').filter((line) => line === 'line').length, 7)
    assert.equal(filterLog('b').filter((line) => line === 'other').length, 40, 'every plugin has its own')
    await eventually('what was dropped is counted', () => warnings(lines).length > 0)
    const dropped = 'a: 33 lines were dropped: it wrote more than 7 in a second (limits.log_lines)'
    assert.deepEqual(warnings(lines), [dropped])
  })

  test(`a filter goes on where another one has filled what they share (${language})`, async (t) => {
    const plugins = [
      { name: 'filler', module: await wat(FILLER), conf: 'fill', limits: { start_ms: 0 } },
      { name: 'a', file: fixture(language) },
      { name: 'other', file: fixture(language), vm_id: 'other' }
    ]
    const script = {
      request_headers: [
        { op: 'shared_set', name: 'k', value: 'a value' },
        { op: 'shared_get', name: 'k' },
        { op: 'register_queue', name: 'mine' },
        { op: 'enqueue', name: 'mine', value: 'x'.repeat(100) },
        { op: 'define_metric', type: 'counter', name: 'requests' },
        { op: 'increment_metric', name: 'requests' },
        { op: 'get_metric', name: 'requests' }
      ]
    }
    const { url, lines, filterLog } = await startApp(t, { plugins }, (app) => {
      app.get('/', own('a', script), async () => 'hello')
      app.get('/other', own('other', script), async () => 'hello')
    })
    for (let i = 0; i < 2; i++) assert.equal((await request(url)).text, 'hello')
    const log = filterLog('a')
    assert.ok(log.includes('shared k missing'), log.join('\n'))
    assert.ok(log.includes('metric requests=0'), log.join('\n'))
    assert.equal(log.filter((line) => line.startsWith('enqueue failed')).length, 2, log.join('\n'))
    assert.equal((await request(`${url}/other`)).text, 'hello')
    assert.deepEqual(
      filterLog('other').slice(0, 2),
      ['shared k=a value', 'metric requests=1'],
      'another vm_id has its own'
    )
    assert.deepEqual(
      warnings(lines).map((line) => line.replace(/queue \d+/, 'queue <id>')),
      [
        'filler: the shared data of vm_id [] is full: what would take more is refused',
        'filler: there is no room for another item in queue <id>: it is refused',
        'filler: there is no room for another metric of vm_id []: it is not kept'
      ]
    )
  })
}

for (const language of LANGUAGES) {
  test(`what a filter makes of a body is limited like what it is given (${language})`, async (t) => {
    const plugins = [{ name: 'a', file: fixture(language), limits: { body_mib: 0.01 } }]
    const half = { op: 'append_body', value: 'x'.repeat(6000) }
    const twice = (of: string) => [
      { ...half, of },
      { ...half, of }
    ]
    const { url, app, lines } = await startApp(t, { plugins }, (app) => {
      const handler = async (request: { body: unknown }) => request.body
      app.post('/request', {
        ...own('a', { request_headers: [wantsRequestBody], request_body: twice('request') }),
        handler
      })
      app.post('/response', {
        ...own('a', {
          response_headers: [wantsResponseBody],
          response_body: twice('response')
        }),
        handler
      })
      app.post('/once', {
        ...own('a', { request_headers: [wantsRequestBody], request_body: [{ ...half, of: 'request' }] }),
        handler
      })
      app.post('/reply', {
        ...own('a', { request_headers: [{ op: 'reply', status: 200, body: 'y'.repeat(12_000) }] }),
        handler
      })
    })
    const post = async (path: string, body: string = 'body') => {
      const headers = { 'content-type': 'text/plain' }
      const { status, text } = await request(url + path, { method: 'POST', headers, body })
      return [status, text.slice(0, 100)]
    }
    assert.deepEqual(await post('/request'), [
      413,
      '{"error_msg":"the request body is longer than the 10486 bytes that a filter may read"}'
    ])
    assert.deepEqual(await post('/response'), [
      502,
      '{"error_msg":"the response body is longer than the 10486 bytes that a filter may hold"}'
    ])
    assert.deepEqual(await post('/reply'), [502, ''])
    assert.equal((await post('/once'))[0], 200)
    assert.equal(app.wasmGateway.status().plugins[0]!.failures, 0, 'the SDK does not trap')
    assert.deepEqual(warnings(lines), [
      'proxy_send_local_response: its body of 12000 bytes is longer than limits.body_mib, 502 is sent'
    ])
  })
}
