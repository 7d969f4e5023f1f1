import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { MemoryQueues, MemorySharedData, Metrics, MetricType } from '../../lib/host/index.ts'
import { type Call, Guest } from '../host/guest.ts'
import { memoryStores, startHost } from '../host/host.ts'

// What is refused when the shared data, the queues or the metrics of a vm_id are full: with what the SDKs survive.

const set = (guest: Guest, key: string, value: string, cas = 0): Call =>
  guest.call('proxy_set_shared_data', guest.text(key), guest.text(value), cas)

test('shared data that has no room is CasMismatch, what is there stays, and what takes no more is set', async () => {
  const stores = { ...memoryStores(), sharedData: new MemorySharedData({ bytes: 10 }) }
  const guest = new Guest()
  const calls = [
    set(guest, 'k', '12345'),
    set(guest, 'l', '1234'),
    set(guest, 'k', '1234567890'),
    set(guest, 'l', ''),
    set(guest, 'k', '1234')
  ]
  const get = guest.call('proxy_get_shared_data', guest.text('k'), guest.result(), guest.cell())
  calls.splice(3, 0, get)
  const host = await startHost(guest.on('proxy_on_configure', ...calls), { stores, vmId: 'mine' })
  host.open()
  const { Ok, CasMismatch } = Status
  assert.deepEqual(host.statuses(...calls), [Ok, CasMismatch, CasMismatch, Ok, Ok, Ok])
  assert.equal(host.text(get), '12345')
  assert.deepEqual(host.log.messages(), [
    'test: the shared data of vm_id [mine] is full: what would take more is refused'
  ])
})

test('shared data has a limit of keys too, and every vm_id has its own', async () => {
  const stores = { ...memoryStores(), sharedData: new MemorySharedData({ keys: 1 }) }
  for (const vmId of ['a', 'b']) {
    const guest = new Guest()
    const calls = [set(guest, 'k', ''), set(guest, 'l', ''), set(guest, 'k', 'other')]
    const host = await startHost(guest.on('proxy_on_configure', ...calls), { stores, vmId })
    host.open()
    assert.deepEqual(host.statuses(...calls), [Status.Ok, Status.CasMismatch, Status.Ok])
    assert.equal(host.log.lines.length, 1, 'said for every vm_id')
  }
})

test('what tries the same again and again until it is set is told InternalFailure in the end, and the next callback not', async () => {
  const stores = { ...memoryStores(), sharedData: new MemorySharedData({ keys: 0 }) }
  const guest = new Guest({ extra: '(global $tries (mut i32) (i32.const 0))' })
  const tries = guest.cell()
  const call = set(guest, 'k', 'v')
  guest.on(
    'proxy_on_request_headers',
    `(i32.store ${tries.wat} (i32.const 0))
    (loop $again ${call.wat}
      (i32.store ${tries.wat} (i32.add (i32.load ${tries.wat}) (i32.const 1)))
      (br_if $again (i32.eq (i32.load (i32.const ${call.status})) (i32.const ${Status.CasMismatch}))))`
  )
  const host = await startHost(guest, { stores })
  const context = host.open()
  for (let i = 0; i < 2; i++) {
    context.requestHeaders(true)
    assert.equal(host.status(call), Status.InternalFailure)
    assert.equal(host.u32(tries), 101)
    await new Promise(setImmediate)
  }
})

test('a name of more than 64 KiB is none: of a key, a queue, a metric', async () => {
  const guest = new Guest()
  const SIZE = 64 * 1024 + 1
  const id = guest.cell()
  const calls = [
    guest.call('proxy_set_shared_data', 0, SIZE, guest.text('v'), 0),
    guest.call('proxy_get_shared_data', 0, SIZE, guest.result(), guest.cell()),
    guest.call('proxy_register_shared_queue', 0, SIZE, id),
    guest.call('proxy_enqueue_shared_queue', guest.loaded(id), guest.text('item')),
    guest.call('proxy_resolve_shared_queue', 0, 0, 0, SIZE, guest.cell()),
    guest.call('proxy_define_metric', MetricType.Counter, 0, SIZE, guest.cell())
  ]
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  const { Ok, CasMismatch, NotFound } = Status
  assert.deepEqual(host.statuses(...calls), [CasMismatch, NotFound, Ok, NotFound, NotFound, Ok])
  assert.equal(host.plugin.settings.metrics.all().length, 0)
})

