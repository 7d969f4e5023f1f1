import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { Guest } from '../host/guest.ts'
import { request } from '../http.ts'
import { say, scripted } from './script.ts'

// A plugin declaration's own `conf`: a plugin context at start that no route uses.

test('a conf of its own makes a plugin context when the server is ready, text or object', async (t) => {
  const start = { start: [say('started'), { op: 'config' }], done: [say('done')] }
  const text = JSON.stringify({ start: [say('started')] })
  const plugins = scripted({ name: 'object', conf: start }, { name: 'text', conf: text }, 'none')
  const { app, filterLog } = await startApp(t, { plugins }, () => {})
  assert.deepEqual(filterLog('object'), ['started', `config=${JSON.stringify(start)}`])
  assert.deepEqual(filterLog('text'), ['started'])
  assert.deepEqual(
    app.wasmGateway.status().plugins.map(({ plugin_contexts }) => plugin_contexts),
    [1, 1, 0]
  )
  await app.close()
  assert.equal(filterLog('object').at(-1), 'done', 'it is ended when the server closes')
})

test('it is apart from the plugin contexts of routes, and sees none of their requests', async (t) => {
  const seen = { request_headers: [{ op: 'callback' }] }
  const { app, url, filterLog } = await startApp(t, { plugins: scripted({ name: 'a', conf: seen }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: seen } } } } }, async () => 'hello')
    app.get('/other', async () => 'hello')
  })
  await request(url)
  await request(`${url}/other`)
  assert.deepEqual(filterLog('a'), ['request_headers ctx=3 root=2 headers=5 eos=true'])
  assert.equal(app.wasmGateway.status().plugins[0]?.plugin_contexts, 2)
})

test('a conf that the filter refuses is logged, does not stop the server, and is tried again', async (t) => {
  const plugins = scripted({ name: 'a', conf: { start: [say('start'), { op: 'fail' }] } }, 'b')
  const { url, lines, filterLog } = await startApp(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { b: { conf: { start: [] } } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 200)
  const refused = () => lines.filter(({ err }) => err?.code === 'FST_WASM_CONFIGURE_FAILED').length
  assert.equal(refused(), 1)
  await eventually('it is tried again', () => refused() === 2)
  assert.deepEqual(filterLog('a'), ['start', 'start'])
})

test('a conf whose start traps is logged, and does not stop the server', async (t) => {
  const plugins = scripted({ name: 'a', conf: { start: [{ op: 'panic', text: 'no' }] } })
  const { app, lines } = await startApp(t, { plugins }, () => {})
  assert.ok(lines.some(({ err }) => err?.code === 'FST_WASM_TRAP'))
  assert.equal(app.wasmGateway.status().plugins[0]?.failures, 1)
})

test('a server that closes before the next try does not try', async (t) => {
  const plugins = scripted({ name: 'a', conf: { start: [say('start'), { op: 'fail' }] } })
  const { app, filterLog } = await startApp(t, { plugins }, () => {})
  await app.close()
  await new Promise((resolve) => setTimeout(resolve, 1300))
  assert.deepEqual(filterLog('a'), ['start'])
})

test('a module that has no HTTP callbacks at all runs: ticks alone', async (t) => {
  const guest = new Guest()
  guest.on('proxy_on_configure', guest.call('proxy_set_tick_period_milliseconds', 10))
  guest.on('proxy_on_tick', guest.call('proxy_log', 2, guest.text('tick')))
  const plugins = [{ name: 'ticker', module: await guest.module(), conf: 'x' }]
  const { filterLog } = await startApp(t, { plugins }, () => {})
  await eventually('it ticks', () => filterLog('ticker').length >= 2)
})

for (const [name, file] of [
  ['Rust', fixture('script-rust')],
  ['Rust without WASI', fixture('script-rust', 'script-rust-unknown')],
  ['AssemblyScript', fixture('script-as')]
] as const) {
  test(`a filter in ${name} ticks, and takes from a queue`, async (t) => {
    const conf = {
      start: [
        { op: 'register_queue', name: 'q' },
        { op: 'tick', ms: 10 }
      ],
      tick: [
        { op: 'enqueue', name: 'q', value: 'item' },
        { op: 'tick', ms: 0 }
      ],
      queue: [{ op: 'callback' }, { op: 'dequeue', name: 'q' }]
    }
    const plugins = [{ name: 'a', file, conf, root_id: 'script-as' }]
    const { filterLog } = await startApp(t, { plugins }, () => {})
    await eventually('the item is taken', () => filterLog('a').length >= 2)
    const [told, item] = filterLog('a').slice(-2)
    assert.match(told!, /^queue root=1 queue=\d+$/)
    assert.equal(item, 'queue q=item')
  })
}

test('a conf that is none, or empty, stops the server from starting, and the error names the place', async () => {
  for (const conf of ['', {}, 1, null, []]) {
    const app = Fastify()
    const options = { plugins: [{ name: 'a', file: fixture('log'), conf }] } as unknown as WasmGatewayOptions
    await assert.rejects(async () => app.register(wasmGateway, options), {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: /plugins\.a\.conf must be a non-empty string or a non-empty object/
    })
    await app.close()
  }
})

test("with Envoy's semantics a conf of its own may be empty", async (t) => {
  const guest = new Guest()
  guest.on('proxy_on_configure', guest.call('proxy_log', 2, guest.text('configured')))
  const plugins = [{ name: 'a', module: await guest.module(), conf: '', semantics: 'envoy' as const }]
  const { filterLog } = await startApp(t, { plugins }, () => {})
  assert.deepEqual(filterLog('a'), ['configured'])
})
