import assert from 'node:assert/strict'
import type { OutgoingHttpHeaders } from 'node:http'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { loadChain, type RequestInput } from '../../lib/testing/index.ts'
import { fixture, startApp } from '../app.ts'
import { type Script, type Step, say, wantsRequestBody, wantsResponseBody } from '../gateway/script.ts'
import { request as send } from '../http.ts'

// What a test of a filter sees is what the gateway does: the same filters, with the same request, both ways.

interface Member {
  name: string
  priority?: number
  http_request_phase?: 'access' | 'rewrite'
  semantics?: 'apisix' | 'envoy'
  conf: Script
}

interface Case {
  filters: Member[]
  request?: RequestInput
  response?: { status?: number; headers?: Record<string, string | string[]>; body?: string | string[] }
}

const set = (map: string, name: string, value: string): Step => ({ op: 'set', map, name, value })
const body = (of: string, value: string): Step => ({ op: 'append_body', of, value })

const chatty = (name: string): Script => ({
  request_headers: [{ op: 'callback' }, set('request', `x-${name}`, '1'), wantsRequestBody, wantsResponseBody],
  request_body: [{ op: 'callback' }, body('request', name)],
  response_headers: [
    { op: 'callback' },
    { op: 'get', map: 'response', name: 'content-length' },
    { op: 'add', map: 'response', name: 'x-all', value: name },
    { op: 'property', path: ['response', 'code'] }
  ],
  response_body: [{ op: 'callback' }, { op: 'if_eos', steps: [body('response', name)] }],
  log: [
    { op: 'property', path: ['request', 'path'] },
    { op: 'property', path: ['status'] }
  ]
})

const CASES: Record<string, Case> = {
  'headers and properties': {
    filters: [
      {
        name: 'a',
        conf: {
          request_headers: [
            set('request', 'x-a', '1'),
            set('request', ':path', '/other?x=1'),
            set('response', 'x-early', '1'),
            { op: 'remove', map: 'request', name: 'x-b' },
            { op: 'property', path: ['uri'] },
            { op: 'property', path: ['arg_x'] },
            { op: 'property', path: ['request', 'size'] }
          ],
          response_headers: [
            { op: 'pairs', map: 'response' },
            set('response', ':status', '202'),
            { op: 'remove', map: 'response', name: 'x-c' }
          ]
        }
      }
    ],
    request: { path: '/start', headers: { 'x-b': '1', 'x-d': ['1', '2'] } },
    response: { headers: { 'x-c': '1', 'set-cookie': ['a=1', 'b=2'] }, body: 'hello' }
  },
  'a chain with bodies, by the semantics of APISIX': {
    filters: [
      { name: 'a', priority: 1, conf: chatty('a') },
      { name: 'b', http_request_phase: 'rewrite', conf: chatty('b') },
      { name: 'c', priority: 2, conf: chatty('c') }
    ],
    request: { method: 'POST', body: 'request' },
    response: { body: 'response' }
  },
  "the same by Envoy's": {
    filters: [
      { name: 'a', priority: 1, semantics: 'envoy', conf: chatty('a') },
      { name: 'b', http_request_phase: 'rewrite', semantics: 'envoy', conf: chatty('b') }
    ],
    request: { method: 'POST', body: 'request' },
    response: { body: 'response' }
  },
  'a stream through both': {
    filters: [
      { name: 'a', priority: 1, semantics: 'envoy', conf: chatty('a') },
      { name: 'b', conf: chatty('b') }
    ],
    request: { method: 'POST', body: 'request' },
    response: { body: ['one', 'two', 'three'] }
  },
  'a response without a body': {
    filters: [{ name: 'a', conf: chatty('a') }],
    request: { method: 'POST', body: 'request' },
    response: { status: 204 }
  },
  'an empty response': {
    filters: [{ name: 'a', semantics: 'envoy', conf: chatty('a') }],
    request: { method: 'POST', body: 'request' }
  },
  'a local reply with a body': {
    filters: [
      { name: 'a', priority: 2, conf: chatty('a') },
      {
        name: 'b',
        priority: 1,
        conf: {
          request_headers: [
            set('response', 'x-early', '1'),
            {
              op: 'reply',
              status: 403,
              headers: [
                ['x-why', 'a'],
                ['x-why', 'b']
              ],
              body: 'denied'
            },
            { op: 'pause' }
          ]
        }
      },
      { name: 'c', conf: chatty('c') }
    ]
  },
  'a local reply without one': {
    filters: [
      { name: 'a', conf: { request_headers: [{ op: 'reply', status: 401, headers: [], body: '' }, { op: 'pause' }] } }
    ]
  },
  'a local reply in place of a response': {
    filters: [
      {
        name: 'a',
        priority: 1,
        conf: { response_headers: [{ op: 'reply', status: 502, headers: [['x-b', '1']], body: 'bad' }] }
      },
      { name: 'b', conf: chatty('b') }
    ],
    request: { method: 'POST', body: 'request' },
    response: { headers: { 'x-a': '1' }, body: 'good' }
  },
  'a local reply in place of a body': {
    filters: [
      {
        name: 'a',
        semantics: 'envoy',
        conf: { response_body: [{ op: 'reply', status: 500, headers: [], body: 'no' }, { op: 'pause' }] }
      }
    ],
    response: { headers: { 'x-a': '1' }, body: 'secret' }
  },
  'a body that is held back until its end': {
    filters: [
      {
        name: 'a',
        semantics: 'envoy',
        conf: {
          response_body: [
            { op: 'callback' },
            {
              op: 'if_eos',
              steps: [
                { op: 'set_body', of: 'response', value: 'whole' },
                { op: 'continue', stream: 'response' }
              ]
            },
            { op: 'pause' }
          ]
        }
      }
    ],
    response: { body: ['one', 'two'] }
  },
  'a filter that fails open': {
    filters: [
      {
        name: 'a',
        priority: 1,
        fail: 'open',
        conf: { request_headers: [set('request', 'x-a', '1'), { op: 'panic', text: 'boom' }] }
      } as Member,
      { name: 'b', conf: { request_headers: [say('goes on')] } }
    ],
    response: { body: 'hello' }
  }
}

