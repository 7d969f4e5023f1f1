import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Argument, type Call, Guest, type Step, UNTOUCHED } from '../host/guest.ts'
import { type Host, startHost, waits } from '../host/host.ts'

// Calls and streams of gRPC. C-205 is for hosts that have none.

const CALLBACKS = [
  'proxy_on_grpc_receive_initial_metadata',
  'proxy_on_grpc_receive',
  'proxy_on_grpc_receive_trailing_metadata',
  'proxy_on_grpc_close'
]

interface GrpcCall {
  upstream?: string | Uint8Array
  service?: string
  method?: string
  metadata?: string[] | Uint8Array
  message?: string
  timeout?: number
  cell?: Argument
}

function target(guest: Guest, { upstream = 'auth', service = 'acme.Auth', method = 'Check' }: GrpcCall) {
  return [guest.text(upstream), guest.text(service), guest.text(method)]
}

function metadataOf(guest: Guest, { metadata = [] }: GrpcCall) {
  if (!Array.isArray(metadata)) return guest.text(metadata)
  return guest.text(metadata.length === 0 ? '' : serializePairs(metadata))
}

function grpcCall(guest: Guest, call: GrpcCall = {}): Call {
  const { message = 'hello', timeout = 1000, cell = guest.cell() } = call
  const metadata = metadataOf(guest, call)
  return guest.call('proxy_grpc_call', ...target(guest, call), metadata, guest.text(message), timeout, cell)
}

function grpcStream(guest: Guest, call: GrpcCall = {}): Call {
  return guest.call('proxy_grpc_stream', ...target(guest, call), metadataOf(guest, call), call.cell ?? guest.cell())
}

function httpCall(guest: Guest): Call {
  const none = guest.text('')
  return guest.call('proxy_http_call', guest.text('auth'), none, none, none, 1000, guest.cell())
}

const send = (guest: Guest, id: number, message: string, end: boolean = false): Call =>
  guest.call('proxy_grpc_send', id, guest.text(message), end ? 1 : 0)

/** Does the steps in a request headers callback of the stream 2. */
async function run(guest: Guest, ...steps: Step[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...steps))
  const context = host.open(new FakeStream())
  return { host, context, phase: context.requestHeaders(true) }
}

/** What has been called of gRPC's callbacks, and the marks. */
const grpcEvents = (host: Host): string[] => host.events().filter((event) => event.startsWith('grpc_'))

test('a call takes its upstream, service, method, metadata, message and timeout along', async () => {
  const guest = new Guest()
  const call = grpcCall(guest, { metadata: ['X-A', '1', 'x-a', '2'], timeout: 250 })
  const { host } = await run(guest, call)
  assert.equal(host.status(call), Status.Ok)
  const [exchange] = host.grpcCalls.exchanges
  assert.deepEqual(exchange!.call, {
    upstream: 'auth',
    service: 'acme.Auth',
    method: 'Check',
    metadata: ['x-a', '1', 'x-a', '2'],
    timeout: 250
  })
  assert.deepEqual([exchange!.messages, exchange!.halfClosed], [['hello'], true])
})

test('a stream takes the same along, without a message and without a timeout', async () => {
  const guest = new Guest()
  const call = grpcStream(guest, { metadata: ['x-a', '1'] })
  const { host } = await run(guest, call)
  assert.equal(host.status(call), Status.Ok)
  const [exchange] = host.grpcCalls.exchanges
  const { upstream, service, method, metadata, timeout } = exchange!.call
  assert.deepEqual([upstream, service, method, metadata, timeout], ['auth', 'acme.Auth', 'Check', ['x-a', '1'], 0])
  assert.deepEqual([exchange!.messages, exchange!.halfClosed], [[], false])
})

/** A field of protobuf with bytes. */
const field = (number: number, ...bytes: Uint8Array[]): Buffer => {
  const content = Buffer.concat(bytes)
  return Buffer.concat([Buffer.from([number * 8 + 2, content.length]), content])
}

