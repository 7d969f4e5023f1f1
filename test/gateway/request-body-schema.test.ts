import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance, RouteShorthandOptions } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, scripted, wantsRequestBody } from './script.ts'

// The schema of a route holds for the body that a filter has made, with Fastify's own errors.

const phases = ['rewrite', 'access'] as const

const number = {
  type: 'object',
  properties: { n: { type: 'integer' }, d: { default: 'given' } },
  required: ['n'],
  additionalProperties: false
}

function start(
  t: TestContext,
  phase: 'rewrite' | 'access',
  value: string,
  options: RouteShorthandOptions,
  declare: (app: FastifyInstance) => void = () => {}
) {
  const conf: Script = {
    request_headers: [wantsRequestBody],
    request_body: [{ op: 'set_body', of: 'request', value }]
  }
  const plugins = scripted({ name: 'a', file: fixture('script-rust'), http_request_phase: phase })
  return startApp(t, { plugins }, (app) => {
    declare(app)
    app.post(
      '/',
      { ...options, config: { wasm: { plugins: { a: { conf } } } } },
      async ({ body, validationError }) => ({
        body,
        ...(validationError && { refused: validationError.message, context: validationError.validationContext })
      })
    )
  })
}

async function post(url: string, body: string, type = 'application/json') {
  const answer = await request(url, { method: 'POST', headers: { 'content-type': type }, body })
  return { status: answer.status, ...JSON.parse(answer.text) }
}

for (const phase of phases) {
  test(`${phase}: a changed body is coerced, stripped and given its defaults`, async (t) => {
    const { url } = await start(t, phase, '{"n":"1","x":1}', { schema: { body: number } })
    assert.deepEqual(await post(url, '{"n":0}'), { status: 200, body: { n: 1, d: 'given' } })
  })

  test(`${phase}: a changed body that does not fit is answered with Fastify's own error`, async (t) => {
    const { url } = await start(t, phase, '{"n":"x"}', { schema: { body: number } })
    assert.deepEqual(await post(url, '{"n":0}'), {
      status: 400,
      statusCode: 400,
      code: 'FST_ERR_VALIDATION',
      error: 'Bad Request',
      message: 'body/n must be integer'
    })
  })

  test(`${phase}: attachValidation hands the error to the handler`, async (t) => {
    const { url } = await start(t, phase, '{"n":"x"}', { schema: { body: number }, attachValidation: true })
    assert.deepEqual(await post(url, '{"n":0}'), {
      status: 200,
      body: { n: 'x', d: 'given' },
      refused: 'body/n must be integer',
      context: 'body'
    })
  })

  test(`${phase}: a body that is no object is coerced at its root`, async (t) => {
    const { url } = await start(t, phase, '"2"', { schema: { body: { type: 'integer' } } })
    assert.deepEqual(await post(url, '1'), { status: 200, body: 2 })
  })

  test(`${phase}: the formatter of the route words the error`, async (t) => {
    const { url } = await start(t, phase, '{"n":"x"}', {
      schema: { body: number },
      schemaErrorFormatter: (errors, part) => new Error(`${part}: ${errors.length} wrong`)
    })
    const { status, message } = await post(url, '{"n":0}')
    assert.equal(status, 400)
    assert.equal(message, 'body: 1 wrong')
  })

  test(`${phase}: a validator of the application decides, and may give another value`, async (t) => {
    const validatorCompiler = () => (data: unknown) => {
      const { n } = data as { n: unknown }
      return n === 'bad' ? { error: new Error('no') } : { value: { n, checked: true } }
    }
    const options = { schema: { body: {} }, validatorCompiler } as unknown as RouteShorthandOptions
    const good = await start(t, phase, '{"n":"good"}', options)
    assert.deepEqual(await post(good.url, '{"n":0}'), { status: 200, body: { n: 'good', checked: true } })
    const bad = await start(t, phase, '{"n":"bad"}', options)
    const answer = await post(bad.url, '{"n":0}')
    assert.equal(answer.status, 400)
    assert.equal(answer.code, 'FST_ERR_VALIDATION')
    assert.equal(answer.message, 'no')
  })

  test(`${phase}: an asynchronous validator decides by settling, not by what the body says`, async (t) => {
    const validatorCompiler = () => async (data: unknown) => {
      await sleep(1)
      if ((data as { n: unknown }).n === 'bad') throw new Error('no')
      return data
    }
    const options = { schema: { body: {} }, validatorCompiler } as unknown as RouteShorthandOptions
    const good = await start(t, phase, '{"error":"none","value":"mine"}', options)
    assert.deepEqual(await post(good.url, '{"n":0}'), { status: 200, body: { error: 'none', value: 'mine' } })
    const bad = await start(t, phase, '{"n":"bad"}', options)
    const answer = await post(bad.url, '{"n":0}')
    assert.equal(answer.status, 400)
    assert.equal(answer.message, 'no')
  })

  test(`${phase}: a validator that throws is a 500`, async (t) => {
    const validatorCompiler = () => (data: unknown) => {
      if ((data as { n: unknown }).n === 'bad') throw new Error('broken')
      return true
    }
    const options = { schema: { body: {} }, validatorCompiler } as unknown as RouteShorthandOptions
    const { url } = await start(t, phase, '{"n":"bad"}', options)
    const answer = await post(url, '{"n":0}')
    assert.equal(answer.status, 500)
    assert.equal(answer.message, 'broken')
  })

  test(`${phase}: a schema for each content type is chosen by the content type`, async (t) => {
    const content = {
      'application/json': { schema: number },
      'application/other+json': { schema: { type: 'object', required: ['other'] } }
    }
    const { url } = await start(t, phase, '{"n":"x"}', { schema: { body: { content } } }, (app) => {
      app.addContentTypeParser(
        'application/other+json',
        { parseAs: 'string' },
        async (_request: unknown, body: string) => JSON.parse(body)
      )
    })
    assert.equal((await post(url, '{"n":0}')).message, 'body/n must be integer')
    const other = await post(url, '{"other":0}', 'application/other+json')
    assert.equal(other.message, "body must have required property 'other'")
  })
}

test('rewrite: a body that does not fit before a filter has changed it is no matter', async (t) => {
  const { url } = await start(t, 'rewrite', '{"n":1}', { schema: { body: number } })
  assert.equal((await post(url, '{"n":"x"}')).status, 200)
})

test('access: a body that does not fit is refused before any filter sees it', async (t) => {
  const { url } = await start(t, 'access', '{"n":1}', { schema: { body: number } })
  assert.equal((await post(url, '{"n":"x"}')).status, 400)
})

// Fastify stops at the first part that does not fit: query and headers have not been validated then.
test('access: the error that attachValidation has handed on stays when the changed body fits', async (t) => {
  const { url } = await start(t, 'access', '{"n":1}', { schema: { body: number }, attachValidation: true })
  const answer = await post(url, '{"n":"x"}')
  assert.deepEqual(answer.body, { n: 1, d: 'given' })
  assert.equal(answer.refused, 'body/n must be integer')
})
