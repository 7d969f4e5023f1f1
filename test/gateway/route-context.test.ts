import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import Fastify, { errorCodes, type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { forgetContentType, parseBodyAgain, routeContext } from '../../lib/gateway/route-context.ts'

// What lib/gateway/route-context.ts relies on without Fastify promising it. When one of these fails with a new version of
// Fastify, read its lib/context.js, lib/handle-request.js, lib/content-type-parser.js and lib/validation.js.

function application(t: TestContext): FastifyInstance {
  const app = Fastify()
  t.after(() => app.close())
  return app
}

/** What `look` finds in the preHandler hook of a request. */
async function inPreHandler<Value>(
  app: FastifyInstance,
  look: (request: FastifyRequest, reply: FastifyReply) => Value | Promise<Value>,
  request: { method?: 'GET' | 'POST'; url?: string; payload?: object | string; headers?: Record<string, string> } = {}
): Promise<Value> {
  let found: { value: Value } | undefined
  app.addHook('preHandler', async (request, reply) => {
    found = { value: await look(request, reply) }
  })
  await app.inject({ method: 'POST', url: '/', ...request })
  assert.ok(found, 'the preHandler hook has not run')
  return found.value
}

function symbols(object: object): (string | undefined)[] {
  return Object.getOwnPropertySymbols(object).map((symbol) => symbol.description)
}

test('a request keeps its context and its payload stream under symbols of these names', async (t) => {
  const app = application(t)
  app.post('/', async () => '')
  const found = await inPreHandler(app, (request) => symbols(request))
  for (const name of ['fastify.context', 'fastify.RequestPayloadStream']) {
    assert.equal(found.filter((found) => found === name).length, 1, name)
  }
})

test('the context of a route has the config of the route, its parsers, its hooks and its way with errors', async (t) => {
  const app = application(t)
  const config = { wasm: { plugins: {} } }
  const formatter = () => new Error('formatted')
  app.addHook('preParsing', async (_request, _reply, payload) => payload)
  app.post('/', { config, attachValidation: true, schemaErrorFormatter: formatter }, async () => '')
  const context = await inPreHandler(app, routeContext)
  assert.equal(context.config.url, '/')
  assert.equal(context.config.wasm, config.wasm)
  assert.equal(context.attachValidation, true)
  assert.equal(context.preParsing?.length, 1)
  assert.equal(context.contentTypeParser.run.length, 4)
  assert.equal(context.schemaErrorFormatter([], 'body').message, 'formatted')
})

test('a route without a preParsing hook or an own formatter has null and the default', async (t) => {
  const app = application(t)
  app.post('/', async () => '')
  const context = await inPreHandler(app, routeContext)
  assert.equal(context.preParsing, null)
  assert.equal(context.attachValidation, false)
  assert.ok(context.schemaErrorFormatter([{ instancePath: '/a', message: 'is wrong' }], 'body') instanceof Error)
})

test('what no route serves has a context without a url, and two requests of a route have the same', async (t) => {
  const app = application(t)
  const contexts: object[] = []
  app.addHook('onRequest', async (request) => {
    contexts.push(routeContext(request))
  })
  app.get('/', async () => '')
  for (const url of ['/', '/', '/nowhere']) await app.inject(url)
  const [first, second, nowhere] = contexts
  assert.equal(first, second)
  assert.equal((nowhere as ReturnType<typeof routeContext>).config.url, undefined)
})

test('a request keeps the payload stream that preParsing hooks have answered', async (t) => {
  const app = application(t)
  const replacement = Readable.from(['{}'], { objectMode: false })
  app.addHook('preParsing', async () => replacement)
  app.post('/', async () => '')
  const kept = await inPreHandler(
    app,
    (request) => {
      const symbol = Object.getOwnPropertySymbols(request).find(
        (s) => s.description === 'fastify.RequestPayloadStream'
      )!
      return (request as unknown as Record<symbol, unknown>)[symbol]
    },
    { payload: {}, headers: { 'content-length': '2' } }
  )
  assert.equal(kept, replacement)
})

test('an instance knows the methods that have a body', async (t) => {
  const app = application(t)
  const symbol = Object.getOwnPropertySymbols(app).find(
    ({ description }) => description === 'fastify.acceptedHTTPMethods'
  )
  assert.ok(symbol)
  const { bodywith } = (app as unknown as Record<symbol, { bodywith: Set<string> }>)[symbol]!
  assert.ok(bodywith.has('POST'))
  assert.ok(!bodywith.has('GET'))
})

test('a content type that Fastify has read is read again when it is forgotten', async (t) => {
  const app = application(t)
  app.post('/', async () => '')
  const found = await inPreHandler(
    app,
    (request) => {
      const before = request.mediaType
      request.raw.headers['content-type'] = 'text/html; charset=utf-8'
      const cached = request.mediaType
      forgetContentType(request)
      return [before, cached, request.mediaType]
    },
    { payload: {} }
  )
  assert.deepEqual(found, ['application/json', 'application/json', 'text/html'])
})

test('parsing again calls the parser of the content type, and puts its result in request.body', async (t) => {
  const app = application(t)
  const parsed: unknown[] = []
  app.addContentTypeParser('text/x', { parseAs: 'buffer' }, (_request, body, done) => {
    parsed.push(String(body))
    done(null, { x: String(body) })
  })
  app.post('/', async () => '')
  const body = await inPreHandler(
    app,
    async (request, reply) => {
      request.raw.headers['content-length'] = '3'
      await parseBodyAgain(request, reply, Readable.from(['new'], { objectMode: false }))
      return request.body
    },
    { payload: 'old text', headers: { 'content-type': 'text/x' } }
  )
  assert.deepEqual(body, { x: 'new' })
  assert.deepEqual(parsed, ['old text', 'new'])
})

test('the validation function of a body is one function, or one for each content type', async (t) => {
  const schema = { type: 'object', properties: { n: { type: 'integer' } } }
  for (const [body, kind] of [
    [schema, 'function'],
    [{ content: { 'application/json': { schema } } }, 'object'],
    [undefined, 'undefined']
  ] as const) {
    const app = application(t)
    app.post('/', body === undefined ? {} : { schema: { body } }, async () => '')
    const found = await inPreHandler(app, (request) => request.getValidationFunction('body') as unknown, {
      payload: {}
    })
    assert.equal(typeof found, kind)
    if (kind === 'function') assert.ok('schemaEnv' in (found as object))
    if (kind === 'object') assert.equal(typeof (found as Record<string, unknown>)['application/json'], 'function')
  }
})

test('the error of a content type that Fastify does not know is one that it exports', () => {
  const error = new errorCodes.FST_ERR_CTP_INVALID_MEDIA_TYPE()
  assert.equal(error.statusCode, 415)
  assert.equal(error.code, 'FST_ERR_CTP_INVALID_MEDIA_TYPE')
})