test('an upstream may be a serialized GrpcService of Envoy', async () => {
  const name = field(1, Buffer.from('outbound|80||svc'))
  const authority = field(2, Buffer.from('auth.example'))
  const timeout = field(3, Buffer.from([0x08, 0x05]))
  const header = field(5, field(1, Buffer.from('x-a')), field(2, Buffer.from('1')))
  const limit = field(4, Buffer.from([0x08, 0x80, 0x80, 0x01]))
  const services = [
    field(1, name),
    Buffer.concat([field(1, name, authority, limit), timeout, header]),
    Buffer.concat([timeout, field(1, authority, name)])
  ]
  for (const upstream of services) {
    const guest = new Guest()
    const { host } = await run(guest, grpcCall(guest, { upstream }), grpcStream(guest, { upstream }))
    const called = host.grpcCalls.exchanges.map(({ call }) => call.upstream)
    assert.deepEqual(called, ['outbound|80||svc', 'outbound|80||svc'])
  }
})

test('bytes that are no GrpcService with a cluster are a name', async () => {
  for (const upstream of [
    'a',
    'auth',
    '\n',
    '\n\x05auth',
    '\n\x02\n\x05',
    '\x12\x02\n\0',
    '\n\x03\n\x01ax',
    '\xff\xff\xff\xff\xff\xff\xff'
  ]) {
    const guest = new Guest()
    const { host } = await run(guest, grpcCall(guest, { upstream }))
    assert.equal(host.grpcCalls.exchanges[0]!.call.upstream, upstream)
  }
})

test('an unknown upstream is ParseFailure, and nothing ever calls back', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const cells = [guest.cell(), guest.cell()]
  const calls = [
    grpcCall(guest, { upstream: 'unknown', cell: cells[0]! }),
    grpcStream(guest, { upstream: 'unknown', cell: cells[1]! })
  ]
  const { host, phase } = await run(guest, ...calls)
  assert.deepEqual(host.statuses(...calls), [Status.ParseFailure, Status.ParseFailure])
  for (const cell of cells) assert.equal(host.u32(cell), UNTOUCHED)
  assert.equal(phase, Outcome.Continue)
  assert.deepEqual(host.grpcCalls.exchanges, [])
})

test('metadata, service and method that HTTP does not allow are ParseFailure, which Rust survives', async () => {
  const guest = new Guest()
  const wrong: GrpcCall[] = [
    { metadata: ['x-a', 'a\r\nb'] },
    { metadata: [':path', '/'] },
    { metadata: ['x a', '1'] },
    { metadata: Buffer.from([9, 0, 0, 0, 1]) },
    { service: 'a b' },
    { method: 'a\r\nb' }
  ]
  const calls = wrong.flatMap((call) => [grpcCall(guest, call), grpcStream(guest, call)])
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.ParseFailure)
  assert.deepEqual(host.grpcCalls.exchanges, [])
})

test('arguments outside of the memory are InvalidMemoryAccess, and nothing is sent', async () => {
  const FAR = 0x7fffff00
  const guest = new Guest()
  const calls: Call[] = []
  const call = [guest.text('auth'), guest.text('s'), guest.text('m'), guest.text(''), guest.text('')]
  for (let i = 0; i < 5; i++) {
    const args = call.flatMap((text, j): Argument[] => (i === j ? [FAR, 8] : [text]))
    calls.push(guest.call('proxy_grpc_call', ...args, 1000, guest.cell()))
    if (i < 4) calls.push(guest.call('proxy_grpc_stream', ...args.slice(0, i === 3 ? 5 : 5), guest.cell()))
  }
  calls.push(grpcCall(guest, { cell: FAR }), grpcStream(guest, { cell: FAR }))
  calls.push(guest.call('proxy_grpc_send', 1, FAR, 8, 0))
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.InvalidMemoryAccess)
  assert.deepEqual(host.grpcCalls.exchanges, [])
})

test("AssemblyScript's shorter functions, without metadata, are told by their number of arguments", async () => {
  const guest = new Guest()
  const cells = [guest.cell(), guest.cell()]
  const args = target(guest, {})
  const call = guest.call('proxy_grpc_call', ...args, guest.text('hello'), 250, cells[0]!)
  const stream = guest.call('proxy_grpc_stream', ...args, cells[1]!)
  const { host } = await run(guest, call, stream)
  assert.deepEqual(host.statuses(call, stream), [Status.Ok, Status.Ok])
  assert.deepEqual(
    cells.map((cell) => host.u32(cell)),
    [1, 2]
  )
  const [first, second] = host.grpcCalls.exchanges
  const { service, method } = second!.call
  assert.deepEqual([first!.call.timeout, first!.call.metadata, first!.messages], [250, [], ['hello']])
  assert.deepEqual([service, method, second!.call.timeout], ['acme.Auth', 'Check', 0])
})

