import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import { fixture, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'

// A filter of ABI 0.1.0 (fixtures/hello-rust-0-1) from end to end, with the habits of either host.

const kinds = ['apisix', 'envoy'] as const
const text = { 'content-type': 'text/plain' }

/** The handler answers the body that it was given, behind what the filter made of the request's headers. */
function start(t: TestContext, semantics: (typeof kinds)[number], conf: string = 'world') {
  const plugins = [
    { name: 'old', file: fixture('hello-rust-0-1'), semantics, vm_conf: 'of the vm' },
    { name: 'other', file: fixture('hello-rust-0-1'), semantics, vm_id: 'other' }
  ]
  return startApp(t, { plugins }, (app) => {
    const seen = ['x-rust-0-1', 'x-none-is', 'x-count', 'x-remove', 'x-called']
    const handler = async (request: FastifyRequest) => {
      const headers = seen.map((name) => `${name}=${request.headers[name]}`).join(' ')
      return `${headers} body=${request.body}`
    }
    app.post('/*', { config: { wasm: { plugins: { old: { conf } } } } }, handler)
    app.get('/other', { config: { wasm: { plugins: { other: { conf: 'c' } } } } }, handler)
  })
}

/** A server that filters call: it answers what it was asked. */
function startCalled(t: TestContext) {
  return startUpstream(t, (app) => {
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    app.post('/*', async ({ headers, url, body }, reply) => reply.code(201).send(`${headers.host}${url} ${body}`))
  })
}

for (const semantics of kinds) {
  // With Envoy's habits a filter that has body callbacks sees each body that there is.
  const body = (bytes: string) => (semantics === 'envoy' ? `<${bytes}>` : bytes)
  const answered = (answer: string) => (semantics === 'envoy' ? answer.toUpperCase() : answer)

  test(`${semantics}: both configurations are read, and the headers as the first ABI has them`, async (t) => {
    const { url, filterLog } = await start(t, semantics)
    const headers = { ...text, 'x-remove': '1' }
    const response = await request(`${url}/a`, { method: 'POST', headers, body: 'hello' })
    assert.equal(response.status, 200)
    assert.equal(
      response.text,
      answered(
        `x-rust-0-1=world x-none-is=missing x-count=1 x-remove=undefined x-called=undefined body=${body('hello')}`
      )
    )
    assert.equal(response.headers['x-requests'], '1')
    await eventually('the tick and the queue were served', () => filterLog('old').length >= 6)
    const [vm, configuration, ...later] = filterLog('old')
    assert.equal(vm, 'vm configuration=of the vm size=9')
    assert.equal(configuration, 'configuration=world size=5')
    // When the tick comes is not said.
    const [ended, requestHeaders, responseHeaders, tick] = later.sort()
    for (const line of [requestHeaders, responseHeaders]) {
      const [, passed, read] = /^(?:request|response) headers=(\d+) read=(\d+)$/.exec(line!)!
      assert.ok(Number(passed) > 0)
      assert.equal(passed, read)
    }
    assert.deepEqual([ended, tick], ['ended /a', 'tick'])
  })

  test(`${semantics}: a VM configuration that is not there is read as empty, and so is a missing header`, async (t) => {
    const { url, filterLog } = await start(t, semantics)
    const response = await request(`${url}/other`, { headers: { 'x-none': '' } })
    assert.ok(response.text.toLowerCase().startsWith('x-rust-0-1=c x-none-is=missing x-count=1 '), response.text)
    assert.deepEqual(filterLog('other').slice(0, 2), ['vm configuration= size=0', 'configuration=c size=1'])
  })

  test(`${semantics}: both bodies are read and replaced when the filter asks for them`, async (t) => {
    const { url } = await start(t, semantics)
    const headers = { ...text, 'x-bodies': '1' }
    for (const sent of ['hello', 'a'.repeat(200_000)]) {
      const response = await request(`${url}/`, { method: 'POST', headers, body: sent })
      assert.equal(response.status, 200)
      assert.ok(response.text.startsWith('X-RUST-0-1=WORLD '))
      assert.ok(response.text.endsWith(` BODY=<${sent.toUpperCase()}>`))
    }
  })

  test(`${semantics}: the request waits for the answer of a call, then the response for that of another`, async (t) => {
    const called = await startCalled(t)
    const { url, app } = await start(t, semantics)
    for (const [name, find] of [
      ['x-call', (response) => /x-called=(.*) body=/i.exec(response.text)?.[1]?.toLowerCase()],
      ['x-call-response', (response) => response.headers['x-called']]
    ] as [string, (response: Awaited<ReturnType<typeof request>>) => unknown][]) {
      const answers = await Promise.all(
        Array.from({ length: 10 }, () =>
          request(`${url}/`, { method: 'POST', headers: { ...text, [name]: called.node }, body: 'b' })
        )
      )
      const direction = name === 'x-call' ? 'request' : 'response'
      for (const answer of answers) assert.equal(find(answer), `201 call.example/${direction} asks`)
    }
    assert.equal(app.wasmGateway.status().plugins.find(({ name }) => name === 'old')!.calls, 0)
  })

  test(`${semantics}: a local response is sent in place of the handler's`, async (t) => {
    const { url } = await start(t, semantics)
    const response = await request(`${url}/`, { method: 'POST', headers: { ...text, 'x-deny': '1' }, body: 'b' })
    assert.equal(response.status, 403)
    assert.equal(response.text, answered('denied'))
    assert.equal(response.headers['x-denied'], 'world')
  })

  test(`${semantics}: shared data, the counter and the queue serve many requests at once`, async (t) => {
    const { url, filterLog } = await start(t, semantics)
    const numbers = Array.from({ length: 60 }, (_, i) => i + 1)
    const responses = await Promise.all(
      numbers.map((i) => request(`${url}/${i}`, { method: 'POST', headers: text, body: 'b' }))
    )
    const counts = responses.map((response) => Number(/x-count=(\d+)/i.exec(response.text)![1]))
    assert.deepEqual(
      counts.sort((a, b) => a - b),
      numbers
    )
    assert.equal(Math.max(...responses.map(({ headers }) => Number(headers['x-requests']))), 60)
    const ended = () => filterLog('old').filter((line) => line.startsWith('ended '))
    await eventually('the end of each was taken from the queue', () => ended().length >= 60)
    assert.deepEqual(ended().sort(), numbers.map((i) => `ended /${i}`).sort())
  })
}

test('a filter of ABI 0.1.0 that refuses its configuration answers 503', async (t) => {
  const { url, filterLog } = await start(t, 'apisix', 'refuse')
  const response = await request(`${url}/`, { method: 'POST', headers: text, body: 'b' })
  assert.equal(response.status, 503)
  assert.equal(filterLog('old').includes('configuration=refuse size=6'), true)
})

test('a filter of ABI 0.1.0 is told of its end when the server closes', async (t) => {
  const { app, url, filterLog } = await start(t, 'apisix')
  await request(`${url}/`, { method: 'POST', headers: text, body: 'b' })
  await app.close()
  assert.equal(filterLog('old').at(-1), 'done')
})
