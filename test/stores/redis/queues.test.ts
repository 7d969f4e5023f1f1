import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RedisQueues } from '../../../lib/stores/redis/queues.ts'
import { eventually } from '../../eventually.ts'
import { Processes } from './processes.ts'
import { connect, RedisServer, skip } from './redis-server.ts'

async function two(t: TestContext, own: Parameters<typeof connect>[2] = {}) {
  const server = await RedisServer.start(t)
  const a = await connect(t, server, own)
  const b = await connect(t, server, own)
  return { server, a: a.stores.queues, b: b.stores.queues, seen: a, other: b }
}

/** Registers, and takes an item whenever it is told. */
function consume(queues: RedisQueues, name: string) {
  const taken: string[] = []
  const told: number[] = []
  const { id, unregister } = queues.register('', name, (id) => {
    told.push(id)
    const item = queues.dequeue(id)
    if (item) taken.push(item.toString('latin1'))
  })
  return { id, taken, told, unregister }
}

const nobody = () => {}
const item = (text: string) => Buffer.from(text, 'latin1')

test('a queue has the same id everywhere, and is found by who knows its vm_id and name', { skip }, async (t) => {
  const { a, b } = await two(t)
  const { id } = a.register('vm', 'q\xff', nobody)
  assert.notEqual(id, 0)
  await eventually('it is found', () => b.resolve('vm', 'q\xff') === id)
  assert.equal(b.resolve('', 'q\xff'), undefined)
  assert.equal(b.resolve('vm', 'q'), undefined)
  assert.equal(a.resolve('vm', 'q\xff'), id)
  assert.equal(b.register('vm', 'q\xff', nobody).id, id)
})

test('a queue that nobody has registered takes nothing and gives nothing', { skip }, async (t) => {
  const { a } = await two(t)
  assert.equal(a.enqueue(1, item('x')), false)
  assert.equal(a.dequeue(1), undefined)
})

test('items are taken in their order, each once, by whichever process', { skip }, async (t) => {
  const { server, a, b } = await two(t)
  const { id } = a.register('', 'q', nobody)
  await eventually('the other one knows it', () => b.resolve('', 'q') === id)
  for (const text of ['1', '\xff\0', '', '4']) assert.equal((text === '4' ? b : a).enqueue(id, item(text)), true)
  const out = [a, b, b, a].map((queues) => queues.dequeue(id)?.toString('latin1'))
  assert.deepEqual(out, ['1', '\xff\0', '', '4'])
  assert.equal(a.dequeue(id), null)
  assert.equal(b.dequeue(id), null)
  assert.equal(await left(server, id), 0)
})

test('all that have registered are told of an item, in a later turn, and one of them has it', { skip }, async (t) => {
  const { a, b } = await two(t)
  const one = consume(a, 'q')
  const other = consume(b, 'q')
  await eventually('the other one knows it', () => b.resolve('', 'q') === one.id)
  await sleep(200)
  for (let i = 0; i < 20; i++) a.enqueue(one.id, item(String(i)))
  assert.deepEqual(one.told, [])
  await eventually('both are told', () => one.told.length >= 20 && other.told.length >= 20)
  const taken = [...one.taken, ...other.taken].map(Number).sort((x, y) => x - y)
  assert.deepEqual(
    taken,
    Array.from({ length: 20 }, (_, i) => i)
  )
})

test('who comes later is told of what is there, and who has left of nothing', { skip }, async (t) => {
  const { a, b } = await two(t)
  const { id } = a.register('', 'q', nobody)
  for (const text of ['1', '2', '3']) a.enqueue(id, item(text))
  const late = consume(b, 'q')
  await eventually('it has them', () => late.taken.length === 3)
  late.unregister()
  a.enqueue(id, item('4'))
  await sleep(200)
  assert.deepEqual(late.taken, ['1', '2', '3'])
})

test('an item that is too long, or finds no room, is refused', { skip }, async (t) => {
  const { a } = await two(t)
  const { id } = a.register('', 'q', nobody)
  assert.equal(a.enqueue(id, Buffer.alloc(64 * 1024)), true)
  assert.equal(a.enqueue(id, Buffer.alloc(64 * 1024 + 1)), undefined)
  assert.equal(a.dequeue(id)?.length, 64 * 1024)
})

