import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, scripted, wantsRequestBody } from './script.ts'

const rust = fixture('script-rust')
const appends = (value: string): Script => ({
  request_headers: [wantsRequestBody],
  request_body: [{ op: 'callback' }, { op: 'body', of: 'request' }, { op: 'append_body', of: 'request', value }]
})
const text = { 'content-type': 'text/plain' }
const echo = async ({ body, headers }: FastifyRequest) => `${body} ${headers['content-length']}`

for (const [first, second] of [
  ['rewrite', 'access'],
  ['rewrite', 'rewrite'],
  ['access', 'access']
] as const) {
  test(`${first}, then ${second}: the second filter sees what the first has made of the body`, async (t) => {
    const plugins = scripted(
      { name: 'a', file: fixture('script-go'), http_request_phase: first },
      { name: 'b', file: fixture('script-as'), http_request_phase: second }
    )
    const { url, filterLog } = await startApp(t, { plugins }, (app) => {
      const wasm = { plugins: { a: { conf: appends('-a') }, b: { conf: appends('-b') } } }
      app.post('/', { config: { wasm } }, echo)
    })
    const answer = await request(url, { method: 'POST', headers: text, body: 'hello' })
    assert.equal(answer.text, 'hello-a-b 9')
    assert.deepEqual(filterLog('a'), ['request_body ctx=2 root=1 size=5 eos=true', 'request body=hello'])
    assert.deepEqual(filterLog('b'), ['request_body ctx=2 root=1 size=7 eos=true', 'request body=hello-a'])
  })
}

test('a filter that only reads passes on what the one before has changed', async (t) => {
  const plugins = scripted({ name: 'a', file: rust }, { name: 'b', file: rust })
  const reads: Script = { request_headers: [wantsRequestBody], request_body: [{ op: 'body', of: 'request' }] }
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.post('/', { config: { wasm: { plugins: { a: { conf: appends('-a') }, b: { conf: reads } } } } }, echo)
  })
  const answer = await request(url, { method: 'POST', headers: text, body: 'hello' })
  assert.equal(answer.text, 'hello-a 7')
  assert.deepEqual(filterLog('b'), ['request body=hello-a'])
})

test('a filter changes the body in a rewrite, and an access filter that only reads does not have it parsed again', async (t) => {
  let parsed = 0
  const plugins = scripted({ name: 'a', file: rust, http_request_phase: 'rewrite' }, { name: 'b', file: rust })
  const reads: Script = { request_headers: [wantsRequestBody], request_body: [{ op: 'body', of: 'request' }] }
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    app.addContentTypeParser('text/x', { parseAs: 'string' }, (_request, body, done) => {
      parsed++
      done(null, body)
    })
    app.post('/', { config: { wasm: { plugins: { a: { conf: appends('-a') }, b: { conf: reads } } } } }, echo)
  })
  const answer = await request(url, { method: 'POST', headers: { 'content-type': 'text/x' }, body: 'hello' })
  assert.equal(answer.text, 'hello-a 7')
  assert.deepEqual(filterLog('b'), ['request body=hello-a'])
  assert.equal(parsed, 1)
})

test('the body callback runs for the filter that asked for the body, and for no other', async (t) => {
  const plugins = scripted({ name: 'a', file: rust }, { name: 'b', file: rust }, { name: 'c', file: rust })
  const asksNot: Script = { request_body: [{ op: 'callback' }, { op: 'set_body', of: 'request', value: 'never' }] }
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const wasm = { plugins: { a: { conf: asksNot }, b: { conf: appends('-b') }, c: { conf: asksNot } } }
    app.post('/', { config: { wasm } }, echo)
  })
  const answer = await request(url, { method: 'POST', headers: text, body: 'hello' })
  assert.equal(answer.text, 'hello-b 7')
  assert.deepEqual(filterLog('a'), [])
  assert.deepEqual(filterLog('c'), [])
})

test('a global rule and the route may both change the body', async (t) => {
  const plugins = scripted({ name: 'a', file: rust })
  const global_rules = [{ id: 1, plugins: { a: { conf: appends('-global') } } }]
  const { url } = await startApp(t, { plugins, global_rules }, (app) => {
    app.post('/', { config: { wasm: { plugins: { a: { conf: appends('-route') } } } } }, echo)
  })
  const answer = await request(url, { method: 'POST', headers: text, body: 'hello' })
  assert.equal(answer.text, 'hello-global-route 18')
})

test('a body that a filter changes on a route that nobody declared harms no 404', async (t) => {
  const plugins = scripted({ name: 'a', file: rust })
  const global_rules = [{ id: 1, plugins: { a: { conf: appends('!') } } }]
  const { url } = await startApp(t, { plugins, global_rules }, () => {})
  for (const headers of [text, { 'content-type': 'application/json' }, { 'content-type': 'what/ever' }]) {
    const answer = await request(`${url}/nowhere`, { method: 'POST', headers, body: '{}' })
    assert.equal(answer.status, headers['content-type'] === 'application/json' ? 400 : 404)
  }
})
