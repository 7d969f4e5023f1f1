import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'

// The observations of APISIX's global-rule.t and route.t: which contexts run, in which order.

const plugins = [
  { name: 'wasm_log', priority: 7999, file: fixture('log') },
  { name: 'wasm_log2', priority: 7998, file: fixture('log') }
]
const ran = (context: number, conf: string, http: number) =>
  `run plugin ctx ${context} with conf ${conf} in http ctx ${http}`

test('plugins of one module have an instance each, and so counters of their own', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const wasm = { plugins: { wasm_log: { conf: 'blahblah' }, wasm_log2: { conf: 'zzz' } } }
    app.get('/hello', { config: { wasm } }, async () => 'hello world\n')
  })
  await request(`${url}/hello`)
  assert.deepEqual(filterLog(), [ran(1, 'blahblah', 2), ran(1, 'zzz', 2)])
})

test('a plugin of the rewrite phase runs before one of the access phase with a higher priority', async (t) => {
  const [first, second] = plugins
  const options = { plugins: [first!, { ...second!, http_request_phase: 'rewrite' as const }] }
  const { url, filterLog } = await startApp(t, options, (app) => {
    const wasm = { plugins: { wasm_log: { conf: 'blahblah' }, wasm_log2: { conf: 'zzz' } } }
    app.get('/hello', { config: { wasm } }, async () => 'hello world\n')
  })
  await request(`${url}/hello`)
  assert.deepEqual(filterLog(), [ran(1, 'zzz', 2), ran(1, 'blahblah', 2)])
})

test('global rules run on a route without plugins, and before the plugins of a route that has some', async (t) => {
  const global_rules = [{ id: '1', plugins: { wasm_log: { conf: 'blahblah' }, wasm_log2: { conf: 'zzz' } } }]
  const { url, filterLog } = await startApp(t, { plugins, global_rules }, (app) => {
    app.get('/hello', async () => 'hello world\n')
    app.get('/www', { config: { wasm: { plugins: { wasm_log2: { conf: 'www' } } } } }, async () => 'hello world\n')
  })
  await request(`${url}/hello`)
  const global = [ran(1, 'blahblah', 2), ran(1, 'zzz', 2)]
  assert.deepEqual(filterLog(), global)
  await request(`${url}/www`)
  assert.deepEqual(filterLog(), [...global, ...global, ran(3, 'www', 4)])
})

for (const [from, options, reference] of [
  ['service', { services: [{ id: '1', plugins: { wasm_log: { id: 'log', conf: 'blahblah' } } }] }, { service_id: '1' }],
  [
    'plugin_config',
    { plugin_configs: [{ id: '1', plugins: { wasm_log: { id: 'log', conf: 'blahblah' } } }] },
    { plugin_config_id: '1' }
  ]
] as const) {
  test(`two routes that inherit from one ${from} have a plugin context each, and use their HTTP contexts again`, async (t) => {
    const { url, filterLog, quiet } = await startApp(
      t,
      { plugins, ...(structuredClone(options) as unknown as WasmGatewayOptions) },
      (app) => {
        for (const host of ['foo.com', 'bar.com']) {
          app.get(`/${host}`, { config: { wasm: { ...reference } } }, async () => 'hello world\n')
        }
      }
    )
    for (const host of ['foo.com', 'bar.com', 'foo.com', 'bar.com']) {
      await request(`${url}/${host}`)
      await quiet()
    }
    const pairs = [ran(1, 'blahblah', 2), ran(3, 'blahblah', 4)]
    assert.deepEqual(filterLog(), [...pairs, ...pairs])
  })
}

for (const conf of [{}, '', 123, [], ['a'], null, true, undefined]) {
  test(`a conf of ${JSON.stringify(conf)} is refused when the server starts, with its place`, async (t) => {
    await assert.rejects(
      startApp(t, { plugins }, (app) => {
        const wasm = { plugins: { wasm_log: conf === undefined ? {} : { conf } } } as never
        app.get('/hello', { config: { wasm } }, async () => '')
      }),
      (error: Error & { code: string }) => {
        assert.equal(error.code, 'FST_WASM_OPTIONS_INVALID')
        assert.match(error.message, /\/hello: config\.wasm\.plugins\.wasm_log/)
        return true
      }
    )
  })
}
