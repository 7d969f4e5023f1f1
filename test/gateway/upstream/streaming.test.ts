import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { scripted, startNode, startProxy, until } from './nodes.ts'

const MIB = 1024 * 1024
const CHUNK = Buffer.alloc(MIB, 'x')

async function get(url: string): Promise<IncomingMessage> {
  const outgoing = httpRequest(url, { agent: false }).end()
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  return incoming
}

/** Writes a number of MiB with respect to backpressure; the highest RSS meanwhile. */
async function pour(destination: NodeJS.WritableStream, mebibytes: number): Promise<number> {
  let highest = 0
  for (let i = 0; i < mebibytes; i++) {
    if (!destination.write(CHUNK)) await once(destination, 'drain')
    highest = Math.max(highest, process.memoryUsage.rss())
  }
  return highest
}

async function count(source: AsyncIterable<Buffer>): Promise<number> {
  let size = 0
  for await (const chunk of source) size += chunk.length
  return size
}

test('400 MiB go up and come down in bounded memory', async (t) => {
  let highest = 0
  const node = await startNode(t, async (incoming, response) => {
    if (incoming.method === 'GET') {
      highest = await pour(response, 400)
      response.end()
    } else response.end(String(await count(incoming)))
  })
  const { url } = await startProxy(t, node.address, scripted({ request_headers: [{ op: 'callback' }] }))
  const before = process.memoryUsage.rss()

  const outgoing = httpRequest(url, { method: 'POST', agent: false })
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>
  highest = await pour(outgoing, 400)
  outgoing.end()
  const [incoming] = await answered
  const [size] = await once(incoming, 'data')
  assert.equal(String(size), String(400 * MIB))
  // Client, gateway and node are one process.
  assert.ok(highest - before < 200 * MIB, `the upload took ${(highest - before) / MIB} MiB`)

  assert.equal(await count(await get(url)), 400 * MIB)
  assert.ok(highest - before < 200 * MIB, `the download took ${(highest - before) / MIB} MiB`)
})

test('a client that does not read stops the node', async (t) => {
  let sent = 0
  const node = await startNode(t, async (_incoming, response) => {
    for (let i = 0; i < 200 && !response.destroyed; i++) {
      if (!response.write(CHUNK)) await once(response, 'drain')
      sent++
    }
    response.end()
  })
  const { url } = await startProxy(t, { nodes: { [node.address]: 1 }, timeout: { read: 0.5 } })
  const incoming = await get(url)
  let last = -1
  while (sent !== last) {
    last = sent
    await sleep(600)
  }
  assert.ok(sent < 50, `${sent} MiB are on their way to nobody`)
  // Nor is that a timeout of the node.
  assert.equal(await count(incoming), 200 * MIB)
})

test('a node that does not read stops the client', async (t) => {
  const requests: IncomingMessage[] = []
  const node = await startNode(t, (incoming, response) => {
    requests.push(incoming)
    incoming.on('end', () => response.end('all')).pause()
  })
  const { port } = await startProxy(t, node.address)
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  socket.write(`POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: ${100 * MIB}\r\n\r\n`)
  const poured = pour(socket, 100)
  let last = -1
  while (socket.bytesWritten !== last || last === 0) {
    last = socket.bytesWritten
    await sleep(300)
  }
  assert.ok(last - socket.writableLength < 60 * MIB, `${last / MIB} MiB are on their way to nobody`)
  requests[0]!.resume()
  await poured
  let answer = ''
  for await (const chunk of socket) answer += chunk
  assert.match(answer, /all/)
})

test('server-sent events arrive as they are sent, the head before the first', async (t) => {
  const responses: ServerResponse[] = []
  const node = await startNode(t, (_incoming, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream', 'x-bytes': '\xe9' })
    response.flushHeaders()
    responses.push(response)
  })
  const { url } = await startProxy(t, node.address)
  const incoming = await get(url)
  assert.equal(incoming.headers['content-type'], 'text/event-stream')
  let received = ''
  incoming.setEncoding('utf8').on('data', (text) => {
    received += text
  })
  for (let i = 0; i < 3; i++) {
    responses[0]!.write(`data: ${i}\n\n`)
    await until(() => received.endsWith(`data: ${i}\n\n`), `event ${i} arrives`)
  }
  responses[0]!.end()
  await once(incoming, 'end')
  assert.equal(received, 'data: 0\n\ndata: 1\n\ndata: 2\n\n')
})

test('what the client sends arrives as it is sent, and is answered on the way', async (t) => {
  const node = await startNode(t, (incoming, response) => {
    incoming.on('data', (chunk) => response.write(`<${chunk}>`)).on('end', () => response.end('end'))
  })
  const { url } = await startProxy(t, node.address)
  const outgoing = httpRequest(url, { method: 'POST', agent: false })
  outgoing.write('one')
  const [incoming] = (await once(outgoing, 'response')) as [IncomingMessage]
  let received = ''
  incoming.setEncoding('utf8').on('data', (text) => {
    received += text
  })
  await until(() => received === '<one>', 'the first echo')
  outgoing.write('two')
  await until(() => received === '<one><two>', 'the second echo')
  outgoing.end()
  await once(incoming, 'end')
  assert.equal(received, '<one><two>end')
})

test('a filter that reads the response body sees the chunks as they are sent', async (t) => {
  const responses: ServerResponse[] = []
  const node = await startNode(t, (_incoming, response) => {
    response.write('one')
    responses.push(response)
  })
  const ask = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
  const steps = { response_headers: [ask], response_body: [{ op: 'body', of: 'response' }] }
  const { url, filterLog } = await startProxy(t, node.address, scripted(steps))
  const incoming = await get(url)
  await until(() => filterLog().includes('response body=one'), 'the filter sees the first chunk')
  responses[0]!.write('two')
  await until(() => filterLog().includes('response body=two'), 'the filter sees the second chunk')
  responses[0]!.end()
  assert.equal(await count(incoming), 6)
})
