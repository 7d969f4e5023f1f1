import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { Status } from '../../lib/host/abi/constants.ts'
import { Guest } from '../host/guest.ts'
import { memoryStores, startHost } from '../host/host.ts'

// Queues.

/** Registers a queue; its id stands in the cell. */
function register(guest: Guest, name = 'q') {
  const id = guest.cell()
  return { call: guest.call('proxy_register_shared_queue', guest.text(name), id), id: guest.loaded(id), at: id }
}

const enqueue = (guest: Guest, id: ReturnType<typeof register>['id'], item: string) =>
  guest.call('proxy_enqueue_shared_queue', id, guest.text(item))
const dequeue = (guest: Guest, id: ReturnType<typeof register>['id']) =>
  guest.call('proxy_dequeue_shared_queue', id, guest.result())

test('C-217 registering a name again answers the same id, and items stay', async () => {
  const guest = new Guest()
  const [first, second, other] = [register(guest), register(guest), register(guest, 'other')]
  const item = dequeue(guest, second.id)
  const host = await startHost(
    guest.on('proxy_on_configure', first.call, enqueue(guest, first.id, 'a'), second.call, other.call, item)
  )
  host.open()
  assert.notEqual(host.u32(first.at), 0)
  assert.equal(host.u32(second.at), host.u32(first.at))
  assert.notEqual(host.u32(other.at), host.u32(first.at))
  assert.equal(host.text(item), 'a')
})

test('C-218 C-219 a name is resolved when it is registered; an empty vm_id is the own', async () => {
  const guest = new Guest()
  const cells = [guest.cell(), guest.cell(), guest.cell()]
  const resolve = (vmId: string, i: number) =>
    guest.call('proxy_resolve_shared_queue', guest.text(vmId), guest.text('q'), cells[i]!)
  const [before, own, named, other] = [resolve('', 0), resolve('', 0), resolve('mine', 1), resolve('others', 2)]
  const registered = register(guest)
  const host = await startHost(guest.on('proxy_on_configure', before, registered.call, own, named, other), {
    vmId: 'mine'
  })
  host.open()
  assert.deepEqual(host.statuses(before, own, named, other), [Status.NotFound, Status.Ok, Status.Ok, Status.NotFound])
  assert.equal(host.u32(cells[0]!), host.u32(registered.at))
  assert.equal(host.u32(cells[1]!), host.u32(registered.at))
})

test('a queue of another vm_id is written to and read from by who resolves it', async () => {
  const stores = memoryStores()
  const consumer = new Guest()
  const registered = register(consumer)
  const item = dequeue(consumer, consumer.parameter(1))
  consumer.on('proxy_on_configure', registered.call).on('proxy_on_queue_ready', item)
  const first = await startHost(consumer, { stores, vmId: 'a' })
  first.open()
  const producer = new Guest()
  const id = producer.cell()
  const resolve = producer.call('proxy_resolve_shared_queue', producer.text('a'), producer.text('q'), id)
  producer.on('proxy_on_configure', resolve, enqueue(producer, producer.loaded(id), 'for you'))
  const second = await startHost(producer, { stores, vmId: 'b' })
  second.open()
  assert.equal(second.status(resolve), Status.Ok)
  await turn()
  assert.equal(first.text(item), 'for you')
})

test('C-220 an unknown id is NotFound', async () => {
  const guest = new Guest()
  const calls = [0, 1, 99, -1].flatMap((id) => [
    guest.call('proxy_enqueue_shared_queue', id, guest.text('x')),
    guest.call('proxy_dequeue_shared_queue', id, guest.result())
  ])
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), new Array(8).fill(Status.NotFound))
})

test('C-221 C-222 items come out as they went in, and then it is Empty', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  const items = [dequeue(guest, id), dequeue(guest, id), dequeue(guest, id)]
  const host = await startHost(
    guest.on('proxy_on_configure', call, enqueue(guest, id, 'a'), enqueue(guest, id, 'b'), ...items)
  )
  host.open()
  assert.deepEqual(host.statuses(...items), [Status.Ok, Status.Ok, Status.Empty])
  assert.deepEqual([host.text(items[0]!), host.text(items[1]!)], ['a', 'b'])
})

test('an item may be empty: Ok with pointer 0 and size 0', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  const item = dequeue(guest, id)
  const host = await startHost(guest.on('proxy_on_configure', call, enqueue(guest, id, ''), item))
  host.open()
  assert.equal(host.status(item), Status.Ok)
  assert.deepEqual(host.cells(item), [0, 0])
})

