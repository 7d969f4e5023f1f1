import assert from 'node:assert/strict'
import { after, test } from 'node:test'
import { loadFilter } from 'fastify-wasm-gateway/testing'

const file = new URL('token-auth.wasm', import.meta.url)
const conf = { upstream: 'auth', path: '/introspect', ttl_seconds: 60 }

/** The upstream that knows the tokens: `good` is ali's. */
const auth = ({ headers }) =>
  headers.authorization === 'Bearer good' ? { body: 'ali' } : { status: 401, body: 'who is this?' }

async function load(upstreams = { auth }) {
  const filter = await loadFilter(file, { conf, upstreams })
  after(() => filter.close())
  return filter
}

const bearing = (token, more = {}) => ({ request: { headers: { authorization: `Bearer ${token}`, ...more } } })

test('a good token passes, with its user', async () => {
  const filter = await load()
  const exchange = await filter.exchange(bearing('good', { 'x-user': 'root' }))
  assert.equal(exchange.forwarded, true)
  assert.equal(exchange.request.headers['x-user'], 'ali')
  const [{ method, path, headers }] = exchange.calls
  assert.deepEqual([method, path, headers.authorization], ['POST', '/introspect', 'Bearer good'])
  // It paused until the upstream had answered.
  assert.equal(exchange.actions[0].action, 'Pause')
})

test('a bad token is denied, and so is none', async () => {
  const filter = await load()
  const bad = await filter.exchange(bearing('bad'))
  assert.deepEqual([bad.response.status, bad.response.body], [401, 'the token is not good'])
  assert.equal(bad.response.headers['www-authenticate'], 'Bearer')
  const none = await filter.exchange()
  assert.deepEqual([none.forwarded, none.localReply.status, none.calls.length], [false, 401, 0])
})

test('a token is remembered for as long as the configuration says', async () => {
  const filter = await load()
  await filter.exchange(bearing('good'))
  await filter.advance(59_999)
  const second = await filter.exchange(bearing('good'))
  assert.equal(second.request.headers['x-user'], 'ali')
  assert.equal(filter.metrics.token_auth_asked, 1)
  await filter.advance(1)
  await filter.exchange(bearing('good'))
  assert.equal(filter.metrics.token_auth_asked, 2)
  assert.deepEqual(filter.sharedData.keys(), ['token/good'])
})

test('an upstream that is away, slow or broken lets nobody in', async () => {
  for (const upstream of [() => new Error('connection refused'), { status: 500 }]) {
    const filter = await load({ auth: upstream })
    assert.equal((await filter.exchange(bearing('good'))).response.status, 503)
  }
  const filter = await load({ auth: () => new Promise(() => {}) })
  const exchange = await filter.begin(bearing('good'))
  await filter.advance(500)
  await exchange.finish()
  assert.equal(exchange.response.status, 503)
  assert.deepEqual(
    exchange.logs.map(({ level, message }) => [level, message]),
    [['warn', 'auth has answered []']]
  )
})

test('two requests are under way at once, and each has its own user', async () => {
  const answers = new Map()
  const filter = await load({
    auth: ({ headers }) => new Promise((resolve) => answers.set(headers.authorization, resolve))
  })
  const ali = await filter.begin(bearing('a'))
  const eve = await filter.begin(bearing('e'))
  answers.get('Bearer e')({ body: 'eve' })
  answers.get('Bearer a')({ body: 'ali' })
  await Promise.all([ali.finish(), eve.finish()])
  assert.deepEqual(
    [ali, eve].map(({ request }) => request.headers['x-user']),
    ['ali', 'eve']
  )
})

test('a configuration without an upstream is refused', async () => {
  await assert.rejects(loadFilter(file, { conf: { path: '/' } }), {
    code: 'FST_WASM_CONFIGURE_FAILED',
    message: /the configuration wants upstream and path/
  })
})
