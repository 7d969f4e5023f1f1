import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { Upstream } from '../../../lib/gateway/upstream/upstream.ts'
import type { Upstream as UpstreamConfig } from '../../../lib/index.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'
import { request } from '../../http.ts'
import { REFUSED, startNode, startProxy, startRawNode, startRecorder, until } from './nodes.ts'

const upstreamOf = (config: UpstreamConfig) => new Upstream(config, new RecordingLogger())
const hashed = (nodes: Record<string, number>) => upstreamOf({ type: 'chash', key: 'uri', nodes })

/** Which node each key is sent to. */
function spread(upstream: Upstream, keys: readonly string[]): string[] {
  return keys.map((key) => {
    const node = upstream.pick([], key)!
    upstream.release(node)
    return node.host
  })
}

const KEYS = Array.from({ length: 4000 }, (_, i) => `/path/${i}`)

test('chash sends a key to the same node each time, and keys to the nodes by their weights', () => {
  const chosen = spread(hashed({ a: 1, b: 1, c: 2 }), KEYS)
  assert.deepEqual(spread(hashed({ a: 1, b: 1, c: 2 }), KEYS), chosen)
  const share = (host: string) => chosen.filter((chosen) => chosen === host).length / KEYS.length
  for (const [host, expected] of Object.entries({ a: 0.25, b: 0.25, c: 0.5 })) {
    assert(Math.abs(share(host) - expected) < 0.06, `${host} has ${share(host)}`)
  }
})

test('chash moves the keys of a node that goes, and no others', () => {
  const before = spread(hashed({ a: 1, b: 1, c: 1, d: 1 }), KEYS)
  const after = spread(hashed({ a: 1, b: 1, c: 1 }), KEYS)
  for (const [i, host] of before.entries()) if (host !== 'd') assert.equal(after[i], host)
})

test('chash picks an untried node as long as there is one, whatever the weights are', () => {
  const weights = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { maxLength: 5 })
  fc.assert(
    fc.property(weights, fc.option(fc.string(), { nil: undefined }), (weights, key) => {
      const upstream = hashed(Object.fromEntries(weights.map((weight, i) => [`n${i}`, weight])))
      const picked = []
      for (let node = upstream.pick([], key); node !== undefined; node = upstream.pick(picked, key)) picked.push(node)
      assert.equal(new Set(picked).size, picked.length)
      assert.equal(picked.length, weights.filter((weight) => weight > 0).length)
    }),
    { numRuns: 50 }
  )
})

test('chash goes by a variable, a header, a cookie or several variables, and by the address without any of it', async (t) => {
  const nodes = [await startRecorder(t), await startRecorder(t), await startRecorder(t)]
  const addresses = Object.fromEntries(nodes.map(({ address }) => [address, 1]))
  const answers = async (
    more: Partial<UpstreamConfig>,
    ask: (url: string, i: number) => ReturnType<typeof request>
  ) => {
    const { url } = await startProxy(t, { type: 'chash', nodes: addresses, ...more })
    const chosen = new Set<string>()
    for (let i = 0; i < 12; i++) chosen.add((await ask(url, i)).text)
    return chosen.size
  }
  const headers = (name: string, value: string) => ({ headers: { [name]: value } })
  assert.equal(await answers({ key: 'uri' }, (url, i) => request(`${url}/same?${i}`)), 1)
  assert((await answers({ key: 'uri' }, (url, i) => request(`${url}/${i}`))) > 1)
  assert((await answers({ key: 'arg_a' }, (url, i) => request(`${url}/?a=${i}`))) > 1)
  assert.equal(await answers({ key: 'arg_a' }, (url, i) => request(`${url}/?b=${i}`)), 1)
  const byHeader = { hash_on: 'header', key: 'X-User' } as const
  assert((await answers(byHeader, (url, i) => request(url, headers('x-user', `u${i}`)))) > 1)
  assert.equal(await answers(byHeader, (url) => request(url, headers('x-user', 'u'))), 1)
  const byCookie = { hash_on: 'cookie', key: 'sid' } as const
  assert((await answers(byCookie, (url, i) => request(url, headers('cookie', `a=1; sid=${i}`)))) > 1)
  const combined = { hash_on: 'vars_combinations', key: '$request_uri$remote_addr' } as const
  assert((await answers(combined, (url, i) => request(`${url}/?${i}`))) > 1)
})

