import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { createGunzip, gzipSync } from 'node:zlib'
import type { FastifyInstance } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, scripted, wantsRequestBody } from './script.ts'

// A preParsing hook of the application puts another stream in place of the request, before the gateway's own or after it.

type Phase = 'rewrite' | 'access'
type Where = 'before' | 'after'

const zipped = gzipSync('{"a":1}')
const headers = { 'content-type': 'application/json', 'content-encoding': 'gzip' }

function gunzip(app: FastifyInstance): void {
  app.addHook('preParsing', async (request, _reply, payload) => {
    if (request.headers['content-encoding'] !== 'gzip') return payload
    const stream = createGunzip() as ReturnType<typeof createGunzip> & { receivedEncodedLength: number }
    stream.receivedEncodedLength = 0
    payload.on('data', (chunk) => {
      stream.receivedEncodedLength += chunk.length
    })
    return payload.pipe(stream)
  })
}

function start(t: TestContext, phase: Phase, where: Where, conf: Script) {
  return startApp(
    t,
    { plugins: scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase }) },
    (app) => {
      if (where === 'after') gunzip(app)
      app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async ({ body }) => body)
    },
    {},
    where === 'before' ? gunzip : undefined
  )
}

for (const [phase, where] of [
  ['rewrite', 'before'],
  ['rewrite', 'after'],
  ['access', 'before'],
  ['access', 'after']
] as const) {
  test(`${phase}: filters see the bytes that came when a hook ${where} the gateway decompresses them`, async (t) => {
    const { url, filterLog } = await start(t, phase, where, {
      request_headers: [wantsRequestBody],
      request_body: [{ op: 'callback' }]
    })
    const answer = await request(url, { method: 'POST', headers, body: zipped })
    assert.equal(answer.text, '{"a":1}')
    assert.deepEqual(filterLog(), [`request_body ctx=2 root=1 size=${zipped.length} eos=true`])
  })

  test(`${phase}: a filter may put a plain body in place of one that a hook ${where} the gateway decompresses`, async (t) => {
    const { url } = await start(t, phase, where, {
      request_headers: [wantsRequestBody, { op: 'remove', map: 'request', name: 'content-encoding' }],
      request_body: [{ op: 'set_body', of: 'request', value: '{"a":2}' }]
    })
    const answer = await request(url, { method: 'POST', headers, body: zipped })
    assert.equal(answer.text, '{"a":2}')
  })

  test(`${phase}: what a filter leaves compressed is decompressed by a hook ${where} the gateway`, async (t) => {
    // Two members one after the other are one gzip file, and an empty append is a change.
    const { url } = await start(t, phase, where, {
      request_headers: [wantsRequestBody],
      request_body: [{ op: 'append_body', of: 'request', value: '' }]
    })
    const answer = await request(url, { method: 'POST', headers, body: zipped })
    assert.equal(answer.text, '{"a":1}')
  })
}
