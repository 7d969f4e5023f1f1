import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { Outcome } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest } from '../host/guest.ts'
import { startHost } from '../host/host.ts'

// How plugins start, and how contexts come and go. Effective contexts and traps: contexts.test.ts.

const START = ['proxy_on_context_create', 'proxy_on_vm_start', 'proxy_on_configure']
const END = ['proxy_on_done', 'proxy_on_log', 'proxy_on_delete']

test('C-038 C-039 a plugin starts with context_create(root, 0), on_vm_start(root, n), on_configure(root, m)', async () => {
  const host = await startHost(new Guest().record(...START), { vmConfiguration: 'vm', configuration: 'plugin' })
  host.open()
  assert.deepEqual(host.events(), ['context_create(1, 0)', 'vm_start(1, 2)', 'configure(1, 6)', 'context_create(2, 1)'])
})

test('C-040 on_vm_start is told the size of the VM configuration, and reads it from buffer 6', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_buffer_bytes', 6, 0, 100, guest.result())
  const host = await startHost(guest.on('proxy_on_vm_start', read), { vmConfiguration: 'abc' })
  host.open()
  assert.deepEqual(host.events(), ['vm_start(1, 3)'])
  assert.equal(host.text(read), 'abc')
})

test('C-041 on_configure is told the size of the plugin configuration, and reads it from buffer 7', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_buffer_bytes', 7, 0, 100, guest.result())
  const host = await startHost(guest.on('proxy_on_configure', read), { configuration: '{}' })
  host.open()
  assert.deepEqual(host.events(), ['configure(1, 2)'])
  assert.equal(host.text(read), '{}')
})

test('ABI 0.1.0 reads either configuration with proxy_get_configuration', async () => {
  const guest = new Guest({ abi: '0_1_0' })
  const vm = guest.call('proxy_get_configuration', guest.result())
  const plugin = guest.call('proxy_get_configuration', guest.result())
  guest.on('proxy_on_vm_start', vm).on('proxy_on_configure', plugin)
  const host = await startHost(guest, { vmConfiguration: 'vm', configuration: 'plugin' })
  host.open()
  assert.equal(host.text(vm), 'vm')
  assert.equal(host.text(plugin), 'plugin')
})

test('C-042 an empty plugin configuration reads as Ok, with pointer 0 and size 0', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_buffer_bytes', 7, 0, 100, guest.result())
  const host = await startHost(guest.on('proxy_on_configure', read))
  host.open()
  assert.equal(host.status(read), Status.Ok)
  assert.deepEqual(host.cells(read), [0, 0])
})

test('C-043 when on_vm_start answers 0 the start has failed, and on_configure is not called', async () => {
  const host = await startHost(new Guest().record(...START, 'proxy_on_delete').returns('proxy_on_vm_start', 0))
  const { instance } = host
  assert.equal(host.filter.open(new FakeStream()), undefined)
  assert.deepEqual(host.events(), ['context_create(1, 0)', 'vm_start(1, 0)'])
  assert.ok(instance.failure)
})

test('C-044 when on_configure answers 0 the start has failed, and no stream is created', async () => {
  const host = await startHost(new Guest().record(...START, ...END).returns('proxy_on_configure', 0))
  const { instance } = host
  assert.equal(host.filter.open(new FakeStream()), undefined)
  assert.deepEqual(host.events(), ['context_create(1, 0)', 'vm_start(1, 0)', 'configure(1, 0)', 'delete(1)'])
  assert.equal(instance.failure, undefined, 'others of the plugin may go on in the instance')
  assert.equal(instance.contexts.size, 0)
})

test('C-045 a module without on_vm_start and on_configure starts', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_headers'))
  assert.equal(host.open().requestHeaders(true), Outcome.Continue)
})

test('C-046 C-047 ids are not zero, and none is used while its context lives', async () => {
  const host = await startHost(new Guest().record('proxy_on_context_create'))
  const open = new Map<number, ReturnType<typeof host.open>>()
  for (let i = 0; i < 300; i++) {
    const context = host.open()
    assert.ok(context.id > 1)
    assert.ok(!open.has(context.id), `${context.id} is alive`)
    open.set(context.id, context)
    if (i % 3 === 0) {
      const [id, first] = [...open][0]!
      first.end(false)
      open.delete(id)
    }
  }
})

test('C-048 C-049 a stream is created with its root as parent, before any other callback of it', async () => {
  const guest = new Guest().record('proxy_on_context_create', 'proxy_on_request_headers')
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.deepEqual(host.events(), ['context_create(1, 0)', 'context_create(2, 1)', 'request_headers(2, 4, 1)'])
})

