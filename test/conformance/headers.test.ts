import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { parsePairs, serializePairs } from '../../lib/host/byte-pairs.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest, type GuestOptions } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// Pseudo-headers: pseudo-headers.test.ts.

/** Runs the calls in one request headers callback, over `x-a: 1`, `x-a: 2`, `x-b: 3`. */
async function run(guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  const stream = new FakeStream(['x-a', '1', 'x-a', '2', 'x-b', '3'])
  host.open(stream).requestHeaders(true)
  return { host, stream, headers: stream.requestHeaders.entries().slice(8) }
}

function get(guest: Guest, name: string, map: number = 0): Call {
  return guest.call('proxy_get_header_map_value', map, guest.text(name), guest.result())
}

test('C-100 a: 1 and b: 22 are laid out as the specification means it', () => {
  const expected = '02000000 01000000 01000000 01000000 02000000 6100 3100 6200 323200'.replaceAll(' ', '')
  assert.equal(serializePairs(['a', '1', 'b', '22']).toString('hex'), expected)
})

test('C-101 C-124 an empty map, or one that is not there yet, has pairs of pointer 0 and size 0', async () => {
  const guest = new Guest()
  const maps = [1, 2, 3, 4, 5, 6, 7]
  const pairs = maps.map((map) => guest.call('proxy_get_header_map_pairs', map, guest.result()))
  const size = guest.cell()
  const sized = guest.call('proxy_get_header_map_size', 2, size)
  const { host } = await run(guest, ...pairs, sized)
  for (const call of pairs) {
    assert.equal(host.status(call), Status.Ok)
    assert.deepEqual(host.cells(call), [0, 0])
  }
  assert.equal(host.status(sized), Status.Ok)
  assert.equal(host.u32(size), 0)
})

for (const [sentence, bytes] of [
  ['C-102 a count of zero is an empty list of headers', Buffer.alloc(4)],
  ['C-103 no bytes at all are an empty list of headers', Buffer.alloc(0)]
] as const) {
  test(sentence, async () => {
    const guest = new Guest()
    const none = guest.text('')
    const reply = guest.call('proxy_send_local_response', 200, none, none, guest.text(bytes), -1)
    const call = guest.call('proxy_http_call', guest.text('a'), none, none, guest.text(bytes), 0, guest.cell())
    const { host, stream } = await run(guest, reply, call)
    assert.deepEqual(host.statuses(reply, call), [Status.Ok, Status.Ok])
    assert.deepEqual(stream.localResponses[0]?.headers, [])
    assert.deepEqual(host.httpCalls.sent[0]?.trailers, [])
  })
}

const good = serializePairs(['x-c', '4'])
const many = Buffer.alloc(4 + 2000 * 10)
many.writeUInt32LE(2000)
for (const [sentence, bytes] of [
  [
    'C-104 pairs without a NUL at the end of a value are refused',
    Buffer.concat([good.subarray(0, -1), Buffer.from('x')])
  ],
  ['C-105 pairs with bytes after the last NUL are refused', Buffer.concat([good, Buffer.from('x')])],
  ['C-106 more pairs than 1024 are refused', many]
] as const) {
  test(sentence, async () => {
    const guest = new Guest()
    const set = guest.call('proxy_set_header_map_pairs', 0, guest.text(bytes))
    const { host, headers } = await run(guest, set)
    assert.equal(host.status(set), Status.BadArgument)
    assert.deepEqual(headers, ['x-a', '1', 'x-a', '2', 'x-b', '3'])
  })
}

test('C-107 C-108 bytes above 0x7f pass as they are, both ways', async () => {
  const guest = new Guest()
  const read = get(guest, 'x-in')
  const write = guest.call('proxy_add_header_map_value', 0, guest.text('x-out'), guest.text(Buffer.from([0x61, 0xe9])))
  const host = await startHost(guest.on('proxy_on_request_headers', read, write))
  const stream = new FakeStream(['x-in', '\xe9\xff'])
  host.open(stream).requestHeaders(true)
  assert.deepEqual(host.bytes(read), Buffer.from([0xe9, 0xff]))
  assert.equal(stream.requestHeaders.get('x-out'), 'a\xe9')
})

