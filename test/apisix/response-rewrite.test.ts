import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'

// The observations of APISIX's own tests of this filter, and what its name promises beyond them.

async function get(t: TestContext, confs: Record<string, Record<string, unknown>>) {
  const plugins = [
    { name: 'wasm-response-rewrite', priority: 7997, file: fixture('response-rewrite') },
    { name: 'wasm-response-rewrite2', priority: 7996, file: fixture('response-rewrite') }
  ]
  const own = Object.fromEntries(Object.entries(confs).map(([name, conf]) => [name, { conf }]))
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.get('/hello', { config: { wasm: { plugins: own } } }, async () => 'hello world\n')
  })
  return { response: await request(`${url}/hello`), filterLog }
}

test('the filter sets a response header', async (t) => {
  const { response } = await get(t, { 'wasm-response-rewrite': { headers: [{ name: 'x-wasm', value: 'apisix' }] } })
  assert.equal(response.headers['x-wasm'], 'apisix')
  assert.equal(response.text, 'hello world\n')
})

test('the filter sees the body, and puts its own in place', async (t) => {
  const { response, filterLog } = await get(t, { 'wasm-response-rewrite': { body: 'a' } })
  assert.deepEqual(filterLog(), ['get body [hello world\n]'])
  assert.equal(response.text, 'a')
  assert.equal(response.headers['content-length'], '1')
})

test('the filter that asked for the body is the only one called with it', async (t) => {
  const { response, filterLog } = await get(t, {
    'wasm-response-rewrite': { body: 'a' },
    'wasm-response-rewrite2': { headers: [{ name: 'x-wasm', value: 'apisix' }] }
  })
  assert.deepEqual(filterLog(), ['get body [hello world\n]'])
  assert.equal(response.headers['x-wasm'], 'apisix')
})

test('the filter sets the status', async (t) => {
  const { response } = await get(t, { 'wasm-response-rewrite': { status: 418, body: 'teapot' } })
  assert.equal(response.status, 418)
  assert.equal(response.text, 'teapot')
})
