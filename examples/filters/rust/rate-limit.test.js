import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { loadChain, loadFilter } from 'fastify-wasm-gateway/testing'

const file = new URL('rate-limit.wasm', import.meta.url)
const conf = { limit: 2, window_seconds: 60, header: 'x-api-key' }
/** At the beginning of a window. */
const now = new Date('2030-01-01T00:00:00Z')

async function load(options) {
  const filter = await loadFilter(file, { conf, now, ...options })
  after(() => filter.close())
  return filter
}

const of = (key) => ({ request: { headers: { 'x-api-key': key } } })

test('requests pass up to the limit, and are told how many are left', async () => {
  const filter = await load()
  const answers = [await filter.exchange(of('a')), await filter.exchange(of('a')), await filter.exchange(of('a'))]
  assert.deepEqual(
    answers.map(({ response }) => [response.status, response.headers['x-ratelimit-remaining']]),
    [
      [200, '1'],
      [200, '0'],
      [429, undefined]
    ]
  )
  assert.deepEqual(answers[2].localReply.headers, { 'retry-after': '60' })
  assert.equal(filter.metrics.rate_limited, 1)
})

test('clients are counted apart, and what has no key is not counted', async () => {
  const filter = await load()
  for (const key of ['a', 'a', 'b', 'b']) assert.equal((await filter.exchange(of(key))).forwarded, true)
  for (let i = 0; i < 3; i++) assert.equal((await filter.exchange()).response.status, 200)
  assert.deepEqual(filter.sharedData.keys(), ['rate/a', 'rate/b'])
})

test('a new window begins when the clock says so', async () => {
  const filter = await load()
  for (let i = 0; i < 3; i++) await filter.exchange(of('a'))
  await filter.advance(45_000)
  const late = await filter.exchange(of('a'))
  assert.equal(late.response.headers['retry-after'], '15')
  await filter.advance(15_000)
  assert.equal((await filter.exchange(of('a'))).response.status, 200)
})

test('what stands in the shared data is a window and a count', async () => {
  const filter = await load()
  await filter.exchange(of('a'))
  const kept = filter.sharedData.get('rate/a')
  assert.deepEqual([kept.readBigUInt64LE(0), kept.readBigUInt64LE(8)], [BigInt(now.getTime() / 60_000), 1n])
  // And what somebody else has put there does no harm.
  filter.sharedData.set('rate/a', 'nonsense')
  assert.equal((await filter.exchange(of('a'))).response.headers['x-ratelimit-remaining'], '1')
})

test('two filters of one vm_id count together', async () => {
  const filters = ['first', 'second'].map((name, i) => ({ name, file, conf, priority: -i, vm_id: 'shared' }))
  const chain = await loadChain(filters, { now })
  after(() => chain.close())
  assert.equal((await chain.exchange(of('a'))).response.status, 200)
  const { localReply } = await chain.exchange(of('a'))
  assert.deepEqual([localReply.filter, localReply.status], ['first', 429])
})

test('a limit of 0 is refused', async () => {
  await assert.rejects(loadFilter(file, { conf: { ...conf, limit: 0 } }), /must be above 0/)
  await assert.rejects(loadFilter(file, { conf: { limit: 1 } }), /missing field `window_seconds`/)
})
