import assert from 'node:assert/strict'
import type { IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { open, scripted, startNode, startProxy, until } from './nodes.ts'

// In each of these the client leaves, and the connection to the node closes. That no HTTP context is left is checked when
// the application closes; what nobody has handled would fail the test.
const FILTER = scripted({ request_headers: [{ op: 'callback' }], response_headers: [{ op: 'callback' }] })

test('a client that leaves before the node answers', async (t) => {
  const requests: IncomingMessage[] = []
  const node = await startNode(t, (incoming) => void requests.push(incoming))
  const { port } = await startProxy(t, node.address, FILTER)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => requests.length === 1, 'the node has the request')
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a client that leaves when its body is sent and the node has not answered', async (t) => {
  let taken = false
  const node = await startNode(t, (incoming) => void incoming.resume().on('end', () => (taken = true)))
  const { port } = await startProxy(t, node.address, FILTER)
  const socket = open(t, port, 'POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody')
  await until(() => taken, 'the node has the request')
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

for (const framing of ['content-length: 1000', 'transfer-encoding: chunked']) {
  test(`a client that leaves in the middle of its upload (${framing})`, async (t) => {
    let aborted = false
    let received = 0
    const node = await startNode(t, (incoming) => {
      incoming.on('data', (chunk) => {
        received += chunk.length
      })
      incoming.on('error', () => {
        aborted = true
      })
    })
    const { port } = await startProxy(t, node.address, FILTER)
    const socket = open(t, port, `POST / HTTP/1.1\r\nhost: a\r\n${framing}\r\n\r\n4\r\nbody`)
    await until(() => received > 0, 'the node has the beginning')
    socket.destroy()
    await until(() => node.sockets.size === 0, 'the connection to the node is closed')
    // The node can tell that this was not all.
    await until(() => aborted, 'the node sees an aborted request')
  })
}

test('a client that leaves in the middle of its download', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write('begin'))
  const { port } = await startProxy(t, node.address, FILTER)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => socket.received().includes('begin'), 'the client has the beginning')
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a client that leaves a download that is paused, since it does not read', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write(Buffer.alloc(30_000_000)))
  const { port } = await startProxy(t, node.address, FILTER)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => socket.received() !== '', 'the client has the beginning')
  socket.pause()
  await new Promise((resolve) => setTimeout(resolve, 200))
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a client that leaves a download that a filter reads', async (t) => {
  const node = await startNode(t, (_incoming, response) => void response.write('begin'))
  const ask = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
  const filter = scripted({ response_headers: [ask], response_body: [{ op: 'callback' }] })
  const { port } = await startProxy(t, node.address, filter)
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => socket.received().includes('begin'), 'the client has the beginning')
  socket.destroy()
  await until(() => node.sockets.size === 0, 'the connection to the node is closed')
})

test('a client that leaves while a filter holds its request never reaches the node', async (t) => {
  const node = await startNode(t, (_incoming, response) => response.end())
  const { port, filterLog, quiet } = await startProxy(
    t,
    node.address,
    scripted({ request_headers: [{ op: 'callback' }, { op: 'pause' }] })
  )
  const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await until(() => filterLog().length > 0, 'the filter has the request')
  socket.destroy()
  await quiet()
  assert.equal(node.accepted(), 0)
})

test('a client that leaves while the node is being connected to', async (t) => {
  const node = await startNode(t, (_incoming, response) => response.end())
  const { port, quiet } = await startProxy(t, node.address, FILTER)
  for (let i = 0; i < 20; i++) {
    const socket = open(t, port, 'GET / HTTP/1.1\r\nhost: a\r\n\r\n')
    await new Promise((resolve) => socket.once('connect', resolve))
    setTimeout(() => socket.destroy(), i % 4)
  }
  await new Promise((resolve) => setTimeout(resolve, 100))
  await quiet()
})
