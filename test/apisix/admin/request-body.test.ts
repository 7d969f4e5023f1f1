import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture } from '../../app.ts'
import { expectStatus } from '../../gateway/admin/admin.ts'
import { helloRoute, startGateway } from './gateway.ts'

// APISIX's request-body.t, through the Admin API.

const plugins = [
  { name: 'wasm-request-body', priority: 7997, file: fixture('request-body') },
  { name: 'wasm-request-body2', priority: 7996, file: fixture('request-body') }
]
const conf = (processReqBody: boolean, start: number, size: number) => ({
  conf: JSON.stringify({ processReqBody, start, size })
})

test('TEST 1–9: which filters are called with the body, and what they see of it', async (t) => {
  const { put, post, node, filterLog, admin } = await startGateway(t, plugins)
  let logged = 0
  const posted = async (body?: string) => {
    const { status, text } = await post('/hello', body)
    assert.deepEqual([status, text], [200, 'hello world\n'])
    const lines = filterLog().slice(logged)
    logged = filterLog().length
    return lines
  }
  await put('/routes/1', helloRoute(node, { 'wasm-request-body': conf(true, 1, 3) }))
  assert.deepEqual(await posted('hello'), ['request get body: ell'])
  assert.deepEqual(await posted(), ['failed to get body: error status returned by host: not found'])

  await put('/routes/1', helloRoute(node, { 'wasm-request-body': conf(false, 1, 3) }))
  assert.deepEqual(await posted('hello'), [])

  await put(
    '/routes/1',
    helloRoute(node, { 'wasm-request-body': conf(true, 1, 3), 'wasm-request-body2': conf(false, 2, 3) })
  )
  assert.deepEqual(await posted('hello'), ['request get body: ell'])

  const wrong = helloRoute(node, { 'wasm-request-body': { setting: conf(false, 1, 3).conf } })
  const { error_msg } = await expectStatus(admin('PUT', '/routes/1', wrong), 400)
  assert.match(error_msg, /property "conf" is required/)
  assert.deepEqual(await posted('hello'), ['request get body: ell'], 'what was there before goes on')
})
