import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { type Argument, type Call, Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

/** Runs the calls in a request body callback. */
async function run(text: string, guest: Guest, ...calls: Call[]) {
  const host = await startHost(guest.on('proxy_on_request_body', ...calls))
  const body = { bytes: Buffer.from(text), changed: false }
  host.open().requestBodyPhase(body)
  return { host, body }
}

for (const [sentence, start, max, expected] of [
  ['C-142 a range of the body is read', 1, 3, 'ell'],
  ['C-143 what starts past the end is empty', 10, 3, ''],
  ['C-144 the largest number asks for all', 0, -1, 'hello'],
  ['C-144 the largest positive number asks for all that is left', 2, 0x7fffffff, 'llo'],
  ['C-145 nothing is read when nothing is asked for', 0, 0, '']
] as const) {
  test(sentence, async () => {
    const guest = new Guest()
    const get = guest.call('proxy_get_buffer_bytes', 0, start, max, guest.result())
    const { host } = await run('hello', guest, get)
    assert.equal(host.status(get), Status.Ok)
    assert.equal(host.text(get), expected)
    if (expected === '') assert.deepEqual(host.cells(get), [0, 0])
  })
}

test('C-146 there is no buffer 9', async () => {
  const guest = new Guest()
  const calls = [9, -1].flatMap((type) => [
    guest.call('proxy_get_buffer_bytes', type, 0, 9, guest.result()),
    guest.call('proxy_get_buffer_status', type, guest.cell(), guest.cell()),
    guest.call('proxy_set_buffer_bytes', type, 0, 0, guest.text('x'))
  ])
  const { host } = await run('hello', guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
})

test('C-147 buffers that are not there now are NotFound', async () => {
  const guest = new Guest()
  const types = [0, 1, 2, 3, 4, 5, 8]
  const calls = types.flatMap((type) => [
    guest.call('proxy_get_buffer_bytes', type, 0, 9, guest.result()),
    guest.call('proxy_get_buffer_status', type, guest.cell(), guest.cell())
  ])
  guest.record('proxy_on_request_body').on('proxy_on_response_headers', ...calls)
  const host = await startHost(guest)
  const stream = new FakeStream()
  const context = host.open(stream)
  context.requestBodyPhase({ bytes: Buffer.from('hello'), changed: false })
  context.responseHeaders(true)
  for (const call of calls) assert.equal(host.status(call), Status.NotFound)
})

for (const [sentence, before, start, size, inserted, after] of [
  ['C-148 (0, 0) prepends', 'abc', 0, 0, 'x', 'xabc'],
  ['C-149 a start past the end appends', 'abc', 0x7fffffff, 0, 'x', 'abcx'],
  ['C-150 (0, all) replaces', 'abc', 0, 0x7fffffff, 'x', 'x'],
  ['C-151 (0, all) with nothing empties', 'abc', 0, -1, '', ''],
  ['C-152 a range in the middle is replaced', 'abcdef', 2, 2, 'XYZ', 'abXYZef'],
  ['an empty body is filled', '', 0, 0, 'x', 'x']
] as const) {
  test(sentence, async () => {
    const guest = new Guest()
    const set = guest.call('proxy_set_buffer_bytes', 0, start, size, guest.text(inserted))
    const get = guest.call('proxy_get_buffer_bytes', 0, 0, 100, guest.result())
    const { host, body } = await run(before, guest, set, get)
    assert.equal(host.status(set), Status.Ok)
    assert.equal(host.text(get), after)
    assert.deepEqual(body, { bytes: Buffer.from(after), changed: true })
  })
}

test('C-153 configurations and call answers are read-only, and so is a body outside of its callback', async () => {
  const guest = new Guest()
  const set = (type: number, ...range: Argument[]) =>
    guest.call('proxy_set_buffer_bytes', type, ...range, guest.text('x'))
  const calls = [1, 2, 3, 4, 5, 6, 7, 8].map((type) => set(type, 0, 0))
  const { host, body } = await run('hello', guest, ...calls)
  for (const call of calls) assert.equal(host.status(call), Status.BadArgument)
  assert.equal(body.changed, false)
})

test('C-156 the status of a buffer is its size, and no flags', async () => {
  const guest = new Guest()
  const [size, flags] = [guest.cell(), guest.cell()]
  const status = guest.call('proxy_get_buffer_status', 0, size, flags)
  const { host } = await run('abc', guest, status)
  assert.equal(host.status(status), Status.Ok)
  assert.deepEqual([host.u32(size), host.u32(flags)], [3, 0])
})

test('C-157 the next filter sees the chunk as the one before it has left it', async () => {
  const guest = new Guest()
  const append = guest.call('proxy_set_buffer_bytes', 1, 0x7fffffff, 0, guest.text('!'))
  const get = guest.call('proxy_get_buffer_bytes', 1, 0, 100, guest.result())
  const host = await startHost(guest.on('proxy_on_response_body', get, append))
  const stream = new FakeStream()
  const chunk = { bytes: Buffer.from('hello'), changed: false }
  for (const context of [host.open(stream), host.open(stream)]) context.responseBodyPhase(chunk, true)
  assert.equal(host.text(get), 'hello!')
  assert.equal(chunk.bytes.toString(), 'hello!!')
})

test('the body that was given is not written into', async () => {
  const guest = new Guest()
  const original = Buffer.from('hello')
  const host = await startHost(
    guest.on('proxy_on_request_body', guest.call('proxy_set_buffer_bytes', 0, 0, 5, guest.text('HELLO')))
  )
  const body = { bytes: original, changed: false }
  host.open().requestBodyPhase(body)
  assert.equal(body.bytes.toString(), 'HELLO')
  assert.equal(original.toString(), 'hello')
})
