import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import { Metrics, MetricType } from '../../lib/host/index.ts'
import { MemoryQueues } from '../../lib/stores/queues.ts'
import { MemorySharedData } from '../../lib/stores/shared-data.ts'

// What the stores keep for one vm_id, and how exactly they count it: against models that add everything up anew.

const nobody = () => {}
const vmId = fc.constantFrom('a', 'b')
const name = fc.constantFrom('', 'k', 'key', 'longer key')
const size = fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40 }))
const sum = (sizes: Iterable<number>) => [...sizes].reduce((total, size) => total + size, 0)

test('shared data holds no more than its limits, and counts what it holds exactly', () => {
  const set = fc.record({ vmId, key: name, size, cas: fc.constantFrom('any', 'current', 'outdated') })
  fc.assert(
    fc.property(fc.array(set, { maxLength: 60 }), (sets) => {
      const limits = { bytes: 60, keys: 3 }
      const data = new MemorySharedData(limits)
      const models = { a: new Map<string, number>(), b: new Map<string, number>() }
      for (const { vmId, key, size, cas } of sets) {
        const model = models[vmId as 'a' | 'b']
        const before = data.get(vmId, key)
        const taken = sum([...model].map(([key, size]) => key.length + size))
        const growth = size - (model.get(key) ?? -key.length)
        const fits = (model.has(key) || model.size < limits.keys) && (growth <= 0 || taken + growth <= limits.bytes)
        const current = before?.cas ?? 1
        const mismatch = cas === 'outdated' && before !== undefined
        const number = cas === 'any' ? 0 : cas === 'current' ? current : current + 1

        const result = data.set(vmId, key, Buffer.alloc(size, 'x'), number)
        assert.equal(result, mismatch ? false : fits ? true : undefined)
        if (result) model.set(key, size)
        else assert.deepEqual(data.get(vmId, key), before, 'what was there stays')
        for (const [vmId, model] of Object.entries(models)) {
          const bytes = sum([...model].map(([key, size]) => key.length + size))
          assert.deepEqual(data.usage(vmId), { bytes, keys: model.size })
          for (const [key, size] of model) assert.equal(data.get(vmId, key)?.value.length, size)
        }
      }
    }),
    { numRuns: 500 }
  )
})

test('queues hold no more than their limits, and count what they hold exactly', () => {
  const step = fc.record({
    does: fc.constantFrom('register', 'enqueue', 'enqueue', 'enqueue', 'dequeue', 'dequeue'),
    vmId,
    name,
    size
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
      const limits = { bytes: 100, items: 5, queues: 2 }
      const queues = new MemoryQueues(limits)
      const models = { a: new Map<string, number[]>(), b: new Map<string, number[]>() }
      const bytesOf = (model: Map<string, number[]>) => sum([...model].map(([name, items]) => name.length + sum(items)))
      for (const { does, vmId, name, size } of steps) {
        const model = models[vmId as 'a' | 'b']
        const items = model.get(name)
        const count = sum([...model.values()].map(({ length }) => length))
        const id = queues.resolve(vmId, name)
        assert.equal(id !== undefined, items !== undefined)
        if (does === 'register') {
          const fits =
            items !== undefined || (model.size < limits.queues && bytesOf(model) + name.length <= limits.bytes)
          assert.equal(queues.register(vmId, name, nobody).id !== 0, fits)
          if (fits && items === undefined) model.set(name, [])
        } else if (items === undefined) {
          assert.equal(queues.enqueue(id ?? 0, Buffer.alloc(size)), false)
          assert.equal(queues.dequeue(id ?? 0), undefined)
        } else if (does === 'enqueue') {
          const fits = count < limits.items && bytesOf(model) + size <= limits.bytes
          assert.equal(queues.enqueue(id!, Buffer.alloc(size)), fits ? true : undefined)
          if (fits) items.push(size)
        } else {
          const item = queues.dequeue(id!)
          assert.equal(item?.length, items.shift())
        }
        for (const [vmId, model] of Object.entries(models)) {
          const left = sum([...model.values()].map(({ length }) => length))
          assert.deepEqual(queues.usage(vmId), { bytes: bytesOf(model), items: left, queues: model.size })
        }
      }
    }),
    { numRuns: 500 }
  )
})

test('metrics are no more than their limits, and one that is defined again takes nothing', () => {
  const type = fc.constantFrom(...Object.values(MetricType))
  const define = fc.record({ vmId, type, name: fc.constantFrom('', 'a', 'bb', 'größer', 'b'.repeat(20)) })
  fc.assert(
    fc.property(fc.array(define, { maxLength: 40 }), (defines) => {
      const limits = { metrics: 4, bytes: 30 }
      const metrics = new Metrics(limits)
      const ids = { a: new Map<string, number>(), b: new Map<string, number>() }
      const bytesOf = (model: Map<string, number>) => sum([...model.keys()].map((key) => Buffer.byteLength(key) - 1))
      for (const { vmId, type, name } of defines) {
        const model = ids[vmId as 'a' | 'b']
        const known = model.get(type + name)
        const fits = model.size < limits.metrics && bytesOf(model) + Buffer.byteLength(name) <= limits.bytes
        const id = metrics.define(vmId, type, name)
        if (known !== undefined) assert.equal(id, known)
        else assert.equal(id !== undefined, fits)
        if (id !== undefined) model.set(type + name, id)
        for (const [vmId, model] of Object.entries(ids)) {
          assert.deepEqual(metrics.usage(vmId), { metrics: model.size, bytes: bytesOf(model) })
        }
      }
      const all = [...ids.a.values(), ...ids.b.values()]
      assert.equal(new Set(all).size, all.length)
      assert.equal(metrics.all().length, all.length)
    }),
    { numRuns: 500 }
  )
})

test('what is kept is a copy', () => {
  const bytes = Buffer.from('before')
  const data = new MemorySharedData()
  const queues = new MemoryQueues()
  const { id } = queues.register('', 'q', nobody)
  data.set('', 'k', bytes, 0)
  queues.enqueue(id, bytes)
  bytes.fill('x')
  assert.equal(data.get('', 'k')?.value.toString(), 'before')
  assert.equal(queues.dequeue(id)?.toString(), 'before')
})

test('a small value keeps its own bytes alive, and not those of others', () => {
  const data = new MemorySharedData()
  data.set('', 'k', Buffer.from('small'), 0)
  assert.equal(data.get('', 'k')?.value.buffer.byteLength, 5)
})

test('a consumer that puts two items into the queue for each that it takes does not stop the event loop', async () => {
  const queues = new MemoryQueues()
  let told = 0
  const { id, unregister } = queues.register('', 'q', (id) => {
    told++
    queues.dequeue(id)
    queues.enqueue(id, Buffer.from('one'))
    queues.enqueue(id, Buffer.from('two'))
    queues.dequeue(id)
  })
  queues.enqueue(id, Buffer.from('first'))
  const since = performance.now()
  let longest = 0
  for (let last = since; last < since + 1000; ) {
    await turn()
    const now = performance.now()
    longest = Math.max(longest, now - last)
    last = now
  }
  unregister()
  assert.ok(told > 1000, `told ${told} times`)
  assert.ok(longest < 400, `one turn took ${longest} ms`)
})