test('a timeout of 2^31 ms and more is the longest that there is', async () => {
  const guest = new Guest()
  const { host } = await run(guest, grpcCall(guest, { timeout: -1 }), grpcCall(guest, { timeout: 0 }))
  assert.deepEqual(
    host.grpcCalls.exchanges.map(({ call }) => call.timeout),
    [0x7fffffff, 0]
  )
})

test('ids are not zero, and differ among all kinds of calls', async () => {
  const guest = new Guest()
  const cells = [guest.cell(), guest.cell(), guest.cell()]
  const calls = [
    grpcCall(guest, { cell: cells[0]! }),
    httpCall(guest),
    grpcStream(guest, { cell: cells[1]! }),
    httpCall(guest),
    grpcCall(guest, { cell: cells[2]! })
  ]
  guest.record('proxy_on_http_call_response')
  const { host } = await run(guest, ...calls)
  assert.equal(host.plugin.status().calls, 5)
  for (const index of [0, 1]) host.httpCalls.answer(index)
  const http = host.events().flatMap((event) => /^http_call_response\(1, (\d+)/.exec(event)?.[1] ?? [])
  const ids = [...cells.map((cell) => host.u32(cell)), ...http.map(Number)]
  assert.equal(new Set(ids).size, 5)
  assert.ok(!ids.includes(0))
})

test('a unary call that succeeds is one on_grpc_receive of the root, with its message, and no on_grpc_close', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const read = () => guest.call('proxy_get_buffer_bytes', 5, 0, 100, guest.result())
  const [root, stream, later] = [read(), read(), read()]
  const code = guest.cell()
  const status = guest.call('proxy_get_status', code, guest.result())
  guest.on('proxy_on_grpc_receive', root, guest.call('proxy_set_effective_context', 2), stream, status)
  guest.on('proxy_on_log', later)
  const { host, context, phase } = await run(guest, grpcCall(guest))
  assert.equal(await waits(phase), true)
  const [exchange] = host.grpcCalls.exchanges
  exchange!.events.initialMetadata(['x-a', '1'])
  exchange!.events.message(Buffer.from('answer'))
  exchange!.events.trailingMetadata(['grpc-status', '0'])
  assert.deepEqual(grpcEvents(host), [])
  exchange!.close(0)
  assert.equal(await phase, Outcome.Continue)
  assert.deepEqual(grpcEvents(host), ['grpc_receive(1, 1, 6)'])
  assert.deepEqual([host.text(root), host.text(stream)], ['answer', 'answer'])
  assert.deepEqual([host.status(status), host.u32(code)], [Status.Ok, 0])
  context.end(false)
  assert.equal(host.status(later), Status.NotFound)
  assert.equal(host.plugin.status().calls, 0)
})

test('an empty message is an answer as well', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const read = guest.call('proxy_get_buffer_bytes', 5, 0, 100, guest.result())
  guest.on('proxy_on_grpc_receive', read)
  const { host } = await run(guest, grpcCall(guest))
  host.grpcCalls.exchanges[0]!.answer('')
  assert.deepEqual(grpcEvents(host), ['grpc_receive(1, 1, 0)'])
  assert.deepEqual([host.status(read), host.cells(read)], [Status.Ok, [0, 0]])
})

test('a unary call that fails is one on_grpc_close, where proxy_get_status says why', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const [code, later] = [guest.cell(), guest.cell()]
  const status = guest.call('proxy_get_status', code, guest.result())
  const after = guest.call('proxy_get_status', later, guest.result())
  guest.on('proxy_on_grpc_close', guest.call('proxy_set_effective_context', 2), status)
  guest.on('proxy_on_log', after)
  const { host, context, phase } = await run(guest, grpcCall(guest))
  // What came before the failure is no answer.
  host.grpcCalls.exchanges[0]!.events.message(Buffer.from('half'))
  host.grpcCalls.exchanges[0]!.close(7, 'who are you? é')
  assert.equal(await phase, Outcome.Continue)
  assert.deepEqual(grpcEvents(host), ['grpc_close(1, 1, 7)'])
  assert.deepEqual([host.status(status), host.u32(code)], [Status.Ok, 7])
  assert.equal(host.bytes(status)?.toString(), 'who are you? é')
  context.end(false)
  assert.deepEqual([host.status(after), host.u32(later), host.text(after)], [Status.Ok, 0, ''])
})

