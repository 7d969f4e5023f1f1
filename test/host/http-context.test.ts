import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from './fake-stream.ts'
import { Guest } from './guest.ts'
import { startHost } from './host.ts'

function call(guest: Guest): string {
  const none = guest.text('')
  return guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell()).wat
}

test('200 contexts are open at once, and each sees its own stream', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-id'), guest.result())
  const seen = `(i32.load (i32.const ${get.result}))`
  const copy = `(drop (call $proxy_replace_header_map_value (i32.const 2) ${guest.text('x-seen').wat}
    ${seen} (i32.load (i32.const ${get.result! + 4}))))`
  // Never called: it imports the function.
  guest.call('proxy_replace_header_map_value', 0, guest.text(''), guest.text(''))
  guest.on('proxy_on_request_headers', get, copy).on('proxy_on_log', get, copy)
  const host = await startHost(guest)
  const streams = Array.from({ length: 200 }, (_, i) => new FakeStream(['x-id', String(i)]))
  const phases = streams.map((stream) => host.open(stream).requestHeaders(true))
  assert.equal(host.plugin.status().http_contexts, 200)

  const values = () => streams.map((stream) => stream.responseHeaders.get('x-seen'))
  const ids = streams.map((_, i) => String(i))
  assert.deepEqual(values(), ids)
  for (const stream of streams) {
    stream.requestHeaders.replace('x-id', `${stream.requestHeaders.get('x-id')} again`)
  }
  // Every other one goes on, from the last to the first.
  for (const stream of streams.filter((_, i) => i % 2 === 1).reverse()) stream.contexts[0]!.resume(0)
  for (const stream of streams) stream.contexts[0]!.end(false)
  assert.deepEqual(
    await Promise.all(phases),
    streams.map(() => Outcome.Stop)
  )
  assert.deepEqual(
    values(),
    ids.map((id) => `${id} again`)
  )
  assert.equal(host.plugin.status().http_contexts, 0)
})

test('a phase that has nothing to wait for ends at once', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_headers'))
  const context = host.open()
  assert.equal(context.requestHeaders(true), Outcome.Continue)
  assert.equal(context.responseHeaders(true), Outcome.Continue, 'the module has no such callback')
})

test('when the client leaves, calls are aborted and answered once, as failed, before the end', async () => {
  const guest = new Guest().record('proxy_on_http_call_response', 'proxy_on_done', 'proxy_on_log', 'proxy_on_delete')
  guest.on('proxy_on_request_headers', call(guest), call(guest))
  const host = await startHost(guest)
  const [leaving, other] = [host.open(), host.open()]
  const phase = leaving.requestHeaders(true)
  other.requestHeaders(true)
  leaving.end(true)
  assert.deepEqual(host.events().slice(2), [
    'http_call_response(1, 1, 0, 0, 0)',
    'http_call_response(1, 2, 0, 0, 0)',
    'done(2)',
    'log(2)',
    'delete(2)'
  ])
  assert.deepEqual(
    host.httpCalls.sent.map(({ state }) => state),
    ['aborted', 'aborted', 'outstanding', 'outstanding']
  )
  assert.equal(await phase, Outcome.Stop)
  // A client of ours that answers after the abort all the same.
  host.httpCalls.sent[0]!.done(undefined)
  assert.equal(host.events().length, 7)
  assert.equal(host.plugin.status().calls, 2)
})

test('a filter that calls again when its call failed does not hold up the end', async () => {
  const guest = new Guest().record('proxy_on_delete')
  guest.on('proxy_on_request_headers', call(guest))
  guest.on('proxy_on_http_call_response', guest.call('proxy_set_effective_context', 2), call(guest))
  const host = await startHost(guest)
  const context = host.open()
  context.requestHeaders(true)
  context.end(true)
  assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 0, 0, 0)', 'delete(2)'])
  assert.equal(host.httpCalls.outstanding.length, 1)
  assert.equal(host.open().id, 3, 'the answer to come is for 2')
})

