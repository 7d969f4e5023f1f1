import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Status } from '../../lib/host/abi/constants.ts'
import { Guest, UNTOUCHED } from '../host/guest.ts'
import { memoryStores, startHost } from '../host/host.ts'

// Shared data.

/** Reads a key; its `cas` is the last operand. */
function get(guest: Guest, key: string) {
  const cas = guest.cell()
  return { call: guest.call('proxy_get_shared_data', guest.text(key), guest.result(), cas), cas }
}

test('C-208 an absent key is NotFound, and no cell is written', async () => {
  const guest = new Guest()
  const { call, cas } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', call))
  host.open()
  assert.equal(host.status(call), Status.NotFound)
  assert.deepEqual([...host.cells(call), host.u32(cas)], [UNTOUCHED, UNTOUCHED, UNTOUCHED])
})

test('C-209 a stored value is read with a cas that is not 0, in any later callback', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('value'), 0)
  const { call, cas } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_vm_start', set).on('proxy_on_request_headers', call))
  host.open().requestHeaders(true)
  assert.deepEqual(host.statuses(set, call), [Status.Ok, Status.Ok])
  assert.equal(host.text(call), 'value')
  assert.notEqual(host.u32(cas), 0)
})

test('C-210 a stored empty value is Ok with pointer 0 and size 0, and has a cas', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_set_shared_data', guest.text('k'), guest.text(''), 0)
  const { call, cas } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', set, call))
  host.open()
  assert.equal(host.status(call), Status.Ok)
  assert.deepEqual(host.cells(call), [0, 0])
  assert.ok(host.u32(cas) > 0 && host.u32(cas) !== UNTOUCHED)
})

test('C-211 a cas of 0 sets in any case', async () => {
  const guest = new Guest()
  const set = (value: string) => guest.call('proxy_set_shared_data', guest.text('k'), guest.text(value), 0)
  const [first, second] = [set('one'), set('two')]
  const { call } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', first, second, call))
  host.open()
  assert.deepEqual(host.statuses(first, second), [Status.Ok, Status.Ok])
  assert.equal(host.text(call), 'two')
})

test('C-212 C-213 the current cas sets and changes; an outdated one is a CasMismatch and changes nothing', async () => {
  const guest = new Guest()
  const first = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('one'), 0)
  const before = get(guest, 'k')
  const set = (value: string) =>
    guest.call('proxy_set_shared_data', guest.text('k'), guest.text(value), guest.loaded(before.cas))
  const [current, outdated] = [set('two'), set('three')]
  const after = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', first, before.call, current, outdated, after.call))
  host.open()
  assert.deepEqual(host.statuses(current, outdated), [Status.Ok, Status.CasMismatch])
  assert.equal(host.text(before.call), 'one')
  assert.equal(host.text(after.call), 'two')
  assert.notEqual(host.u32(after.cas), host.u32(before.cas))
})

test('a cas is outdated as well when the value was set to what it was', async () => {
  const guest = new Guest()
  const set = (value: string) => guest.call('proxy_set_shared_data', guest.text('k'), guest.text(value), 0)
  const { call, cas } = get(guest, 'k')
  const late = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('x'), guest.loaded(cas))
  const host = await startHost(guest.on('proxy_on_configure', set('a'), call, set('b'), set('a'), late))
  host.open()
  assert.equal(host.status(late), Status.CasMismatch)
})

test('C-214 a cas for a key that is absent creates it', async () => {
  const guest = new Guest()
  const set = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('v'), 7)
  const { call } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', set, call))
  host.open()
  assert.equal(host.status(set), Status.Ok)
  assert.equal(host.text(call), 'v')
})

for (const [number, title, vmId, status] of [
  ['C-215', 'plugins with the same vm_id read what the other sets', 'a', Status.Ok],
  ['C-216', 'plugins with another vm_id do not', 'b', Status.NotFound]
] as const) {
  test(`${number} ${title}`, async () => {
    const stores = memoryStores()
    const writer = new Guest()
    const set = writer.call('proxy_set_shared_data', writer.text('k'), writer.text('v'), 0)
    const first = await startHost(writer.on('proxy_on_configure', set), { stores, vmId: 'a' })
    first.open()
    const reader = new Guest()
    const { call } = get(reader, 'k')
    const second = await startHost(reader.on('proxy_on_configure', call), { stores, vmId })
    second.open()
    assert.equal(second.status(call), status)
    if (status === Status.Ok) assert.equal(second.text(call), 'v')
  })
}

test('a key is bytes: those that are no text stay apart, and an empty one is a key', async () => {
  const guest = new Guest()
  const keys = [Buffer.from([0xff]), Buffer.from([0xfe]), Buffer.from(''), Buffer.from('__proto__')]
  const sets = keys.map((key, i) => guest.call('proxy_set_shared_data', guest.text(key), guest.text(`${i}`), 0))
  const gets = keys.map((key) => guest.call('proxy_get_shared_data', guest.text(key), guest.result(), guest.cell()))
  const host = await startHost(guest.on('proxy_on_configure', ...sets, ...gets))
  host.open()
  assert.deepEqual(
    gets.map((call) => host.text(call)),
    ['0', '1', '2', '3']
  )
})

test('a value is a copy: what the filter does to its memory afterwards does not change it', async () => {
  const guest = new Guest()
  const value = guest.text('value')
  const set = guest.call('proxy_set_shared_data', guest.text('k'), value, 0)
  const { call } = get(guest, 'k')
  const scribble = `(i32.store (i32.const ${value.at}) (i32.const 0))`
  const host = await startHost(guest.on('proxy_on_configure', set, scribble, call))
  host.open()
  assert.equal(host.text(call), 'value')
})

test('shared data outlives the instance: after a trap the next one reads what the last one set', async () => {
  const guest = new Guest()
  const { call } = get(guest, 'k')
  const set = guest.call('proxy_set_shared_data', guest.text('k'), guest.text('v'), 0)
  const host = await startHost(
    guest.on('proxy_on_configure', call).on('proxy_on_request_headers', set, '(if (local.get 2) (then unreachable))')
  )
  const first = host.open()
  assert.equal(host.status(call), Status.NotFound)
  first.requestHeaders(true)
  assert.ok(host.instance.failure)
  host.renew()
  host.open()
  assert.equal(host.text(call), 'v')
})

test('pointers out of bounds are InvalidMemoryAccess, and nothing is set', async () => {
  const guest = new Guest({ pages: 4 })
  const far = 0x7fffffff
  const calls = [
    guest.call('proxy_get_shared_data', far, 1, guest.result(), guest.cell()),
    guest.call('proxy_get_shared_data', guest.text('k'), far, guest.cell(), guest.cell()),
    guest.call('proxy_get_shared_data', guest.text('k'), guest.cell(), far, guest.cell()),
    guest.call('proxy_get_shared_data', guest.text('k'), guest.result(), far),
    guest.call('proxy_set_shared_data', far, 1, guest.text('v'), 0),
    guest.call('proxy_set_shared_data', guest.text('k'), far, 1, 0)
  ]
  const { call } = get(guest, 'k')
  const host = await startHost(guest.on('proxy_on_configure', ...calls, call))
  host.open()
  assert.deepEqual(host.statuses(...calls), new Array(6).fill(Status.InvalidMemoryAccess))
  assert.equal(host.status(call), Status.NotFound)
})
