import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Argument, type Call, Guest, type Step, UNTOUCHED } from '../host/guest.ts'
import { type Host, startHost } from '../host/host.ts'

// How many calls a filter may have outstanding, and what one more answers. Of all statuses of these functions but Ok, Rust's
// SDK panics at any other than BadArgument and InternalFailure.

const NOTHING = { contexts: 0, calls: 0, bytes: 0 }

function httpCall(guest: Guest, cell: Argument = guest.cell(), upstream = 'auth'): Call {
  const none = guest.text('')
  const headers = guest.text(serializePairs([':method', 'GET', ':path', '/', ':authority', 'a.example']))
  return guest.call('proxy_http_call', guest.text(upstream), headers, none, none, 1000, cell)
}

function grpcCall(guest: Guest, cell: Argument = guest.cell()): Call {
  const text = guest.text('a')
  return guest.call('proxy_grpc_call', text, text, text, guest.text(''), text, 1000, cell)
}

function grpcStream(guest: Guest, cell: Argument = guest.cell()): Call {
  const text = guest.text('a')
  return guest.call('proxy_grpc_stream', text, text, text, guest.text(''), cell)
}

/** A guest that can repeat a step. */
function repeating() {
  const guest = new Guest({ extra: '(global $i (mut i32) (i32.const 0))' })
  const repeat = (times: number, { wat }: Call): Step => `(global.set $i (i32.const ${times}))
    (loop $again ${wat}
      (global.set $i (i32.sub (global.get $i) (i32.const 1)))
      (br_if $again (global.get $i)))`
  return { guest, repeat }
}

const warnings = (host: Host) => host.log.messages('warn')

test('one call more than an exchange may have outstanding is InternalFailure, and nothing comes of it', async () => {
  const guest = new Guest().record('proxy_on_http_call_response', 'proxy_on_grpc_receive', 'proxy_on_grpc_close')
  const cells = [guest.cell(), guest.cell(), guest.cell()]
  const within = [httpCall(guest), grpcCall(guest), grpcStream(guest)]
  const beyond = [httpCall(guest, cells[0]), grpcCall(guest, cells[1]), grpcStream(guest, cells[2])]
  const host = await startHost(guest.on('proxy_on_request_headers', ...within, ...beyond), { limits: { httpCalls: 3 } })
  const context = host.open()
  const phase = context.requestHeaders(true)
  assert.deepEqual(host.statuses(...within), [Status.Ok, Status.Ok, Status.Ok])
  assert.deepEqual(host.statuses(...beyond), new Array(3).fill(Status.InternalFailure))
  assert.deepEqual(
    cells.map((cell) => host.u32(cell)),
    [UNTOUCHED, UNTOUCHED, UNTOUCHED]
  )
  assert.equal(host.httpCalls.sent.length + host.grpcCalls.exchanges.length, 3)
  assert.equal(warnings(host).length, 1)
  assert.match(warnings(host)[0]!, /^test: one more call is refused: .*limits\.http_calls/)

  host.httpCalls.answer(0)
  host.grpcCalls.exchanges[0]!.answer('hello')
  assert.equal(await phase, Outcome.Continue)
  context.end(false)
  assert.deepEqual(host.events().slice(1), [
    'http_call_response(1, 1, 1, 0, 0)',
    'grpc_receive(1, 2, 5)',
    'grpc_close(1, 3, 1)'
  ])
  assert.deepEqual(host.instance.calls.usage, NOTHING)
})

test('by default it is 64', async () => {
  const { guest, repeat } = repeating()
  guest.on('proxy_on_request_headers', repeat(200, httpCall(guest)))
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.equal(host.httpCalls.sent.length, 64)
})

test('what is wrong with a call is said first: BadArgument', async () => {
  const guest = new Guest()
  const none = guest.text('')
  const calls = [
    httpCall(guest),
    guest.call('proxy_http_call', guest.text('auth'), none, none, none, -1, guest.cell()),
    guest.call('proxy_http_call', guest.text('auth'), none, none, none, 1000, -8)
  ]
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls), { limits: { httpCalls: 1 } })
  host.open().requestHeaders(true)
  assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.BadArgument, Status.InvalidMemoryAccess])
})

test('every exchange has calls of its own, and an answer makes room for another one', async () => {
  const guest = new Guest()
  const [first, second] = [httpCall(guest), httpCall(guest)]
  guest.on('proxy_on_request_headers', first).on('proxy_on_response_headers', second)
  const host = await startHost(guest, { limits: { httpCalls: 1 }, semantics: 'envoy' })
  const contexts = [host.open(), host.open()]
  for (const context of contexts) {
    context.requestHeaders(true)
    assert.equal(host.status(first), Status.Ok)
  }
  contexts[0]!.responseHeaders(true)
  assert.equal(host.status(second), Status.InternalFailure)
  host.httpCalls.answer(0)
  contexts[0]!.responseHeaders(true)
  assert.equal(host.status(second), Status.Ok)
})

