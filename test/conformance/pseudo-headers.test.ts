import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { parsePairs, serializePairs } from '../../lib/host/byte-pairs.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Call, Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// The statements about pseudo-headers.

const REQUEST = [':method', 'GET', ':path', '/', ':authority', 'test.example', ':scheme', 'http']

async function run(guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  const stream = new FakeStream(['x-a', '1'])
  host.open(stream).requestHeaders(true)
  return { host, stream, headers: stream.requestHeaders.entries() }
}

async function respond(guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_response_headers', ...calls))
  const stream = new FakeStream()
  const context = host.open(stream)
  stream.respond()
  context.responseHeaders(true)
  return { host, headers: stream.responseHeaders.entries() }
}

test('C-132 the pseudo-headers of a request come first', async () => {
  const guest = new Guest()
  const pairs = guest.call('proxy_get_header_map_pairs', 0, guest.result())
  const { host } = await run(guest, pairs)
  assert.deepEqual(parsePairs(host.bytes(pairs)!), [...REQUEST, 'x-a', '1'])
})

for (const [statement, name, value] of [
  ['C-133', ':path', '/other?a=b'],
  ['C-134', ':method', 'PURGE'],
  ['C-135', ':authority', 'other.example:8080']
] as const) {
  for (const operation of ['replace', 'add']) {
    test(`${statement} ${operation} sets ${name}`, async () => {
      const guest = new Guest()
      const set = guest.call(`proxy_${operation}_header_map_value`, 0, guest.text(name), guest.text(value))
      const { host, headers } = await run(guest, set)
      assert.equal(host.status(set), Status.Ok)
      assert.deepEqual(headers, [...REQUEST.with(REQUEST.indexOf(name) + 1, value), 'x-a', '1'])
    })
  }
}

test('what is no method, path or authority is refused', async () => {
  const guest = new Guest()
  const refused = [
    [':path', 'no-slash'],
    [':path', '/a b'],
    [':path', ''],
    [':method', 'GET /'],
    [':method', ''],
    [':authority', 'a b'],
    [':scheme', '1'],
    [':status', '200']
  ] as const
  const calls = refused.map(([name, value]) =>
    guest.call('proxy_replace_header_map_value', 0, guest.text(name), guest.text(value))
  )
  const { host, headers } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
  assert.deepEqual(headers, [...REQUEST, 'x-a', '1'])
})

test('C-136 host is another name of :authority', async () => {
  const guest = new Guest()
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('Host'), guest.result())
  const set = guest.call('proxy_replace_header_map_value', 0, guest.text('host'), guest.text('other.example'))
  const { host, headers } = await run(guest, get, set)
  assert.equal(host.text(get), 'test.example')
  assert.deepEqual(headers, [...REQUEST.with(5, 'other.example'), 'x-a', '1'])
})

test('C-137 replace of :status changes the response', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_replace_header_map_value', 2, guest.text(':status'), guest.text('418'))
  const { host, headers } = await respond(guest, set)
  assert.equal(host.status(set), Status.Ok)
  assert.deepEqual(headers, [':status', '418'])
})

test('C-138 a :status that is no status is refused', async () => {
  const guest = new Guest()
  const calls = ['abc', '', '99', '1000', '200 ', '101'].map((value) =>
    guest.call('proxy_replace_header_map_value', 2, guest.text(':status'), guest.text(value))
  )
  const { host, headers } = await respond(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
  assert.deepEqual(headers, [':status', '200'])
})

test('C-139 pseudo-headers, and host, cannot be removed: Ok without effect', async () => {
  const guest = new Guest()
  const calls = [':path', 'host', ':unknown'].map((name) =>
    guest.call('proxy_remove_header_map_value', 0, guest.text(name))
  )
  const { host, headers } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.Ok)
  assert.deepEqual(headers, [...REQUEST, 'x-a', '1'])
})

test('C-140 set pairs without pseudo-headers keeps those that were there, and takes those that it has', async () => {
  const guest = new Guest()
  const bytes = serializePairs(['x-b', '2', ':path', '/new'])
  const set = guest.call('proxy_set_header_map_pairs', 0, guest.text(bytes))
  const { host, headers } = await run(guest, set)
  assert.equal(host.status(set), Status.Ok)
  assert.deepEqual(headers, [...REQUEST.with(3, '/new'), 'x-b', '2'])
})

test('C-141 get_header_map_size answers the size of the serialized pairs', async () => {
  const guest = new Guest()
  const size = guest.cell()
  const sized = guest.call('proxy_get_header_map_size', 0, size)
  const pairs = guest.call('proxy_get_header_map_pairs', 0, guest.result())
  const { host } = await run(guest, sized, pairs)
  assert.equal(host.status(sized), Status.Ok)
  assert.equal(host.u32(size), host.cells(pairs)[1])
})
