import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture } from '../../app.ts'
import { helloRoute, startGateway } from './gateway.ts'

// APISIX's fault-injection.t, through the Admin API.

const plugins = [{ name: 'wasm_fault_injection', priority: 7997, file: fixture('fault-injection') }]

async function get(t: TestContext, conf: unknown) {
  const gateway = await startGateway(t, plugins)
  const { value } = await gateway.put('/routes/1', helloRoute(gateway.node, { wasm_fault_injection: { conf } }))
  assert.deepEqual(value.plugins, { wasm_fault_injection: { conf } }, 'it is kept as it was sent')
  const { status, text } = await gateway.get('/hello')
  return [status, text]
}

test('TEST 1–2: a text with a raw newline inside its JSON aborts', async (t) => {
  assert.deepEqual(await get(t, '{"http_status":401, "body":"HIT\n"}'), [401, 'HIT\n'])
})

test('TEST 3–4: a percentage of 0 injects nothing', async (t) => {
  assert.deepEqual(await get(t, '{"http_status":401, "percentage":0}'), [200, 'hello world\n'])
})

test('TEST 5–6: without a body the answer has none, where nginx puts a page', async (t) => {
  assert.deepEqual(await get(t, '{"http_status":401}'), [401, ''])
})

test('TEST 7–8: an object aborts', async (t) => {
  assert.deepEqual(await get(t, { http_status: 401, body: 'HIT\n' }), [401, 'HIT\n'])
})

test('TEST 9–10: an object with a percentage of 0 injects nothing', async (t) => {
  assert.deepEqual(await get(t, { http_status: 401, percentage: 0 }), [200, 'hello world\n'])
})

test('one route after the other, as the tests follow each other', async (t) => {
  const gateway = await startGateway(t, plugins)
  for (const [conf, expected] of [
    ['{"http_status":401, "body":"HIT\n"}', [401, 'HIT\n']],
    ['{"http_status":401, "percentage":0}', [200, 'hello world\n']],
    [{ http_status: 401, body: 'HIT\n' }, [401, 'HIT\n']],
    // Refused when the first request needs it, and no longer when it is mended.
    ['{"http_status":100}', [503, '{"error_msg":"plugin [wasm_fault_injection] failed to run"}']],
    [{ http_status: 401, percentage: 0 }, [200, 'hello world\n']]
  ] as const) {
    await gateway.put('/routes/1', helloRoute(gateway.node, { wasm_fault_injection: { conf } }))
    const { status, text } = await gateway.get('/hello')
    assert.deepEqual([status, text], expected)
  }
})
