import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Argument, type Call, Guest, UNTOUCHED } from '../host/guest.ts'
import { startHost, waits } from '../host/host.ts'

// As far as it is the host's. What a call without headers is taken for is the semantics'.

interface HttpCall {
  upstream?: string
  headers?: string[]
  body?: string
  trailers?: string[]
  timeout?: number
  cell?: Argument
}

function httpCall(guest: Guest, { upstream = 'auth', headers = [], body = '', ...rest }: HttpCall = {}): Call {
  const { trailers = [], timeout = 1000, cell = guest.cell() } = rest
  const pairs = (list: string[]) => guest.text(list.length === 0 ? '' : serializePairs(list))
  return guest.call(
    'proxy_http_call',
    guest.text(upstream),
    pairs(headers),
    guest.text(body),
    pairs(trailers),
    timeout,
    cell
  )
}

/** Makes the calls in a request headers callback of the stream 2. */
async function run(guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  const stream = new FakeStream()
  const context = host.open(stream)
  return { host, stream, context, phase: context.requestHeaders(true) }
}

test('C-179 C-180 C-181 what a call does not say: GET, /, and host for the authority', async () => {
  const guest = new Guest()
  const calls = [httpCall(guest), httpCall(guest, { headers: ['Host', 'a.example', 'X-A', '1'] })]
  const full = [':method', 'POST', ':path', '/x?y', ':authority', 'b.example', ':scheme', 'https', 'x-a', '1']
  const { host } = await run(guest, ...calls, httpCall(guest, { headers: full }))
  assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.Ok])
  assert.deepEqual(
    host.httpCalls.sent.map(({ headers }) => headers),
    [
      [':method', 'GET', ':path', '/', ':authority', ''],
      [':method', 'GET', ':path', '/', ':authority', 'a.example', 'x-a', '1'],
      [':method', 'POST', ':path', '/x?y', ':authority', 'b.example', ':scheme', 'https', 'x-a', '1']
    ]
  )
})

test('C-182 an unknown upstream is BadArgument, and nothing ever answers', async () => {
  const guest = new Guest().record('proxy_on_http_call_response')
  const cell = guest.cell()
  const call = httpCall(guest, { upstream: 'unknown', cell })
  const { host, phase } = await run(guest, call)
  assert.equal(host.status(call), Status.BadArgument)
  assert.equal(host.u32(cell), UNTOUCHED)
  assert.equal(phase, Outcome.Continue)
})

test('headers and trailers that HTTP does not allow, and a timeout of 2^31, are BadArgument', async () => {
  const guest = new Guest()
  const calls = [
    httpCall(guest, { headers: ['x-a', 'a\r\nb'] }),
    httpCall(guest, { headers: [':status', '200'] }),
    httpCall(guest, { headers: [':path', 'no-slash'] }),
    httpCall(guest, { trailers: ['x-a', 'a\nb'] }),
    httpCall(guest, { trailers: [':path', '/'] }),
    httpCall(guest, { timeout: -0x80000000 })
  ]
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
  assert.deepEqual(host.httpCalls.sent, [])
})

test('a call takes its upstream, body, trailers and timeout along', async () => {
  const guest = new Guest()
  const call = httpCall(guest, { upstream: 'outbound|80||svc', body: 'hello', trailers: ['X-T', '1'], timeout: 250 })
  const { host } = await run(guest, call)
  const [{ upstream, body, trailers, timeout }] = host.httpCalls.sent as [(typeof host.httpCalls.sent)[0]]
  assert.deepEqual([upstream, body.toString(), trailers, timeout], ['outbound|80||svc', 'hello', ['x-t', '1'], 250])
})

test('C-183 C-202 ids are not zero, differ, and each is answered once', async () => {
  const guest = new Guest().record('proxy_on_http_call_response')
  const cells = [guest.cell(), guest.cell(), guest.cell()]
  const { host, phase } = await run(guest, ...cells.map((cell) => httpCall(guest, { cell })))
  const ids = cells.map((cell) => host.u32(cell))
  assert.equal(new Set(ids).size, 3)
  assert.ok(!ids.includes(0))
  for (const index of [2, 0, 1]) host.httpCalls.answer(index)
  assert.equal(await phase, Outcome.Continue)
  const answered = [2, 0, 1].map((index) => `http_call_response(1, ${ids[index]}, 1, 0, 0)`)
  assert.deepEqual(host.events().slice(1), answered)
})

test('C-184 C-185 C-189 an answer comes to the root with its headers, body and trailers, whatever its status', async () => {
  for (const status of ['200', '503']) {
    const guest = new Guest().record('proxy_on_http_call_response')
    const { host } = await run(guest, httpCall(guest))
    const headers = [':status', status, 'a', '1', 'b', '2', 'b', '3']
    host.httpCalls.answer(0, { headers, body: Buffer.from('hello'), trailers: ['t', '1'] })
    assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 4, 5, 1)'])
  }
})

test('C-186 C-187 C-188 the answer is read in its callback, from the stream too, and not later', async () => {
  const guest = new Guest()
  const read = () => [
    guest.call('proxy_get_header_map_value', 6, guest.text(':status'), guest.result()),
    guest.call('proxy_get_buffer_bytes', 4, 0, 100, guest.result()),
    guest.call('proxy_get_header_map_value', 7, guest.text('t'), guest.result())
  ]
  const [root, stream, later] = [read(), read(), read()]
  guest.on('proxy_on_http_call_response', ...root, guest.call('proxy_set_effective_context', 2), ...stream)
  guest.on('proxy_on_log', ...later)
  const { host, context } = await run(guest, httpCall(guest))
  host.httpCalls.answer(0, { body: Buffer.from('hello'), trailers: ['t', '1'] })
  for (const calls of [root, stream])
    assert.deepEqual(
      calls.map((call) => host.text(call)),
      ['200', 'hello', '1']
    )
  context.end(false)
  assert.deepEqual(host.statuses(...later), [Status.NotFound, Status.NotFound, Status.NotFound])
})

