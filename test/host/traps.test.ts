import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from './fake-stream.ts'
import { Guest } from './guest.ts'
import { startHost } from './host.ts'

/** Runs a request headers callback that fails, and returns its stream. */
async function fails(guest: Guest, message: RegExp) {
  const host = await startHost(guest.record('proxy_on_done', 'proxy_on_log', 'proxy_on_delete'))
  const stream = new FakeStream(['x-a', 'one'])
  const context = host.open(stream)
  assert.equal(context.requestHeaders(true), Outcome.Failed)
  assert.match(host.instance.failure!.message, message)
  const [line, ...more] = stream.log.lines.filter(({ msg }) => msg.includes('failed to run'))
  assert.deepEqual(more, [], 'one line')
  assert.ok(line!.msg.startsWith('test: failed to run wasm plugin: failed to run proxy_on_request_headers: '))
  assert.ok(line!.msg.endsWith('; its requests are answered 503, and it starts again at once'))
  context.end(false)
  assert.equal(host.events().at(-1), 'request_headers(2, 5, 1)', 'nothing is called at the end of the stream')
  assert.equal(host.plugin.status().instance, null)
  assert.notEqual(host.open().instance, host.instance, 'the next stream has a fresh one')
  return stream
}

test('a trap fails the instance', async () => {
  await fails(new Guest().on('proxy_on_request_headers', 'unreachable'), /proxy_on_request_headers: unreachable/)
})

test('an access outside of the linear memory is a trap', async () => {
  await fails(new Guest().on('proxy_on_request_headers', '(drop (i32.load (i32.const -1)))'), /out of bounds/)
})

test('a stack overflow is a trap', async () => {
  const guest = new Guest({ extra: '(func $deep (param i32) (call $deep (local.get 0)) (call $deep (local.get 0)))' })
  await fails(guest.on('proxy_on_request_headers', '(call $deep (i32.const 1))'), /call stack/i)
})

test('what a module has printed when it traps is logged', async () => {
  const guest = new Guest()
  const print = guest.call('fd_write', 2, guest.iovs('panic: no more'), guest.cell())
  const stream = await fails(guest.on('proxy_on_request_headers', print, 'unreachable'), /unreachable/)
  assert.equal(stream.log.messages('error')[0], 'panic: no more')
})

test('a trap in the allocator is one of the callback, and the host function does not return to it', async () => {
  const guest = new Guest({ allocators: { malloc: 'unreachable' } })
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  const host = await startHost(guest.on('proxy_on_request_headers', get, guest.mark('went on')))
  const stream = new FakeStream(['x-a', 'one'])
  assert.equal(host.open(stream).requestHeaders(true), Outcome.Failed)
  assert.match(host.instance.failure!.message, /the allocator: unreachable/)
  assert.equal(host.status(get), undefined)
  assert.ok(!host.events().includes('went on'))
  assert.equal(stream.log.messages('error').length, 1)
})

test('proc_exit in the allocator is a trap too', async () => {
  const guest = new Guest({ allocators: { malloc: '(call $proc_exit (i32.const 0)) unreachable' } })
  guest.call('proc_exit', 0)
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  const host = await startHost(guest.on('proxy_on_request_headers', get))
  assert.equal(host.open(new FakeStream(['x-a', 'one'])).requestHeaders(true), Outcome.Failed)
  assert.match(host.instance.failure!.message, /proc_exit\(0\)/)
})

test('an allocator that asks the host for data, and so itself, without end is a trap', async () => {
  const guest = new Guest({
    allocators: {
      malloc: `(drop (call $proxy_get_property (i32.const 1024) (i32.const 11) (i32.const 60000) (i32.const 60004)))
        (i32.const 200000)`
    }
  })
  const get = guest.call('proxy_get_property', guest.text('plugin_name'), guest.result())
  const host = await startHost(guest.on('proxy_on_request_headers', get))
  assert.equal(host.open().requestHeaders(true), Outcome.Failed)
  assert.ok(host.instance.failure)
})

test('a trap at context_create fails the stream, and leaves nothing behind', async () => {
  // Where there is a parent.
  const host = await startHost(new Guest().on('proxy_on_context_create', '(if (local.get 1) (then unreachable))'))
  const context = host.open()
  assert.equal(context.failed, true)
  assert.equal(context.requestHeaders(true), Outcome.Failed)
  context.end(false)
  assert.equal(host.plugin.status().http_contexts, 0)
})

