import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture } from '../../app.ts'
import { expectStatus } from '../../gateway/admin/admin.ts'
import { helloRoute, ran, startGateway } from './gateway.ts'

// APISIX's global-rule.t, through the Admin API.

const plugins = [
  { name: 'wasm_log', priority: 7999, file: fixture('log') },
  { name: 'wasm_log2', priority: 7998, file: fixture('log') }
]
const rule = { plugins: { wasm_log: { conf: 'blahblah' }, wasm_log2: { conf: 'zzz' } } }
const global = [ran(1, 'blahblah', 2), ran(1, 'zzz', 2)]

test('TEST 1–2: a global rule runs on a route without plugins, each plugin with counters of its own', async (t) => {
  const { put, get, node, filterLog } = await startGateway(t, plugins)
  await put('/global_rules/1', rule)
  await put('/routes/1', helloRoute(node))
  assert.equal((await get('/hello')).text, 'hello world\n')
  assert.deepEqual(filterLog(), global)
})

test('TEST 3–5: it runs before the plugins of the route, in contexts of its own, until it is deleted', async (t) => {
  const { put, get, node, filterLog, admin } = await startGateway(t, plugins)
  await put('/global_rules/1', rule)
  await put('/routes/1', helloRoute(node, { wasm_log2: { conf: 'www' } }))
  await get('/hello')
  assert.deepEqual(filterLog(), [...global, ran(3, 'www', 4)])
  const deleted = await expectStatus(admin('DELETE', '/global_rules/1'), 200)
  assert.deepEqual(deleted, { key: '/apisix/global_rules/1', deleted: '1' })
  const before = filterLog().length
  await get('/hello')
  const after = filterLog().slice(before)
  // The contexts of the rule have ended.
  assert.deepEqual(
    after.filter((line) => line.startsWith('run')),
    [ran(3, 'www', 4)]
  )
})
