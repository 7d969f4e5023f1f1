import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { filterWat } from '../wat.ts'

/**
 * A filter whose plugin context calls an upstream when it is configured, and when the answer comes acts on the stream of
 * context 2, whose request is with the handler then.
 */
async function start(t: TestContext, action: string, declare: (app: FastifyInstance, config: object) => void) {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => {
      await sleep(50)
      return ''
    })
  })
  const module = await filterWat(
    `(import "env" "proxy_http_call" (func $call (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))
     (import "env" "proxy_set_effective_context" (func $effective (param i32) (result i32)))
     (import "env" "proxy_close_stream" (func $close (param i32) (result i32)))
     (import "env" "proxy_send_local_response"
       (func $respond (param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)))`,
    `(data (i32.const 0) "${upstream.node}")
     (data (i32.const 64) "interrupted")
     (func (export "proxy_on_configure") (param i32 i32) (result i32)
       (i32.eqz (call $call (i32.const 0) (i32.const ${upstream.node.length}) (i32.const 0) (i32.const 0) (i32.const 0)
         (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1000) (i32.const 100))))
     (func (export "proxy_on_http_call_response") (param i32 i32 i32 i32 i32)
       (drop (call $effective (i32.const 2)))
       ${action})`
  )
  return startApp(t, { plugins: [{ name: 'w', module }] }, (app) => {
    declare(app, { wasm: { plugins: { w: { conf: 'x' } } } })
  })
}

const respond = `(drop (call $respond (i32.const 418) (i32.const 0) (i32.const 0) (i32.const 64) (i32.const 11)
  (i32.const 0) (i32.const 0) (i32.const -1)))`

test('a local response while the handler is at work is sent, and what the handler sends later is not', async (t) => {
  const { url } = await start(t, respond, (app, config) => {
    app.get('/', { config }, async () => {
      await sleep(150)
      return 'late'
    })
  })
  const answer = await request(url)
  assert.equal(answer.status, 418)
  assert.equal(answer.text, 'interrupted')
  await sleep(150)
})

test('a local response while the upstream is at work is sent, and the upstream is aborted', async (t) => {
  let aborted = false
  const slow = await startUpstream(t, (app) => {
    app.get('/', async (_request, reply) => {
      reply.raw.once('close', () => {
        aborted = !reply.raw.writableEnded
      })
      await sleep(500)
      return 'late'
    })
  })
  const { url } = await start(t, respond, (app, config) => {
    const wasm = { ...(config as { wasm: object }).wasm, upstream: { nodes: { [slow.node]: 1 } } }
    app.get('/', { config: { wasm }, handler: app.wasmGateway.proxy })
  })
  const answer = await request(url)
  assert.equal(answer.status, 418)
  for (let i = 0; i < 100 && !aborted; i++) await sleep(5)
  assert.equal(aborted, true)
})

test('a stream closed while the handler is at work ends the connection', async (t) => {
  const { url } = await start(t, '(drop (call $close (i32.const 0)))', (app, config) => {
    app.get('/', { config }, async () => {
      await sleep(150)
      return 'late'
    })
  })
  await assert.rejects(request(url))
  await sleep(150)
})