test('a plugin context itself has a quarter of all, ticks and answers included; exchanges have the rest', async () => {
  const { guest, repeat } = repeating()
  guest.on('proxy_on_configure', repeat(300, httpCall(guest)))
  guest.on('proxy_on_http_call_response', repeat(2, httpCall(guest)))
  guest.on('proxy_on_request_headers', httpCall(guest))
  const host = await startHost(guest, { semantics: 'envoy' })
  const context = host.open()
  assert.equal(host.httpCalls.sent.length, 256)
  // It calls twice more, and one has room.
  host.httpCalls.answer(0)
  assert.equal(host.httpCalls.outstanding.length, 256)
  context.requestHeaders(true)
  assert.equal(host.httpCalls.outstanding.length, 257)
})

for (const [limit, total] of [
  [4, 1024],
  [100, 1600]
] as const) {
  test(`with http_calls ${limit} all exchanges of a plugin have ${total} calls together`, async () => {
    const { guest, repeat } = repeating()
    guest.on('proxy_on_request_headers', repeat(limit, httpCall(guest)))
    const host = await startHost(guest, { limits: { httpCalls: limit } })
    const contexts = Array.from({ length: total / limit + 3 }, () => host.open())
    for (const context of contexts) context.requestHeaders(true)
    assert.equal(host.httpCalls.sent.length, total)
    assert.equal(host.plugin.status().calls, total)
    for (const context of contexts) context.end(true)
    assert.deepEqual(host.instance.calls.usage, NOTHING)
    host.open().requestHeaders(true)
    assert.equal(host.httpCalls.sent.length, total + limit)
  })
}

test('http_calls 0 is no limit', async () => {
  const { guest, repeat } = repeating()
  guest.on('proxy_on_request_headers', repeat(5000, httpCall(guest)))
  const host = await startHost(guest, { limits: { httpCalls: 0 } })
  host.open().requestHeaders(true)
  assert.equal(host.httpCalls.sent.length, 5000)
})

test('outstanding calls hold 64 MiB at most', async () => {
  const MIB = 1024 * 1024
  const guest = new Guest({ pages: 34 * 16 })
  const none = guest.text('')
  const [upstream, cell, text] = [guest.text('auth'), guest.cell(), guest.text('a')]
  const http = () => guest.call('proxy_http_call', upstream, none, 0, 33 * MIB, none, 1000, cell)
  const grpc = () => guest.call('proxy_grpc_call', text, text, text, none, 0, 33 * MIB, 1000, cell)
  const calls = [http(), http(), grpc(), guest.call('proxy_http_call', upstream, none, none, none, 1000, cell)]
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  host.open().requestHeaders(true)
  const refused = Status.InternalFailure
  assert.deepEqual(host.statuses(...calls), [Status.Ok, refused, refused, Status.Ok])
  assert.equal(host.instance.calls.usage.bytes, 33 * MIB + 2 * 'auth'.length)
  host.httpCalls.answer(0)
  assert.equal(host.instance.calls.usage.bytes, 'auth'.length)
})

test('a call that cannot be sent anywhere does not count', async () => {
  const { guest, repeat } = repeating()
  const last = httpCall(guest)
  guest.on('proxy_on_request_headers', repeat(100, httpCall(guest, guest.cell(), 'unknown')), last)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.equal(host.status(last), Status.Ok)
  assert.equal(host.instance.calls.usage.calls, 1)
})

/** How calls end that an exchange and its plugin context have made. */
const ENDS: Record<string, (host: Host, context: ReturnType<Host['open']>) => unknown> = {
  'by answers': (host) => {
    for (let i = 0; i < 2; i++) host.httpCalls.answer(i)
    for (const exchange of host.grpcCalls.exchanges) exchange.answer('hello')
  },
  'by failures': (host) => {
    for (let i = 0; i < 2; i++) host.httpCalls.fail(i)
    for (const exchange of host.grpcCalls.exchanges) exchange.close(14)
  },
  'with the client and the plugin context': (host, context) => {
    context.end(true)
    return host.filter.close()
  },
  'by a trap': (host, context) => {
    context.responseHeaders(true)
    assert.ok(host.instance.failure)
  },
  'by the filter itself': (_, context) => {
    context.responseTrailers()
    context.end(true)
  }
}

