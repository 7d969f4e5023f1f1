import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { test } from 'node:test'
import { request } from '../../http.ts'
import { type Node, REFUSED, scripted, startProxy, startRawNode, startRecorder } from './nodes.ts'

/** Reads a request of one packet, counts it, and resets the connection. */
async function startResetting(t: Parameters<typeof startRawNode>[0]): Promise<Node & { requests: string[] }> {
  const requests: string[] = []
  const node = await startRawNode(t, (socket) => {
    socket.on('data', (chunk) => {
      requests.push(chunk.toString('latin1'))
      socket.resetAndDestroy()
    })
  })
  return { ...node, requests }
}

test('a GET goes to another node when one refuses the connection', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, { nodes: { [REFUSED]: 10, [node.address]: 1 } })
  for (let i = 0; i < 10; i++) assert.equal((await request(`${url}/${i}`)).status, 200)
  assert.deepEqual(
    node.seen.map(({ url }) => url),
    Array.from({ length: 10 }, (_, i) => `/${i}`)
  )
})

const digest = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')

test('streamed POSTs go to another node when one refuses, none lost and none doubled', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, { nodes: { [REFUSED]: 1, [node.address]: 1 } })
  const bodies = Array.from({ length: 12 }, (_, i) => randomBytes(1 + i * 40_000))
  const answers = await Promise.all(bodies.map((body) => request(`${url}/`, { method: 'POST', body })))
  assert.deepEqual(
    answers.map(({ status }) => status),
    bodies.map(() => 200)
  )
  assert.deepEqual(node.seen.map(({ body }) => digest(body)).sort(), bodies.map(digest).sort())
})

test('POSTs whose body a filter has read go to another node as well', async (t) => {
  const node = await startRecorder(t)
  const ask = { op: 'set_property', path: ['wasm_process_req_body'], value: '1' }
  const upstream = { nodes: { [REFUSED]: 1, [node.address]: 1 } }
  const { url } = await startProxy(
    t,
    upstream,
    scripted({ request_headers: [ask], request_body: [{ op: 'append_body', of: 'request', value: '!' }] })
  )
  const bodies = Array.from({ length: 8 }, (_, i) => `body ${i}`)
  await Promise.all(bodies.map((body) => request(`${url}/`, { method: 'POST', body })))
  assert.deepEqual(
    node.seen.map(({ body }) => body.toString()).sort(),
    bodies.map((body) => `${body}!`)
  )
})

test('with retries: 0 no other node is tried', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, { nodes: { [REFUSED]: 1, [node.address]: 1 }, retries: 0 })
  const statuses = [(await request(`${url}/`)).status, (await request(`${url}/`)).status]
  assert.deepEqual(statuses.sort(), [200, 502])
})

test('no more nodes are tried than retries allows', async (t) => {
  const node = await startRecorder(t)
  const nodes = [1, 2, 3].map((port) => ({ host: '127.0.0.1', port, weight: 10 }))
  const last = { host: '127.0.0.1', port: node.port, weight: 1 }
  const few = await startProxy(t, { nodes: [...nodes, last], retries: 2 })
  assert.equal((await request(`${few.url}/`)).status, 502)
  const enough = await startProxy(t, { nodes: [...nodes, last], retries: 3 })
  assert.equal((await request(`${enough.url}/`)).status, 200)
})

test('a POST that a node has read and then reset is not sent to another', async (t) => {
  const [a, b] = [await startResetting(t), await startResetting(t)]
  const { url } = await startProxy(t, { nodes: { [a.address]: 1, [b.address]: 1 } })
  assert.equal((await request(`${url}/`, { method: 'POST', body: 'pay' })).status, 502)
  assert.equal(a.requests.length + b.requests.length, 1)
})

test('neither is a POST without a body', async (t) => {
  const [a, b] = [await startResetting(t), await startResetting(t)]
  const { url } = await startProxy(t, { nodes: { [a.address]: 1, [b.address]: 1 } })
  assert.equal((await request(`${url}/`, { method: 'POST' })).status, 502)
  assert.equal(a.requests.length + b.requests.length, 1)
})

test('neither is a POST that a node has answered with something else than HTTP', async (t) => {
  const requests: string[] = []
  const garbage = async () =>
    startRawNode(t, (socket) => {
      socket.on('data', (chunk) => {
        requests.push(chunk.toString())
        socket.end('what?\r\n\r\n')
      })
    })
  const nodes = { [(await garbage()).address]: 1, [(await garbage()).address]: 1 }
  const { url } = await startProxy(t, { nodes })
  assert.equal((await request(`${url}/`, { method: 'POST' })).status, 502)
  assert.equal(requests.length, 1)
})

test('a GET that a node has reset is sent to another', async (t) => {
  const [broken, whole] = [await startResetting(t), await startRecorder(t)]
  const { url } = await startProxy(t, { nodes: { [broken.address]: 5, [whole.address]: 1 } })
  for (let i = 0; i < 3; i++) assert.equal((await request(`${url}/`)).status, 200)
  assert.ok(broken.requests.length > 0)
  assert.equal(whole.seen.length, 3)
})

test('when all nodes are down the last failure is answered, once', async (t) => {
  const { url } = await startProxy(t, { nodes: { '127.0.0.1:1': 1, '127.0.0.1:2': 1, '127.0.0.1:3': 1 } })
  const answer = await request(`${url}/`)
  assert.equal(answer.status, 502)
  assert.match(JSON.parse(answer.text).error_msg, /ECONNREFUSED/)
})
