import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture } from '../../app.ts'
import { helloRoute, startGateway } from './gateway.ts'

// APISIX's response-rewrite.t, through the Admin API. Other than there the filter's body takes the place of the response's.

const plugins = [
  { name: 'wasm-response-rewrite', priority: 7997, file: fixture('response-rewrite') },
  { name: 'wasm-response-rewrite2', priority: 7996, file: fixture('response-rewrite') }
]
const header = { conf: '{"headers":[{"name":"x-wasm","value":"apisix"}]}' }
const body = { conf: '{"body":"a"}' }

test('TEST 1–2: a header is set', async (t) => {
  const { put, get, node } = await startGateway(t, plugins)
  await put('/routes/1', helloRoute(node, { 'wasm-response-rewrite': header }))
  const { headers, text } = await get('/hello')
  assert.deepEqual([headers['x-wasm'], text], ['apisix', 'hello world\n'])
})

test('TEST 3–4: the filter sees the body', async (t) => {
  const { put, get, node, filterLog } = await startGateway(t, plugins)
  await put('/routes/1', helloRoute(node, { 'wasm-response-rewrite': body }))
  assert.equal((await get('/hello')).text, 'a')
  assert.deepEqual(filterLog(), ['get body [hello world\n]'])
})

test('TEST 5–6: the filter that asked for the body is the only one called with it', async (t) => {
  const { put, get, node, filterLog } = await startGateway(t, plugins)
  await put('/routes/1', helloRoute(node, { 'wasm-response-rewrite': body, 'wasm-response-rewrite2': header }))
  const { headers } = await get('/hello')
  assert.equal(headers['x-wasm'], 'apisix')
  assert.deepEqual(filterLog(), ['get body [hello world\n]'])
})
