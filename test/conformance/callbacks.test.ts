import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest } from '../host/guest.ts'
import { startHost, waits } from '../host/host.ts'

// As far as it is the host's: in which phase which callback runs, and what it answers.

/** Dispatches a call from the stream: its answer is a later callback, in which the stream can be chosen. */
function dispatch(guest: Guest): string {
  const none = guest.text('')
  return guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell()).wat
}

function chooseStream(guest: Guest): string {
  return guest.call('proxy_set_effective_context', 2).wat
}

test('C-072 C-074 end_of_stream of headers says whether a body follows', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_headers', 'proxy_on_response_headers'))
  const stream = new FakeStream()
  const context = host.open(stream)
  stream.respond(['content-type', 'text/plain'])
  for (const end of [true, false]) {
    context.requestHeaders(end)
    context.responseHeaders(end)
  }
  assert.deepEqual(host.events(), [
    'request_headers(2, 4, 1)',
    'response_headers(2, 2, 1)',
    'request_headers(2, 4, 0)',
    'response_headers(2, 2, 0)'
  ])
})

test('C-076 a request body comes in one call, with end_of_stream, an empty one too', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_body'))
  const context = host.open()
  for (const text of ['hello', '']) {
    assert.equal(context.requestBodyPhase({ bytes: Buffer.from(text), changed: false }), Outcome.Continue)
  }
  assert.deepEqual(host.events(), ['request_body(2, 5, 1)', 'request_body(2, 0, 1)'])
})

test('C-085 the response body comes chunk by chunk, the last with end_of_stream', async () => {
  const host = await startHost(new Guest().record('proxy_on_response_body'))
  const context = host.open()
  context.responseBodyPhase({ bytes: Buffer.from('abc'), changed: false }, false)
  context.responseBodyPhase({ bytes: Buffer.from('defg'), changed: false }, true)
  assert.deepEqual(host.events(), ['response_body(2, 3, 0)', 'response_body(2, 4, 1)'])
})

test('a body callback is due only when the filter asked for the body and has the callback', async () => {
  for (const value of ['true', '']) {
    const guest = new Guest().record('proxy_on_request_body')
    const ask = (name: string) => guest.call('proxy_set_property', guest.text(name), guest.text(value))
    guest.on('proxy_on_request_headers', ask('wasm_process_req_body'), ask('wasm_process_resp_body'))
    const host = await startHost(guest)
    const [asking, other] = [host.open(), host.open()]
    assert.equal(asking.takesRequestBody(true), false)
    asking.requestHeaders(false)
    assert.equal(asking.takesRequestBody(true), value !== '')
    assert.equal(asking.takesResponseBody(true), false, 'the module has no such callback')
    assert.equal(other.takesRequestBody(true), false, 'that is for each stream to say')
  }
})

test('C-077 the headers callback of ABI 0.1.0 has two parameters', async () => {
  const host = await startHost(new Guest({ abi: '0_1_0' }).record('proxy_on_request_headers'))
  assert.equal(host.open().requestHeaders(true), Outcome.Continue)
  assert.deepEqual(host.events(), ['request_headers(2, 4)'])
})

test('C-078 num_headers is the number of pairs', async () => {
  const guest = new Guest()
  const pairs = guest.call('proxy_get_header_map_pairs', 0, guest.result())
  const host = await startHost(guest.on('proxy_on_request_headers', pairs))
  host.open(new FakeStream(['x-a', '1', 'x-a', '2'])).requestHeaders(true)
  assert.deepEqual(host.events(), ['request_headers(2, 6, 1)'])
  assert.equal(host.bytes(pairs)?.readUInt32LE(0), 6)
})

for (const [sentence, action, paused] of [
  ['C-079 Pause in request headers stops the request until it is resumed', 1, true],
  ['C-088 an unknown action of a headers callback is a pause', 7, true],
  ['C-089 action 4 of a headers callback is a pause', 4, true],
  ['a negative action of a headers callback is a pause', -1, true],
  ['action 2 of a headers callback, "continue and end the stream", continues', 2, false]
] as const) {
  test(sentence, async () => {
    const host = await startHost(new Guest().returns('proxy_on_request_headers', action))
    const context = host.open()
    const phase = context.requestHeaders(true)
    assert.equal(await waits(phase), paused)
    context.resume(0)
    assert.equal(await phase, Outcome.Continue)
  })
}

test('every action but Continue of a body callback is a pause', async () => {
  for (const action of [1, 2, 3, 9]) {
    const host = await startHost(new Guest().returns('proxy_on_response_body', action))
    const context = host.open()
    const phase = context.responseBodyPhase({ bytes: Buffer.from('x'), changed: false }, true)
    assert.equal(await waits(phase), true)
    context.resume(1)
    assert.equal(await phase, Outcome.Continue)
  }
})