test('when the module traps at the answer of an aborted call, the others are aborted once and not answered', async () => {
  const guest = new Guest().record('proxy_on_done').on('proxy_on_http_call_response', 'unreachable')
  guest.on('proxy_on_request_headers', call(guest), call(guest), call(guest))
  const host = await startHost(guest)
  const context = host.open()
  const phase = context.requestHeaders(true)
  context.end(true)
  assert.equal(await phase, Outcome.Failed)
  assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 0, 0, 0)'])
  assert.deepEqual(
    host.httpCalls.sent.map(({ state }) => state),
    ['aborted', 'aborted', 'aborted']
  )
})

test('after its end a context is not called, whatever is asked of it', async () => {
  const callbacks = ['request_headers', 'request_body', 'response_headers', 'response_body']
  const host = await startHost(new Guest().record(...callbacks.map((name) => `proxy_on_${name}`)))
  const context = host.open()
  context.end(true)
  const body = { bytes: Buffer.from('x'), changed: false }
  assert.equal(context.requestHeaders(false), Outcome.Stop)
  assert.equal(context.requestBodyPhase(body), Outcome.Stop)
  assert.equal(context.responseHeaders(false), Outcome.Stop)
  assert.equal(context.responseBodyPhase(body, true), Outcome.Stop)
  assert.deepEqual(host.events(), [])
})

test('a body can be read and changed while the filter is paused from it, and not afterwards', async () => {
  const guest = new Guest().returns('proxy_on_response_body', 1)
  guest.on('proxy_on_response_body', call(guest))
  const edit = guest.call('proxy_set_buffer_bytes', 1, 0, 0, guest.text('x'))
  guest.on('proxy_on_http_call_response', guest.call('proxy_set_effective_context', 2), edit)
  const host = await startHost(guest)
  const context = host.open()
  const body = { bytes: Buffer.from('abc'), changed: false }
  const phase = context.responseBodyPhase(body, true)
  context.resume(1)
  assert.equal(await phase, Outcome.Continue)
  host.httpCalls.answer(0)
  assert.equal(host.status(edit), 2)
  assert.deepEqual(body, { bytes: Buffer.from('abc'), changed: false })

  const again = { bytes: Buffer.from('abc'), changed: false }
  const second = context.responseBodyPhase(again, true)
  host.httpCalls.answer(1)
  assert.equal(again.bytes.toString(), 'xabc')
  context.resume(1)
  assert.equal(await second, Outcome.Continue)
  await turn()
  assert.equal(context.responseBody, undefined)
})

test('what is held of a body is what it was when another callback changes it and fails', async () => {
  const guest = new Guest()
  const none = guest.text('')
  const headers = guest.text(serializePairs([':method', 'GET', ':path', '/', ':authority', 'a']))
  const set = guest.call('proxy_set_buffer_bytes', 1, 0, 99, guest.text('other'))
  guest.on(
    'proxy_on_request_headers',
    guest.call('proxy_http_call', guest.text('a'), headers, none, none, 0, guest.cell())
  )
  guest.returns('proxy_on_request_headers', 0).returns('proxy_on_response_body', 1)
  const context = guest.call('proxy_set_effective_context', 2)
  const host = await startHost(guest.on('proxy_on_http_call_response', context, set, 'unreachable'), {
    semantics: 'envoy'
  })
  const held = host.open()
  assert.equal(await held.requestHeaders(true), Outcome.Continue)
  const chunk = { bytes: Buffer.from('one,'), changed: false }
  assert.equal(await held.responseBodyPhase(chunk, false), Outcome.Hold)
  host.httpCalls.answer()
  assert.equal(host.status(set), Status.Ok)
  const next = { bytes: Buffer.from('two'), changed: false }
  assert.equal(await held.responseBodyPhase(next, true), Outcome.Failed)
  assert.equal(next.bytes.toString(), 'one,two')
})
