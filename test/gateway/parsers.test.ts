import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, type Step, scripted, wantsRequestBody } from './script.ts'

// A body that a filter has changed reaches the handler as the route's own parser makes it.

const phases = ['rewrite', 'access'] as const
type Phase = (typeof phases)[number]

const setBody = (value: string): Step => ({ op: 'set_body', of: 'request', value })
const setType = (value: string): Step => ({ op: 'set', map: 'request', name: 'content-type', value })
const changesTo = (value: string, ...headerSteps: Step[]): Script => ({
  request_headers: [wantsRequestBody, ...headerSteps],
  request_body: [setBody(value)]
})

/** What the handler saw. */
async function seen(request: FastifyRequest) {
  const { body, headers } = request
  const kind = Buffer.isBuffer(body) ? 'buffer' : typeof body
  return { kind, body: Buffer.isBuffer(body) ? body.toString() : body, length: headers['content-length'] }
}

function start(t: TestContext, phase: Phase, conf: Script, declare: (app: FastifyInstance) => void = () => {}) {
  const plugins = scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase })
  return startApp(t, { plugins }, (app) => {
    declare(app)
    const config = { wasm: { plugins: { a: { conf } } } }
    app.route({ method: ['GET', 'POST'], url: '/', config, handler: seen })
    app.register(async (child) => {
      child.addContentTypeParser(
        'text/child',
        { parseAs: 'string' },
        async (_request: FastifyRequest, body: string) => ({
          child: body
        })
      )
      child.post('/child', { config }, seen)
    })
  })
}

async function post(url: string, type: string | undefined, body: string | undefined, method = 'POST') {
  const answer = await request(url, {
    method,
    headers: type === undefined ? {} : { 'content-type': type },
    ...(body !== undefined && { body })
  })
  return { status: answer.status, ...JSON.parse(answer.text) }
}

