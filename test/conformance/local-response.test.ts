import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest } from '../host/guest.ts'
import { startHost, waits } from '../host/host.ts'

// As far as it is the host's: what the stream is asked to send, and how the phase ends.

interface Reply {
  status?: number
  details?: string
  body?: string
  headers?: string[]
  grpc?: number
}

function reply(guest: Guest, { status = 403, details = '', body = '', headers = [], grpc = -1 }: Reply = {}): Call {
  const pairs = guest.text(headers.length === 0 ? '' : serializePairs(headers))
  return guest.call('proxy_send_local_response', status, guest.text(details), guest.text(body), pairs, grpc)
}

async function run(guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  const stream = new FakeStream()
  return { host, stream, outcome: host.open(stream).requestHeaders(true) }
}

for (const [sentence, action] of [
  ['C-158 a local response ends the phase', 1],
  ['C-159 a local response ends the phase although the callback answers Continue', 0]
] as const) {
  test(sentence, async () => {
    const guest = new Guest().returns('proxy_on_request_headers', action)
    const call = reply(guest, { details: 'why', body: 'no' })
    const { host, stream, outcome } = await run(guest, call)
    assert.equal(host.status(call), Status.Ok)
    assert.equal(outcome, Outcome.Stop)
    const [{ status, details, body, headers, grpcStatus }] = stream.localResponses as [
      (typeof stream.localResponses)[0]
    ]
    assert.deepEqual([status, details, body.toString(), headers, grpcStatus], [403, 'why', 'no', [], -1])
  })
}

test('C-160 a second local response is Ok too, and comes after the first', async () => {
  const guest = new Guest()
  const calls = [reply(guest, { status: 401 }), reply(guest, { status: 402 })]
  const { host, stream } = await run(guest, ...calls)
  assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.Ok])
  assert.equal(stream.localResponses[0]?.status, 401)
})

test('C-161 headers may be repeated; names are in lower case; pseudo-headers are left out', async () => {
  const guest = new Guest()
  const headers = ['Set-Cookie', 'a=1', ':status', '500', 'set-cookie', 'b=2']
  const { stream } = await run(guest, reply(guest, { headers }))
  assert.equal(stream.localResponses[0]?.status, 403)
  assert.deepEqual(stream.localResponses[0]?.headers, ['set-cookie', 'a=1', 'set-cookie', 'b=2'])
})

test('a local response with a header that HTTP does not allow is refused, and nothing is sent', async () => {
  const guest = new Guest()
  const calls = [reply(guest, { headers: ['x-a', 'a\r\nb'] }), reply(guest, { headers: ['x a', ''] })]
  const { host, stream, outcome } = await run(guest, ...calls)
  assert.deepEqual(host.statuses(...calls), [Status.BadArgument, Status.BadArgument])
  assert.deepEqual(stream.localResponses, [])
  assert.equal(outcome, Outcome.Continue)
})

test('what the guest does with its memory afterwards does not change the response', async () => {
  const guest = new Guest()
  const body = guest.text('no')
  const none = guest.text('')
  const call = guest.call('proxy_send_local_response', 403, none, body, none, -1)
  guest.on('proxy_on_request_headers', call, `(i32.store16 (i32.const ${body.at}) (i32.const 0))`)
  const { stream } = await run(guest)
  assert.equal(stream.localResponses[0]?.body.toString(), 'no')
})

test('C-165 a gRPC status of -1 is none', async () => {
  const guest = new Guest()
  const { stream } = await run(guest, reply(guest), reply(guest, { grpc: 7 }))
  assert.deepEqual(
    stream.localResponses.map(({ grpcStatus }) => grpcStatus),
    [-1, 7]
  )
})

test('C-171 who has answered is still called at the end', async () => {
  const guest = new Guest().record('proxy_on_done', 'proxy_on_log', 'proxy_on_delete')
  const { host, stream } = await run(guest, reply(guest))
  stream.contexts[0]!.end(false)
  assert.deepEqual(host.events().slice(1), ['done(2)', 'log(2)', 'delete(2)'])
})

test('C-172 C-173 a local response ends a body phase and a response phase', async () => {
  const guest = new Guest()
  guest.on('proxy_on_request_body', reply(guest)).on('proxy_on_response_headers', reply(guest))
  guest.on('proxy_on_response_body', reply(guest))
  const host = await startHost(guest)
  const body = { bytes: Buffer.from('x'), changed: false }
  assert.equal(host.open().requestBodyPhase(body), Outcome.Stop)
  assert.equal(host.open().responseHeaders(false), Outcome.Stop)
  assert.equal(host.open().responseBodyPhase(body, true), Outcome.Stop)
})

test('C-175 a local response from the answer of a call ends the pause', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const none = guest.text('')
  guest.on(
    'proxy_on_request_headers',
    guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell())
  )
  guest.on('proxy_on_http_call_response', guest.call('proxy_set_effective_context', 2), reply(guest, { status: 401 }))
  const { host, stream, outcome } = await run(guest)
  assert.equal(await waits(outcome), true)
  host.httpCalls.answer(0)
  assert.equal(await outcome, Outcome.Stop)
  assert.equal(stream.localResponses[0]?.status, 401)
})

test('C-176 a local response, or a reset, at the end of the stream is Ok without effect', async () => {
  for (const callback of ['proxy_on_done', 'proxy_on_log', 'proxy_on_delete']) {
    const guest = new Guest()
    const [call, close] = [reply(guest), guest.call('proxy_close_stream', 0)]
    const host = await startHost(guest.on(callback, call, close))
    const stream = new FakeStream()
    host.open(stream).end(false)
    assert.deepEqual(host.statuses(call, close), [Status.Ok, Status.Ok])
    assert.equal(stream.interrupted, false)
    assert.equal(stream.log.messages('warn').length, 1)
  }
})

test('C-177 a local response from a root, which has no stream, is Ok without effect', async () => {
  const guest = new Guest()
  const call = reply(guest)
  const host = await startHost(guest.on('proxy_on_configure', call))
  host.open()
  assert.equal(host.status(call), Status.Ok)
  assert.equal(host.log.messages('warn').length, 1)
})

test('C-178 what is no status of a response is sent as 500', async () => {
  for (const status of [9999, 0, -1, 199, 600]) {
    const guest = new Guest()
    const call = reply(guest, { status })
    const { host, stream } = await run(guest, call)
    assert.equal(host.status(call), Status.Ok)
    assert.equal(stream.localResponses[0]?.status, 500)
  }
})
