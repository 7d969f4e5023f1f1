import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { parsePairs, serializedSize, serializePairs } from '../../lib/host/byte-pairs.ts'

/** A text of bytes, as the host keeps names and values. */
const latin1 = fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes).toString('latin1'))
const pairs = fc.array(fc.tuple(latin1, latin1), { maxLength: 50 }).map((list) => list.flat())

test('what is serialized is parsed again, byte for byte', () => {
  fc.assert(
    fc.property(pairs, (list) => {
      const bytes = serializePairs(list)
      assert.deepEqual(parsePairs(bytes), list)
      assert.equal(bytes.length, serializedSize(list))
    })
  )
})

test('arbitrary bytes are pairs or none, and nothing outside of them is read', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      // A buffer in the middle of another, as a range of linear memory is.
      const around = Buffer.alloc(bytes.length + 128, 0x7a)
      around.set(bytes, 64)
      const parsed = parsePairs(around.subarray(64, 64 + bytes.length))
      assert.deepEqual(parsed, parsePairs(Buffer.from(bytes)))
    }),
    { numRuns: 500 }
  )
})

test('whatever is changed in serialized pairs, the result is what its bytes say, or nothing', () => {
  fc.assert(
    fc.property(pairs, fc.nat(), fc.integer({ min: 0, max: 255 }), (list, at, value) => {
      const bytes = serializePairs(list)
      bytes[at % bytes.length] = value
      const parsed = parsePairs(bytes)
      if (parsed !== undefined) assert.deepEqual(serializePairs(parsed), bytes)
    }),
    { numRuns: 500 }
  )
})

test('cut short, serialized pairs are refused, or empty where no count is left', () => {
  const bytes = serializePairs(['name', 'value', 'other', ''])
  for (let length = 0; length < bytes.length; length++) {
    assert.deepEqual(parsePairs(bytes.subarray(0, length)), length < 4 ? [] : undefined, `${length} bytes`)
  }
})

test('as many pairs and bytes as Envoy takes are taken, and no more', () => {
  const many = (count: number) => serializePairs(Array.from({ length: count * 2 }, () => 'a'))
  assert.equal(parsePairs(many(1024))?.length, 2048)
  assert.equal(parsePairs(many(1025)), undefined)
  const long = (size: number) => serializePairs(['a', 'x'.repeat(size - 4 - 8 - 2 - 1)])
  assert.equal(long(1024 * 1024).length, 1024 * 1024)
  assert.equal(parsePairs(long(1024 * 1024))?.length, 2)
  assert.equal(parsePairs(long(1024 * 1024 + 1)), undefined)
})

test('lengths that would lead beyond the end, or wrap, are refused', () => {
  for (const length of [2, 100, 0x7fffffff, 0xffffffff]) {
    for (const at of [4, 8]) {
      const bytes = serializePairs(['a', 'b'])
      bytes.writeUInt32LE(length, at)
      assert.equal(parsePairs(bytes), undefined)
    }
  }
})
