import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { serializePairs } from '../../lib/host/byte-pairs.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from './fake-stream.ts'
import { Guest } from './guest.ts'
import { type Host, startHost } from './host.ts'

/** Opens a stream where the filter may not start. */
function tries(host: Host): boolean {
  return host.filter.open(new FakeStream()) !== undefined
}

test('a configuration that is refused is tried again at most once a second', async (t) => {
  let now = 5000
  t.mock.method(performance, 'now', () => now)
  const host = await startHost(new Guest().record('proxy_on_vm_start').returns('proxy_on_configure', 0))
  const { instance } = host
  assert.deepEqual([tries(host), tries(host)], [false, false])
  now += 999
  assert.equal(tries(host), false)
  assert.deepEqual(host.events(), ['vm_start(1, 0)', 'configure(1, 0)'])
  assert.deepEqual(
    host.log.lines.map(({ level, err }) => [level, err?.code]),
    [['error', 'FST_WASM_CONFIGURE_FAILED']]
  )
  now += 1
  assert.equal(tries(host), false)
  // The VM is started once; the id of the context that was refused is free again.
  assert.deepEqual(host.events().slice(2), ['configure(1, 0)'])
  assert.equal(host.plugin.instance(), instance)
})

test('a filter that is refused leaves another of the same plugin alone', async () => {
  const guest = new Guest().record('proxy_on_request_headers')
  // The first context is refused: 1 - 1 is 0.
  guest.on('proxy_on_configure', '(return (i32.sub (local.get 0) (i32.const 1)))')
  const host = await startHost(guest)
  assert.equal(tries(host), false)
  const other = host.another('other')
  const root = host.instance.takeId()
  assert.equal(root, 1)
  host.open(new FakeStream(), other).requestHeaders(true)
  assert.deepEqual(host.events(), ['configure(1, 0)', 'configure(2, 5)', 'request_headers(3, 4, 1)'])
})

for (const [what, callback, code] of [
  ['a start that traps', 'proxy_on_configure', 'FST_WASM_TRAP'],
  ['a module that cannot be initialized', '_initialize', 'FST_WASM_START_FAILED']
] as const) {
  test(`${what} is tried again at once, and then less and less often, each time with a fresh instance`, async (t) => {
    let now = 5000
    t.mock.method(performance, 'now', () => now)
    const host = await startHost(new Guest().on(callback, 'unreachable'))
    const instances = () => host.plugin.status().instances
    assert.deepEqual([tries(host), instances(), tries(host), instances()], [false, 1, false, 2])
    for (const [i, delay] of [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000].entries()) {
      now += delay - 1
      assert.deepEqual([tries(host), instances()], [false, i + 2])
      now += 1
      assert.deepEqual([tries(host), instances()], [false, i + 3])
    }
    const { failures, instance } = host.plugin.status()
    assert.deepEqual({ failures, instance }, { failures: 10, instance: null })
    const codes = host.log.lines.flatMap(({ err }) => err?.code ?? [])
    assert.deepEqual(new Set(codes), new Set([code]))
    const waits = host.log.messages().flatMap((message) => /it starts again (.*)$/.exec(message)?.[1] ?? [])
    const delays = [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]
    assert.deepEqual(waits, ['at once', ...delays.map((delay) => `in ${delay} ms`)])
  })
}

test('an instance that has been well for a minute is started anew at once', async (t) => {
  let now = 5000
  t.mock.method(performance, 'now', () => now)
  const host = await startHost(new Guest().on('proxy_on_request_headers', 'unreachable'))
  const exchange = async () => {
    const context = host.filter.open(new FakeStream())
    return context === undefined ? 'none' : context.requestHeaders(true)
  }
  assert.deepEqual([await exchange(), await exchange(), await exchange()], [Outcome.Failed, Outcome.Failed, 'none'])
  now += 500
  assert.notEqual(host.filter.open(new FakeStream()), undefined)
  now += 60_001
  assert.deepEqual([await exchange(), await exchange(), await exchange()], [Outcome.Failed, Outcome.Failed, 'none'])
})

test('a trap in the allocator while it is initialized counts as one failure', async () => {
  const guest = new Guest({ allocators: { malloc: 'unreachable' } })
  const host = await startHost(
    guest.on('_initialize', guest.call('proxy_get_property', guest.text('plugin_name'), guest.result()))
  )
  assert.equal(tries(host), false)
  const { instances, failures } = host.plugin.status()
  assert.deepEqual({ instances, failures }, { instances: 1, failures: 1 })
})