for (const [how, end] of Object.entries(ENDS)) {
  test(`when calls have ended ${how} none counts any more`, async () => {
    const guest = new Guest()
    const all = () => [httpCall(guest), grpcCall(guest), grpcStream(guest)]
    const cancels = [2, 3, 5, 6].map((id) => guest.call('proxy_grpc_cancel', id))
    guest
      .on('proxy_on_configure', ...all())
      .on('proxy_on_request_headers', ...all())
      .on('proxy_on_response_headers', 'unreachable')
      .on('proxy_on_response_trailers', ...cancels)
    const host = await startHost(guest)
    const context = host.open(new FakeStream())
    context.requestHeaders(true)
    assert.deepEqual({ ...host.instance.calls.usage, bytes: 0 }, { contexts: 2, calls: 6, bytes: 0 })
    await end(host, context)
    if (how === 'by the filter itself') host.httpCalls.answer(0)
    assert.deepEqual(host.instance.calls.usage, NOTHING)
  })
}

test('what has come of answers that are under way counts too, and what is too much is not received', async () => {
  const MIB = 1024 * 1024
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_request_headers', httpCall(guest), httpCall(guest)))
  host.open().requestHeaders(true)
  const { bytes } = host.instance.calls.usage
  const [first, second] = host.httpCalls.sent
  assert.equal(first!.received(60 * MIB), true)
  assert.equal(second!.received(8 * MIB), false)
  assert.equal(host.instance.calls.usage.bytes, bytes + 60 * MIB)
  host.httpCalls.answer(0)
  assert.equal(first!.received(1), false, 'it is over')
  assert.equal(second!.received(8 * MIB), true)
  host.httpCalls.fail(1)
  assert.deepEqual(host.instance.calls.usage, NOTHING)
})

test('a message on a stream is BadArgument where the streams have too much that is not sent', async () => {
  const guest = new Guest()
  const id = guest.cell()
  const send = guest.call('proxy_grpc_send', guest.loaded(id), guest.text('hello'), 0)
  const host = await startHost(
    guest.on('proxy_on_request_headers', grpcStream(guest, id)).on('proxy_on_request_body', send)
  )
  const context = host.open()
  context.requestHeaders(false)
  const [exchange] = host.grpcCalls.exchanges
  for (const [unsent, status] of [
    [64 * 1024 * 1024 - 4, Status.BadArgument],
    [64 * 1024 * 1024 - 5, Status.Ok]
  ] as const) {
    exchange!.unsent = unsent
    context.requestBodyPhase({ bytes: Buffer.alloc(1), changed: false })
    assert.equal(host.status(send), status)
  }
  assert.deepEqual(exchange!.messages, ['hello'])
  assert.deepEqual(warnings(host), ['test: a message is refused: its gRPC streams hold too much that is not sent'])
})

test('what has come of gRPC messages counts, and an exchange without room for more fails', async () => {
  const MIB = 1024 * 1024
  const guest = new Guest().record('proxy_on_grpc_receive', 'proxy_on_grpc_close')
  const host = await startHost(
    guest.on('proxy_on_request_headers', grpcCall(guest), grpcCall(guest), grpcStream(guest))
  )
  host.open().requestHeaders(true)
  const { bytes } = host.instance.calls.usage
  const usage = () => host.instance.calls.usage.bytes - bytes
  const [first, second, stream] = host.grpcCalls.exchanges
  assert.equal(first!.events.holds(40 * MIB), true)
  assert.equal(stream!.events.holds(24 * MIB), false)
  assert.equal(stream!.events.holds(20 * MIB), true)
  assert.equal(usage(), 60 * MIB)
  // A stream's message goes to the filter, what answers a call waits for its end.
  stream!.events.message(Buffer.alloc(20 * MIB))
  assert.equal(stream!.events.holds(0), true)
  assert.equal(first!.events.holds(0), true)
  first!.events.message(Buffer.alloc(40 * MIB))
  assert.equal(usage(), 40 * MIB)
  second!.events.message(Buffer.alloc(30 * MIB))
  assert.equal(second!.state, 'cancelled')
  assert.equal(second!.events.holds(1), false, 'it is over')
  first!.close(0)
  stream!.close(0)
  assert.deepEqual(
    host.events().filter((event) => event.startsWith('grpc')),
    [`grpc_receive(1, 3, ${20 * MIB})`, 'grpc_close(1, 2, 8)', `grpc_receive(1, 1, ${40 * MIB})`, 'grpc_close(1, 3, 0)']
  )
  assert.deepEqual(host.instance.calls.usage, NOTHING)
})
