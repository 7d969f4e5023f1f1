import assert from 'node:assert/strict'
import { createServer, type IncomingMessage } from 'node:http'
import { type AddressInfo, createServer as createTcpServer } from 'node:net'
import { test } from 'node:test'
import { Agents } from '../../../lib/gateway/upstream/agents.ts'
import { HttpCalls } from '../../../lib/gateway/upstream/http-calls.ts'
import { Upstreams } from '../../../lib/gateway/upstream/upstreams.ts'
import type { HttpCallResponse } from '../../../lib/host/index.ts'
import { RecordingLogger } from '../../host/recording-logger.ts'

function dispatch(upstream: string, body: string, timeout: number = 2000): Promise<HttpCallResponse | undefined> {
  const log = new RecordingLogger()
  const calls = new HttpCalls(new Agents(), log, new Upstreams(() => undefined, log))
  const headers = [':method', 'POST', ':path', '/x?y', ':authority', 'a.test', 'x-a', '1', 'x-a', '2']
  return new Promise((resolve) => {
    const trailers = ['x-sum', 'abc', 'x-sum', 'def']
    calls.dispatch({ upstream, headers, body: Buffer.from(body), trailers, timeout, received: () => true }, resolve)
  })
}

async function startServer(
  t: { after(f: () => void): void },
  answer: (incoming: IncomingMessage) => object | undefined
) {
  const server = createServer((incoming, response) => {
    let body = ''
    incoming.on('data', (chunk) => {
      body += chunk
    })
    incoming.on('end', () => {
      const seen = answer(incoming)
      if (seen === undefined) return
      response.writeHead(201, { 'transfer-encoding': 'chunked', 'X-Seen': '1' })
      response.write(JSON.stringify({ ...seen, body }))
      response.addTrailers({ 'X-Back': 'yes' })
      response.end()
    })
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `127.0.0.1:${(server.address() as AddressInfo).port}`
}

test('the trailers of a call arrive behind its body, and those of the answer come back', async (t) => {
  const address = await startServer(t, ({ method, url, headers, rawTrailers }) => ({
    method,
    url,
    headers,
    rawTrailers
  }))
  for (const body of ['hello', '']) {
    const response = await dispatch(address, body)
    const seen = JSON.parse(response!.body.toString())
    assert.equal(seen.method, 'POST')
    assert.equal(seen.url, '/x?y')
    assert.equal(seen.body, body)
    assert.equal(seen.headers.host, 'a.test')
    assert.equal(seen.headers['x-a'], '1, 2')
    assert.deepEqual(seen.rawTrailers, ['x-sum', 'abc', 'x-sum', 'def'])
    assert.deepEqual(response!.headers.slice(0, 2), [':status', '201'])
    assert.ok(response!.headers.includes('x-seen'))
    assert.deepEqual(response!.trailers, ['x-back', 'yes'])
  }
})

test('a call with trailers that is refused, or not answered in time, has no response', async (t) => {
  const silent = await startServer(t, () => undefined)
  assert.equal(await dispatch('127.0.0.1:1', 'x'), undefined)
  assert.equal(await dispatch(silent, 'x', 100), undefined)
})

test('a call with trailers that is answered by another protocol has no response', async (t) => {
  for (const head of ['HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n', '']) {
    const server = createTcpServer((socket) => {
      socket.once('data', () => socket.end(head))
    }).listen(0, '127.0.0.1')
    await new Promise((resolve) => server.once('listening', resolve))
    t.after(() => server.close())
    const address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    assert.equal(await dispatch(address, 'x', 0), undefined)
  }
})