test('C-223 C-224 each enqueue calls on_queue_ready(root, id), later and not inside of it', async () => {
  const guest = new Guest()
  const { call, id, at } = register(guest)
  guest
    .on('proxy_on_configure', call)
    .on('proxy_on_request_headers', enqueue(guest, id, 'a'), enqueue(guest, id, 'b'), guest.mark('enqueued'))
    .record('proxy_on_queue_ready')
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  assert.equal(host.events().at(-1), 'enqueued')
  await turn()
  const ready = `queue_ready(1, ${host.u32(at)})`
  assert.deepEqual(host.events().slice(-3), ['enqueued', ready, ready])
})

test('on_queue_ready comes even when somebody else took the item: Empty', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  const taken = dequeue(guest, id)
  const late = dequeue(guest, guest.parameter(1))
  guest.on('proxy_on_configure', call, enqueue(guest, id, 'a'), taken).on('proxy_on_queue_ready', late)
  const host = await startHost(guest)
  host.open()
  await turn()
  assert.deepEqual(host.statuses(taken, late), [Status.Ok, Status.Empty])
})

test('the last one that registered is told, of several plugin contexts', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  guest
    .on('proxy_on_configure', call)
    .on('proxy_on_request_headers', enqueue(guest, id, 'a'))
    .record('proxy_on_queue_ready')
  const host = await startHost(guest)
  const context = host.open()
  const other = host.another('')
  host.open(undefined, other)
  context.requestHeaders(true)
  await turn()
  assert.match(host.events().at(-1)!, /^queue_ready\(3, /)
})

test('a stream registers for its plugin context', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  guest.on('proxy_on_request_headers', call, enqueue(guest, id, 'a')).record('proxy_on_queue_ready')
  const host = await startHost(guest)
  const context = host.open()
  context.requestHeaders(true)
  context.end(false)
  await turn()
  assert.match(host.events().at(-1)!, /^queue_ready\(1, /)
})

test('a plugin context that has ended is told no more, its items stay for the next one', async () => {
  const stores = memoryStores()
  const consumer = () => {
    const guest = new Guest()
    const { call } = register(guest)
    const item = dequeue(guest, guest.parameter(1))
    guest.on('proxy_on_configure', call).on('proxy_on_queue_ready', item)
    return { guest, item }
  }
  const [gone, next] = [consumer(), consumer()]
  const first = await startHost(gone.guest, { stores })
  first.open().end(false)
  await first.filter.close()
  const id = stores.queues.resolve('', 'q')!
  stores.queues.enqueue(id, Buffer.from('while nobody listens'))
  await turn()
  assert.equal(first.status(gone.item), undefined)

  const second = await startHost(next.guest, { stores })
  second.open()
  await turn()
  assert.equal(second.text(next.item), 'while nobody listens')
})

test('after a trap the registration is gone and the items are not: a fresh instance takes them', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  const item = dequeue(guest, guest.parameter(1))
  guest
    .on('proxy_on_configure', call)
    .on('proxy_on_request_headers', enqueue(guest, id, 'kept'), '(if (local.get 2) (then unreachable))')
    .on('proxy_on_queue_ready', item)
  const host = await startHost(guest)
  host.open().requestHeaders(true)
  const { instance } = host
  await turn()
  assert.equal(host.status(item), undefined, 'nothing enters what has trapped')
  host.renew()
  host.open()
  await turn()
  assert.equal(host.text(item), 'kept')
  assert.notEqual(host.instance, instance)
})

test('a module without on_queue_ready registers and dequeues', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  const item = dequeue(guest, id)
  const host = await startHost(
    guest.on('proxy_on_configure', call, enqueue(guest, id, 'a')).on('proxy_on_request_headers', item)
  )
  const context = host.open()
  await turn()
  context.requestHeaders(true)
  assert.equal(host.text(item), 'a')
})

test('a trap in on_queue_ready ends the instance, and nothing else', async () => {
  const guest = new Guest()
  const { call, id } = register(guest)
  guest.on('proxy_on_configure', call).on('proxy_on_request_headers', enqueue(guest, id, 'a'))
  const host = await startHost(guest.on('proxy_on_queue_ready', 'unreachable'))
  const context = host.open()
  context.requestHeaders(true)
  context.end(false)
  await turn()
  assert.match(host.instance.failure!.message, /proxy_on_queue_ready/)
  assert.equal(host.open().failed, false)
})
