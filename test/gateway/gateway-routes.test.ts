import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { say, scripted, wantsRequestBody } from './script.ts'

// The gateway's own routes: `routes` in code, matched where the application has none.

const echo = (app: FastifyInstance) => {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
  app.all('/*', async (request) => ({
    method: request.method,
    url: request.url,
    host: request.headers.host,
    type: request.headers['content-type'],
    length: request.headers['content-length'],
    seen: request.headers['x-seen'],
    body: request.body === undefined || request.body === null ? '' : String(request.body)
  }))
}

test('a route of the gateway forwards to its upstream, and the routes of the application win', async (t) => {
  const { node } = await startUpstream(t, echo)
  const upstream = { nodes: { [node]: 1 } }
  const routes = [{ id: 1, uri: '/*', upstream }]
  const { url } = await startApp(t, { routes }, (app) => {
    app.get('/own', async () => 'mine')
  })
  assert.equal((await request(`${url}/own`)).body.toString(), 'mine')
  const answer = JSON.parse((await request(`${url}/other?a=1`)).body.toString())
  assert.equal(answer.url, '/other?a=1')
  // Another method of a path that the application has is not the application's.
  assert.equal(JSON.parse((await request(`${url}/own`, { method: 'POST', body: 'x' })).body.toString()).method, 'POST')
})

test('bodies of every content type go through unparsed, and with a right length', async (t) => {
  const { node } = await startUpstream(t, echo)
  const routes = [{ id: 1, uri: '/*', upstream: { nodes: { [node]: 1 } } }]
  const { url } = await startApp(t, { routes }, () => {})
  for (const type of ['application/json', 'application/x-strange', 'text/plain', undefined]) {
    const headers = type === undefined ? {} : { 'content-type': type }
    const body = '{ no json'
    const { status, body: bytes } = await request(`${url}/a`, { method: 'POST', headers, body })
    assert.equal(status, 200)
    const answer = JSON.parse(bytes.toString())
    assert.deepEqual(
      [answer.body, answer.type, answer.length],
      type === undefined ? [body, undefined, '9'] : [body, type, '9']
    )
  }
})

test('filters of a gateway route run in their phases, with the global ones before them', async (t) => {
  const { node } = await startUpstream(t, echo)
  const set = (value: string) => ({ op: 'set', map: 'request', name: 'x-seen', value })
  const options = {
    plugins: scripted('global', { name: 'early', http_request_phase: 'rewrite' }, 'late'),
    global_rules: [{ id: 1, plugins: { global: { conf: { request_headers: [say('global')] } } } }],
    routes: [
      {
        id: 1,
        uri: '/a',
        plugins: {
          late: {
            conf: {
              request_headers: [say('late'), set('late'), wantsRequestBody],
              request_body: [{ op: 'set_body', of: 'request', value: 'changed' }]
            }
          },
          early: { conf: { request_headers: [say('early')] } }
        },
        upstream: { nodes: { [node]: 1 } }
      }
    ]
  }
  const { url, filterLog } = await startApp(t, options, () => {})
  const answer = JSON.parse((await request(`${url}/a`, { method: 'POST', body: 'body' })).body.toString())
  assert.deepEqual([answer.seen, answer.body, answer.length], ['late', 'changed', '7'])
  assert.deepEqual(filterLog(), ['early', 'global', 'late'])
})

test('what no route matches gets the 404 of the application, after the global rules', async (t) => {
  const { node } = await startUpstream(t, echo)
  const options = {
    plugins: scripted('global'),
    global_rules: [{ id: 1, plugins: { global: { conf: { request_headers: [say('global')] } } } }],
    routes: [
      { id: 1, uri: '/a', methods: ['GET'], upstream: { nodes: { [node]: 1 } } },
      { id: 2, uri: '/off', status: 0, upstream: { nodes: { [node]: 1 } } }
    ]
  } as const
  const { url, filterLog } = await startApp(t, options as never, (app) => {
    app.setNotFoundHandler(async (_request, reply) => reply.code(404).send('not here'))
  })
  for (const [path, method] of [
    ['/b', 'GET'],
    ['/a', 'DELETE'],
    ['/off', 'GET']
  ]) {
    const { status, body } = await request(`${url}${path}`, { method })
    assert.deepEqual([status, body.toString()], [404, 'not here'])
  }
  assert.deepEqual(filterLog(), ['global', 'global', 'global'])
})