test('C-050 C-051 a stream ends with done, log, delete, and nothing after it', async () => {
  const host = await startHost(new Guest().record('proxy_on_request_headers', 'proxy_on_response_headers', ...END))
  const context = host.open()
  context.requestHeaders(true)
  context.end(false)
  context.end(true)
  assert.equal(context.responseHeaders(true), Outcome.Stop)
  assert.deepEqual(host.events(), ['request_headers(2, 4, 1)', 'done(2)', 'log(2)', 'delete(2)'])
})

test('C-052 when the client leaves in mid-request, done, log and delete are called once', async () => {
  const guest = new Guest().record(...END).returns('proxy_on_request_headers', 1)
  const host = await startHost(guest)
  const context = host.open()
  const phase = context.requestHeaders(true)
  context.end(true)
  assert.equal(await phase, Outcome.Stop, 'what waits for the filter is told')
  context.resume(0)
  await turn()
  assert.deepEqual(host.events(), ['request_headers(2, 4, 1)', 'done(2)', 'log(2)', 'delete(2)'])
})

test('C-053 C-058 a root ends with done and delete, and never with log', async () => {
  const host = await startHost(new Guest().record(...END))
  host.open().end(false)
  await host.filter.close()
  assert.deepEqual(host.events(), ['done(2)', 'log(2)', 'delete(2)', 'done(1)', 'delete(1)'])
  assert.equal(host.instance.contexts.size, 0)
})

/** A guest whose root is not done at once; its calls are answered where `proxy_done` is called. */
function pendingRoot() {
  const guest = new Guest()
  const none = guest.text('')
  guest.on('proxy_on_configure', guest.call('proxy_http_call', guest.text('a'), none, none, none, 0, guest.cell()))
  const done = guest.call('proxy_done')
  const again = guest.call('proxy_done')
  guest.on('proxy_on_http_call_response', done, again, guest.mark('returned'))
  return { guest: guest.returns('proxy_on_done', 0).record('proxy_on_delete'), done, again }
}

test('C-054 C-055 a root that is not done is deleted when it has called proxy_done, after that callback', async () => {
  const { guest, done, again } = pendingRoot()
  const host = await startHost(guest)
  host.open().end(false)
  // Of the stream, which was not done either.
  for (const context of host.instance.contexts.values()) context.done()
  let closed = false
  const close = host.filter.close().then(() => {
    closed = true
  })
  await turn()
  assert.equal(closed, false)
  host.httpCalls.answer(0)
  await close
  assert.deepEqual(host.statuses(done, again), [Status.Ok, Status.NotFound])
  assert.deepEqual(host.events().slice(-3), ['http_call_response(1, 1, 1, 0, 0)', 'returned', 'delete(1)'])
})

test('C-056 proxy_done of a context that is not pending is NotFound', async () => {
  const guest = new Guest()
  const [configured, requested] = [guest.call('proxy_done'), guest.call('proxy_done')]
  guest.on('proxy_on_configure', configured).on('proxy_on_request_headers', requested)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.deepEqual(host.statuses(configured, requested), [Status.NotFound, Status.NotFound])
})

test('C-057 contexts that never call proxy_done are deleted after a grace period', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] })
  const host = await startHost(new Guest().returns('proxy_on_done', 0).record('proxy_on_log', 'proxy_on_delete'))
  host.open().end(false)
  const close = host.filter.close()
  assert.deepEqual(host.events(), ['done(2)'])
  t.mock.timers.tick(5000)
  assert.deepEqual(host.events(), ['done(2)', 'log(2)', 'delete(2)', 'done(1)'])
  t.mock.timers.tick(5000)
  await close
  assert.deepEqual(host.events().slice(4), ['delete(1)'])
  assert.equal(host.instance.contexts.size, 0)
})

test('C-059 a root with streams is ended after the last of them', async () => {
  const host = await startHost(new Guest().record('proxy_on_done', 'proxy_on_delete'))
  const [first, second] = [host.open(), host.open()]
  await host.filter.close()
  const ends = ['done(2)', 'delete(2)', 'done(3)', 'delete(3)', 'done(1)', 'delete(1)']
  assert.deepEqual(host.events(), ends)
  first.end(false)
  second.end(false)
  assert.deepEqual(host.events(), ends)
})

test('C-060 plugin_root_id is there while the root is created', async () => {
  const guest = new Guest()
  const read = guest.call('proxy_get_property', guest.text('plugin_root_id'), guest.result())
  const host = await startHost(guest.on('proxy_on_context_create', guest.when(1, 0, read)), { rootId: 'my-root' })
  host.open()
  assert.equal(host.text(read), 'my-root')
})
