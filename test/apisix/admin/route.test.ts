import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture } from '../../app.ts'
import { expectStatus } from '../../gateway/admin/admin.ts'
import { helloRoute, ran, startGateway } from './gateway.ts'

// APISIX's route.t, through the Admin API.

const plugins = [
  { name: 'wasm_log', priority: 7999, file: fixture('log') },
  { name: 'wasm_log2', priority: 7998, file: fixture('log') }
]

for (const [name, entry] of [
  ['TEST 1: {}', '{}'],
  ['TEST 2: {"conf": 123}', '{"conf": 123}']
] as const) {
  test(`${name} in JSON without its last brace is refused`, async (t) => {
    const { admin } = await startGateway(t, plugins)
    const body = `{"uri": "/hello", "upstream": {"nodes": {"127.0.0.1:1980": 1}}, "plugins": {"wasm_log": ${entry}}`
    const { error_msg, req_body } = await expectStatus(admin('PUT', '/routes/1', body), 400)
    assert.match(error_msg, /^invalid request body: /)
    assert.equal(req_body, body)
  })
}

for (const [name, conf] of [
  ['TEST 3: {}', {}],
  ['TEST 4: ""', '']
] as const) {
  test(`${name} is no conf`, async (t) => {
    const { admin, node } = await startGateway(t, plugins)
    const { error_msg } = await expectStatus(admin('PUT', '/routes/1', helloRoute(node, { wasm_log: { conf } })), 400)
    assert.match(error_msg, /value should match only one schema, but matches none/)
  })
}

const both = { wasm_log: { conf: 'blahblah' }, wasm_log2: { conf: 'zzz' } }

test('TEST 5–6: the plugin with the higher priority runs first', async (t) => {
  const { put, get, node, filterLog } = await startGateway(t, plugins)
  await put('/routes/1', helloRoute(node, both))
  await get('/hello')
  assert.deepEqual(filterLog(), [ran(1, 'blahblah', 2), ran(1, 'zzz', 2)])
})

test('TEST 7: the one of the rewrite phase runs before the one of access', async (t) => {
  const [first, second] = plugins
  const { put, get, node, filterLog } = await startGateway(t, [
    first!,
    { ...second!, http_request_phase: 'rewrite' as const }
  ])
  await put('/routes/1', helloRoute(node, both))
  await get('/hello')
  assert.deepEqual(filterLog(), [ran(1, 'zzz', 2), ran(1, 'blahblah', 2)])
})

for (const [name, kind, reference] of [
  ['TEST 8–9', 'services', 'service_id'],
  ['TEST 10–11', 'plugin_configs', 'plugin_config_id']
] as const) {
  test(`${name}: two routes that inherit from ${kind}/1 have a plugin context each`, async (t) => {
    const { put, get, node, filterLog, quiet } = await startGateway(t, plugins)
    const upstream = { type: 'roundrobin', nodes: { [node]: 1 } }
    await put(`/${kind}/1`, {
      plugins: { wasm_log: { id: 'log', conf: 'blahblah' } },
      ...(kind === 'services' && { upstream })
    })
    for (const [id, host] of [
      ['1', 'foo.com'],
      ['2', 'bar.com']
    ] as const) {
      await put(`/routes/${id}`, {
        uri: '/hello',
        host,
        [reference]: '1',
        ...(kind === 'plugin_configs' && { upstream })
      })
    }
    for (const host of ['foo.com', 'bar.com', 'foo.com', 'bar.com']) {
      assert.equal((await get('/hello', { host })).status, 200)
      await quiet()
    }
    const pairs = [ran(1, 'blahblah', 2), ran(3, 'blahblah', 4)]
    assert.deepEqual(filterLog(), [...pairs, ...pairs])
  })
}
