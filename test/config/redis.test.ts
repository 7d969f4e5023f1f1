import assert from 'node:assert/strict'
import { test } from 'node:test'
import { redisSettingsOf } from '../../lib/config/redis.ts'
import { checkOptions } from '../../lib/config/resources.ts'
import type { Redis } from '../../lib/config/schema.ts'

const settingsOf = (redis: unknown) => {
  checkOptions({ redis })
  return redisSettingsOf(redis as Redis)
}

test('what an address holds behind a ? is refused, and not taken for options of the client', () => {
  for (const url of ['redis://localhost?keyPrefix=x:', 'redis://localhost:6379/1?protocol=3']) {
    for (const redis of [url, { url }]) {
      assert.throws(() => settingsOf(redis), { code: 'FST_WASM_OPTIONS_INVALID', message: /ends before the \?/ })
    }
  }
  assert.equal(settingsOf('redis://localhost/1').url, 'redis://localhost/1')
})

test('times that no timer can wait are refused', () => {
  for (const key of ['timeout_ms', 'connectTimeout']) {
    assert.throws(() => settingsOf({ [key]: 60_001 }), {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: /must be <= 60000/
    })
    settingsOf({ [key]: 60_000 })
  }
})
