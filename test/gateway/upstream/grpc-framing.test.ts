import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Deframer, frame } from '../../../lib/gateway/upstream/grpc-framing.ts'

const texts = ['a', '', 'x'.repeat(300), '', 'end']
const bytes = Buffer.concat(texts.map((text) => frame(Buffer.from(text))))

test('a frame is a zero, the length in four bytes, the message', () => {
  assert.deepEqual([...frame(Buffer.from('abc'))], [0, 0, 0, 0, 3, 97, 98, 99])
  assert.deepEqual([...frame(Buffer.alloc(0))], [0, 0, 0, 0, 0])
})

test('messages come out whole, however the bytes are cut', () => {
  for (let size = 1; size <= bytes.length; size++) {
    const deframer = new Deframer()
    const messages: string[] = []
    for (let at = 0; at < bytes.length; at += size) {
      messages.push(...deframer.push(bytes.subarray(at, at + size)).map(String))
      assert.equal(deframer.partial > 0, messages.length < texts.length && !endsWhole(at + size), `${size} at ${at}`)
    }
    assert.deepEqual(messages, texts)
    assert.equal(deframer.partial, 0)
  }
})

/** Whether so many bytes are whole messages. */
function endsWhole(length: number): boolean {
  let at = 0
  for (const text of texts) {
    if (at >= length) break
    at += 5 + text.length
  }
  return at === Math.min(length, bytes.length)
}

test('a message that is compressed, or longer than 4 MiB, is refused by its prefix', () => {
  assert.throws(() => new Deframer().push(Buffer.from([1, 0, 0, 0, 0])), /compressed/)
  assert.throws(() => new Deframer().push(Buffer.from([0, 0, 0x40, 0, 1])), /longer than 4194304/)
  assert.deepEqual(new Deframer().push(Buffer.from([0, 0, 0x40, 0, 0])), [])
})