/** What Node and Fastify add on the wire. */
const OF_THE_WIRE = new Set(['date', 'connection', 'keep-alive', 'host', 'transfer-encoding'])

function comparable(headers: Record<string, unknown>): Record<string, unknown> {
  const entries = Object.entries(headers).filter(([name]) => !OF_THE_WIRE.has(name))
  const joined = entries.map(([name, value]) => [
    name,
    name === 'set-cookie' ? [value].flat() : [value].flat().join(', ')
  ])
  return Object.fromEntries(joined.sort(([a], [b]) => String(a).localeCompare(String(b))))
}

async function throughTheGateway(t: TestContext, { filters, request = {}, response = {} }: Case) {
  const file = fixture('script-rust')
  let seen: unknown = null
  const plugins = Object.fromEntries(filters.map(({ name, conf }) => [name, { conf }]))
  const { url, filterLog } = await startApp(
    t,
    { plugins: filters.map(({ conf: _, ...member }) => ({ ...member, file })) },
    (app) => {
      app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, bytes, done) => done(null, bytes))
      const handler = async (request: FastifyRequest, reply: FastifyReply) => {
        seen = { path: request.raw.url, headers: comparable(request.headers), body: String(request.body ?? '') }
        const { status = 200, headers = {}, body = '' } = response
        reply.code(status).headers(headers)
        // One turn apart, so that they stay chunks.
        const chunks = async function* () {
          for (const chunk of body) {
            yield Buffer.from(chunk)
            await new Promise((resolve) => setImmediate(resolve))
          }
        }
        return reply.send(typeof body === 'string' ? body : Readable.from(chunks(), { objectMode: false }))
      }
      app.route({ method: ['GET', 'POST'], url: '/*', config: { wasm: { plugins } }, handler })
    }
  )
  const { method = 'GET', path = '/', headers = {}, body: sent } = request
  const answer = await send(url + path, { method, headers: headers as OutgoingHttpHeaders, body: sent as string })
  return {
    seen,
    status: answer.status,
    headers: comparable(answer.headers),
    body: answer.text,
    logs: filterLog().filter((line) => !/panicked|boom|failed to run/.test(line))
  }
}

async function throughATest(t: TestContext, { filters, request = {}, response = {} }: Case) {
  const file = fixture('script-rust')
  const chain = await loadChain(filters.map((member) => ({ ...member, file })))
  t.after(() => chain.close())
  let seen: unknown = null
  const exchange = await chain.exchange({
    // As Node's client sends it.
    request: { ...request, headers: { ...request.headers, connection: 'close' } },
    response: ({ path, headers, body }) => {
      seen = { path, headers: comparable(headers), body }
      return response
    }
  })
  return {
    seen,
    status: exchange.response.status,
    headers: comparable(exchange.response.headers),
    body: exchange.response.body,
    logs: chain.logs
      .filter(({ message, error }) => error === undefined && !/panicked|boom/.test(message))
      .map(({ message }) => message)
  }
}

for (const [name, { response, ...rest }] of Object.entries(CASES)) {
  // Fastify would add one.
  const headers = { 'content-type': 'text/plain', ...response?.headers }
  const what = { ...rest, response: { ...response, headers } }
  test(`a test sees what the gateway does: ${name}`, async (t) => {
    assert.deepEqual(await throughATest(t, what), await throughTheGateway(t, what))
  })
}