test('C-190 C-191 a call that failed, or timed out, is answered with zeros, and there is nothing to read', async () => {
  const guest = new Guest()
  const pairs = guest.call('proxy_get_header_map_pairs', 6, guest.result())
  const status = guest.call('proxy_get_header_map_value', 6, guest.text(':status'), guest.result())
  const body = guest.call('proxy_get_buffer_bytes', 4, 0, 100, guest.result())
  guest.on('proxy_on_http_call_response', pairs, status, body)
  const { host, phase } = await run(guest, httpCall(guest))
  host.httpCalls.fail(0)
  assert.equal(await phase, Outcome.Continue)
  assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 0, 0, 0)'])
  assert.deepEqual(host.statuses(pairs, status, body), [Status.Ok, Status.NotFound, Status.NotFound])
})

test('C-192 an answer after the answer is dropped', async () => {
  const guest = new Guest().record('proxy_on_http_call_response')
  const { host } = await run(guest, httpCall(guest))
  const { done } = host.httpCalls.sent[0]!
  done(undefined)
  done({ headers: [':status', '200'], body: Buffer.alloc(0), trailers: [] })
  assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 0, 0, 0)'])
})

test('C-195 an answer after the end of its stream still comes to the root, once', async () => {
  const guest = new Guest().record('proxy_on_http_call_response', 'proxy_on_delete')
  const resume = guest.call('proxy_continue_stream', 0)
  const { host, context, phase } = await run(guest, httpCall(guest), resume)
  assert.equal(phase, Outcome.Continue)
  context.end(false)
  host.httpCalls.answer(0)
  assert.deepEqual(host.events().slice(1), ['delete(2)', 'http_call_response(1, 1, 1, 0, 0)'])
  assert.equal(host.plugin.status().calls, 0)
})

test('C-196 with the root its calls are aborted, and nobody is called', async () => {
  const guest = new Guest().record('proxy_on_http_call_response', 'proxy_on_delete')
  const host = await startHost(guest.on('proxy_on_configure', httpCall(guest)))
  host.open().end(false)
  await host.filter.close()
  assert.equal(host.httpCalls.sent[0]?.state, 'aborted')
  host.httpCalls.sent[0]!.done(undefined)
  assert.deepEqual(host.events(), ['configure(1, 0)', 'delete(2)', 'delete(1)'])
})

test('C-197 C-199 a call from on_configure is answered, and one from an answer too', async () => {
  const guest = new Guest()
  guest.on('proxy_on_configure', httpCall(guest))
  guest.on('proxy_on_http_call_response', guest.when(1, 1, httpCall(guest)))
  const host = await startHost(guest)
  host.open()
  host.httpCalls.answer(0)
  host.httpCalls.answer(1)
  assert.deepEqual(host.events().slice(1), ['http_call_response(1, 1, 1, 0, 0)', 'http_call_response(1, 2, 1, 0, 0)'])
})

test('C-200 C-201 an answer resumes its stream, with what it edits after it asked for that', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const set = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('late'))
  const resume = guest.call('proxy_continue_stream', 0)
  guest.on('proxy_on_http_call_response', guest.call('proxy_set_effective_context', 2), resume, resume, set)
  const { host, stream, phase } = await run(guest, httpCall(guest))
  let gone = 0
  const going = (phase as Promise<Outcome>).then(() => {
    gone++
    assert.equal(stream.requestHeaders.get('x-a'), 'late')
  })
  host.httpCalls.answer(0)
  await going
  await turn()
  assert.equal(gone, 1)
})

test('C-203 with an id cell outside of the memory nothing is sent', async () => {
  const guest = new Guest()
  const call = httpCall(guest, { cell: 0x7fffff00 })
  const { host } = await run(guest, call)
  assert.equal(host.status(call), Status.InvalidMemoryAccess)
  assert.deepEqual(host.httpCalls.sent, [])
})

test('a Continue with calls outstanding waits for all of them', async () => {
  const guest = new Guest()
  const { host, phase } = await run(guest, httpCall(guest), httpCall(guest))
  host.httpCalls.answer(1)
  assert.equal(await waits(phase), true)
  host.httpCalls.fail(0)
  assert.equal(await phase, Outcome.Continue)
})

test('a Continue waits for the calls that answers dispatch', async () => {
  const guest = new Guest()
  guest.on(
    'proxy_on_http_call_response',
    guest.call('proxy_set_effective_context', 2),
    guest.when(1, 1, httpCall(guest))
  )
  const { host, phase } = await run(guest, httpCall(guest))
  host.httpCalls.answer(0)
  assert.equal(await waits(phase), true)
  host.httpCalls.answer(1)
  assert.equal(await phase, Outcome.Continue)
})

test('a Pause is not ended by the answers of its calls', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const { host, context, phase } = await run(guest, httpCall(guest))
  host.httpCalls.answer(0)
  assert.equal(await waits(phase), true)
  context.resume(0)
  assert.equal(await phase, Outcome.Continue)
})

test('a phase does not wait for the calls of an earlier one that was resumed', async () => {
  const guest = new Guest().record('proxy_on_response_headers')
  const { context, phase, host } = await run(guest, httpCall(guest), guest.call('proxy_continue_stream', 0))
  assert.equal(phase, Outcome.Continue)
  assert.equal(host.plugin.status().calls, 1)
  assert.equal(context.responseHeaders(true), Outcome.Continue)
})
