import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { tracingChannel } from 'node:diagnostics_channel'
import { type TestContext, test } from 'node:test'
import type { FastifyRequest } from 'fastify'
import type { CallbackMessage, HttpCallMessage } from '../../lib/index.ts'
import { startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { scripted } from './script.ts'

const PARENT = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'

/** Subscribes to both channels for the time of a test. */
function record(t: TestContext): string[] {
  const events: string[] = []
  const note = (event: string, what: string, message: CallbackMessage | HttpCallMessage) => {
    const { url } = (message.request as FastifyRequest | undefined) ?? { url: 'none' }
    const { error } = message
    events.push(`${event} ${what} ${url}${error === undefined ? '' : `: ${error.message}`}`)
  }
  const callbacks = tracingChannel<unknown, CallbackMessage>('fastify-wasm-gateway:callback')
  const ofCallbacks = {
    start: (message: CallbackMessage) => note('start', message.callback, message),
    end: (message: CallbackMessage) => note('end', `${message.callback} ${message.result}`, message),
    error: (message: CallbackMessage) => note('error', message.callback, message),
    asyncStart() {},
    asyncEnd() {}
  }
  callbacks.subscribe(ofCallbacks)
  const calls = tracingChannel<unknown, HttpCallMessage>('fastify-wasm-gateway:http_call')
  const ofCalls = {
    start: (message: HttpCallMessage) => note('start', 'call', message),
    end: (message: HttpCallMessage) => note('end', 'call', message),
    asyncStart: (message: HttpCallMessage) => note('asyncStart', `call ${message.status}`, message),
    asyncEnd: (message: HttpCallMessage) => note('asyncEnd', 'call', message),
    error: (message: HttpCallMessage) => note('error', 'call', message)
  }
  calls.subscribe(ofCalls)
  t.after(() => {
    callbacks.unsubscribe(ofCallbacks)
    calls.unsubscribe(ofCalls)
  })
  return events
}

function calling(upstream: string, headers: string[][] = []) {
  return { request_headers: [{ op: 'call', upstream, headers, timeout: 2000 }, { op: 'pause' }] }
}

test('callbacks and http calls are told of, in the order in which they happen, with their request', async (t) => {
  const events = record(t)
  const upstream = await startUpstream(t, (app) => app.get('/', async () => 'fine'))
  const { url, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { ...calling(upstream.node), call: [{ op: 'continue', stream: 'request' }] }
    app.get('/x', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  assert.equal((await request(`${url}/x`)).text, 'hello')
  await quiet()
  const from = events.indexOf('start proxy_on_request_headers /x')
  assert.ok(events.indexOf('end proxy_on_configure 1 none') < from)
  assert.deepEqual(events.slice(from), [
    'start proxy_on_request_headers /x',
    'start call /x',
    'end call /x',
    'end proxy_on_request_headers 1 /x',
    'asyncStart call 200 /x',
    'start proxy_on_http_call_response /x',
    'end proxy_on_http_call_response undefined /x',
    'asyncEnd call /x',
    'start proxy_on_response_headers /x',
    'end proxy_on_response_headers 0 /x',
    'start proxy_on_done /x',
    'end proxy_on_done 1 /x',
    'start proxy_on_log /x',
    'end proxy_on_log undefined /x',
    'start proxy_on_delete /x',
    'end proxy_on_delete undefined /x'
  ])
})

test('a trap is an error of its callback, and a call without an answer one of the call', async (t) => {
  const events = record(t)
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { ...calling('127.0.0.1:1'), call: [{ op: 'panic', text: 'oh no' }] }
    app.get('/x', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  assert.equal((await request(`${url}/x`)).status, 503)
  const at = events.findIndex((event) => event.startsWith('error call /x: the upstream failed'))
  assert.ok(at > 0, events.join('\n'))
  const rest = events.slice(at + 1).map((event) => event.split(':', 1)[0])
  assert.deepEqual(rest, [
    'asyncStart call undefined /x',
    'start proxy_on_http_call_response /x',
    'error proxy_on_http_call_response /x',
    'end proxy_on_http_call_response undefined /x',
    'asyncEnd call /x'
  ])
})

test('a store that is bound to the start of a call is there in its answer', async (t) => {
  const store = new AsyncLocalStorage<string>()
  const calls = tracingChannel<unknown, HttpCallMessage>('fastify-wasm-gateway:http_call')
  const callbacks = tracingChannel<unknown, CallbackMessage>('fastify-wasm-gateway:callback')
  const urls = new WeakMap<object, string>()
  const seen: string[] = []
  const atStart = ({ callback }: CallbackMessage) => {
    if (callback === 'proxy_on_http_call_response') seen.push(String(store.getStore()))
  }
  calls.start.bindStore(store, (message) => {
    const { url } = message.request as FastifyRequest
    urls.set(message, url)
    return url
  })
  calls.asyncStart.bindStore(store, (message) => urls.get(message)!)
  callbacks.start.subscribe(atStart as never)
  t.after(() => {
    calls.start.unbindStore(store)
    calls.asyncStart.unbindStore(store)
    callbacks.start.unsubscribe(atStart as never)
  })
  const upstream = await startUpstream(t, (app) => app.get('/', async () => 'fine'))
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { ...calling(upstream.node), call: [{ op: 'continue', stream: 'request' }] }
    app.get('/*', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  for (const path of ['/1', '/2']) await request(url + path)
  assert.deepEqual(seen, ['/1', '/2'])
})

test('the trace of a request goes along in the http calls of its filters, unless they say something else', async (t) => {
  const seen: unknown[] = []
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async ({ headers }) => {
      seen.push([headers.traceparent, headers.tracestate])
      return ''
    })
  })
  const { url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const add = (path: string, conf: object) =>
      app.get(path, { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
    const call = [{ op: 'continue', stream: 'request' }]
    add('/passed', { ...calling(upstream.node), call })
    add('/own', { ...calling(upstream.node, [['traceparent', 'own']]), call })
    const { request_headers } = calling(upstream.node)
    const remove = { op: 'remove', map: 'request', name: 'traceparent' }
    add('/removed', { request_headers: [remove, ...request_headers], call })
    const again = { op: 'call', upstream: upstream.node, headers: [], then: call }
    add('/again', { request_headers, call: [again] })
  })
  const headers = { traceparent: PARENT, tracestate: 'vendor=1' }
  for (const path of ['/passed', '/own', '/removed', '/again']) await request(url + path, { headers })
  await request(`${url}/passed`)
  assert.deepEqual(seen, [
    [PARENT, 'vendor=1'],
    ['own', undefined],
    [undefined, undefined],
    [PARENT, 'vendor=1'],
    [PARENT, 'vendor=1'],
    [undefined, undefined]
  ])
})

test('what a subscriber adds to a call when it starts is sent, in place of the trace of the request', async (t) => {
  const calls = tracingChannel<unknown, HttpCallMessage>('fastify-wasm-gateway:http_call')
  const start = (message: unknown) => {
    ;(message as HttpCallMessage).headers.push('traceparent', 'of the span')
  }
  calls.start.subscribe(start)
  t.after(() => calls.start.unsubscribe(start))
  const upstream = await startUpstream(t, (app) => app.get('/', async ({ headers }) => String(headers.traceparent)))
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const call = [
      { op: 'body', of: 'call' },
      { op: 'continue', stream: 'request' }
    ]
    const conf = { ...calling(upstream.node), call }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  await request(url, { headers: { traceparent: PARENT } })
  assert.deepEqual(filterLog(), ['call body=of the span'])
})
