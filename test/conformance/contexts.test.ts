import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { bump, Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// Effective contexts, and what is left after a trap.

/** Calls from the root, so that a callback of the root comes when the test answers. */
function rootCall(guest: Guest): string {
  const none = guest.text('')
  return guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell()).wat
}

test('C-061 an unknown id is no effective context, and the current one stays', async () => {
  const guest = new Guest()
  const chosen = guest.call('proxy_set_effective_context', 99)
  const set = guest.call('proxy_add_header_map_value', 0, guest.text('x-a'), guest.text('1'))
  const host = await startHost(guest.on('proxy_on_request_headers', chosen, set))
  const stream = new FakeStream()
  host.open(stream).requestHeaders(true)
  assert.deepEqual(host.statuses(chosen, set), [Status.BadArgument, Status.Ok])
  assert.equal(stream.requestHeaders.get('x-a'), '1')
})

test('C-062 a callback of the root acts on the stream that it chose', async () => {
  const guest = new Guest()
  const without = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('0'))
  const chosen = guest.call('proxy_set_effective_context', 2)
  const replaced = guest.call('proxy_replace_header_map_value', 0, guest.text('x-a'), guest.text('2'))
  guest.on('proxy_on_configure', rootCall(guest)).on('proxy_on_http_call_response', without, chosen, replaced)
  const host = await startHost(guest)
  const streams = [new FakeStream(['x-a', '1']), new FakeStream(['x-a', '1'])]
  for (const stream of streams) host.open(stream)
  host.httpCalls.answer(0)
  assert.deepEqual(host.statuses(without, chosen, replaced), [Status.BadArgument, Status.Ok, Status.Ok])
  assert.deepEqual(
    streams.map((stream) => stream.requestHeaders.get('x-a')),
    ['2', '1']
  )
})

test('C-063 the choice ends with the callback', async () => {
  const guest = new Guest()
  const chosen = guest.call('proxy_set_effective_context', 2)
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  guest.on('proxy_on_configure', rootCall(guest), rootCall(guest))
  guest.on('proxy_on_http_call_response', guest.when(1, 1, chosen), guest.when(1, 2, get))
  const host = await startHost(guest)
  host.open(new FakeStream(['x-a', '1']))
  host.httpCalls.answer(0)
  host.httpCalls.answer(1)
  assert.deepEqual(host.statuses(chosen, get), [Status.Ok, Status.NotFound])
})

test('C-064 when the chosen context is deleted meanwhile, the current one is acted on', async () => {
  const guest = new Guest()
  const chosen = guest.call('proxy_set_effective_context', 2)
  const close = guest.call('proxy_close_stream', 0)
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  guest.on('proxy_on_configure', rootCall(guest)).on('proxy_on_http_call_response', chosen, close, get)
  const host = await startHost(guest)
  const stream = new FakeStream(['x-a', '1'])
  stream.reset = () => stream.contexts[0]!.end(true)
  host.open(stream)
  host.httpCalls.answer(0)
  assert.deepEqual(host.statuses(chosen, close, get), [Status.Ok, Status.Ok, Status.NotFound])
  const again = host.open()
  assert.equal(again.id, 2, 'the id is free for the next')
})

test('C-065 the allocator leaves the effective context as it is', async () => {
  const guest = new Guest({ allocators: { malloc: bump } })
  const get = () => guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  const [first, second] = [get(), get()]
  guest.on('proxy_on_configure', rootCall(guest))
  guest.on('proxy_on_http_call_response', guest.call('proxy_set_effective_context', 2), first, second)
  const host = await startHost(guest)
  host.open(new FakeStream(['x-a', 'one']))
  host.httpCalls.answer(0)
  assert.equal(host.allocations().length, 2)
  assert.equal(host.text(second), 'one')
})

const ALL = [
  'proxy_on_request_headers',
  'proxy_on_request_body',
  'proxy_on_response_headers',
  'proxy_on_response_body',
  'proxy_on_http_call_response',
  'proxy_on_done',
  'proxy_on_log',
  'proxy_on_delete'
]

test('C-066 after a trap no export of the instance is called again', async () => {
  const guest = new Guest()
  const none = guest.text('')
  const call = guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell())
  guest.record(...ALL).on('proxy_on_request_headers', call, guest.when(0, 3, 'unreachable'))
  const host = await startHost(guest)
  const [waiting, trapped] = [host.open(), host.open()]
  const phase = waiting.requestHeaders(false)
  assert.equal(trapped.requestHeaders(true), Outcome.Failed)
  const before = host.events()

  assert.equal(await phase, Outcome.Failed, 'another stream of the instance is told')
  assert.deepEqual(
    host.httpCalls.sent.map(({ state }) => state),
    ['aborted', 'aborted']
  )
  host.httpCalls.sent[0]!.done(undefined)
  const body = { bytes: Buffer.from('x'), changed: false }
  for (const context of [waiting, trapped]) {
    assert.equal(context.requestBodyPhase(body), Outcome.Failed)
    assert.equal(context.responseHeaders(false), Outcome.Failed)
    assert.equal(context.responseBodyPhase(body, true), Outcome.Failed)
    context.end(false)
  }
  await host.filter.close()
  assert.deepEqual(host.events(), before)
})

test('C-069 after a trap the next request gets a fresh instance', async () => {
  const guest = new Guest().on('proxy_on_request_headers', '(if (local.get 2) (then unreachable))')
  const host = await startHost(guest)
  assert.equal(host.open().requestHeaders(true), Outcome.Failed)
  const { instance } = host
  const fresh = host.open()
  assert.notEqual(fresh.instance, instance)
  assert.equal(fresh.requestHeaders(false), Outcome.Continue)
  const { instances, failures } = host.plugin.status()
  assert.deepEqual({ instances, failures }, { instances: 2, failures: 1 })
})

test('C-071 proc_exit in a callback ends the instance, and nothing else', async () => {
  const guest = new Guest()
  const host = await startHost(guest.on('proxy_on_request_headers', guest.call('proc_exit', 3), guest.mark('returned')))
  const stream = new FakeStream()
  assert.equal(host.open(stream).requestHeaders(true), Outcome.Failed)
  assert.match(host.instance.failure!.message, /proc_exit\(3\)/)
  assert.ok(!host.events().includes('returned'))
  assert.equal(stream.log.lines.at(-1)?.err?.code, 'FST_WASM_TRAP')
})
