import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { bump, Guest, type GuestOptions, UNTOUCHED } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

const OUTSIDE = 0x7fffff00

/** Runs the calls in a request headers callback. */
async function run(guest: Guest, ...calls: ReturnType<Guest['call']>[]) {
  const host = await startHost(guest.on('proxy_on_request_headers', ...calls))
  const stream = new FakeStream(['x-a', 'one', 'x-empty', ''])
  host.open(stream).requestHeaders(true)
  return { host, stream }
}

function getHeader(options: GuestOptions, name: string) {
  const guest = new Guest(options)
  return { guest, get: guest.call('proxy_get_header_map_value', 0, guest.text(name), guest.result()) }
}

test('C-025 an empty header value is Ok, with pointer 0 and size 0', async () => {
  const { guest, get } = getHeader({}, 'x-empty')
  const { host } = await run(guest, get)
  assert.equal(host.status(get), Status.Ok)
  assert.deepEqual(host.cells(get), [0, 0])
})

test('C-026 an empty result is given without calling the allocator', async () => {
  const guest = new Guest({ allocators: { malloc: 'unreachable' } })
  const calls = [
    guest.call('proxy_get_header_map_value', 0, guest.text('x-empty'), guest.result()),
    guest.call('proxy_get_header_map_pairs', 2, guest.result()),
    guest.call('proxy_get_buffer_bytes', 7, 0, 100, guest.result()),
    guest.call('proxy_get_property', guest.text('plugin_root_id'), guest.result())
  ]
  const { host } = await run(guest, ...calls)
  assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.Ok, Status.Ok, Status.Ok])
  for (const call of calls) assert.deepEqual(host.cells(call), [0, 0])
  assert.deepEqual(host.allocations(), [])
})

test('C-027 a result of n bytes is given with one call of the allocator, for n', async () => {
  const { guest, get } = getHeader({}, 'x-a')
  const { host } = await run(guest, get)
  assert.equal(host.text(get), 'one')
  assert.deepEqual(host.allocations(), ['memory_allocate(3)'])
})

test('C-028 when the allocator answers 0, or what lies outside, the call answers InvalidMemoryAccess', async () => {
  for (const answer of [0, OUTSIDE, -1]) {
    const { guest, get } = getHeader({ allocators: { malloc: `(i32.const ${answer})` } }, 'x-a')
    const { host } = await run(guest, get)
    assert.equal(host.status(get), Status.InvalidMemoryAccess)
    assert.equal(host.instance.failure, undefined)
  }
})

test('C-029 when the allocator grows the memory, the result is in the new memory', async () => {
  const grow = '(i32.mul (memory.grow (i32.const 3)) (i32.const 65536))'
  const { guest, get } = getHeader({ allocators: { malloc: grow } }, 'x-a')
  const { host } = await run(guest, get)
  assert.equal(host.status(get), Status.Ok)
  assert.equal(host.text(get), 'one')
  assert.ok(host.cells(get)[0] >= 4 * 65536)
})

test('C-030 result cells outside of the memory are InvalidMemoryAccess', async () => {
  const guest = new Guest()
  const name = guest.text('x-a')
  const cell = guest.cell()
  const calls = [
    guest.call('proxy_get_header_map_value', 0, name, OUTSIDE, cell),
    guest.call('proxy_get_header_map_value', 0, name, cell, 4 * 65536 - 3),
    guest.call('proxy_get_header_map_pairs', 0, OUTSIDE, cell),
    guest.call('proxy_get_header_map_size', 0, OUTSIDE),
    guest.call('proxy_get_buffer_bytes', 7, 0, 9, cell, OUTSIDE),
    guest.call('proxy_get_buffer_status', 7, OUTSIDE, cell),
    guest.call('proxy_get_property', guest.text('plugin_name'), OUTSIDE, cell),
    guest.call('proxy_get_log_level', OUTSIDE),
    guest.call('proxy_get_current_time_nanoseconds', 4 * 65536 - 7)
  ]
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.InvalidMemoryAccess)
  assert.deepEqual(host.allocations(), [])
  assert.equal(host.u32(cell), UNTOUCHED)
})