test('C-081 C-099 what is edited while paused is there when the request goes on, which is after the callback', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const resume = guest.call('proxy_continue_stream', 0)
  const set = guest.call('proxy_add_header_map_value', 0, guest.text('x-a'), guest.text('1'))
  guest.on('proxy_on_request_headers', dispatch(guest))
  guest.on('proxy_on_http_call_response', chooseStream(guest), resume, set)
  const host = await startHost(guest)
  const stream = new FakeStream()
  const phase = host.open(stream).requestHeaders(true) as Promise<Outcome>
  const seen = phase.then(() => stream.requestHeaders.get('x-a'))
  host.httpCalls.answer(0)
  assert.equal(await seen, '1')
  assert.equal(host.status(resume), Status.Ok)
})

test('C-086 a pause at the end of a body is ended by continue_stream from another callback', async () => {
  const guest = new Guest().returns('proxy_on_request_body', 1)
  guest.on('proxy_on_request_body', dispatch(guest))
  const edit = guest.call('proxy_set_buffer_bytes', 0, 0, 100, guest.text('new'))
  guest.on('proxy_on_http_call_response', chooseStream(guest), edit, guest.call('proxy_continue_stream', 0))
  const host = await startHost(guest)
  const body = { bytes: Buffer.from('old one'), changed: false }
  const phase = host.open().requestBodyPhase(body)
  assert.equal(await waits(phase), true)
  host.httpCalls.answer(0)
  assert.equal(await phase, Outcome.Continue)
  assert.deepEqual(body, { bytes: Buffer.from('new'), changed: true })
})

test('C-090 continue_stream of a stream that is not paused is Ok, and no later pause is spoilt', async () => {
  const guest = new Guest()
  const resume = guest.call('proxy_continue_stream', 0)
  guest.on('proxy_on_request_headers', resume).returns('proxy_on_request_body', 1)
  const host = await startHost(guest)
  const context = host.open()
  assert.equal(context.requestHeaders(false), Outcome.Continue)
  assert.equal(host.status(resume), Status.Ok)
  assert.equal(await waits(context.requestBodyPhase({ bytes: Buffer.alloc(0), changed: false })), true)
})

test('C-091 continue_stream before the pause that it means: the request goes on at once', async () => {
  const guest = new Guest()
  guest.on('proxy_on_request_headers', guest.call('proxy_continue_stream', 0)).returns('proxy_on_request_headers', 1)
  const host = await startHost(guest)
  assert.equal(host.open().requestHeaders(true), Outcome.Continue)
})

test('resuming the other direction does not end a pause', async () => {
  const guest = new Guest()
  guest.on('proxy_on_request_headers', guest.call('proxy_continue_stream', 1)).returns('proxy_on_request_headers', 1)
  const host = await startHost(guest)
  assert.equal(await waits(host.open().requestHeaders(true)), true)
})

test('C-092 C-093 C-095 only the four stream types can be continued and closed', async () => {
  const guest = new Guest()
  const types = [2, 3, 4, 9, -1]
  const resumes = types.map((type) => guest.call('proxy_continue_stream', type))
  const close = guest.call('proxy_close_stream', 4)
  const host = await startHost(guest.on('proxy_on_request_headers', ...resumes, close))
  const stream = new FakeStream()
  assert.equal(host.open(stream).requestHeaders(true), Outcome.Continue)
  assert.deepEqual(host.statuses(...resumes), [
    Status.Ok,
    Status.Ok,
    Status.BadArgument,
    Status.BadArgument,
    Status.BadArgument
  ])
  assert.equal(host.status(close), Status.BadArgument)
  assert.equal(stream.resets, 0)
})

test('C-094 close_stream resets the exchange, whatever the callback answers', async () => {
  for (const action of [0, 1]) {
    const guest = new Guest().returns('proxy_on_request_headers', action)
    const close = guest.call('proxy_close_stream', 0)
    const host = await startHost(guest.on('proxy_on_request_headers', close))
    const stream = new FakeStream()
    assert.equal(host.open(stream).requestHeaders(true), Outcome.Stop)
    assert.equal(host.status(close), Status.Ok)
    assert.equal(stream.resets, 1)
  }
})

for (const [name, callback] of [
  ['request', 'proxy_on_request_headers'],
  ['response', 'proxy_on_response_headers']
] as const) {
  test(`C-096 proxy_continue_${name} of ABI 0.1.0 resumes the ${name}`, async () => {
    const guest = new Guest({ abi: '0_1_0' }).returns(callback, 1)
    guest.on(callback, dispatch(guest))
    guest.on('proxy_on_http_call_response', chooseStream(guest), guest.call(`proxy_continue_${name}`))
    const host = await startHost(guest)
    const context = host.open()
    const phase = name === 'request' ? context.requestHeaders(true) : context.responseHeaders(true)
    assert.equal(await waits(phase), true)
    host.httpCalls.answer(0)
    assert.equal(await phase, Outcome.Continue)
  })
}
