import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { GrowingBytes } from '../../lib/growing-bytes.ts'

test('bytes that come in pieces are one, and what was handed out stays what it was', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 3000 }), { maxLength: 30 }), (pieces) => {
      const growing = new GrowingBytes()
      const seen: Buffer[] = []
      for (const piece of pieces) {
        growing.add(Buffer.from(piece))
        seen.push(growing.bytes)
      }
      const whole = Buffer.concat(pieces)
      let size = 0
      for (const [i, piece] of pieces.entries()) {
        size += piece.length
        assert.deepEqual(seen[i], whole.subarray(0, size))
      }
      assert.equal(growing.size, whole.length)
      assert.deepEqual(growing.take(), whole)
      assert.equal(growing.size, 0)
      growing.add(Buffer.from('next'))
      assert.equal(growing.bytes.toString(), 'next')
      assert.deepEqual(seen.at(-1) ?? whole, whole)
    })
  )
})

test('a piece that comes alone is not copied, and many small ones take little more than they are long', () => {
  const growing = new GrowingBytes()
  const alone = Buffer.from('alone')
  growing.add(alone)
  assert.equal(growing.bytes, alone)
  for (let i = 0; i < 100_000; i++) growing.add(Buffer.from('x'))
  assert(growing.bytes.buffer.byteLength <= 1.5 * growing.size + 1024)
})