test('a Redis that is full is emptied by who comes then, and tells of what comes once there is room', {
  skip
}, async (t) => {
  const { server, a, b } = await two(t, { claimMs: 500 })
  const { id } = a.register('', 'q', nobody)
  for (const text of ['1', '2', '3']) assert.equal(a.enqueue(id, item(text)), true)
  await server.control.config('SET', 'maxmemory', '1')
  const consumer = consume(b, 'q')
  const fresh = consume(b, 'fresh')
  await eventually('it has them', () => consumer.taken.length === 3)
  await server.control.config('SET', 'maxmemory', '0')
  await eventually('the new queue is there', () => a.resolve('', 'fresh') === fresh.id)
  assert.equal(a.enqueue(fresh.id, item('4')), true)
  await eventually('it is told of', () => fresh.taken.length === 1)
})

test('an item that somebody else has put there, and is too long for one, is dropped', { skip }, async (t) => {
  const { server, a, seen } = await two(t)
  const { id } = a.register('', 'q', nobody)
  assert.equal(a.enqueue(id, item('1')), true)
  await server.control.xadd(`wasm:queue:${id}`, '*', 'item', Buffer.alloc(64 * 1024 + 1))
  assert.equal(a.enqueue(id, item('2')), true)
  assert.deepEqual(
    [1, 2, 3].map(() => a.dequeue(id)?.toString()),
    ['1', undefined, '2']
  )
  assert.match(seen.lines.join(), /^error: redis: an item of queue .* is longer than one may be/)
  assert.equal(await left(server, id), 0)
})

test('a process registers so many queues, and one that is registered is found again', { skip }, async (t) => {
  const { a } = await two(t)
  const ids = Array.from({ length: 1025 }, (_, i) => a.register('', `q${i}`, nobody).id)
  assert.equal(ids.indexOf(0), 1024)
  assert.equal(a.register('', 'q0', nobody).id, ids[0])
})

test('while Redis is away a queue seems empty and takes nothing; then who has registered is told of all', {
  skip
}, async (t) => {
  const { server, a, b, seen } = await two(t)
  const { id } = a.register('', 'q', nobody)
  for (let i = 0; i < 5; i++) a.enqueue(id, item(String(i)))
  await server.kill()
  await eventually('it is noticed', () => !seen.stores.status.connected)
  const consumer = consume(b, 'q')
  assert.equal(a.enqueue(id, item('x')), 'unavailable')
  assert.equal(a.dequeue(id), null)
  await server.start()
  await eventually('all are taken', () => consumer.taken.length === 5)
})

test('an item that was taken for a filter which did not wait so long is given to the next one', { skip }, async (t) => {
  const { server, a, seen } = await two(t, { timeoutMs: 300 })
  const { id } = a.register('', 'q', nobody)
  await eventually('it is there', () => a.enqueue(id, item('x')) === true)
  const { waits } = seen
  server.signal('SIGSTOP')
  assert.equal(a.dequeue(id), null)
  assert.equal(seen.waits, waits + 1)
  const consumer = consume(a, 'q')
  server.signal('SIGCONT')
  await eventually('another one has it', () => consumer.taken.includes('x'))
  assert.equal(await left(server, id), 0)
})

test('processes that are killed while they take items lose none', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { stores } = await connect(t, server, { claimMs: 1000 })
  const { queues } = stores
  const { id } = queues.register('', 'q', nobody)
  const seen: number[] = []
  const COUNT = 3000
  const producer = await Processes.start(t, 1, server.url)
  const produced = (async () => {
    while (queues.resolve('', 'q') === undefined) await sleep(10)
    await producer.run({ task: 'put', queue: 'q', items: COUNT, from: 0 })
  })()
  const consumers = await Processes.start(t, 4, server.url)
  for (const child of consumers.children) {
    child.on('message', (message: { item?: number }) => {
      if (message.item !== undefined) seen.push(message.item)
    })
  }
  consumers.tell({ task: 'consume', queue: 'q' })
  for (const child of consumers.children.slice(1)) {
    const before = seen.length
    for (let i = 0; i < 500 && seen.length < before + 200; i++) await sleep(10)
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
  await produced
  for (let i = 0; i < 1000 && new Set(seen).size < COUNT; i++) await sleep(10)
  const missing = Array.from({ length: COUNT }, (_, i) => i).filter((i) => !seen.includes(i))
  // What was taken in the moment of its end may have been seen by a process that could not say so any more; it comes again.
  assert.deepEqual(missing, [])
  assert.equal(await left(server, id), 0)
})

async function left(server: RedisServer, id: number): Promise<number> {
  for (let i = 0; i < 500 && (await server.control.xlen(`wasm:queue:${id}`)) > 0; i++) await sleep(10)
  return server.control.xlen(`wasm:queue:${id}`)
}
