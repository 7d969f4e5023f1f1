import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, say, scripted } from './script.ts'

const panics: Script = { request_headers: [{ op: 'panic', text: 'boom' }] }
const refuses: Script = { start: [{ op: 'fail' }] }

async function start(t: Parameters<typeof startApp>[0], conf: Script, declaration: object = {}) {
  return startApp(t, { plugins: scripted({ name: 'f', ...declaration }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { f: { conf } } } } }, async () => 'hello')
    const well = { request_headers: [say('well')] }
    app.get('/well', { config: { wasm: { plugins: { f: { conf: well } } } } }, async () => 'well')
  })
}

test('a gateway is healthy before its first request, and while its filters do their work', async (t) => {
  const { app, url } = await start(t, { request_headers: [say('well')] })
  assert.deepEqual(app.wasmGateway.health(), { healthy: true, reasons: [] })
  await request(url)
  assert.deepEqual(app.wasmGateway.health(), { healthy: true, reasons: [] })
})

test('one trap is no reason; a filter that has failed again is one, as long as it is not started', async (t) => {
  const { app, url } = await start(t, panics)
  await request(url)
  assert.deepEqual(app.wasmGateway.health(), { healthy: true, reasons: [] })
  await request(url)
  const { healthy, reasons } = app.wasmGateway.health()
  assert.equal(healthy, false)
  assert.match(
    reasons.join(),
    /^plugin \[f\] trapped in proxy_on_request_headers: unreachable; it is not started for \d+ ms$/
  )
})

test('a filter that refuses all of its configurations is a reason; one that refuses some of them is none', async (t) => {
  const { app, url } = await start(t, refuses)
  await request(url)
  const { healthy, reasons } = app.wasmGateway.health()
  assert.deepEqual([healthy, reasons.length], [false, 1])
  assert.match(reasons[0]!, /the filter refused its configuration/)
  assert.equal((await request(`${url}/well`)).text, 'well')
  assert.deepEqual(app.wasmGateway.health(), { healthy: true, reasons: [] })
})

test('what requests go on without is told, and does no harm', async (t) => {
  const { app, url } = await start(t, panics, { fail: 'open' })
  for (let i = 0; i < 2; i++) assert.equal((await request(url)).text, 'hello')
  const { healthy, reasons } = app.wasmGateway.health()
  assert.equal(healthy, true)
  assert.match(reasons.join(), /\(requests go on without it\)$/)
})