test('a unary call with no answer, or with two, is closed as internal', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const { host } = await run(guest, grpcCall(guest), grpcCall(guest))
  host.grpcCalls.exchanges[0]!.answer()
  host.grpcCalls.exchanges[1]!.answer('a', 'b')
  assert.deepEqual(grpcEvents(host), ['grpc_close(1, 1, 13)', 'grpc_close(1, 2, 13)'])
})

test('a stream is initial metadata, messages, trailing metadata and one close, in this order', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const { host } = await run(guest, grpcStream(guest))
  const { events } = host.grpcCalls.exchanges[0]!
  events.initialMetadata(['a', '1', 'a', '2'])
  events.message(Buffer.from('one'))
  events.message(Buffer.from(''))
  events.trailingMetadata(['grpc-status', '5'])
  host.grpcCalls.exchanges[0]!.close(5, 'gone')
  events.message(Buffer.from('late'))
  events.close(0, '')
  assert.deepEqual(grpcEvents(host), [
    'grpc_receive_initial_metadata(1, 1, 2)',
    'grpc_receive(1, 1, 3)',
    'grpc_receive(1, 1, 0)',
    'grpc_receive_trailing_metadata(1, 1, 1)',
    'grpc_close(1, 1, 5)'
  ])
  assert.equal(host.plugin.status().calls, 0)
})

test('metadata is read in its callback, from the stream too; not in another, and not written', async () => {
  const guest = new Guest()
  const value = (map: number, name: string) =>
    guest.call('proxy_get_header_map_value', map, guest.text(name), guest.result())
  const initial = [value(4, 'a'), value(5, 't')]
  const trailing = [value(4, 'a'), value(5, 't')]
  const message = [value(4, 'a'), value(5, 't')]
  const write = guest.call('proxy_add_header_map_value', 4, guest.text('a'), guest.text('b'))
  const remove = guest.call('proxy_remove_header_map_value', 4, guest.text('a'))
  const pairs = guest.call('proxy_get_header_map_pairs', 4, guest.result())
  const effective = guest.call('proxy_set_effective_context', 2)
  guest.on('proxy_on_grpc_receive_initial_metadata', effective, ...initial, write, remove, pairs)
  guest.on('proxy_on_grpc_receive_trailing_metadata', effective, ...trailing)
  guest.on('proxy_on_grpc_receive', ...message)
  const { host } = await run(guest, grpcStream(guest))
  const { events } = host.grpcCalls.exchanges[0]!
  events.initialMetadata(['a', '1\xe9', 'a', '2'])
  events.message(Buffer.from('one'))
  events.trailingMetadata(['t', '3'])
  assert.deepEqual(host.statuses(...initial), [Status.Ok, Status.NotFound])
  assert.deepEqual(host.statuses(...message), [Status.NotFound, Status.NotFound])
  assert.deepEqual(host.statuses(...trailing), [Status.NotFound, Status.Ok])
  assert.deepEqual([host.text(initial[0]!), host.text(trailing[1]!)], ['1\xe9', '3'])
  assert.deepEqual(host.statuses(write, remove), [Status.BadArgument, Status.BadArgument])
  assert.deepEqual(host.bytes(pairs), serializePairs(['a', '1\xe9', 'a', '2']))
})

test('messages are sent on a stream until the last one', async () => {
  const guest = new Guest()
  const sends = [send(guest, 1, 'a'), send(guest, 1, ''), send(guest, 1, 'b', true), send(guest, 1, 'c')]
  const { host } = await run(guest, grpcStream(guest), ...sends)
  assert.deepEqual(host.statuses(...sends), [Status.Ok, Status.Ok, Status.Ok, Status.BadArgument])
  assert.deepEqual(host.grpcCalls.exchanges[0]!.messages, ['a', '', 'b'])
})

test('proxy_grpc_close ends the side of the filter, and the upstream may go on', async () => {
  const guest = new Guest().record(...CALLBACKS)
  const closes = [guest.call('proxy_grpc_close', 1), guest.call('proxy_grpc_close', 1)]
  const late = send(guest, 1, 'late')
  const { host } = await run(guest, grpcStream(guest), ...closes, late)
  assert.deepEqual(host.statuses(...closes, late), [Status.Ok, Status.Ok, Status.BadArgument])
  host.grpcCalls.exchanges[0]!.answer('one', 'two')
  assert.deepEqual(grpcEvents(host), ['grpc_receive(1, 1, 3)', 'grpc_receive(1, 1, 3)', 'grpc_close(1, 1, 0)'])
})