test('least_conn picks the node with the fewest requests under way for its weight', () => {
  const upstream = upstreamOf({ type: 'least_conn', nodes: { a: 1, b: 1, c: 2 } })
  const picked = Array.from({ length: 8 }, () => upstream.pick([])!)
  const count = (host: string) => picked.filter((node) => node.host === host).length
  assert.deepEqual([count('a'), count('b'), count('c')], [2, 2, 4])
  for (const node of picked) if (node.host === 'a') upstream.release(node)
  assert.equal(upstream.pick([])?.host, 'a')
})

test('least_conn keeps away from a node that is at work', async (t) => {
  const waiting: (() => void)[] = []
  const slow = await startNode(t, (_request, response) => waiting.push(() => response.end('slow')))
  const fast = await startRecorder(t)
  const { app, url } = await startProxy(t, { type: 'least_conn', nodes: { [slow.address]: 1, [fast.address]: 1 } })
  const first = request(`${url}/`)
  await until(() => waiting.length === 1, 'the slow node is at work')
  for (let i = 0; i < 6; i++) assert.equal((await request(`${url}/${i}`)).text, fast.address)
  waiting[0]!()
  assert.equal((await first).text, 'slow')
  const requests = () => app.wasmGateway.status().upstreams[0]!.nodes.map(({ requests }) => requests)
  await until(() => requests().every((count) => count === 0), 'nothing is under way')
})

test('what clients leave behind is not counted as under way', async (t) => {
  const node = await startRawNode(t, () => {})
  const { app, url } = await startProxy(t, { type: 'least_conn', nodes: { [node.address]: 1 } })
  const leaving = Array.from({ length: 5 }, () => request(`${url}/`, { signal: AbortSignal.timeout(100) }))
  const requests = () => app.wasmGateway.status().upstreams[0]!.nodes[0]!.requests
  await until(() => requests() === 5, 'they are under way')
  await Promise.allSettled(leaving)
  await until(() => requests() === 0, 'nothing is under way')
})

test('nodes with a lower priority are sent requests when those with a higher one have failed', async (t) => {
  const [high, low] = [await startRecorder(t), await startRecorder(t)]
  const node = (address: string, priority: number) => {
    const [host, port] = address.split(':')
    return { host: host!, port: Number(port), weight: 1, priority }
  }
  const { url } = await startProxy(t, { nodes: [node(low.address, -1), node(high.address, 5)] })
  for (let i = 0; i < 4; i++) await request(`${url}/`)
  assert.deepEqual([high.seen.length, low.seen.length], [4, 0])
  const broken = await startProxy(t, { nodes: [node(REFUSED, 5), node(low.address, -1)] })
  for (let i = 0; i < 4; i++) assert.equal((await request(`${broken.url}/`)).status, 200)
  assert.equal(low.seen.length, 4)
})

test('when retry_timeout is over no other node is tried', async (t) => {
  const resetting = () =>
    startRawNode(t, (socket) => {
      socket.on('data', async () => {
        await sleep(150)
        socket.resetAndDestroy()
      })
    })
  const nodes = [await resetting(), await resetting(), await resetting(), await startRecorder(t)]
  const weights = Object.fromEntries(nodes.map(({ address }, i) => [address, 1000 - i]))
  const { url } = await startProxy(t, { nodes: weights, retry_timeout: 0.2 })
  assert.equal((await request(`${url}/`)).status, 502)
  assert.deepEqual(
    nodes.map((node) => node.accepted()),
    [1, 1, 0, 0]
  )
})

test('keepalive_pool says how many connections are kept, for how long and for how many requests', async (t) => {
  const start = async (keepalive_pool: NonNullable<UpstreamConfig['keepalive_pool']>) => {
    const node = await startNode(
      t,
      (_request, response) => {
        setTimeout(() => response.end('ok'), 30)
      },
      createServer({ keepAliveTimeout: 60_000 })
    )
    const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, keepalive_pool })
    return { node, url }
  }
  const few = await start({ requests: 2 })
  for (let i = 0; i < 6; i++) await request(`${few.url}/`)
  assert.equal(few.node.accepted(), 3)

  const small = await start({ size: 2 })
  await Promise.all(Array.from({ length: 6 }, () => request(`${small.url}/`)))
  await until(() => small.node.sockets.size === 2, 'two connections are kept')

  const none = await start({ idle_timeout: 0 })
  for (let i = 0; i < 3; i++) await request(`${none.url}/`)
  await until(() => none.node.sockets.size === 0, 'no connection is kept')
  assert.equal(none.node.accepted(), 3)

  const short = await start({ idle_timeout: 1 })
  await request(`${short.url}/`)
  await until(() => short.node.sockets.size === 0, 'the connection is closed when it was not used')
})
