import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import type { PropertyValue } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// As far as it is the host's: paths, encodings, and what filters set.

function get(guest: Guest, path: string): Call {
  return guest.call('proxy_get_property', guest.text(path), guest.result())
}

function set(guest: Guest, path: string, value: string): Call {
  return guest.call('proxy_set_property', guest.text(path), guest.text(value))
}

const int = (value: bigint) => {
  const bytes = Buffer.alloc(8)
  bytes.writeBigInt64LE(value)
  return bytes
}

const now = BigInt(Date.now()) * 1_000_000n
for (const [sentence, value, expected] of [
  ['C-245 C-246 a text is its bytes, without a NUL', '/a?b=\xe9', Buffer.from([0x2f, 0x61, 0x3f, 0x62, 0x3d, 0xe9])],
  ['bytes are themselves', Buffer.from([0, 255]), Buffer.from([0, 255])],
  ['C-249 an integer is 8 bytes, little-endian', 8080, int(8080n)],
  ['a negative integer is two’s complement', -2, int(-2n)],
  ['C-250 a time is 8 bytes of nanoseconds', now, int(now)],
  ['C-251 true is one byte', true, Buffer.from([1])],
  ['C-251 false is one byte', false, Buffer.from([0])],
  ['a map is laid out as headers are', { pairs: ['a', '1'] }, serializePairs(['a', '1'])],
  ['an empty text is Ok', '', Buffer.alloc(0)]
] satisfies [string, PropertyValue, Buffer][]) {
  test(sentence, async () => {
    const guest = new Guest()
    const calls = [get(guest, 'some\0thing'), get(guest, 'some\0thing\0')]
    const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
    const stream = new FakeStream()
    stream.builtIn.set('some\0thing', value)
    host.open(stream).requestHeaders(true)
    // C-246: C++ ends the last segment with a NUL too.
    for (const call of calls) {
      assert.equal(host.status(call), Status.Ok)
      assert.deepEqual(host.bytes(call), expected)
    }
  })
}

test('C-247 C-248 an unknown path is NotFound, an empty one too', async () => {
  const guest = new Guest()
  const paths = ['unknown', '', '\0', '__proto__', 'constructor']
  const [stream, root] = [paths.map((path) => get(guest, path)), paths.map((path) => get(guest, path))]
  guest.on('proxy_on_request_headers', ...stream).on('proxy_on_configure', ...root)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  for (const call of [...stream, ...root]) assert.equal(host.status(call), Status.NotFound)
})

test('C-255 plugin_name is the configured name, in a root and in a stream', async () => {
  const guest = new Guest()
  const calls = [get(guest, 'plugin_name'), get(guest, 'plugin_name')]
  guest.on('proxy_on_configure', calls[0]!).on('proxy_on_request_headers', calls[1]!)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  for (const call of calls) assert.equal(host.text(call), 'test')
})

test('C-256 C-257 what a filter sets is there for the filters after it, and in on_log', async () => {
  const guest = new Guest()
  const [after, atLog] = [get(guest, 'k\0l'), get(guest, 'k\0l')]
  guest.on('proxy_on_request_headers', guest.when(0, 2, set(guest, 'k\0l\0', 'v')), guest.when(0, 3, after))
  const host = await startHost(guest.on('proxy_on_log', guest.when(0, 2, atLog)))
  const stream = new FakeStream()
  const contexts = [host.open(stream), host.open(stream)]
  for (const context of contexts) context.requestHeaders(true)
  for (const context of contexts) context.end(false)
  assert.deepEqual([host.text(after), host.text(atLog)], ['v', 'v'])
})

test('C-258 what is set on one stream is not there on another', async () => {
  const guest = new Guest()
  const other = get(guest, 'k')
  const host = await startHost(
    guest.on('proxy_on_request_headers', guest.when(0, 2, set(guest, 'k', 'v')), guest.when(0, 3, other))
  )
  host.open().requestHeaders(true)
  host.open().requestHeaders(true)
  assert.equal(host.status(other), Status.NotFound)
})

test('C-259 a root keeps what it sets for itself', async () => {
  const guest = new Guest()
  const [setting, own, stream, anotherRoot] = [set(guest, 'k', 'v'), get(guest, 'k'), get(guest, 'k'), get(guest, 'k')]
  guest.on('proxy_on_configure', guest.when(0, 1, setting, own), guest.when(0, 3, anotherRoot))
  const host = await startHost(guest.on('proxy_on_request_headers', stream))
  host.open().requestHeaders(true)
  host.open(new FakeStream(), host.another('other'))
  assert.deepEqual(host.statuses(setting, own), [Status.Ok, Status.Ok])
  assert.equal(host.text(own), 'v')
  assert.deepEqual(host.statuses(stream, anotherRoot), [Status.NotFound, Status.NotFound])
})

test('C-260 a built-in may be set, Ok, and keeps its value', async () => {
  const guest = new Guest()
  const setting = [set(guest, 'plugin_name', 'other'), set(guest, 'request\0path', '/other')]
  const reading = [get(guest, 'plugin_name'), get(guest, 'request\0path')]
  const host = await startHost(guest.on('proxy_on_request_headers', ...setting, ...reading))
  const stream = new FakeStream()
  stream.builtIn.set('request\0path', '/')
  host.open(stream).requestHeaders(true)
  assert.deepEqual(host.statuses(...setting), [Status.Ok, Status.Ok])
  assert.deepEqual(
    reading.map((call) => host.text(call)),
    ['test', '/']
  )
})