for (const phase of phases) {
  test(`${phase}: a changed JSON body is parsed, and its length is the new one`, async (t) => {
    const { url } = await start(t, phase, changesTo('{"a":"longer than before"}'))
    const answer = await post(url, 'application/json', '{"a":1}')
    assert.deepEqual(answer, { status: 200, kind: 'object', body: { a: 'longer than before' }, length: '26' })
  })

  test(`${phase}: a body may become shorter`, async (t) => {
    const { url } = await start(t, phase, changesTo('[]'))
    const answer = await post(url, 'application/json', '{"a":"a long text"}')
    assert.deepEqual(answer, { status: 200, kind: 'object', body: [], length: '2' })
  })

  test(`${phase}: a changed text reaches the handler byte for byte`, async (t) => {
    const conf: Script = {
      request_headers: [wantsRequestBody],
      request_body: [
        { op: 'prepend_body', of: 'request', value: 'é<' },
        { op: 'append_body', of: 'request', value: '>€' }
      ]
    }
    const { url } = await start(t, phase, conf)
    const answer = await post(url, 'text/plain', 'hello')
    assert.deepEqual(answer, { status: 200, kind: 'string', body: 'é<hello>€', length: '12' })
  })

  test(`${phase}: a changed form is parsed by the application's parser`, async (t) => {
    const { url } = await start(t, phase, changesTo('a=1&b=2'), (app) => {
      app.addContentTypeParser('application/x-www-form-urlencoded', { parseAs: 'string' }, (_request, body, done) => {
        done(null, Object.fromEntries(new URLSearchParams(body as string)))
      })
    })
    const answer = await post(url, 'application/x-www-form-urlencoded; charset=utf-8', 'a=0')
    assert.deepEqual(answer.body, { a: '1', b: '2' })
  })

  test(`${phase}: a parser that takes a stream is given the changed bytes`, async (t) => {
    const { url } = await start(t, phase, changesTo('changed'), (app) => {
      app.addContentTypeParser('text/x', async (_request: FastifyRequest, payload: NodeJS.ReadableStream) => {
        let text = ''
        for await (const chunk of payload) text += chunk
        return `stream: ${text}`
      })
    })
    assert.equal((await post(url, 'text/x', 'hello')).body, 'stream: changed')
  })

  test(`${phase}: a parser that hands out the stream itself has the handler read the changed bytes`, async (t) => {
    const { url } = await start(t, phase, changesTo('changed'), (app) => {
      app.addContentTypeParser('text/x', (_request, payload, done) => done(null, payload))
      app.addHook('preHandler', async (request) => {
        if (typeof request.body !== 'object') return
        let text = ''
        for await (const chunk of request.body as NodeJS.ReadableStream) text += chunk
        request.body = `handler: ${text}`
      })
    })
    assert.equal((await post(url, 'text/x', 'hello')).body, 'handler: changed')
  })

  test(`${phase}: parsers found by a regular expression, and as buffers, serve a changed body`, async (t) => {
    const { url } = await start(t, phase, changesTo('changed'), (app) => {
      app.addContentTypeParser(/^image\/.*/, { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    })
    const answer = await post(url, 'image/png', 'hello')
    assert.deepEqual(answer, { status: 200, kind: 'buffer', body: 'changed', length: '7' })
  })

  test(`${phase}: the catch-all parser serves a changed body, with a content type and without`, async (t) => {
    const { url } = await start(t, phase, changesTo('changed'), (app) => {
      app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, `any: ${body}`))
    })
    assert.equal((await post(url, 'what/ever', 'hello')).body, 'any: changed')
    assert.equal((await post(url, undefined, 'hello')).body, 'any: changed')
  })

  test(`${phase}: a parser of an encapsulated child serves the child's routes`, async (t) => {
    const { url } = await start(t, phase, changesTo('changed'))
    assert.deepEqual((await post(`${url}/child`, 'text/child', 'hello')).body, { child: 'changed' })
  })

  test(`${phase}: what is no JSON any more is answered as Fastify answers it`, async (t) => {
    const { url } = await start(t, phase, changesTo('{"a":'))
    const answer = await post(url, 'application/json', '{"a":1}')
    assert.equal(answer.status, 400)
    assert.equal(answer.code, 'FST_ERR_CTP_INVALID_JSON_BODY')
  })

  test(`${phase}: a JSON body that was emptied is answered as Fastify answers an empty one`, async (t) => {
    const { url } = await start(t, phase, changesTo(''))
    const answer = await post(url, 'application/json', '{"a":1}')
    assert.equal(answer.status, 400)
    assert.equal(answer.code, 'FST_ERR_CTP_EMPTY_JSON_BODY')
  })

  test(`${phase}: an emptied text is an empty text, however late it is read`, async (t) => {
    const { url } = await start(t, phase, changesTo(''), (app) => {
      app.addHook('onRequest', () => sleep(20))
      app.addHook('preParsing', async (_request, _reply, payload) => {
        await sleep(20)
        return payload
      })
    })
    assert.deepEqual(await post(url, 'text/plain', 'hello'), { status: 200, kind: 'string', body: '', length: '0' })
  })

  test(`${phase}: a filter adds a body to a request that had none`, async (t) => {
    const { url } = await start(t, phase, changesTo('{"added":true}', setType('application/json')))
    assert.deepEqual(await post(url, undefined, undefined), {
      status: 200,
      kind: 'object',
      body: { added: true },
      length: '14'
    })
  })

  test(`${phase}: a body that a filter adds without a content type is answered 415, as one from a client`, async (t) => {
    const { url } = await start(t, phase, changesTo('added'))
    const answer = await post(url, undefined, undefined)
    assert.equal(answer.status, 415)
    assert.equal(answer.code, 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
  })

  test(`${phase}: a body without a content type that a filter empties is none`, async (t) => {
    const { url } = await start(t, phase, changesTo(''), (app) => {
      app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, `any: ${body}`))
    })
    assert.deepEqual(await post(url, undefined, 'hello'), { status: 200, kind: 'undefined', length: '0' })
  })

  test(`${phase}: a GET stays without a body, whatever a filter makes of it`, async (t) => {
    const { url } = await start(t, phase, changesTo('added', setType('application/json')))
    const answer = await post(url, undefined, undefined, 'GET')
    assert.equal(answer.status, 200)
    assert.equal(answer.kind, 'undefined')
  })

  test(`${phase}: a body still reaches its parser when a filter has removed its length`, async (t) => {
    const conf = { request_headers: [{ op: 'remove', map: 'request', name: 'content-length' }] }
    const { url } = await start(t, phase, conf, (app) => {
      app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, `any: ${body}`))
    })
    assert.equal((await post(url, undefined, 'hello')).body, 'any: hello')
  })

  test(`${phase}: a body that is changed by inject() is parsed too`, async (t) => {
    const { app } = await start(t, phase, changesTo('{"a":2}'))
    const answer = await app.inject({ method: 'POST', url: '/', payload: { a: 1 } })
    assert.deepEqual(answer.json().body, { a: 2 })
  })
}

