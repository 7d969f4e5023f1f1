import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Memory } from '../../lib/host/memory.ts'

const PAGE = 65536

function attached(allocate: (size: number, memory: WebAssembly.Memory) => number = () => 1024) {
  const linear = new WebAssembly.Memory({ initial: 1, maximum: 4 })
  const memory = new Memory()
  memory.attach(linear, (size) => allocate(size, linear))
  return { memory, linear }
}

test('a range is within the memory exactly when its last byte is', () => {
  const { memory } = attached()
  const u32 = fc.oneof(fc.integer({ min: 0, max: 2 * PAGE }), fc.integer({ min: 0, max: 0xffffffff }))
  fc.assert(
    fc.property(u32, u32, (pointer, length) => {
      const inside = length === 0 || pointer + length <= PAGE
      // As WebAssembly hands numbers over: signed.
      assert.equal(memory.has(pointer | 0, length | 0), inside)
      assert.equal(memory.view(pointer | 0, length | 0)?.length, inside ? length : undefined)
      assert.equal(memory.copy(pointer | 0, length | 0)?.length, inside ? length : undefined)
    }),
    { numRuns: 1000 }
  )
})

test('the bounds of the memory are exact', () => {
  const { memory } = attached()
  assert.equal(memory.has(0, PAGE), true)
  assert.equal(memory.has(1, PAGE), false)
  assert.equal(memory.has(PAGE - 1, 1), true)
  assert.equal(memory.has(PAGE, 1), false)
  assert.equal(memory.has(PAGE, 0), true)
  assert.equal(memory.has(-16, 32), false)
  assert.equal(memory.has(0, -1), false)
})

test('a length that is a product does not wrap', () => {
  const { memory } = attached()
  assert.equal(memory.has(0, 0x20000000 * 8), false)
  assert.equal(memory.has(0, 0xffffffff * 48), false)
})

test('before there is a memory only empty ranges are within it', () => {
  const memory = new Memory()
  assert.equal(memory.size, 0)
  assert.equal(memory.has(0, 0), true)
  assert.equal(memory.has(0, 1), false)
  assert.equal(memory.view(0, 1), undefined)
  assert.equal(memory.latin1(5, 0), '')
})

test('numbers are little-endian, and need no alignment', () => {
  const { memory } = attached()
  memory.setU32(3, -2)
  assert.equal(memory.u32(3), 0xfffffffe)
  assert.deepEqual(memory.copy(3, 4), Buffer.from([0xfe, 0xff, 0xff, 0xff]))
  memory.setU64(9, -2n)
  assert.equal(memory.u64(9), 0xfffffffffffffffen)
  memory.setU64(9, 1n)
  assert.deepEqual(memory.copy(9, 8), Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]))
})

test('texts are latin1 or UTF-8', () => {
  const { memory } = attached()
  memory.write(10, Buffer.from('ä'))
  assert.equal(memory.utf8(10, 2), 'ä')
  assert.equal(memory.latin1(10, 2), 'Ã¤')
})

test('a view shows the memory, a copy is of its own', () => {
  const { memory } = attached()
  const [view, copy] = [memory.view(0, 1)!, memory.copy(0, 1)!]
  memory.write(0, Buffer.from([7]))
  assert.deepEqual([view[0], copy[0]], [7, 0])
})

test('when the memory has grown, the new part is there and the old bytes too', () => {
  const { memory, linear } = attached()
  memory.write(5, Buffer.from('old'))
  assert.equal(memory.has(PAGE, 1), false)
  linear.grow(1)
  assert.equal(memory.has(PAGE, PAGE), true)
  assert.equal(memory.size, 2 * PAGE)
  memory.setU32(PAGE, 42)
  assert.equal(memory.u32(PAGE), 42)
  assert.equal(memory.latin1(5, 3), 'old')
})

test('bytes are given where the allocator says, with their pointer and size', () => {
  const sizes: number[] = []
  const { memory } = attached((size) => {
    sizes.push(size)
    return 1024
  })
  assert.equal(memory.give(Buffer.from('hello'), 8, 12), true)
  assert.deepEqual([memory.u32(8), memory.u32(12), memory.latin1(1024, 5), sizes], [1024, 5, 'hello', [5]])
})

test('bytes are given into memory that the allocator has grown', () => {
  const { memory } = attached((_size, linear) => linear.grow(1) * PAGE)
  assert.equal(memory.give(Buffer.from('hello'), 8, 12), true)
  assert.equal(memory.u32(8), PAGE)
  assert.equal(memory.latin1(PAGE, 5), 'hello')
})

test('nothing is given where the allocator answers 0, or has no room; the cells stay', () => {
  for (const answer of [0, PAGE - 4, PAGE, -1]) {
    const { memory } = attached(() => answer)
    assert.equal(memory.give(Buffer.from('hello'), 8, 12), false)
    assert.deepEqual([memory.u32(8), memory.u32(12)], [0, 0])
  }
})

test('nothing is given as 0 and 0, without the allocator', () => {
  const { memory } = attached(() => assert.fail('called with 0'))
  memory.setU32(8, 1)
  memory.setU32(12, 1)
  assert.equal(memory.give(Buffer.alloc(0), 8, 12), true)
  assert.deepEqual([memory.u32(8), memory.u32(12)], [0, 0])
})