test('hooks that the application adds after the gateway run on its routes, and may refuse them', async (t) => {
  const { node } = await startUpstream(t, echo)
  const routes = [{ id: 1, uri: '/*', upstream: { nodes: { [node]: 1 } } }]
  const { url } = await startApp(t, { routes }, (app) => {
    app.addHook('preHandler', async (request, reply) => {
      if (request.headers.authorization === undefined) return reply.code(401).send('who?')
    })
  })
  assert.equal((await request(`${url}/a`)).status, 401)
  assert.equal((await request(`${url}/a`, { headers: { authorization: 'x' } })).status, 200)
})

test('methods that Fastify has no routes for are forwarded, and a route without an upstream answers 503', async (t) => {
  const { node } = await startUpstream(t, (app) => {
    app.addHttpMethod('PURGE')
    app.route({ method: 'PURGE', url: '/a', handler: async () => 'purged' })
  })
  const options = {
    plugins: scripted('a'),
    routes: [
      { id: 1, uri: '/a', methods: ['PURGE' as const], upstream: { nodes: { [node]: 1 } } },
      { id: 2, uri: '/none', plugins: { a: { conf: { request_headers: [] } } } }
    ]
  }
  const { port, url } = await startApp(t, options, () => {})
  const answer = await exchangeBytes(port, 'PURGE /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n')
  assert.match(answer.toString(), /^HTTP\/1.1 200 [\s\S]*purged$/)
  const { status, body } = await request(`${url}/none`)
  assert.equal(status, 503)
  assert.match(JSON.parse(body.toString()).error_msg, /no upstream/)
})

test('a filter with a condition runs for the requests that meet it, in all phases or none', async (t) => {
  const script = {
    request_headers: [say('request')],
    response_headers: [{ op: 'set', map: 'response', name: 'x-filtered', value: '1' }]
  }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const plugins = { a: { conf: script, _meta: { filter: [['arg_on', '==', '1']] } } }
    app.get('/', { config: { wasm: { plugins } } }, async () => 'hello')
  })
  assert.equal((await request(`${url}/`)).headers['x-filtered'], undefined)
  assert.equal((await request(`${url}/?on=1`)).headers['x-filtered'], '1')
  assert.deepEqual(filterLog(), ['request'])
})

test('error_response stands in place of the body of what the filter answers, from 400 on', async (t) => {
  const plugins = scripted('a', 'b')
  const { url } = await startApp(t, { plugins }, (app) => {
    const answer = (status: number) => ({ request_headers: [{ op: 'reply', status, body: 'own' }] })
    const entry = (status: number, error_response: string | object) => ({
      a: { conf: answer(status), _meta: { error_response } }
    })
    for (const [path, plugins] of Object.entries({
      '/text': entry(403, 'go away'),
      '/object': entry(429, { message: 'slow down' }),
      '/fine': entry(200, 'not this')
    })) {
      app.get(path, { config: { wasm: { plugins } } } as never, async () => 'hello')
    }
  })
  const read = async (path: string) => {
    const { status, headers, body } = await request(url + path)
    return [status, headers['content-type'], body.toString()]
  }
  assert.deepEqual(await read('/text'), [403, 'text/plain', 'go away'])
  assert.deepEqual(await read('/object'), [429, 'application/json; charset=utf-8', '{"message":"slow down"}'])
  assert.deepEqual(await read('/fine'), [200, 'text/plain', 'own'])
})
