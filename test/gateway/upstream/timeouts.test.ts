import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import { type AddressInfo, connect } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { request } from '../../http.ts'
import { readAll, startNode, startProxy, startRawNode, startRecorder } from './nodes.ts'

function assertTimeout(answer: { status: number; text: string }): void {
  assert.equal(answer.status, 504)
  assert.match(JSON.parse(answer.text).error_msg, /^the upstream timed out: /)
}

test('a node that does not answer within timeout.read: 504', async (t) => {
  const node = await startNode(t, () => {})
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.2 } })
  assertTimeout(await request(`${url}/`))
})

test('interim responses are no answer, however many come: 504', async (t) => {
  const node = await startRawNode(t, (socket) => {
    socket.on('error', () => {})
    const timer = setInterval(() => socket.write('HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n'), 50)
    socket.on('close', () => clearInterval(timer))
  })
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.5 } })
  assertTimeout(await request(`${url}/`))
})

test('a node that has taken an upload and does not answer within timeout.read: 504', async (t) => {
  const node = await startNode(t, (incoming) => incoming.resume())
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.2 } })
  assertTimeout(await request(`${url}/`, { method: 'POST', body: 'x'.repeat(300_000) }))
})

test('the route’s timeout stands above the upstream’s', async (t) => {
  const node = await startNode(t, (_incoming, response) => void setTimeout(() => response.end('late'), 500))
  const upstream = (read: number) => ({ nodes: { [node.address]: 1 }, timeout: { read } })
  const short = await startProxy(t, upstream(30), { route: { timeout: { read: 0.2 } } })
  assertTimeout(await request(`${short.url}/`))
  const long = await startProxy(t, upstream(0.2), { route: { timeout: { read: 30 } } })
  assert.equal((await request(`${long.url}/`)).text, 'late')
  // What the route does not say stays the upstream's.
  const other = await startProxy(t, upstream(0.2), { route: { timeout: { send: 30 } } })
  assertTimeout(await request(`${other.url}/`))
})

test('a node that stops in its body for longer than timeout.read breaks the response off', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write('begin'))
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.2 } })
  await assert.rejects(request(`${url}/`), { code: 'ECONNRESET' })
})

test('a node that does not take the request within timeout.send: 504', async (t) => {
  const node = await startRawNode(t, (socket) => socket.pause())
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { send: 0.2 } })
  assertTimeout(await request(`${url}/`, { method: 'POST', body: Buffer.alloc(30_000_000) }))
})

test('a node that takes an upload slowly has timeout.send for it, and not timeout.read', async (t) => {
  const node = await startNode(t, async (incoming, response) => {
    await sleep(1500)
    response.end(String((await readAll(incoming)).length))
  })
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 1 } })
  const answer = await request(`${url}/`, { method: 'POST', body: Buffer.alloc(30_000_000) })
  assert.deepEqual([answer.status, answer.text], [200, '30000000'])
})

test('a client that uploads slowly is no timeout of the node', async (t) => {
  const node = await startRecorder(t)
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.5, send: 0.5 } })
  const outgoing = httpRequest(`${url}/`, { method: 'POST', agent: false })
  outgoing.write('one ')
  await sleep(900)
  outgoing.end('two')
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  incoming.resume()
  assert.equal(incoming.statusCode, 200)
  assert.equal(node.seen[0]!.body.toString(), 'one two')
})

/** A listener that accepts nothing, with its queue full: who connects now waits. */
async function startFull(t: TestContext): Promise<number> {
  const source = `
    const { parentPort } = require('node:worker_threads')
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address())
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
    })`
  const worker = new Worker(source, { eval: true })
  t.after(() => worker.terminate())
  const [{ port }] = (await once(worker, 'message')) as [AddressInfo]
  for (let i = 0; i < 4; i++) {
    const socket = connect(port, '127.0.0.1').on('error', () => {})
    t.after(() => socket.destroy())
  }
  await sleep(50)
  return port
}

async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const accepted = await Promise.race([once(socket, 'connect').then(() => true), sleep(200).then(() => false)])
  socket.destroy()
  return accepted
}

test('a node that does not accept the connection within timeout.connect: 504', async (t) => {
  const port = await startFull(t)
  if (await accepts(port)) return t.skip('the queue of a listener cannot be filled here')
  const node = { nodes: { [`127.0.0.1:${port}`]: 1 }, timeout: { connect: 0.3 } }
  const { url } = await startProxy(t, node)
  assertTimeout(await request(`${url}/`, { method: 'POST', body: 'body' }))
})

test('after timeout.connect another node is tried, with a POST too', async (t) => {
  const port = await startFull(t)
  if (await accepts(port)) return t.skip('the queue of a listener cannot be filled here')
  const node = await startRecorder(t)
  const nodes = { [`127.0.0.1:${port}`]: 10, [node.address]: 1 }
  const { url } = await startProxy(t, { nodes, timeout: { connect: 0.3 } })
  assert.equal((await request(`${url}/`, { method: 'POST', body: 'body' })).status, 200)
  assert.equal(node.seen[0]!.body.toString(), 'body')
})
