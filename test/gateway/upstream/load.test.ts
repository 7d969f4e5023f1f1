import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import replyFrom from '@fastify/reply-from'
import { startApp, startUpstream } from '../../app.ts'
import { request } from '../../http.ts'
import { readAll, scripted, startNode, startProxy, until } from './nodes.ts'

test('500 requests at once go through two nodes, each with its own body, and nothing is left of them', async (t) => {
  const counts = [0, 0]
  const nodes = await Promise.all(
    counts.map((_, i) =>
      startNode(t, async (incoming, response) => {
        counts[i]!++
        const body = await readAll(incoming)
        await sleep(20)
        response.end(body)
      })
    )
  )
  const { url, app } = await startProxy(
    t,
    { nodes: Object.fromEntries(nodes.map(({ address }) => [address, 1])) },
    scripted({
      request_headers: [{ op: 'set', map: 'request', name: 'x-a', value: '1' }],
      response_headers: [{ op: 'set', map: 'response', name: 'x-b', value: '2' }]
    })
  )
  const answers = await Promise.all(
    Array.from({ length: 500 }, (_, i) => request(url, { method: 'POST', body: `${i} ${'x'.repeat(i * 10)}` }))
  )
  assert.ok(answers.every(({ status, headers }) => status === 200 && headers['x-b'] === '2'))
  answers.forEach(({ text }, i) => {
    assert.equal(text.split(' ')[0], String(i))
  })
  assert.deepEqual(counts, [250, 250])
  const contexts = () => app.wasmGateway.status().plugins[0]!.http_contexts
  await until(() => contexts() === 0, 'no HTTP context is alive')
})

for (const order of ['before', 'after']) {
  test(`an application that registers @fastify/reply-from itself, ${order} the gateway, has both`, async (t) => {
    const node = await startNode(t, (incoming, response) => response.end(incoming.url))
    const register = async (app: Parameters<Parameters<typeof startApp>[2]>[0]) => {
      await app.register(replyFrom, { base: `http://${node.address}` })
    }
    const { url } = await startApp(
      t,
      {},
      async (app) => {
        if (order === 'after') await register(app)
        app.get('/own', (_request, reply) => reply.from('/by-hand'))
        app.get('/proxied', { config: { wasm: { upstream: { nodes: { [node.address]: 1 } } } } }, app.wasmGateway.proxy)
      },
      {},
      order === 'before' ? register : undefined
    )
    assert.equal((await request(`${url}/own`)).text, '/by-hand')
    assert.equal((await request(`${url}/proxied`)).text, '/proxied')
  })
}

test('the upstream may be a Fastify application itself', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.post('/echo', (request) => request.body)
  })
  const { url } = await startProxy(t, upstream.node)
  const answer = await request(`${url}/echo`, {
    method: 'POST',
    body: '{"a":1}',
    headers: { 'content-type': 'application/json' }
  })
  assert.deepEqual([answer.status, answer.text], [200, '{"a":1}'])
})

test('a request in flight when the application closes is answered', async (t) => {
  let answer: (() => void) | undefined
  const node = await startNode(t, (_incoming, response) => {
    answer = () => response.end('in time')
  })
  const { url, app } = await startProxy(t, node.address, { server: { forceCloseConnections: 'idle' } })
  const pending = request(url)
  await until(() => answer !== undefined, 'the node has the request')
  const closed = app.close()
  setTimeout(answer!, 100)
  const { status, text } = await pending
  assert.deepEqual([status, text], [200, 'in time'])
  await closed
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('requests one after the other share a connection to the node', async (t) => {
  const node = await startNode(t, async (incoming, response) => response.end(await readAll(incoming)))
  const { url } = await startProxy(t, node.address)
  for (let i = 0; i < 10; i++) {
    assert.equal((await request(url)).status, 200)
    assert.equal((await request(url, { method: 'POST', body: `body ${i}` })).text, `body ${i}`)
  }
  assert.equal(node.accepted(), 1)
})
