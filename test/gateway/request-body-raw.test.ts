import assert from 'node:assert/strict'
import { Agent, type IncomingMessage } from 'node:http'
import { PassThrough, type Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, type Step, scripted, wantsRequestBody } from './script.ts'

const phases = ['rewrite', 'access'] as const
type Phase = (typeof phases)[number]

const set: Step = { op: 'set_body', of: 'request', value: 'changed' }
const empty: Step = { op: 'set_body', of: 'request', value: '' }
const scripts: Record<string, [Script, expected: (body: string) => string]> = {
  'asks for no body': [{ request_headers: [] }, (body) => body],
  'reads the body': [
    { request_headers: [wantsRequestBody], request_body: [{ op: 'body', of: 'request' }] },
    (body) => body
  ],
  'changes the body': [{ request_headers: [wantsRequestBody], request_body: [set] }, () => 'changed'],
  'empties the body': [{ request_headers: [wantsRequestBody], request_body: [empty] }, () => '']
}

function start(
  t: TestContext,
  phase: Phase,
  conf: Script,
  declare: (app: FastifyInstance, route: object) => void,
  before?: (app: FastifyInstance) => void
) {
  const plugins = scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase })
  return startApp(t, { plugins }, (app) => declare(app, { config: { wasm: { plugins: { a: { conf } } } } }), {}, before)
}

async function textOf(stream: Readable): Promise<string> {
  const chunks: Buffer[] = []
  await pipeline(stream, async (source) => {
    for await (const chunk of source) chunks.push(chunk)
  })
  return Buffer.concat(chunks).toString()
}

for (const phase of phases) {
  for (const [what, [conf, expected]] of Object.entries(scripts)) {
    test(`${phase}: a handler that pipes request.raw itself gets the body when a filter ${what}`, async (t) => {
      const { url } = await start(t, phase, conf, (app, route) => {
        // As @fastify/multipart does it.
        app.addContentTypeParser('multipart/form-data', (_request, _payload, done) => done(null))
        app.post('/', route, async (request) => ({
          raw: await textOf(request.raw),
          length: request.headers['content-length']
        }))
      })
      for (const body of ['hello', 'x'.repeat(300_000)]) {
        const headers = { 'content-type': 'multipart/form-data; boundary=x', 'content-length': body.length }
        const answer = await request(url, { method: 'POST', headers, body })
        const raw = expected(body)
        assert.deepEqual(JSON.parse(answer.text), { raw, length: String(raw.length) })
      }
    })

    test(`${phase}: the body of a GET, which Fastify does not parse, is there in request.raw when a filter ${what}`, async (t) => {
      const { url } = await start(t, phase, conf, (app, route) => {
        app.get('/', route, async (request) => textOf(request.raw))
      })
      const answer = await request(url, { headers: { 'content-length': 5 }, body: 'hello' })
      assert.equal(answer.status, 200)
      assert.equal(answer.text, expected('hello'))
    })
  }

  test(`${phase}: a handler that listens to request.raw some time later misses nothing`, async (t) => {
    const { url } = await start(t, phase, scripts['reads the body']![0], (app, route) => {
      app.addContentTypeParser('multipart/form-data', (_request, _payload, done) => done(null))
      app.post('/', route, async (request) => {
        await sleep(20)
        let text = ''
        request.raw.on('data', (chunk) => {
          text += chunk
        })
        await new Promise((resolve) => request.raw.on('end', resolve))
        return text
      })
    })
    const headers = { 'content-type': 'multipart/form-data; boundary=x' }
    assert.equal((await request(url, { method: 'POST', headers, body: 'hello' })).text, 'hello')
  })

  test(`${phase}: inject() into a handler that pipes request.raw`, async (t) => {
    const { app } = await start(t, phase, scripts['changes the body']![0], (app, route) => {
      app.addContentTypeParser('multipart/form-data', (_request, _payload, done) => done(null))
      app.post('/', route, async (request) => textOf(request.raw))
    })
    const headers = { 'content-type': 'multipart/form-data; boundary=x' }
    const answer = await app.inject({ method: 'POST', url: '/', headers, payload: 'hello' })
    assert.equal(answer.body, 'changed')
  })

  test(`${phase}: a hook that keeps the bytes of a body for the handler still does`, async (t) => {
    const { url } = await start(
      t,
      phase,
      scripts['changes the body']![0],
      (app, route) => {
        app.post('/', route, async ({ body, raw }) => ({
          body,
          kept: (raw as IncomingMessage & { kept: string }).kept
        }))
      },
      (app) => {
        app.addHook('preParsing', (request, _reply, payload, done) => {
          const chunks: Buffer[] = []
          payload.on('data', (chunk) => chunks.push(chunk))
          payload.on('end', () => Object.assign(request.raw, { kept: Buffer.concat(chunks).toString() }))
          done(null, payload)
        })
      }
    )
    const answer = await request(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
    // What came, for a filter that runs when it has been kept.
    assert.deepEqual(JSON.parse(answer.text), { body: 'changed', kept: phase === 'rewrite' ? 'changed' : 'hello' })
  })

  test(`${phase}: a hook that puts a stream of its own in place has the changed body pass it`, async (t) => {
    const { url } = await start(t, phase, scripts['changes the body']![0], (app, route) => {
      app.addHook('preParsing', (_request, _reply, payload, done) => done(null, payload.pipe(new PassThrough())))
      app.post('/', route, async ({ body }: FastifyRequest) => body)
    })
    const answer = await request(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
    assert.equal(answer.text, 'changed')
  })
}

test('a preParsing hook that fails at what a filter has made of the body is answered as Fastify answers it', async (t) => {
  const { url } = await start(t, 'access', scripts['changes the body']![0], (app, route) => {
    app.addHook('preParsing', async (_request, _reply, payload) => {
      const text = await textOf(payload as Readable)
      if (text === 'changed') throw Object.assign(new Error('refused'), { statusCode: 418 })
      const replacement = new PassThrough()
      replacement.end(text)
      return replacement
    })
    app.post('/', route, async ({ body }) => body)
  })
  const answer = await request(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
  assert.equal(answer.status, 418)
})

for (const phase of phases) {
  test(`${phase}: a connection is used again after a filter has answered in place of a body's handler`, async (t) => {
    const ports = new Set<number | undefined>()
    const conf: Script = {
      request_headers: [wantsRequestBody],
      request_body: [{ op: 'reply', status: 403, headers: [], body: 'no' }]
    }
    const { url } = await start(
      t,
      phase,
      conf,
      (app, route) => app.post('/', { bodyLimit: 5_000_000, ...route }, async () => 'reached'),
      (app) => {
        app.addHook('onRequest', async ({ socket }) => {
          ports.add(socket.remotePort)
        })
      }
    )
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    for (const body of ['hello', 'x'.repeat(1_000_000), 'hello']) {
      const answer = await request(url, { method: 'POST', agent, headers: { 'content-type': 'text/plain' }, body })
      assert.equal(answer.text, 'no')
    }
    assert.equal(ports.size, 1)
  })
}
