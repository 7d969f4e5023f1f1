import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateSync, inflateSync } from 'node:zlib'
import { compress } from '../../lib/host/compress.ts'
import { enterModule, leaveModule } from '../../lib/host/metering/clock.ts'

/** In a call into a module that may take so many milliseconds. */
function compressIn(milliseconds: number, bytes: Buffer): Buffer {
  const depth = enterModule(milliseconds)
  try {
    return compress(bytes)
  } finally {
    leaveModule(depth)
  }
}

test('bytes of any length are compressed to one stream of zlib', () => {
  const bytes = Buffer.from(Uint32Array.from({ length: 260_000 }, (_, i) => i * i).buffer)
  for (const length of [0, 1, 256 * 1024, 256 * 1024 + 1, 512 * 1024, bytes.length]) {
    const part = bytes.subarray(0, length)
    const compressed = compressIn(Number.POSITIVE_INFINITY, part)
    assert.ok(compressed.length <= deflateSync(part).length * 1.02, `${length} bytes became ${compressed.length}`)
    assert.deepEqual(inflateSync(compressed), part)
  }
  const high = Buffer.alloc(1_000_003, 0xff)
  assert.deepEqual(inflateSync(compressIn(Number.POSITIVE_INFINITY, high)), high)
})

test('when the time of the call is over no more is compressed', () => {
  assert.ok(compressIn(-1, Buffer.alloc(10_000_000, 'ab')).length < 10)
})