test('after proxy_grpc_cancel there are no callbacks, and the id is unknown', async () => {
  for (const open of [grpcCall, grpcStream]) {
    const guest = new Guest().record(...CALLBACKS)
    const cancel = guest.call('proxy_grpc_cancel', 1)
    const after = [guest.call('proxy_grpc_cancel', 1), guest.call('proxy_grpc_close', 1), send(guest, 1, 'late')]
    const { host, phase } = await run(guest, open(guest), cancel, ...after)
    assert.equal(host.status(cancel), Status.Ok)
    assert.deepEqual(host.statuses(...after), [Status.NotFound, Status.NotFound, Status.NotFound])
    const [exchange] = host.grpcCalls.exchanges
    assert.equal(exchange!.state, 'cancelled')
    exchange!.events.message(Buffer.from('late'))
    exchange!.events.close(0, '')
    assert.deepEqual(grpcEvents(host), [])
    assert.equal(phase, Outcome.Continue)
    assert.equal(host.plugin.status().calls, 0)
  }
})

test('a stream that is cancelled in one of its callbacks has no others', async () => {
  const guest = new Guest().record(...CALLBACKS)
  guest.on('proxy_on_grpc_receive', guest.call('proxy_grpc_cancel', guest.parameter(1)))
  const { host } = await run(guest, grpcStream(guest))
  const { events } = host.grpcCalls.exchanges[0]!
  for (const message of ['a', 'b']) events.message(Buffer.from(message))
  assert.deepEqual(grpcEvents(host), ['grpc_receive(1, 1, 1)'])
})

test('C-206 proxy_grpc_send with the id of an http or a unary call is BadArgument', async () => {
  const guest = new Guest()
  const sends = [send(guest, 1, 'a'), send(guest, 2, 'a')]
  const ends = [guest.call('proxy_grpc_cancel', 1), guest.call('proxy_grpc_close', 1)]
  const { host } = await run(guest, httpCall(guest), grpcCall(guest), ...sends, ...ends)
  for (const call of [...sends, ...ends]) assert.equal(host.status(call), Status.BadArgument)
  assert.equal(host.httpCalls.sent[0]!.state, 'outstanding')
  assert.deepEqual(host.grpcCalls.exchanges[0]!.messages, ['hello'])
})

test('C-207 an id that nothing has is NotFound', async () => {
  const guest = new Guest()
  const calls = [0, 7, -1].flatMap((id) => [
    send(guest, id, 'a'),
    guest.call('proxy_grpc_cancel', id),
    guest.call('proxy_grpc_close', id)
  ])
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.NotFound)
})

test('C-193 proxy_get_status of a failed http call is 11 and a reason, of an answered one 0', async () => {
  const guest = new Guest()
  const codes = [guest.cell(), guest.cell()]
  const statuses = codes.map((code) => guest.call('proxy_get_status', code, guest.result()))
  guest.on('proxy_on_http_call_response', guest.when(1, 1, statuses[0]!), guest.when(1, 2, statuses[1]!))
  const { host } = await run(guest, httpCall(guest), httpCall(guest))
  host.httpCalls.sent[0]!.done(undefined, 'no answer in 50 ms')
  host.httpCalls.answer(1)
  assert.deepEqual(host.statuses(...statuses), [Status.Ok, Status.Ok])
  assert.deepEqual(
    codes.map((code) => host.u32(code)),
    [11, 0]
  )
  assert.deepEqual(
    statuses.map((status) => host.text(status)),
    ['no answer in 50 ms', '']
  )
})

test('proxy_get_status with a cell outside of the memory is InvalidMemoryAccess', async () => {
  const guest = new Guest()
  const calls = [
    guest.call('proxy_get_status', 0x7fffff00, guest.result()),
    guest.call('proxy_get_status', guest.cell(), 0x7fffff00, guest.cell()),
    guest.call('proxy_get_status', guest.cell(), guest.cell(), 0x7fffff00)
  ]
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.InvalidMemoryAccess)
})