test('C-031 a key or value outside of the memory is InvalidMemoryAccess, and no header changes', async () => {
  const guest = new Guest()
  const name = guest.text('x-a')
  const result = guest.result()
  const calls = [
    guest.call('proxy_get_header_map_value', 0, OUTSIDE, 3, result),
    guest.call('proxy_add_header_map_value', 0, OUTSIDE, 3, name),
    guest.call('proxy_add_header_map_value', 0, name, OUTSIDE, 3),
    guest.call('proxy_replace_header_map_value', 0, name, 4 * 65536 - 2, 3),
    guest.call('proxy_remove_header_map_value', 0, OUTSIDE, 3),
    guest.call('proxy_set_header_map_pairs', 0, OUTSIDE, 3)
  ]
  const { host, stream } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.InvalidMemoryAccess)
  assert.deepEqual(stream.requestHeaders.entries().slice(8), ['x-a', 'one', 'x-empty', ''])
})

test('C-032 a range that would wrap at 2^32 is InvalidMemoryAccess', async () => {
  const guest = new Guest()
  const calls = [
    guest.call('proxy_log', 2, -16, 32),
    guest.call('proxy_log', 2, 16, -16),
    guest.call('proxy_set_property', guest.text('a'), -16, 32)
  ]
  const { host } = await run(guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.InvalidMemoryAccess)
})

for (const [statement, pointer] of [
  ['C-033', 0],
  ['C-034', 1],
  ['C-034', OUTSIDE]
] as const) {
  test(`${statement} an empty slice is empty, be its pointer ${pointer}`, async () => {
    const guest = new Guest()
    const replace = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), pointer, 0)
    const reply = guest.call('proxy_send_local_response', 200, pointer, 0, pointer, 0, pointer, 0, -1)
    const { host, stream } = await run(guest, replace, reply)
    assert.deepEqual(host.statuses(replace, reply), [Status.Ok, Status.Ok])
    assert.equal(stream.requestHeaders.get('x-a'), '')
    assert.deepEqual(stream.localResponses[0]?.headers, [])
  })
}

test('C-035 pointers above 2^31 are unsigned', async (t) => {
  // 2 GiB and one page; only the pages that are touched cost anything.
  const high = -0x80000000
  const allocators = { malloc: `(i32.const ${high + 1024})` }
  const guest = new Guest({ pages: 32769, allocators, extra: `(data (i32.const ${high}) "x-a")` })
  const get = guest.call('proxy_get_header_map_value', 0, high, 3, guest.result())
  const cells = guest.call('proxy_get_property', guest.text('plugin_name'), high + 2048, high + 2052)
  const host = await startHost(guest.on('proxy_on_request_headers', get, cells), { limits: { memoryMib: 0 } })
  try {
    host.plugin.instance()
  } catch (error) {
    return t.skip(`no memory of that size here: ${(error as Error).message}`)
  }
  host.open(new FakeStream(['x-a', 'one'])).requestHeaders(true)
  assert.deepEqual(host.statuses(get, cells), [Status.Ok, Status.Ok])
  assert.equal(host.cells(get)[0], 0x80000400)
  assert.equal(host.u32(0x80000000 + 2052), 4)
})

test('C-036 result cells need no alignment, and hold little-endian numbers', async () => {
  const guest = new Guest({ allocators: { malloc: bump } })
  const at = guest.cell(16).at
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), at + 1, at + 7)
  const { host } = await run(guest, get)
  assert.equal(host.status(get), Status.Ok)
  assert.equal(host.u32(at + 1), 131072)
  assert.equal(host.u32(at + 7), 3)
})

test('C-037 an exception in the host is InternalFailure to the guest, which goes on', async () => {
  const guest = new Guest()
  const property = guest.call('proxy_get_property', guest.text('broken'), guest.result())
  const print = guest.call('fd_write', 1, guest.iovs('hello\n'), guest.cell())
  const host = await startHost(guest.on('proxy_on_request_headers', property, print, guest.mark('went on')))
  const stream = new FakeStream()
  stream.getProperty = () => {
    throw new Error('the gateway is broken')
  }
  stream.log.info = () => {
    throw new Error('the log is broken')
  }
  host.open(stream).requestHeaders(true)
  assert.equal(host.status(property), Status.InternalFailure)
  assert.equal(host.status(print), 29)
  assert.deepEqual(host.events().at(-1), 'went on')
  assert.equal(host.instance.failure, undefined)
  assert.deepEqual(stream.log.messages('error'), [
    'proxy_get_property failed in the host',
    'fd_write failed in the host'
  ])
})
