import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { FastifyReply } from 'fastify'
import { fixture, startApp } from '../app.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, type Step, scripted, wantsResponseBody } from './script.ts'

// Responses that have no body, and those that say their status and headers in their own way.

const noted: Step = { op: 'if_eos', steps: [{ op: 'log', text: 'nothing follows' }] }
const appends: Script = {
  response_headers: [wantsResponseBody, noted],
  response_body: [{ op: 'callback' }, { op: 'if_eos', steps: [{ op: 'append_body', of: 'response', value: '!' }] }]
}
const passes: Script = { response_headers: [noted] }

function start(t: TestContext, conf: Script, handler: (reply: FastifyReply) => unknown) {
  return startApp(t, { plugins: scripted({ name: 'a', file: fixture('script-rust') }) }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
      const result = await handler(reply)
      return result === undefined ? reply.send() : result
    })
  })
}

async function wire(port: number, method = 'GET') {
  const bytes = await exchangeBytes(port, `${method} / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n`)
  const text = bytes.toString()
  const end = text.indexOf('\r\n\r\n')
  return { status: Number(text.slice(9, 12)), head: text.slice(0, end).toLowerCase(), body: text.slice(end + 4) }
}

const payloads: [string, () => unknown][] = [
  ['a string', () => 'hello'],
  ['a stream', () => Readable.from([Buffer.from('hello')], { objectMode: false })],
  ['a web stream', () => new Blob(['hello']).stream()],
  ['a Response', () => new Response('hello')],
  ['nothing', () => undefined]
]

for (const [what, payload] of payloads) {
  test(`HEAD of ${what}: no body and no call for one; no length when a filter might have changed it`, async (t) => {
    const { port, filterLog } = await start(t, appends, payload)
    const answer = await wire(port, 'HEAD')
    assert.equal(answer.status, 200)
    assert.equal(answer.body, '')
    assert.doesNotMatch(answer.head, /content-length/)
    assert.deepEqual(filterLog(), ['nothing follows'])
  })

  for (const status of [204, 304]) {
    test(`${status} with ${what}: no body, and no call for one`, async (t) => {
      const { port, filterLog } = await start(t, appends, (reply) => {
        const body = payload()
        return reply.code(status).send(body instanceof Response ? new Response(null, { status }) : body)
      })
      const answer = await wire(port)
      assert.equal(answer.status, status)
      assert.equal(answer.body, '')
      assert.deepEqual(filterLog(), ['nothing follows'])
    })
  }

  test(`a filter makes a 204 of ${what}`, async (t) => {
    const toNone: Script = {
      response_headers: [wantsResponseBody, { op: 'set', map: 'response', name: ':status', value: '204' }],
      response_body: [{ op: 'callback' }]
    }
    const { port, filterLog } = await start(t, toNone, payload)
    const answer = await wire(port)
    assert.equal(answer.status, 204)
    assert.equal(answer.body, '')
    assert.doesNotMatch(answer.head, /content-length|transfer-encoding/)
    assert.deepEqual(filterLog(), [])
  })
}

test('HEAD keeps the length of a body that no filter asks for', async (t) => {
  const { port } = await start(t, passes, () => 'hello')
  assert.match((await wire(port, 'HEAD')).head, /\r\ncontent-length: 5(\r|$)/)
})

test('a redirect passes, and a filter may give it a body', async (t) => {
  const { port, filterLog } = await start(t, appends, (reply) => reply.redirect('/there', 302))
  const answer = await wire(port)
  assert.equal(answer.status, 302)
  assert.match(answer.head, /\r\nlocation: \/there(\r|$)/)
  assert.equal(answer.body, '!')
  assert.deepEqual(filterLog(), ['nothing follows', 'response_body ctx=2 root=1 size=0 eos=true'])
})

for (const method of ['GET', 'HEAD'] as const) {
  test(`the status and the headers of a Response are the filter's to see and to change, for ${method} too`, async (t) => {
    const conf: Script = {
      response_headers: [
        wantsResponseBody,
        { op: 'get', map: 'response', name: ':status' },
        { op: 'get', map: 'response', name: 'x-own' },
        { op: 'set', map: 'response', name: 'x-own', value: 'filtered' }
      ]
    }
    const { url, filterLog } = await start(t, conf, () => {
      const headers = new Headers({ 'x-own': 'of the handler', 'content-type': 'text/html' })
      headers.append('set-cookie', 'a=1')
      headers.append('set-cookie', 'b=2')
      return new Response('<p>', { status: 201, headers })
    })
    const answer = await request(url, { method })
    assert.equal(answer.status, 201)
    assert.equal(answer.headers['x-own'], 'filtered')
    assert.equal(answer.headers['content-type'], 'text/html')
    assert.deepEqual(answer.headers['set-cookie'], ['a=1', 'b=2'])
    assert.equal(answer.text, method === 'GET' ? '<p>' : '')
    assert.deepEqual(filterLog(), ['response :status=201', 'response x-own=of the handler'])
  })
}

test('a Response whose body is used up is an error, not a crash', async (t) => {
  const { url } = await start(t, appends, async () => {
    const response = new Response('hello')
    await response.text()
    return response
  })
  const answer = await request(url)
  assert.equal(answer.status, 500)
})

test('what is no payload is the error that it is without filters', async (t) => {
  for (const conf of [appends, passes]) {
    const { url } = await start(t, conf, (reply) => reply.type('text/plain').send({ an: 'object' }))
    const answer = await request(url)
    assert.equal(answer.status, 500)
    assert.match(answer.text, /FST_ERR_REP_INVALID_PAYLOAD_TYPE/)
  }
})

test('reply.hijack() leaves the response to the handler', async (t) => {
  const { port, filterLog } = await start(t, appends, (reply) => {
    reply.hijack()
    reply.raw.writeHead(200, { 'content-length': 2 })
    reply.raw.end('ok')
    return reply
  })
  assert.equal((await wire(port)).body, 'ok')
  assert.deepEqual(filterLog(), [])
})

test('a byte above 0x7f in a header that a filter sets arrives as that byte, whatever the body is', async (t) => {
  const conf: Script = { response_headers: [{ op: 'set', map: 'response', name: 'x-a', value: 'caf\u00e9' }] }
  // The SDK writes UTF-8: c3 a9.
  for (const [what, payload] of payloads) {
    const { port } = await start(t, conf, payload)
    const bytes = await exchangeBytes(port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
    assert.ok(bytes.toString('latin1').includes('\r\nx-a: caf\u00c3\u00a9\r\n'), what)
  }
})