test('with one filter on two routes, requests in turn run in the contexts (1, 2), (3, 4), (1, 2), (3, 4)', async () => {
  const host = await startHost(new Guest().record('proxy_on_context_create'))
  const filters = [host.filter, host.another('other')]
  const ids: [number, number][] = []
  for (const filter of [...filters, ...filters]) {
    const context = host.open(new FakeStream(), filter)
    ids.push([context.root.id, context.id])
    context.end(false)
  }
  assert.deepEqual(ids, [
    [1, 2],
    [3, 4],
    [1, 2],
    [3, 4]
  ])
})

test('the last id that came free is used first', async () => {
  const host = await startHost(new Guest())
  const contexts = [host.open(), host.open(), host.open()]
  contexts[0]!.end(false)
  contexts[2]!.end(false)
  assert.deepEqual([host.open().id, host.open().id, host.open().id], [4, 2, 5])
})

test('an id is not used again while an answer for it may come', async () => {
  // A filter that ships its log: the call is dispatched when the stream is over.
  const guest = new Guest()
  const none = guest.text('')
  const call = guest.call('proxy_http_call', guest.text('log'), none, none, none, 0, guest.cell())
  guest.on('proxy_on_log', guest.when(0, 2, call))
  const choose = guest.call('proxy_set_effective_context', 2)
  const set = guest.call('proxy_add_header_map_value', 0, guest.text('x-secret'), guest.text('of another'))
  const host = await startHost(guest.on('proxy_on_http_call_response', choose, set))
  host.open().end(false)
  const stream = new FakeStream()
  assert.equal(host.open(stream).id, 3)
  host.httpCalls.answer(0)
  assert.deepEqual(host.statuses(choose, set), [2, 2])
  assert.equal(stream.requestHeaders.get('x-secret'), undefined)
  assert.equal(host.open().id, 2)
})

test('plugin contexts end with done and delete when they are closed, and the id is free', async () => {
  const host = await startHost(new Guest().record('proxy_on_done', 'proxy_on_delete'))
  host.open().end(false)
  const other = host.another('other')
  host.open(new FakeStream(), other).end(false)
  await host.filter.close()
  await host.filter.close()
  assert.deepEqual(host.events().slice(-2), ['done(1)', 'delete(1)'])
  const { plugin_contexts, http_contexts } = host.plugin.status()
  assert.deepEqual({ plugin_contexts, http_contexts }, { plugin_contexts: 1, http_contexts: 0 })
  assert.equal(host.open(new FakeStream(), host.another('third')).root.id, 1)
})

test('a filter that never started is closed at once', async () => {
  const host = await startHost(new Guest().record('proxy_on_done'))
  await host.filter.close()
  assert.deepEqual(host.events(), [])
})

test('a close waits for the streams, and for a root that is not done', async () => {
  const host = await startHost(new Guest().on('proxy_on_done', '(return (i32.ne (local.get 0) (i32.const 1)))'))
  const context = host.open()
  const order: string[] = []
  const close = host.filter.close().then(() => order.push('closed'))
  await turn()
  order.push('stream ends')
  context.end(false)
  await turn()
  order.push('root is done')
  assert.equal(context.root.pending, true)
  context.root.done()
  await close
  assert.deepEqual(order, ['stream ends', 'root is done', 'closed'])
})

test('a close is over when the instance fails', async () => {
  const host = await startHost(new Guest().on('proxy_on_done', 'unreachable'))
  const context = host.open()
  await host.filter.close()
  context.end(false)
  assert.deepEqual(host.plugin.status().instance, null)
})

test('the status tells what is alive', async () => {
  const guest = new Guest().returns('proxy_on_request_headers', 1)
  const pairs = guest.text(serializePairs([':path', '/']))
  const none = guest.text('')
  guest.on(
    'proxy_on_request_headers',
    guest.call('proxy_http_call', guest.text('a'), pairs, none, none, 0, guest.cell())
  )
  const host = await startHost(guest)
  assert.equal(host.plugin.status().instance, null)
  host.open().requestHeaders(true)
  const status = host.plugin.status()
  assert.match(status.digest, /^[0-9a-f]{64}$/)
  assert.equal(status.instance?.memory_bytes, 4 * 65536)
  assert.deepEqual(
    [status.abi_version, status.plugin_contexts, status.http_contexts, status.calls, status.instances, status.failures],
    ['0.2.1', 1, 1, 1, 1, 0]
  )
})