for (const callback of ['proxy_on_done', 'proxy_on_log', 'proxy_on_delete']) {
  test(`a trap at ${callback} leaves nothing behind`, async () => {
    const host = await startHost(new Guest().on(callback, 'unreachable'))
    const [context, other] = [host.open(), host.open()]
    context.end(false)
    assert.ok(host.instance.failure)
    assert.equal(other.requestHeaders(true), Outcome.Failed)
    other.end(true)
    await host.filter.close()
    assert.equal(host.instance.contexts.size, 0)
    assert.equal(host.plugin.status().failures, 1)
  })
}

test('a trap at the answer of a call fails the phase that waits for it', async () => {
  const guest = new Guest()
  const none = guest.text('')
  guest.on(
    'proxy_on_request_headers',
    guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell())
  )
  const host = await startHost(guest.on('proxy_on_http_call_response', 'unreachable'))
  const phase = host.open().requestHeaders(true)
  host.httpCalls.answer(0)
  assert.equal(await phase, Outcome.Failed)
})

test('an instance that has failed while a context waited for proxy_done is left alone', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const guest = new Guest().returns('proxy_on_done', 0).record('proxy_on_delete')
  const host = await startHost(guest.on('proxy_on_request_headers', 'unreachable'))
  host.open().end(false)
  host.open().requestHeaders(true)
  const events = host.events()
  t.mock.timers.tick(5000)
  assert.deepEqual(host.events(), events)
  await host.filter.close()
})

test('a module that catches what its allocator threw goes on in vain', async () => {
  const guest = new Guest({ allocators: { malloc: '(call $proc_exit (i32.const 1)) unreachable' } })
  guest.record('proxy_on_http_call_response', 'proxy_on_done').call('proc_exit', 1)
  const get = guest.call('proxy_get_header_map_value', 0, guest.text('x-a'), guest.result())
  const none = guest.text('')
  const call = guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell())
  guest.on('proxy_on_request_headers', `(try (do ${get.wat}) (catch_all))`, guest.mark('went on'), call)
  const host = await startHost(guest)
  const context = host.open(new FakeStream(['x-a', 'one']))
  assert.equal(context.requestHeaders(true), Outcome.Failed)
  for (const sent of host.httpCalls.outstanding) sent.done(undefined)
  context.end(false)
  assert.deepEqual(host.events(), ['request_headers(2, 5, 1)', 'went on'])
})

test('a module that grows its memory in a callback is read and written where it then is', async () => {
  const guest = new Guest()
  const get = guest.call('proxy_get_header_map_value', 0, 4 * 65536 + 10, 3, 4 * 65536 + 20, 4 * 65536 + 24)
  const name = Buffer.from('x-a')
  guest.on(
    'proxy_on_request_headers',
    '(drop (memory.grow (i32.const 1)))',
    ...[...name].map((byte, i) => `(i32.store8 (i32.const ${4 * 65536 + 10 + i}) (i32.const ${byte}))`),
    get
  )
  const host = await startHost(guest)
  host.open(new FakeStream(['x-a', 'one'])).requestHeaders(true)
  assert.equal(host.status(get), 0)
  assert.equal(host.u32(4 * 65536 + 24), 3)
  assert.equal(host.instance.memory.latin1(host.u32(4 * 65536 + 20), 3), 'one')
})

test('a module that fails where the stack is full ends as others do: what waits is told, and what follows has a fresh one', async () => {
  const guest = new Guest({
    extra: '(global $deep (mut i32) (i32.const 0))',
    allocators: {
      malloc: `(if (global.get $deep)
          (then (drop (call $proxy_get_property (i32.const 1024) (i32.const 11) (i32.const 60000) (i32.const 60004)))))
        (i32.const 200000)`
    }
  })
  const get = guest.call('proxy_get_property', guest.text('plugin_name'), guest.result())
  // The first exchange waits.
  guest.on('proxy_on_request_headers', guest.when(1, 6, '(global.set $deep (i32.const 1))', get))
  const host = await startHost(guest.returns('proxy_on_request_headers', 1))
  const waiting = host.open().requestHeaders(true)
  const stream = new FakeStream(['x-a', 'one', 'x-b', 'two'])
  assert.equal(host.open(stream).requestHeaders(true), Outcome.Failed)
  assert.equal(await waiting, Outcome.Failed)
  assert.match(
    stream.log.messages('error').join('\n'),
    /^test: failed to run wasm plugin: failed to run the allocator: .*$/
  )
  assert.equal(host.plugin.status().failures, 1)
  assert.equal(host.plugin.isRunning, false)
  assert.notEqual(host.open().instance, host.instance)
})

test('what WebAssembly throws of its own is said to be an exception', async () => {
  const guest = new Guest({ extra: '(tag $oops)' }).on('proxy_on_request_headers', '(throw $oops)')
  await fails(guest, /proxy_on_request_headers: it threw an exception/)
})