test('C-109 C-110 names are read, and written, in lower case', async () => {
  const guest = new Guest()
  const read = get(guest, 'X-B')
  const write = guest.call('proxy_add_header_map_value', 0, guest.text('X-New'), guest.text('N'))
  const pairs = guest.call('proxy_get_header_map_pairs', 0, guest.result())
  const { host } = await run(guest, read, write, pairs)
  assert.equal(host.text(read), '3')
  assert.deepEqual(parsePairs(host.bytes(pairs)!)?.slice(-2), ['x-new', 'N'])
})

for (const [statement, abi, status] of [
  ['C-111', '0_2_0', Status.NotFound],
  ['C-111', '0_2_1', Status.NotFound],
  ['C-112', '0_1_0', Status.Ok]
] as const) {
  test(`${statement} a header that is not there answers ${status} in ABI ${abi}`, async () => {
    const options: GuestOptions = { abi }
    const guest = new Guest(options)
    const read = get(guest, 'x-none')
    const { host } = await run(guest, read)
    assert.equal(host.status(read), status)
    if (status === Status.Ok) assert.deepEqual(host.cells(read), [0, 0])
    else assert.equal(host.bytes(read), undefined)
  })
}

test('C-113 C-114 of a repeated header get answers the first value, and pairs have all in order', async () => {
  const guest = new Guest()
  const read = get(guest, 'x-a')
  const pairs = guest.call('proxy_get_header_map_pairs', 0, guest.result())
  const { host } = await run(guest, read, pairs)
  assert.equal(host.text(read), '1')
  assert.deepEqual(parsePairs(host.bytes(pairs)!)?.slice(8), ['x-a', '1', 'x-a', '2', 'x-b', '3'])
})

for (const [sentence, operation, name, expected] of [
  ['C-115 replace leaves one value of a repeated header', 'replace', 'x-a', ['x-a', 'new', 'x-b', '3']],
  ['C-116 replace adds a header', 'replace', 'x-c', ['x-a', '1', 'x-a', '2', 'x-b', '3', 'x-c', 'new']],
  ['C-117 remove removes all values', 'remove', 'x-a', ['x-b', '3']],
  ['C-118 remove of what is not there is Ok', 'remove', 'x-c', ['x-a', '1', 'x-a', '2', 'x-b', '3']],
  ['C-119 add keeps the value that is there', 'add', 'x-b', ['x-a', '1', 'x-a', '2', 'x-b', '3', 'x-b', 'new']]
] as const) {
  test(sentence, async () => {
    const guest = new Guest()
    const value = operation === 'remove' ? [] : [guest.text('new')]
    const call = guest.call(`proxy_${operation}_header_map_value`, 0, guest.text(name), ...value)
    const { host, headers } = await run(guest, call)
    assert.equal(host.status(call), Status.Ok)
    assert.deepEqual(headers, expected)
  })
}

test('set pairs puts other headers in place of all', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_set_header_map_pairs', 0, guest.text(serializePairs(['X-C', '4', 'x-c', '5'])))
  const { host, headers } = await run(guest, set)
  assert.equal(host.status(set), Status.Ok)
  assert.deepEqual(headers, ['x-c', '4', 'x-c', '5'])
})

test('C-121 C-122 names and values that HTTP does not allow are refused', async () => {
  const guest = new Guest()
  const refused = [
    ['x-c', 'a\r\nx-evil: 1'],
    ['x-c', 'a\n'],
    ['x-c', 'a\0'],
    ['x-c\r\n', 'a'],
    ['x c', 'a'],
    ['', 'a'],
    [':unknown', 'a']
  ] as const
  const calls = refused.flatMap(([name, value]) => [
    guest.call('proxy_add_header_map_value', 0, guest.text(name), guest.text(value)),
    guest.call('proxy_replace_header_map_value', 0, guest.text(name), guest.text(value)),
    guest.call('proxy_set_header_map_pairs', 0, guest.text(serializePairs([name, value])))
  ])
  const { host, headers } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
  assert.deepEqual(headers, ['x-a', '1', 'x-a', '2', 'x-b', '3'])
})