test('the content type that a rewrite filter sets chooses the parser, though Fastify knew another one', async (t) => {
  const types: (string | undefined)[] = []
  const plugins = scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: 'rewrite' })
  const conf = changesTo('{"a":2}', setType('application/json'))
  const { url } = await startApp(
    t,
    { plugins },
    (app) => {
      app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (request) => {
        types.push(request.mediaType)
        return request.body
      })
    },
    {},
    (app) => {
      app.addHook('onRequest', async (request) => {
        types.push(request.mediaType)
      })
    }
  )
  const answer = await request(url, { method: 'POST', headers: { 'content-type': 'text/plain' }, body: 'hello' })
  assert.deepEqual(JSON.parse(answer.text), { a: 2 })
  assert.deepEqual(types, ['text/plain', 'application/json'])
})

test('the content type that an access filter sets chooses the parser of the body that it sets', async (t) => {
  const { url } = await start(t, 'access', changesTo('{"a":2}', setType('application/json')))
  assert.deepEqual((await post(url, 'text/plain', 'hello')).body, { a: 2 })
})

test('an invalid content type that an access filter sets is answered 415', async (t) => {
  const { url } = await start(t, 'access', changesTo('{"a":2}', setType('nonsense')))
  const answer = await post(url, 'text/plain', 'hello')
  assert.equal(answer.status, 415)
  assert.equal(answer.code, 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
})

test('bodyLimit of the route is as it was, also for what a filter makes of a body', async (t) => {
  const plugins = scripted({ name: 'a', file: fixture('script-rust') })
  const { url } = await startApp(t, { plugins }, (app) => {
    for (const [path, value] of [
      ['/same', ''],
      ['/longer', 'x'.repeat(20)]
    ] as const) {
      const conf: Script = {
        request_headers: [wantsRequestBody],
        request_body: [{ op: 'append_body', of: 'request', value }]
      }
      app.post(path, { bodyLimit: 10, config: { wasm: { plugins: { a: { conf } } } } }, seen)
    }
  })
  for (const [path, body] of [
    ['/same', 'more than ten bytes'],
    ['/longer', 'hello']
  ] as const) {
    const answer = await post(url + path, 'text/plain', body)
    assert.equal(answer.status, 413, path)
    assert.equal(answer.code, 'FST_ERR_CTP_BODY_TOO_LARGE')
  }
})

test('the error handler of the application answers when the parser refuses a changed body', async (t) => {
  const { url } = await start(t, 'access', changesTo('nonsense'), (app) => {
    app.setErrorHandler((error: Error & { code: string }, _request: FastifyRequest, reply: FastifyReply) => {
      reply.code(422).send({ refused: error.code })
    })
  })
  assert.deepEqual(await post(url, 'application/json', '{}'), {
    status: 422,
    refused: 'FST_ERR_CTP_INVALID_JSON_BODY'
  })
})
