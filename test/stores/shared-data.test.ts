import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MemorySharedData } from '../../lib/stores/shared-data.ts'

const bytes = (text: string) => Buffer.from(text)

test('a value is there for its vm_id and key alone', () => {
  const data = new MemorySharedData()
  data.set('a', 'k', bytes('1'), 0)
  assert.equal(data.get('a', 'k')?.value.toString(), '1')
  assert.equal(data.get('a', 'other'), undefined)
  assert.equal(data.get('b', 'k'), undefined)
})

test('every change has another cas, of any key', () => {
  const data = new MemorySharedData()
  const seen = new Set<number>()
  for (let i = 0; i < 100; i++) {
    const [vmId, key] = [`${i % 3}`, `${i % 7}`]
    assert.equal(data.set(vmId, key, bytes('x'), 0), true)
    seen.add(data.get(vmId, key)!.cas)
  }
  assert.equal(seen.size, 100)
  assert.ok(!seen.has(0))
})

test('of all that hold the same cas, one sets', () => {
  const data = new MemorySharedData()
  data.set('', 'k', bytes('start'), 0)
  const { cas } = data.get('', 'k')!
  const set = Array.from({ length: 10 }, (_, i) => data.set('', 'k', bytes(`${i}`), cas))
  assert.deepEqual(
    set.filter((done) => done),
    [true]
  )
  assert.equal(data.get('', 'k')?.value.toString(), '0')
})

test('a cas for a key that is absent creates it', () => {
  const data = new MemorySharedData()
  assert.equal(data.set('', 'k', bytes('v'), 42), true)
  assert.notEqual(data.get('', 'k')?.cas, 0)
})
