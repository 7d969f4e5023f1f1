import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { UpstreamNode } from '../../../lib/config/validate.ts'
import { RoundRobin } from '../../../lib/gateway/upstream/round-robin.ts'
import { Upstream } from '../../../lib/gateway/upstream/upstream.ts'
import { startApp } from '../../app.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'
import { request } from '../../http.ts'
import { startProxy, startRecorder } from './nodes.ts'

function sequence(weights: Record<string, number>, length: number): string {
  const nodes = Object.fromEntries(Object.entries(weights).map(([host, weight]) => [`${host}:80`, weight]))
  const upstream = new Upstream({ nodes }, new RecordingLogger())
  return Array.from({ length }, () => upstream.pick([])?.host ?? '-').join('')
}

test('weights of 5, 1 and 1 are picked smoothly, in the order that nginx has', () => {
  assert.equal(sequence({ a: 5, b: 1, c: 1 }, 14), 'aabacaaaabacaa')
})

test('equal weights take turns', () => {
  assert.equal(sequence({ a: 3, b: 3, c: 3 }, 7), 'abcabca')
})

test('a node of weight 0 is never picked, and none is when all weights are 0', () => {
  assert.equal(sequence({ a: 0, b: 1, c: 0 }, 4), 'bbbb')
  assert.equal(sequence({ a: 0, b: 0 }, 2), '--')
  assert.equal(sequence({}, 1), '-')
})

test('a node that has been tried is not picked again for the same request', () => {
  const nodes = ['a', 'b'].map((host) => ({ host, port: 80, weight: 1, priority: 0 }))
  const balancer = new RoundRobin(nodes)
  assert.equal(balancer.pick([nodes[0]!], undefined)?.host, 'b')
  assert.equal(balancer.pick(nodes, undefined), undefined)
})

test('nodes are given as a map or as a list, with the port of the scheme when they name none', () => {
  const nodesOf = (config: object): UpstreamNode[] => {
    const upstream = new Upstream(config as ConstructorParameters<typeof Upstream>[0], new RecordingLogger())
    const picked: UpstreamNode[] = []
    for (let node = upstream.pick(picked); node !== undefined; node = upstream.pick(picked)) picked.push(node)
    return picked
  }
  assert.deepEqual(nodesOf({ nodes: { 'a.test': 1 } }), [{ host: 'a.test', port: 80, weight: 1, priority: 0 }])
  assert.deepEqual(nodesOf({ nodes: { 'a.test': 1 }, scheme: 'https' }), [
    { host: 'a.test', port: 443, weight: 1, priority: 0 }
  ])
  assert.deepEqual(nodesOf({ nodes: [{ host: 'a.test', weight: 1 }] }), [
    { host: 'a.test', port: 80, weight: 1, priority: 0 }
  ])
  assert.deepEqual(nodesOf({ nodes: [{ host: '::1', port: 81, weight: 2 }] }), [
    { host: '::1', port: 81, weight: 2, priority: 0 }
  ])
  assert.deepEqual(nodesOf({ nodes: { '[::1]:82': 2 } }), [{ host: '::1', port: 82, weight: 2, priority: 0 }])
  assert.deepEqual(nodesOf({ nodes: { '[::1]': 2 } }), [{ host: '::1', port: 80, weight: 2, priority: 0 }])
})

test('requests reach the nodes by their weights, and a weight of 0 takes a node out', async (t) => {
  const [a, b, c] = [await startRecorder(t), await startRecorder(t), await startRecorder(t)]
  const { url } = await startProxy(t, { nodes: { [a.address]: 3, [b.address]: 1, [c.address]: 0 } })
  for (let i = 0; i < 8; i++) await request(`${url}/`)
  assert.deepEqual([a.seen.length, b.seen.length, c.seen.length], [6, 2, 0])
})

test('the turn goes on over all routes that share an upstream_id', async (t) => {
  const [a, b] = [await startRecorder(t), await startRecorder(t)]
  const upstreams = [{ id: 'both', nodes: [a, b].map(({ port }) => ({ host: '127.0.0.1', port, weight: 1 })) }]
  const { url } = await startApp(t, { upstreams }, (app) => {
    app.get('/one', { config: { wasm: { upstream_id: 'both' } } }, app.wasmGateway.proxy)
    app.get('/two', { config: { wasm: { upstream_id: 'both' } } }, app.wasmGateway.proxy)
  })
  const answers: string[] = []
  for (const path of ['/one', '/two', '/one', '/two']) answers.push((await request(url + path)).text)
  assert.deepEqual(answers, [a.address, b.address, a.address, b.address])
})

test('a node may be an IPv6 address', async (t) => {
  const { createServer } = await import('node:http')
  const server = createServer((incoming, response) => response.end(incoming.headers.host))
  const listening = await new Promise<boolean>((resolve) => {
    server.on('error', () => resolve(false))
    server.listen(0, '::1', () => resolve(true))
  })
  if (!listening) return t.skip('there is no IPv6 here')
  t.after(() => server.close())
  const { port } = server.address() as { port: number }
  const { url } = await startProxy(t, { nodes: { [`[::1]:${port}`]: 1 }, pass_host: 'node' })
  assert.equal((await request(`${url}/`)).text, `[::1]:${port}`)
})