test('C-123 there is no map 8', async () => {
  const guest = new Guest()
  const name = guest.text('x-a')
  const calls = [8, -1].flatMap((map) => [
    get(guest, 'x-a', map),
    guest.call('proxy_get_header_map_size', map, guest.cell()),
    guest.call('proxy_get_header_map_pairs', map, guest.result()),
    guest.call('proxy_set_header_map_pairs', map, guest.text('')),
    guest.call('proxy_add_header_map_value', map, name, name),
    guest.call('proxy_replace_header_map_value', map, name, name),
    guest.call('proxy_remove_header_map_value', map, name)
  ])
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
})

test('C-125 a header of a response that is not there yet is NotFound, though it can be set', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_add_header_map_value', 2, guest.text('x-a'), guest.text('1'))
  const read = get(guest, 'x-a', 2)
  const { host, stream } = await run(guest, set, read)
  assert.deepEqual(host.statuses(set, read), [Status.Ok, Status.NotFound])
  assert.equal(stream.responseHeaders.get('x-a'), '1')
})

test('C-126 the headers of a call answer are read-only', async () => {
  const guest = new Guest()
  const none = guest.text('')
  guest.on('proxy_on_configure', guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell()))
  const add = guest.call('proxy_add_header_map_value', 6, guest.text('x-a'), guest.text('1'))
  const remove = guest.call('proxy_remove_header_map_value', 6, guest.text('x-a'))
  const host = await startHost(guest.on('proxy_on_http_call_response', add, remove))
  host.open()
  host.httpCalls.answer(0, { headers: [':status', '200', 'x-a', '0'] })
  assert.deepEqual(host.statuses(add, remove), [Status.BadArgument, Status.BadArgument])
})

test('C-127 C-130 headers that are sent are read-only', async () => {
  for (const callback of ['proxy_on_request_body', 'proxy_on_log']) {
    const guest = new Guest()
    const replace = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('new'))
    const set = guest.call('proxy_set_header_map_pairs', 0, guest.text(good))
    const host = await startHost(guest.on(callback, replace, set))
    const stream = new FakeStream(['x-a', '1'])
    stream.requestHeaders.writable = false
    const context = host.open(stream)
    context.requestBodyPhase({ bytes: Buffer.alloc(0), changed: false })
    context.end(false)
    assert.deepEqual(host.statuses(replace, set), [Status.BadArgument, Status.BadArgument])
    assert.equal(stream.requestHeaders.get('x-a'), '1')
  }
})

test('C-128 C-129 request headers are there with the response, and both in on_log', async () => {
  const guest = new Guest()
  const [early, request, response] = [get(guest, 'x-a'), get(guest, 'x-a'), get(guest, 'x-r', 2)]
  guest.on('proxy_on_response_headers', early).on('proxy_on_log', request, response)
  const host = await startHost(guest)
  const stream = new FakeStream(['x-a', '1'])
  const context = host.open(stream)
  stream.respond(['x-r', '2'])
  context.responseHeaders(true)
  context.end(false)
  assert.deepEqual(
    [early, request, response].map((call) => host.text(call)),
    ['1', '1', '2']
  )
})

for (const name of ['proxy_add_header_map_value', 'proxy_replace_header_map_value']) {
  test(`what a filter writes by ${name} is limited, in one exchange, as a whole map is`, async () => {
    const guest = new Guest({ pages: 40 })
    // 8 KiB each, and 64 bytes more that a header counts.
    const write = guest.call(name, 0, guest.text('x-a'), 200_000, 8192 - 64 - 3)
    const fill = '(memory.fill (i32.const 200000) (i32.const 97) (i32.const 8192))'
    const host = await startHost(guest.on('proxy_on_request_headers', fill, write))
    for (let exchange = 0; exchange < 2; exchange++) {
      const context = host.open()
      for (let i = 0; i < 128; i++) {
        context.requestHeaders(true)
        assert.equal(host.status(write), Status.Ok)
      }
      context.requestHeaders(true)
      assert.equal(host.status(write), Status.BadArgument)
    }
  })
}
