import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { MetricType } from '../../lib/host/index.ts'
import { FakeStream } from '../host/fake-stream.ts'
import { Guest, type Operand } from '../host/guest.ts'
import { memoryStores, startHost } from '../host/host.ts'

// Metrics.

const { Counter, Gauge, Histogram } = MetricType

function define(guest: Guest, type: number, name = 'm') {
  const id = guest.cell()
  return { call: guest.call('proxy_define_metric', type, guest.text(name), id), id: guest.loaded(id), at: id }
}

function get(guest: Guest, id: Operand) {
  const value = guest.cell(8)
  return { call: guest.call('proxy_get_metric', id, value), value }
}

/** Runs steps with one metric, and answers their statuses and its value at the end, as a signed number. */
async function run(type: number, ...steps: ['increment' | 'record', bigint][]) {
  const guest = new Guest()
  const metric = define(guest, type)
  const calls = steps.map(([step, value]) => guest.call(`proxy_${step}_metric`, metric.id, value))
  const read = get(guest, metric.id)
  const host = await startHost(guest.on('proxy_on_configure', metric.call, ...calls, read.call))
  host.open()
  return { statuses: host.statuses(...calls, read.call), value: BigInt.asIntN(64, host.u64(read.value)) }
}

test('C-225 there are three types: another one is BadArgument', async () => {
  const guest = new Guest()
  const calls = [3, 99, -1].map((type) => define(guest, type).call)
  const host = await startHost(guest.on('proxy_on_configure', ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), [Status.BadArgument, Status.BadArgument, Status.BadArgument])
})

test('C-226 a counter that is defined twice is one', async () => {
  const guest = new Guest()
  const [first, second] = [define(guest, Counter), define(guest, Counter)]
  const increment = guest.call('proxy_increment_metric', first.id, 3n)
  const read = get(guest, second.id)
  const host = await startHost(guest.on('proxy_on_configure', first.call, second.call, increment, read.call))
  host.open()
  assert.equal(host.u64(read.value), 3n)
})

test('metrics of one name and different types are apart, and an id is never 0', async () => {
  const guest = new Guest()
  const [counter, gauge] = [define(guest, Counter), define(guest, Gauge)]
  const increment = guest.call('proxy_increment_metric', gauge.id, 5n)
  const read = get(guest, counter.id)
  const host = await startHost(guest.on('proxy_on_configure', counter.call, gauge.call, increment, read.call))
  host.open()
  assert.equal(host.u64(read.value), 0n)
  assert.notEqual(host.u32(counter.at), 0)
  assert.notEqual(host.u32(gauge.at), host.u32(counter.at))
})

test('C-227 a counter that is incremented by 5 reads 5', async () => {
  assert.deepEqual(await run(Counter, ['increment', 5n]), { statuses: [Status.Ok, Status.Ok], value: 5n })
})

test('C-228 a counter does not go down: BadArgument, and it stays', async () => {
  const { statuses, value } = await run(Counter, ['increment', 5n], ['increment', -1n])
  assert.deepEqual(statuses, [Status.Ok, Status.BadArgument, Status.Ok])
  assert.equal(value, 5n)
})

test('C-229 a counter that is incremented by 0 is Ok', async () => {
  assert.deepEqual(await run(Counter, ['increment', 0n]), { statuses: [Status.Ok, Status.Ok], value: 0n })
})

test('a counter that is recorded is set', async () => {
  assert.equal((await run(Counter, ['increment', 5n], ['record', 3n])).value, 3n)
})

test('C-230 a gauge goes below zero', async () => {
  assert.equal((await run(Gauge, ['record', 5n], ['increment', -7n])).value, -2n)
})

test('C-231 a gauge that is recorded is set', async () => {
  assert.equal((await run(Gauge, ['increment', 5n], ['record', 9n])).value, 9n)
})

test('C-232 C-233 a histogram is recorded; incrementing and reading it are BadArgument', async () => {
  const { statuses } = await run(Histogram, ['record', 5n], ['increment', 1n])
  assert.deepEqual(statuses, [Status.Ok, Status.BadArgument, Status.BadArgument])
})

test('C-234 an unknown id is NotFound', async () => {
  const guest = new Guest()
  // The one after 4 is of a type that the metric does not have.
  const calls = [0, 3, 5, 8, 99, -1].flatMap((id) => [
    guest.call('proxy_increment_metric', id, 1n),
    guest.call('proxy_record_metric', id, 1n),
    guest.call('proxy_get_metric', id, guest.cell(8))
  ])
  const host = await startHost(guest.on('proxy_on_configure', define(guest, Counter).call, ...calls))
  host.open()
  assert.deepEqual(host.statuses(...calls), new Array(18).fill(Status.NotFound))
})

test('the id of a metric is one in its own vm_id alone', async () => {
  const stores = memoryStores()
  const owner = new Guest()
  const host = await startHost(owner.on('proxy_on_configure', define(owner, Counter).call), { stores, vmId: 'a' })
  host.open()
  const id = stores.metrics.define('a', 0, stores.metrics.all()[0]!.name)!
  const guest = new Guest()
  const calls = [
    guest.call('proxy_increment_metric', id, 1n),
    guest.call('proxy_record_metric', id, 1n),
    guest.call('proxy_get_metric', id, guest.cell(8))
  ]
  const other = await startHost(guest.on('proxy_on_configure', ...calls), { stores, vmId: 'b' })
  other.open()
  assert.deepEqual(other.statuses(...calls), new Array(3).fill(Status.NotFound))
  assert.equal(stores.metrics.get('a', id)?.value, 0n)
})

test('C-235 a value of 2^63 + 1 comes back as it was recorded', async () => {
  const { value } = await run(Gauge, ['record', 2n ** 63n + 1n])
  assert.equal(BigInt.asUintN(64, value), 2n ** 63n + 1n)
})

test('metrics are shared within a vm_id, and outlive an instance', async () => {
  const stores = memoryStores()
  const values: bigint[] = []
  for (const vmId of ['a', 'a', 'b']) {
    const guest = new Guest()
    const metric = define(guest, Counter)
    const increment = guest.call('proxy_increment_metric', metric.id, 1n)
    const read = get(guest, metric.id)
    const host = await startHost(guest.on('proxy_on_configure', metric.call, increment, read.call, 'unreachable'), {
      stores,
      vmId
    })
    const { instance } = host
    assert.equal(host.filter.open(new FakeStream()), undefined)
    assert.ok(instance.failure)
    values.push(host.u64(read.value))
  }
  assert.deepEqual(values, [1n, 2n, 1n])
  assert.deepEqual(
    stores.metrics.all().map(({ type, name, value }) => ({ type, name, value })),
    [
      { type: Counter, name: 'm', value: 2n },
      { type: Counter, name: 'm', value: 1n }
    ]
  )
})
