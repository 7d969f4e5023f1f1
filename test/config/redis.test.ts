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

test('what a cluster would pay no heed to is refused', () => {
  const cluster = [{ host: 'node' }]
  for (const own of [{ host: 'a' }, { port: 1 }, { path: '/run/redis.sock' }, { db: 1 }]) {
    const [key] = Object.keys(own)
    assert.throws(() => settingsOf({ cluster, ...own }), {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: new RegExp(`redis\\.${key}: a cluster is reached by its nodes`)
    })
  }
  assert.throws(
    () => settingsOf({ cluster, sentinels: [{ host: 'a' }], name: 'm' }),
    /only one of cluster and sentinels/
  )
  assert.deepEqual(settingsOf({ cluster }).cluster, [{ host: 'node', port: 6379 }])
})
