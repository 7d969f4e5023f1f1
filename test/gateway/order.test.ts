import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../app.ts'
import { request } from '../http.ts'
import { type Script, say, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

/** Says its name in every callback. */
function speaker(name: string, more: Script = {}): Script {
  const script: Script = {
    request_headers: [say(`${name} request headers`), wantsRequestBody],
    request_body: [say(`${name} request body`)],
    response_headers: [say(`${name} response headers`), wantsResponseBody],
    response_body: [{ op: 'if_eos', steps: [say(`${name} response body`)] }],
    log: [say(`${name} log`)]
  }
  for (const [phase, steps] of Object.entries(more)) script[phase] = [...(script[phase] ?? []), ...steps]
  return script
}

const response = (...names: string[]) => names.map((name) => `${name} response headers`)
const bodies = (...names: string[]) => names.map((name) => `${name} response body`)
const logs = (...names: string[]) => names.map((name) => `${name} log`)
const requests = (...names: string[]) => names.flatMap((name) => [`${name} request headers`, `${name} request body`])

test('C-097 global rules come before the route, priority from high to low, rewrite before access, responses in the same order', async (t) => {
  const plugins = [
    { ...scripted('low')[0]!, priority: 1 },
    { ...scripted('high')[0]!, priority: 9 },
    { ...scripted('early')[0]!, priority: 5, http_request_phase: 'rewrite' as const },
    { ...scripted('global-low')[0]!, priority: 0 },
    { ...scripted('global-early')[0]!, priority: -1, http_request_phase: 'rewrite' as const }
  ]
  const global_rules = [
    { id: 'a', plugins: { 'global-low': { conf: speaker('global-low') } } },
    { id: 'b', plugins: { 'global-early': { conf: speaker('global-early') } } }
  ]
  const { url, filterLog, quiet } = await startApp(t, { plugins, global_rules }, (app) => {
    const own = Object.fromEntries(['low', 'high', 'early'].map((name) => [name, { conf: speaker(name) }]))
    app.post('/', { config: { wasm: { plugins: own } } }, async (request) => {
      request.log.info({ plugin: 'handler' }, 'handler')
      return 'hello'
    })
  })
  await request(url, { method: 'POST', body: 'x', headers: { 'content-type': 'text/plain' } })
  await quiet()
  const all = ['global-low', 'global-early', 'high', 'early', 'low']
  assert.deepEqual(filterLog(), [
    ...requests('global-early', 'early', 'global-low', 'high', 'low'),
    'handler',
    ...response(...all),
    ...bodies(...all),
    ...logs(...all)
  ])
})

test('C-169 C-170 a filter that answers ends the request side, and the response callbacks of all filters run, once', async (t) => {
  let reached = false
  const { url, filterLog, quiet } = await startApp(t, { plugins: scripted('a', 'b', 'c') }, (app) => {
    const own = {
      a: { conf: speaker('a') },
      b: { conf: speaker('b', { request_headers: [{ op: 'reply', status: 403, headers: [], body: 'no' }] }) },
      c: { conf: speaker('c') }
    }
    app.get('/', { config: { wasm: { plugins: own } } }, async () => {
      reached = true
      return 'hello'
    })
  })
  const answer = await request(url)
  await quiet()
  assert.equal(answer.status, 403)
  assert.equal(answer.text, 'no')
  assert.equal(reached, false)
  assert.deepEqual(filterLog(), [
    ...requests('a'),
    'b request headers',
    ...response('a', 'b', 'c'),
    ...bodies('a', 'b', 'c'),
    ...logs('a', 'b', 'c')
  ])
})

for (const [what, path, status] of [
  ['an error of the handler', '/throws', 500],
  ['a body that is no JSON', '/json', 400],
  ['an unknown route', '/nowhere', 404]
] as const) {
  test(`response callbacks of global rules run, once, on ${what}`, async (t) => {
    const global_rules = [{ id: '1', plugins: { a: { conf: speaker('a') } } }]
    const plugins = scripted({ name: 'a', http_request_phase: 'rewrite' })
    const { url, filterLog, quiet } = await startApp(t, { plugins, global_rules }, (app) => {
      app.post('/throws', async () => {
        throw new Error('oh')
      })
      app.post('/json', async () => 'hello')
    })
    const answer = await request(url + path, {
      method: 'POST',
      body: '{',
      headers: { 'content-type': path === '/json' ? 'application/json' : 'text/plain' }
    })
    await quiet()
    assert.equal(answer.status, status)
    assert.deepEqual(filterLog(), [...requests('a'), ...response('a'), ...bodies('a'), ...logs('a')])
  })
}

test('a hook that answers before the gateway was registered still has its response filtered', async (t) => {
  const own = {
    a: { conf: speaker('a', { response_headers: [{ op: 'set', map: 'response', name: 'x-a', value: '1' }] }) }
  }
  const { url, filterLog, quiet } = await startApp(
    t,
    { plugins: scripted('a') },
    (app) => {
      app.get('/', { config: { wasm: { plugins: own } } }, async () => 'hello')
    },
    {},
    (app) => {
      app.addHook('onRequest', (_request, reply) => {
        reply.code(401).send('who are you?')
      })
    }
  )
  const answer = await request(url)
  await quiet()
  assert.equal(answer.status, 401)
  assert.equal(answer.headers['x-a'], '1')
  assert.deepEqual(filterLog(), [...response('a'), ...bodies('a'), ...logs('a')])
})

test('filters of a route run on no other route', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get(
      '/with',
      { config: { wasm: { plugins: { a: { conf: { request_headers: [say('here')] } } } } } },
      async () => ''
    )
    app.get('/without', async () => '')
  })
  await request(`${url}/without`)
  await request(`${url}/nowhere`)
  assert.deepEqual(filterLog(), [])
  await request(`${url}/with`)
  assert.deepEqual(filterLog(), ['here'])
})

test('callNotFound runs the access phase once', async (t) => {
  const global_rules = [{ id: '1', plugins: { a: { conf: speaker('a') } } }]
  const { url, filterLog, quiet } = await startApp(t, { plugins: scripted('a'), global_rules }, (app) => {
    app.get('/', (_request, reply) => reply.callNotFound())
  })
  const answer = await request(url)
  await quiet()
  assert.equal(answer.status, 404)
  assert.deepEqual(filterLog(), [...requests('a'), ...response('a'), ...bodies('a'), ...logs('a')])
})

test('a plugin that is disabled does not run, and a priority of the entry stands above that of the plugin', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: scripted('a', 'b', 'c') }, (app) => {
    const conf = (text: string) => ({ request_headers: [say(text)] })
    const own = {
      a: { conf: conf('a') },
      b: { conf: conf('b'), _meta: { disable: true } },
      c: { conf: conf('c'), _meta: { priority: 1000 } }
    }
    app.get('/', { config: { wasm: { plugins: own } } }, async () => '')
  })
  await request(url)
  assert.deepEqual(filterLog(), ['c', 'a'])
})
