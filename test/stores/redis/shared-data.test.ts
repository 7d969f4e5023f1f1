import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { eventually } from '../../eventually.ts'
import { Processes } from './processes.ts'
import { connect, RedisServer, skip, text } from './redis-server.ts'

async function two(t: TestContext, own: Parameters<typeof connect>[2] = {}) {
  const server = await RedisServer.start(t)
  return { server, a: await connect(t, server, own), b: await connect(t, server, own) }
}

const bytes = (value: string) => Buffer.from(value)

test('what one process sets another one reads, by vm_id and key', { skip }, async (t) => {
  const { a, b } = await two(t)
  assert.equal(b.stores.sharedData.get('', 'k'), undefined)
  assert.equal(a.stores.sharedData.set('', 'k', bytes('v'), 0), true)
  assert.equal(text(a.stores.sharedData.get('', 'k')), 'v')
  await eventually('the other process sees it', () => text(b.stores.sharedData.get('', 'k')) === 'v')
  assert.equal(b.stores.sharedData.get('1', 'k'), undefined)
  assert.equal(b.stores.sharedData.get('', ':k'), undefined)
})

test('keys, vm_ids and values are any bytes; a value may be empty', { skip }, async (t) => {
  const { a, b } = await two(t)
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  const key = all.toString('latin1')
  assert.equal(a.stores.sharedData.set('{ä:\0}', key, all, 0), true)
  assert.equal(a.stores.sharedData.set('', '', Buffer.alloc(0), 0), true)
  const read = b.stores.sharedData.get('{ä:\0}', key)
  assert.ok(typeof read === 'object' && read.value.equals(all))
  const empty = b.stores.sharedData.get('', '')
  assert.ok(typeof empty === 'object' && empty.value.length === 0 && empty.cas !== 0)
})

test('a number sets only what still has it, or what is not there', { skip }, async (t) => {
  const { server, a, b } = await two(t)
  const one = a.stores.sharedData
  const other = b.stores.sharedData
  assert.equal(one.set('', 'k', bytes('1'), 77), true)
  const before = one.get('', 'k')
  assert.ok(typeof before === 'object')
  assert.equal(other.set('', 'k', bytes('2'), before.cas), true)
  assert.equal(one.set('', 'k', bytes('3'), before.cas), false)
  assert.equal(text(one.get('', 'k')), '2', 'a refusal tells what is there')
  await server.control.del('wasm:data:0::k')
  await eventually('it is gone', () => one.get('', 'k') === undefined)
  assert.equal(one.set('', 'k', bytes('4'), before.cas), true)
  const after = one.get('', 'k')
  assert.ok(typeof after === 'object' && after.cas !== before.cas, 'no number comes twice')
})

test('numbers differ from each other, are never 0, and go on when the clock of the server is set back', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const { stores } = await connect(t, server)
  const seen = new Set<number>()
  for (let i = 0; i < 500; i++) {
    stores.sharedData.set('', 'k', bytes('v'), 0)
    seen.add((stores.sharedData.get('', 'k') as { cas: number }).cas)
  }
  assert.equal(seen.size, 500)
  // As one that has a clock which is ahead would have set it; and the number before the wrap.
  const now = (Math.floor(Date.now() * 1000) % 2 ** 32) + 60_000_000
  for (const ahead of [now % 2 ** 32, 0xffffffff]) {
    const stored = Buffer.alloc(5)
    stored.writeUInt32LE(ahead)
    await server.control.set('wasm:data:0::k', stored)
    assert.equal(stores.sharedData.set('', 'k', bytes('v'), ahead), true)
    const { cas } = stores.sharedData.get('', 'k') as { cas: number }
    assert.ok(cas !== ahead && cas !== 0)
    if (ahead !== 0xffffffff) assert.equal(cas, ahead + 1)
  }
})

test('what nobody changes is read without asking, also that there is none', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  sharedData.set('', 'k', bytes('v'), 0)
  sharedData.get('', 'none')
  const { waits } = seen
  for (let i = 0; i < 100; i++) {
    assert.equal(text(sharedData.get('', 'k')), 'v')
    assert.equal(sharedData.get('', 'none'), undefined)
  }
  assert.equal(seen.waits, waits)
})

test('a change is seen by who does not leave the callback', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { stores } = await connect(t, server)
  const processes = await Processes.start(t, 1, server.url)
  stores.sharedData.set('', 'k', bytes('old'), 0)
  assert.equal(text(stores.sharedData.get('', 'k')), 'old')
  processes.tell({ task: 'set', key: 'k', value: 'new', afterMs: 50 })
  const end = performance.now() + 5000
  while (text(stores.sharedData.get('', 'k')) === 'old' && performance.now() < end);
  assert.equal(text(stores.sharedData.get('', 'k')), 'new')
})

test('four processes that count by compare and swap lose nothing', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--appendonly', 'no')
  const { stores } = await connect(t, server)
  const processes = await Processes.start(t, 4, server.url)
  await processes.run({ task: 'count', key: 'n', times: 5000 })
  assert.equal(text(stores.sharedData.get('', 'n')), '20000')
})

test('values that are longer than 64 KiB are refused, and what was there stays', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  const longest = randomBytes(64 * 1024)
  assert.equal(sharedData.set('', 'k', longest, 0), true)
  assert.equal(sharedData.set('', 'k', Buffer.alloc(64 * 1024 + 1), 0), undefined)
  const long = 'k'.repeat(64 * 1024)
  assert.equal(sharedData.set('', long, longest, 0), true)
  const other = await connect(t, server)
  for (const key of ['k', long]) {
    const read = other.stores.sharedData.get('', key)
    assert.ok(typeof read === 'object' && read.value.equals(longest))
  }
  assert.equal(sharedData.set('', 'k'.repeat(80 * 1024), longest, 0), undefined)
  assert.equal(sharedData.get('', 'k'.repeat(80 * 1024)), undefined)
})

test('of a vm_id with a time to live keys end, and are never read from a copy', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server, { ttlMs: { short: 60_000 } })
  const { sharedData } = seen.stores
  sharedData.set('short', 'k', bytes('v'), 0)
  sharedData.set('', 'k', bytes('v'), 0)
  const left = await server.control.pttl('wasm:data:5:short:k')
  assert.ok(left > 0 && left <= 60_000)
  assert.equal(await server.control.pttl('wasm:data:0::k'), -1)
  await server.control.pexpire('wasm:data:5:short:k', 1)
  await eventually('it is over', () => sharedData.get('short', 'k') === undefined)
  const { waits } = seen
  sharedData.get('short', 'k')
  assert.equal(seen.waits, waits + 1)
})

test('what is in Redis under the name of a value and is none is not taken for one', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { stores, lines } = await connect(t, server)
  await server.control.set('wasm:data:0::short', 'x')
  await server.control.lpush('wasm:data:0::list', 'x')
  assert.equal(stores.sharedData.get('', 'short'), 'unavailable')
  assert.equal(stores.sharedData.get('', 'list'), 'unavailable')
  assert.equal(stores.sharedData.set('', 'list', bytes('v'), 0), 'unavailable')
  assert.equal(stores.sharedData.set('', 'k', bytes('v'), 0), true)
  assert.equal(lines.filter((line) => line.startsWith('error')).length, 1, lines.join())
})

test('gateways with another prefix share nothing', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const a = await connect(t, server, { prefix: 'a:' })
  const b = await connect(t, server, { prefix: 'b:' })
  a.stores.sharedData.set('', 'k', bytes('v'), 0)
  assert.equal(b.stores.sharedData.get('', 'k'), undefined)
})
