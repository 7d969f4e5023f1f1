import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'

// The observations of APISIX's own tests of this filter.

async function post(t: TestContext, confs: Record<string, Record<string, unknown>>, body?: string) {
  const plugins = [
    { name: 'wasm-request-body', priority: 7997, file: fixture('request-body') },
    { name: 'wasm-request-body2', priority: 7996, file: fixture('request-body') }
  ]
  const own = Object.fromEntries(Object.entries(confs).map(([name, conf]) => [name, { conf }]))
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.post('/hello', { config: { wasm: { plugins: own } } }, async () => 'hello world\n')
  })
  const headers: Record<string, string> = body === undefined ? {} : { 'content-type': 'text/plain' }
  const response = await request(`${url}/hello`, { method: 'POST', headers, ...(body !== undefined && { body }) })
  assert.equal(response.text, 'hello world\n')
  return filterLog()
}

test('the filter reads a part of the request body', async (t) => {
  const lines = await post(t, { 'wasm-request-body': { processReqBody: true, start: 1, size: 3 } }, 'hello')
  assert.deepEqual(lines, ['request get body: ell'])
})

test('an empty body is a call too, in which there is nothing to get', async (t) => {
  const lines = await post(t, { 'wasm-request-body': { processReqBody: true, start: 1, size: 3 } })
  assert.deepEqual(lines, ['failed to get body: error status returned by host: not found'])
})

test('a filter that does not ask for the body is not called with it', async (t) => {
  assert.deepEqual(await post(t, { 'wasm-request-body': { processReqBody: false, start: 1, size: 3 } }, 'hello'), [])
})

test('one filter asking does not make another one be called', async (t) => {
  const lines = await post(
    t,
    {
      'wasm-request-body': { processReqBody: true, start: 1, size: 3 },
      'wasm-request-body2': { processReqBody: false, start: 2, size: 3 }
    },
    'hello'
  )
  assert.deepEqual(lines, ['request get body: ell'])
})

test('an entry with another key than conf is refused when the server starts', async (t) => {
  const plugins = [{ name: 'wasm-request-body', file: fixture('request-body') }]
  await assert.rejects(
    startApp(t, { plugins }, (app) => {
      const wasm = { plugins: { 'wasm-request-body': { setting: { processReqBody: true } } } } as never
      app.post('/hello', { config: { wasm } }, async () => '')
    }),
    /wasm-request-body: property "conf" is required/
  )
})
