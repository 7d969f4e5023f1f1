import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { MemoryQueues } from '../../lib/stores/queues.ts'

const nobody = () => {}

test('a queue is found by its vm_id and name', () => {
  const queues = new MemoryQueues()
  const { id } = queues.register('a', 'q', nobody)
  assert.equal(queues.resolve('a', 'q'), id)
  assert.equal(queues.resolve('b', 'q'), undefined)
  assert.equal(queues.resolve('a', 'other'), undefined)
  assert.equal(queues.register('a', 'q', nobody).id, id)
  assert.notEqual(queues.register('b', 'q', nobody).id, id)
  assert.notEqual(id, 0)
})

test('items come out in their order, each once, however many there are', () => {
  const queues = new MemoryQueues()
  const { id } = queues.register('', 'q', nobody)
  const out: string[] = []
  let next = 0
  // In and out in turns, so that the queue grows and shrinks.
  for (let round = 0; round < 50; round++) {
    for (let i = 0; i < round; i++) queues.enqueue(id, Buffer.from(`${next++}`))
    for (let i = 0; i < 20; i++) {
      const item = queues.dequeue(id)
      if (item) out.push(item.toString())
    }
  }
  for (let item = queues.dequeue(id); item; item = queues.dequeue(id)) out.push(item.toString())
  assert.deepEqual(
    out,
    Array.from({ length: next }, (_, i) => `${i}`)
  )
  assert.equal(queues.dequeue(id), null)
})

test('a queue that is not there takes nothing and gives nothing', () => {
  const queues = new MemoryQueues()
  assert.equal(queues.enqueue(1, Buffer.from('x')), false)
  assert.equal(queues.dequeue(1), undefined)
})

test('the last one that registered is told once for each item, in a later turn', async () => {
  const queues = new MemoryQueues()
  const told: string[] = []
  queues.register('', 'q', () => told.push('first'))
  const { id } = queues.register('', 'q', () => told.push('second'))
  queues.enqueue(id, Buffer.from('a'))
  queues.enqueue(id, Buffer.from('b'))
  assert.deepEqual(told, [])
  await turn()
  assert.deepEqual(told, ['second', 'second'])
})

test('unregistering ends that registration, and no later one', async () => {
  const queues = new MemoryQueues()
  const told: string[] = []
  const first = queues.register('', 'q', () => told.push('first'))
  const second = queues.register('', 'q', () => told.push('second'))
  first.unregister()
  queues.enqueue(first.id, Buffer.from('a'))
  await turn()
  assert.deepEqual(told, ['second'])
  second.unregister()
  queues.enqueue(first.id, Buffer.from('b'))
  await turn()
  assert.deepEqual(told, ['second'])
})

test('who registers is told of what came when nobody was, as far as it is still there', async () => {
  const queues = new MemoryQueues()
  const gone = queues.register('', 'q', nobody)
  queues.enqueue(gone.id, Buffer.from('told to who is gone'))
  await turn()
  gone.unregister()
  for (const text of ['a', 'b', 'c']) queues.enqueue(gone.id, Buffer.from(text))
  await turn()
  queues.dequeue(gone.id)
  queues.dequeue(gone.id)
  let told = 0
  queues.register('', 'q', () => told++)
  assert.equal(told, 0)
  await turn()
  assert.equal(told, 2, 'two items are there')
  queues.register('', 'q', () => told++)
  await turn()
  assert.equal(told, 2, 'once')
})

test('many queues have one turn together, and each has its own in the end', async () => {
  const queues = new MemoryQueues()
  const told = new Map<number, number>()
  const ids = Array.from({ length: 50 }, (_, i) => {
    const onReady = (id: number) => {
      told.set(id, (told.get(id) ?? 0) + 1)
      const until = performance.now() + 2
      while (performance.now() < until);
    }
    return queues.register('', `q${i}`, onReady).id
  })
  for (const id of ids) for (const item of ['one', 'two']) queues.enqueue(id, Buffer.from(item))
  await turn()
  // Some ten milliseconds of them.
  assert.ok(told.size > 0 && told.size < 10, `${told.size} were told in one turn`)
  let turns = 1
  for (; [...told.values()].reduce((sum, times) => sum + times, 0) < 100; turns++) await turn()
  assert.ok(turns >= 10, `in ${turns} turns`)
  assert.deepEqual(
    ids.map((id) => told.get(id)),
    new Array(50).fill(2)
  )
})

test('an id says nothing of those of other queues', () => {
  const queues = new MemoryQueues()
  const ids = Array.from({ length: 20 }, (_, i) => queues.register('', `q${i}`, nobody).id)
  assert.ok(ids.every((id) => id > 1000))
})
