import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'

// The observations of APISIX's own tests of this filter.

async function get(t: TestContext, conf: string | Record<string, unknown>) {
  const plugins = [{ name: 'wasm_fault_injection', priority: 7997, file: fixture('fault-injection') }]
  const { url } = await startApp(t, { plugins }, (app) => {
    app.get(
      '/hello',
      { config: { wasm: { plugins: { wasm_fault_injection: { conf } } } } },
      async () => 'hello world\n'
    )
  })
  return request(`${url}/hello`)
}

test('a string configuration with a raw newline inside aborts with its status and body', async (t) => {
  const response = await get(t, '{"http_status": 401, "body": "HIT\n"}')
  assert.equal(response.status, 401)
  assert.equal(response.text, 'HIT\n')
})

test('a percentage of 0 injects nothing', async (t) => {
  const response = await get(t, '{"http_status": 401, "percentage": 0}')
  assert.equal(response.status, 200)
  assert.equal(response.text, 'hello world\n')
})

test('without a body the response has none', async (t) => {
  const response = await get(t, '{"http_status": 401}')
  assert.equal(response.status, 401)
  assert.equal(response.text, '')
  assert.equal(response.headers['content-length'], '0')
})

test('an object configuration aborts with its status and body', async (t) => {
  const response = await get(t, { http_status: 401, body: 'HIT\n' })
  assert.equal(response.status, 401)
  assert.equal(response.text, 'HIT\n')
})

test('an object configuration with a percentage of 0 injects nothing', async (t) => {
  const response = await get(t, { http_status: 401, percentage: 0 })
  assert.equal(response.status, 200)
  assert.equal(response.text, 'hello world\n')
})

for (const [conf, reason] of [
  [{ http_status: 100 }, 'a status below 200'],
  [{ http_status: 401, percentage: 101 }, 'a percentage above 100'],
  ['no JSON', 'what is no JSON']
] as const) {
  test(`${reason} makes the filter refuse its configuration, and the request is answered 503`, async (t) => {
    const response = await get(t, conf)
    assert.equal(response.status, 503)
    assert.deepEqual(Object.keys(JSON.parse(response.text)), ['error_msg'])
  })
}
