import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { fixture, startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { filterWat } from '../wat.ts'
import { type Script, type Step, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

const onTrap = (...steps: Step[]): Step[] => [{ op: 'if_header', map: 'request', name: 'x-trap', value: '1', steps }]
const panic: Step = { op: 'panic', text: 'oh no' }

function isFailure(answer: { status: number; text: string; headers: Record<string, unknown> }): void {
  assert.equal(answer.status, 503)
  assert.deepEqual(Object.keys(JSON.parse(answer.text)), ['error_msg'])
  assert.match(String(answer.headers['content-type']), /^application\/json/)
}

const phases: Record<string, Script> = {
  request_headers: { request_headers: onTrap(panic) },
  request_body: { request_headers: [wantsRequestBody], request_body: onTrap(panic) },
  response_headers: { response_headers: onTrap(panic) },
  response_body: { response_headers: [wantsResponseBody], response_body: onTrap(panic) }
}

for (const language of ['script-go', 'script-rust', 'script-as']) {
  for (const [phase, conf] of Object.entries(phases)) {
    test(`C-067 C-069 a panic in ${phase} is answered 503, and the next request gets a fresh instance (${language})`, async (t) => {
      const plugins = [{ name: 'a', file: fixture(language) }]
      const { url, app, lines } = await startApp(t, { plugins }, (app) => {
        app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (request) => request.body)
      })
      const headers = { 'content-type': 'text/plain' }
      isFailure(await request(url, { method: 'POST', body: 'hello', headers: { ...headers, 'x-trap': '1' } }))
      const next = await request(url, { method: 'POST', body: 'hello', headers })
      assert.equal(next.status, 200)
      assert.equal(next.text, 'hello')
      const { instances, failures, last_failure, sdk } = app.wasmGateway.status().plugins[0]!
      assert.deepEqual({ instances, failures }, { instances: 2, failures: 1 })
      assert.match(last_failure!.message, new RegExp(`proxy_on_${phase}`))
      assert.ok(Date.now() - Date.parse(last_failure!.at) < 60_000)
      assert.equal(sdk?.language, { go: 'Go', rust: 'Rust', as: 'AssemblyScript' }[language.slice(7)])
      const trap = lines.find(({ err }) => err?.code === 'FST_WASM_TRAP')
      assert.match(trap!.msg, new RegExp(`failed to run proxy_on_${phase}`))
    })
  }
}

test('a panic when the answer of a call comes is answered 503', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => '')
  })
  const call = { op: 'call', upstream: upstream.node, headers: [], then: [panic] }
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { request_headers: onTrap(call, { op: 'pause' }) }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  isFailure(await request(url, { headers: { 'x-trap': '1' } }))
  assert.equal((await request(url)).text, 'hello')
})

test('what an instance had in flight ends with it, and other plugins go on', async (t) => {
  let held = 0
  let release = () => {}
  const released = new Promise<void>((resolve) => {
    release = resolve
  })
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => {
      held++
      await released
      return ''
    })
  })
  const hold = [
    {
      op: 'if_header',
      map: 'request',
      name: 'x-hold',
      value: '1',
      steps: [{ op: 'call', upstream: upstream.node, headers: [], timeout: 5000 }]
    }
  ]
  const { url } = await startApp(t, { plugins: scripted('a', 'b') }, (app) => {
    const a = { conf: { request_headers: [...onTrap(panic), ...hold] } }
    const b = { conf: { request_headers: hold } }
    app.get('/a', { config: { wasm: { plugins: { a } } } }, async () => 'a')
    app.get('/b', { config: { wasm: { plugins: { b } } } }, async () => 'b')
  })
  const onA = request(`${url}/a`, { headers: { 'x-hold': '1' } })
  const onB = request(`${url}/b`, { headers: { 'x-hold': '1' } })
  while (held < 2) await new Promise((resolve) => setTimeout(resolve, 5))
  isFailure(await request(`${url}/a`, { headers: { 'x-trap': '1' } }))
  isFailure(await onA)
  release()
  assert.equal((await onB).text, 'b')
  assert.equal((await request(`${url}/a`)).text, 'a')
})

test('a panic in the log callback hurts no request', async (t) => {
  const { url, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: { log: [panic] } } } } } }, async () => 'hello')
  })
  for (let i = 0; i < 3; i++) {
    assert.equal((await request(url)).text, 'hello')
    await quiet()
  }
})

test('a trap in a stream whose head is sent closes the connection', async (t) => {
  const conf = { response_headers: [wantsResponseBody], response_body: [{ op: 'if_eos', steps: [panic] }] }
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/stream', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
      return reply.send(Readable.from(['hello', 'world']))
    })
  })
  await assert.rejects(request(`${url}/stream`))
})

async function startWat(t: TestContext, body: string, imports = '') {
  const module = await filterWat(imports, body)
  return startApp(t, { plugins: [{ name: 'w', module }] }, (app) => {
    app.get('/', { config: { wasm: { plugins: { w: { conf: 'x' } } } } }, async () => 'hello')
  })
}

for (const [what, body] of [
  ['_initialize', '(func (export "_initialize") unreachable)'],
  ['proxy_on_vm_start', '(func (export "proxy_on_vm_start") (param i32 i32) (result i32) unreachable)'],
  ['proxy_on_context_create', '(func (export "proxy_on_context_create") (param i32 i32) unreachable)'],
  ['proxy_on_configure', '(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)'],
  ['a start section', '(func $s unreachable) (start $s)']
] as const) {
  test(`a trap in ${what} is answered 503, again and again, and the server goes on`, async (t) => {
    const { url } = await startWat(t, body)
    for (let i = 0; i < 3; i++) isFailure(await request(url))
  })
}

for (const callback of ['proxy_on_vm_start', 'proxy_on_configure']) {
  test(`a ${callback} that answers false is answered 503`, async (t) => {
    const { url } = await startWat(t, `(func (export "${callback}") (param i32 i32) (result i32) i32.const 0)`)
    isFailure(await request(url))
  })
}

test('an endless recursion is a trap', async (t) => {
  const { url, lines } = await startWat(
    t,
    `(func $again (param i32) (result i32) (i32.add (i32.const 1) (call $again (local.get 0))))
     (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $again (i32.const 0)))`
  )
  isFailure(await request(url))
  assert.ok(lines.some(({ err }) => err?.code === 'FST_WASM_TRAP'))
})

test('a module that ends itself is discarded, and the process goes on', async (t) => {
  const { url, app } = await startWat(
    t,
    `(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) (call $exit (i32.const 0)) (i32.const 0))`,
    '(import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))'
  )
  isFailure(await request(url))
  isFailure(await request(url))
  assert.equal(app.wasmGateway.status().plugins[0]!.failures, 2)
})
