import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import {
  MemoryQueues,
  MemorySharedData,
  Metrics,
  type Queues,
  type SetResult,
  type SharedData
} from '../../lib/host/index.ts'
import { type Call, Guest } from './guest.ts'
import { startHost } from './host.ts'

// What filters are told while a store that is somewhere else cannot be asked: what their SDKs survive, and no lie about what was
// done.

/** A store that fails as it is told. */
class Away implements SharedData {
  readonly #there = new MemorySharedData()
  read: 'unavailable' | undefined
  written: SetResult

  get(vmId: string, key: string) {
    return this.read ?? this.#there.get(vmId, key)
  }

  set(vmId: string, key: string, value: Buffer, cas: number): SetResult {
    return this.written ?? this.#there.set(vmId, key, value, cas)
  }
}

const get = (guest: Guest): Call => guest.call('proxy_get_shared_data', guest.text('k'), guest.result(), guest.cell())
const set = (guest: Guest, value: string, cas = 0): Call =>
  guest.call('proxy_set_shared_data', guest.text('k'), guest.text(value), cas)

async function run(guest: Guest, sharedData: SharedData, queues: Queues = new MemoryQueues()) {
  const host = await startHost(guest, { stores: { sharedData, queues, metrics: new Metrics() } })
  host.open()
  return host
}

for (const [what, written] of [
  ['cannot be asked', 'unavailable'],
  ['did not answer in time', 'unknown']
] as const) {
  test(`a store that ${what} is an InternalFailure`, async () => {
    const guest = new Guest()
    const calls = [get(guest), set(guest, 'v'), set(guest, 'v', 7)]
    guest.on('proxy_on_configure', ...calls)
    const sharedData = new Away()
    sharedData.read = 'unavailable'
    sharedData.written = written
    const host = await run(guest, sharedData)
    for (const call of calls) assert.equal(host.status(call), Status.InternalFailure)
  })
}

/** What tells that a module is Rust's. */
function rustGuest(): Guest {
  const guest = new Guest()
  guest.text('library/core/src/panicking.rs')
  return guest
}

test("Rust's SDK is told that there is no value, and that none was set: it would panic at anything else", async () => {
  const guest = rustGuest()
  const calls = [get(guest), set(guest, 'v', 7), set(guest, 'v')]
  guest.on('proxy_on_configure', ...calls)
  const sharedData = new Away()
  sharedData.read = 'unavailable'
  sharedData.written = 'unavailable'
  const host = await run(guest, sharedData)
  assert.deepEqual(
    calls.map((call) => host.status(call)),
    [Status.NotFound, Status.CasMismatch, Status.CasMismatch]
  )
})

test("what Rust's SDK may have set is no mismatch, after which it would do it again", async () => {
  const guest = rustGuest()
  const call = set(guest, 'v', 7)
  guest.on('proxy_on_configure', call)
  const sharedData = new Away()
  sharedData.written = 'unknown'
  const host = await run(guest, sharedData)
  assert.equal(host.status(call), Status.InternalFailure)
})

test('a filter that was told wrongly that there is no value overwrites none', async () => {
  const guest = rustGuest()
  const read = get(guest)
  const first = set(guest, 'from the begin')
  const second = set(guest, 'on purpose')
  guest.on('proxy_on_configure', read, first, second)
  const sharedData = new Away()
  sharedData.set('', 'k', Buffer.from('kept'), 0)
  sharedData.read = 'unavailable'
  const host = await run(guest, sharedData)
  assert.equal(host.status(read), Status.NotFound)
  assert.equal(host.status(first), Status.CasMismatch, 'it could not see what it would overwrite')
  assert.equal(host.status(second), Status.Ok, 'it has been told')
})

test('a queue that cannot be asked takes nothing; what may have been put there is not said to be missing', async () => {
  for (const [answer, status] of [
    ['unavailable', Status.NotFound],
    ['unknown', Status.InternalFailure]
  ] as const) {
    const guest = new Guest()
    const put = guest.call('proxy_enqueue_shared_queue', 1, guest.text('item'))
    const take = guest.call('proxy_dequeue_shared_queue', 1, guest.result())
    guest.on('proxy_on_configure', put, take)
    const queues: Queues = {
      register: () => ({ id: 1, unregister() {} }),
      resolve: () => 1,
      enqueue: () => answer,
      dequeue: () => null
    }
    const host = await run(guest, new MemorySharedData(), queues)
    assert.equal(host.status(put), status)
    assert.equal(host.status(take), Status.Empty)
  }
})