test('an item that has no room is NotFound, and one that is taken out makes room', async () => {
  const stores = { ...memoryStores(), queues: new MemoryQueues({ items: 2 }) }
  const guest = new Guest()
  const id = guest.cell()
  const enqueue = () => guest.call('proxy_enqueue_shared_queue', guest.loaded(id), guest.text('item'))
  const calls = [
    guest.call('proxy_register_shared_queue', guest.text('q'), id),
    enqueue(),
    enqueue(),
    enqueue(),
    enqueue(),
    guest.call('proxy_dequeue_shared_queue', guest.loaded(id), guest.result()),
    enqueue()
  ]
  const host = await startHost(guest.on('proxy_on_configure', ...calls), { stores })
  host.open()
  const { Ok, NotFound } = Status
  assert.deepEqual(host.statuses(...calls), [Ok, Ok, Ok, NotFound, NotFound, Ok, Ok])
  const [line, ...more] = host.log.messages('warn')
  assert.match(line!, /^test: there is no room for another item in queue \d+: it is refused$/)
  assert.deepEqual(more, [])
})

test('a queue that has no room is Ok with the id 0, of which there is no queue', async () => {
  const stores = { ...memoryStores(), queues: new MemoryQueues({ queues: 1 }) }
  const guest = new Guest()
  const [first, second, resolved] = [guest.cell(), guest.cell(), guest.cell()]
  const calls = [
    guest.call('proxy_register_shared_queue', guest.text('q'), first),
    guest.call('proxy_register_shared_queue', guest.text('r'), second),
    guest.call('proxy_resolve_shared_queue', 0, 0, guest.text('r'), resolved),
    guest.call('proxy_enqueue_shared_queue', guest.loaded(second), guest.text('item')),
    guest.call('proxy_dequeue_shared_queue', guest.loaded(second), guest.result()),
    guest.call('proxy_register_shared_queue', guest.text('q'), second)
  ]
  const host = await startHost(guest.on('proxy_on_configure', ...calls), { stores })
  host.open()
  const { Ok, NotFound } = Status
  assert.deepEqual(host.statuses(...calls), [Ok, Ok, NotFound, NotFound, NotFound, Ok])
  assert.equal(host.u32(second), host.u32(first), 'one that is there is found')
  assert.deepEqual(host.log.messages('warn'), ['test: there is no room for another queue of vm_id []'])
})

test('a metric that has no room takes everything and keeps nothing, and the others go on', async () => {
  const stores = { ...memoryStores(), metrics: new Metrics({ metrics: 1 }) }
  const guest = new Guest()
  const { Counter, Gauge, Histogram } = MetricType
  const ids = [guest.cell(), guest.cell(), guest.cell(), guest.cell()]
  const define = (i: number, type: number, name: string) =>
    guest.call('proxy_define_metric', type, guest.text(name), ids[i]!)
  const id = (i: number) => guest.loaded(ids[i]!)
  const values = [guest.cell(8), guest.cell(8)]
  const calls = [
    define(0, Counter, 'kept'),
    define(1, Counter, 'lost'),
    define(2, Gauge, 'lost'),
    define(3, Histogram, 'lost'),
    ...[0, 1, 2].map((i) => guest.call('proxy_increment_metric', id(i), 5n)),
    ...[1, 2, 3].map((i) => guest.call('proxy_record_metric', id(i), 5n)),
    guest.call('proxy_get_metric', id(0), values[0]!),
    guest.call('proxy_get_metric', id(2), values[1]!)
  ]
  const wrong = [
    guest.call('proxy_increment_metric', id(3), 1n),
    guest.call('proxy_increment_metric', id(1), -1n),
    guest.call('proxy_get_metric', id(3), values[1]!),
    guest.call('proxy_get_metric', -1, values[1]!)
  ]
  const host = await startHost(guest.on('proxy_on_configure', ...calls, ...wrong), { stores })
  host.open()
  assert.deepEqual(host.statuses(...calls), new Array(calls.length).fill(Status.Ok))
  const { BadArgument, NotFound } = Status
  assert.deepEqual(host.statuses(...wrong), [BadArgument, BadArgument, BadArgument, NotFound])
  assert.deepEqual([host.u64(values[0]!), host.u64(values[1]!)], [5n, 0n])
  assert.deepEqual(
    stores.metrics.all().map(({ name, value }) => [name, value]),
    [['kept', 5n]]
  )
  assert.deepEqual(host.log.messages('warn'), ['test: there is no room for another metric of vm_id []: it is not kept'])
})

test('ids of metrics that keep nothing are NotFound as long as all have room', async () => {
  const guest = new Guest()
  const increment = guest.call('proxy_increment_metric', -4, 1n)
  const host = await startHost(guest.on('proxy_on_configure', increment))
  host.open()
  assert.equal(host.status(increment), Status.NotFound)
})
