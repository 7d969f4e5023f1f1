import assert from 'node:assert/strict'
import { connect as connectHttp2, constants } from 'node:http2'
import { connect, type Socket } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { Level, startApp, startUpstream, type TestApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import { say, scripted, wantsRequestBody, wantsResponseBody } from './script.ts'

/** Every way in which a filter may hold a request, each on a path of its own. */
async function start(t: TestContext, server: object = {}): Promise<TestApp & { reached: string[] }> {
  const reached: string[] = []
  const { node } = await startUpstream(t, (app) => {
    app.get('/auth', async () => {
      await sleep(5)
      return ''
    })
  })
  const confs = {
    paused: { request_headers: [{ op: 'pause' }] },
    calls: { request_headers: [{ op: 'call', upstream: node, headers: [[':path', '/auth']] }] },
    body: { request_headers: [wantsRequestBody], request_body: [{ op: 'append_body', of: 'request', value: '!' }] },
    response: { response_headers: [wantsResponseBody], response_body: [{ op: 'pause' }] },
    denied: { request_headers: [{ op: 'reply', status: 403, body: 'no' }] }
  }
  const app = await startApp(
    t,
    { plugins: scripted('a') },
    (app) => {
      app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
      for (const [name, conf] of Object.entries(confs)) {
        app.all(`/${name}`, { config: { wasm: { plugins: { a: { conf } } } } }, async ({ body }) => {
          reached.push(name)
          return body ?? 'hello'
        })
      }
    },
    { logger: false, ...server }
  )
  return { ...app, reached }
}

const alive = ({ app }: TestApp) => {
  const [status] = app.wasmGateway.status().plugins
  return status!.http_contexts + status!.calls
}

test('thousands of HTTP/2 streams that are reset at once leave nothing, and the server goes on', async (t) => {
  const gateway = await start(t, { http2: true })
  for (let round = 0; round < 4; round++) {
    const session = connectHttp2(gateway.url)
    session.on('error', () => {})
    const paths = ['/paused', '/calls', '/response', '/denied']
    for (let i = 0; i < 1000 && !session.destroyed; i++) {
      const stream = session.request({ ':path': paths[i % paths.length]! })
      stream.on('error', () => {})
      // Some before their headers are sent, some when they have been.
      if (i % 3 === 0) stream.close(constants.NGHTTP2_CANCEL)
      else setImmediate(() => stream.close(constants.NGHTTP2_CANCEL))
      if (i % 100 === 0) await sleep(1)
    }
    await sleep(50)
    session.destroy()
  }
  await eventually('nothing is alive', () => alive(gateway) === 0)
  assert(!gateway.reached.includes('denied') && !gateway.reached.includes('paused'))
  const session = connectHttp2(gateway.url)
  const stream = session.request({ ':path': '/denied' })
  const status = await new Promise((resolve) => stream.once('response', (headers) => resolve(headers[':status'])))
  assert.equal(status, 403)
  session.destroy()
})

test('requests that come in one packet are answered in their order, whatever their filters wait for', async (t) => {
  const { port } = await start(t)
  const socket = connect(port, '127.0.0.1')
  const chunks: Buffer[] = []
  socket.on('data', (chunk: Buffer) => chunks.push(chunk))
  const one = (path: string, body: string) =>
    `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: ${body.length}\r\n\r\n${body}`
  const bodies = Array.from({ length: 60 }, (_, i) => `body ${i};`)
  const paths = ['/body', '/calls', '/denied']
  socket.write(bodies.map((body, i) => one(paths[i % 3]!, body)).join(''))
  const received = () => Buffer.concat(chunks).toString()
  await eventually('all are answered', () => received().split('HTTP/1.1 ').length === 61)
  socket.destroy()
  const expected = bodies.flatMap((body, i) => (i % 3 === 2 ? [] : [i % 3 === 0 ? `${body}!` : body]))
  assert.deepEqual(received().match(/body \d+;!?/g), expected)
})

test('a body that comes byte by byte arrives whole, and one whose client leaves is let go of', async (t) => {
  const gateway = await start(t)
  const dribble = async (socket: Socket, text: string) => {
    for (const char of text) {
      socket.write(char)
      await sleep(1)
    }
  }
  const head = 'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 20\r\n\r\n'
  const whole = connect(gateway.port, '127.0.0.1')
  let received = ''
  whole.on('data', (chunk: Buffer) => {
    received += chunk.toString()
  })
  await dribble(whole, `${head}abcdefghijklmnopqrst`)
  await eventually('it is answered', () => received.endsWith('abcdefghijklmnopqrst!'))
  whole.destroy()
  const leaving = Array.from({ length: 100 }, async (_, i) => {
    const socket = connect(gateway.port, '127.0.0.1')
    socket.on('error', () => {})
    socket.write(`${head}${'x'.repeat(i % 20)}`)
    await sleep(20 + (i % 10))
    socket.destroy()
  })
  await Promise.all(leaving)
  await eventually('nothing is alive', () => alive(gateway) === 0)
})

test('a flood of headers is refused by Node before any filter, and as many as it takes are seen', async (t) => {
  const gateway = await start(t)
  const many = Object.fromEntries(Array.from({ length: 900 }, (_, i) => [`x-${i}`, '1']))
  assert.equal((await request(`${gateway.url}/denied`, { headers: many })).status, 403)
  const large = { 'x-large': 'x'.repeat(17_000) }
  assert.equal((await request(`${gateway.url}/denied`, { headers: large })).status, 431)
  await eventually('nothing is alive', () => alive(gateway) === 0)
})

test('clients that leave at any moment leave nothing, and no denied request reaches its handler', async (t) => {
  const gateway = await start(t)
  const paths = ['paused', 'calls', 'body', 'response', 'denied']
  for (let round = 0; round < 15; round++) {
    await Promise.all(
      Array.from({ length: 80 }, async (_, i) => {
        const socket = connect(gateway.port, '127.0.0.1')
        socket.on('error', () => {})
        const path = paths[i % paths.length]
        socket.write(`POST /${path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\n`)
        await sleep(Math.random() * 12)
        if (i % 2 === 0) socket.write('body')
        await sleep(Math.random() * 6)
        if (i % 7 === 0) socket.resetAndDestroy()
        else socket.destroy()
      })
    )
  }
  await eventually('nothing is alive', () => alive(gateway) === 0)
  assert(!gateway.reached.includes('denied') && !gateway.reached.includes('paused'))
  assert.equal(gateway.app.wasmGateway.status().plugins[0]!.failures, 0)
})

test('a client that leaves with pipelined requests leaves nothing, wherever each of them is', async (t) => {
  const { app, port } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const config = { wasm: { plugins: { a: { conf: { request_headers: [say('seen')] } } } } }
    app.get('/never', { config }, () => new Promise(() => {}))
    app.get('/slow', { config }, async () => {
      await sleep(50)
      return 'slow'
    })
    app.get('/fast', { config }, async () => 'fast')
  })
  const alive = () => app.wasmGateway.status().plugins[0]!.http_contexts
  const client = connect(port, '127.0.0.1')
  const paths = ['/never', '/fast', '/slow', '/never', ...new Array(20).fill('/fast')]
  const warnings: Error[] = []
  const warned = (warning: Error) => warnings.push(warning)
  process.on('warning', warned)
  t.after(() => process.off('warning', warned))
  client.write(paths.map((path) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`).join(''))
  await eventually('all are under way', () => alive() === paths.length)
  await sleep(100)
  client.destroy()
  await eventually('none is left', () => alive() === 0)
  assert.deepEqual(
    warnings.filter(({ name }) => name.startsWith('MaxListeners')),
    []
  )
})

test('a client that leaves in the middle of its upload is noticed while a filter waits', async (t) => {
  // Before Fastify's parser reads it.
  const plugins = scripted({ name: 'a', http_request_phase: 'rewrite' })
  const gateway = await startApp(t, { plugins }, (app) => {
    const conf = { request_headers: [{ op: 'pause' }] }
    app.post('/paused', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  for (const length of [10, 50_000, 200_000]) {
    for (const leave of ['destroy', 'resetAndDestroy'] as const) {
      const socket = connect(gateway.port, '127.0.0.1')
      socket.on('error', () => {})
      const head = 'POST /paused HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n'
      socket.write(head + 'x'.repeat(length))
      await eventually('the filter waits', () => alive(gateway) === 1)
      socket[leave]()
      await eventually('nothing is alive', () => alive(gateway) === 0)
    }
  }
})

test('a client that leaves while the parser reads is no more in the log than without a gateway', async (t) => {
  const plugins = scripted({ name: 'a', http_request_phase: 'rewrite' }, 'b')
  let handled = 0
  const gateway = await startApp(t, { plugins }, (app) => {
    const conf = { request_headers: [{ op: 'log', text: 'passes' }] }
    app.post('/', { config: { wasm: { plugins: { a: { conf }, b: { conf } } } } }, async () => handled++)
  })
  const socket = connect(gateway.port, '127.0.0.1')
  socket.write('POST / HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ncontent-length: 100\r\n\r\nhello')
  await eventually('the filter has run', () => gateway.filterLog().length === 1)
  socket.destroy()
  await eventually('Fastify has noticed', () => gateway.lines.some(({ msg }) => msg === 'aborted'))
  await sleep(20)
  const lines = gateway.lines.filter(({ level }) => level >= Level.info)
  assert.deepEqual(
    lines.map(({ msg }) => msg).filter((msg) => !msg.startsWith('Server listening')),
    ['incoming request', 'passes', 'aborted']
  )
  assert.deepEqual([handled, alive(gateway)], [0, 0])
})

for (const path of ['/waits', '/waits-and-reads']) {
  test(`a body that comes while a filter waits for long is all there afterwards (${path})`, async (t) => {
    const { node } = await startUpstream(t, (app) => {
      app.get('/auth', async () => {
        await sleep(600)
        return ''
      })
    })
    const waits = { op: 'call', upstream: node, headers: [[':path', '/auth']] }
    const confs = {
      '/waits': { request_headers: [waits] },
      '/waits-and-reads': {
        request_headers: [wantsRequestBody, waits],
        request_body: [{ op: 'append_body', of: 'request', value: '!' }]
      }
    }
    const { port } = await startApp(t, { plugins: scripted('a') }, (app) => {
      app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
      for (const [url, conf] of Object.entries(confs)) {
        app.post(url, { config: { wasm: { plugins: { a: { conf } } } } }, async ({ body }) => body)
      }
    })
    const body = Array.from({ length: 40_000 }, (_, i) => `${i},`).join('')
    for (const [framing, framed] of [
      [`content-length: ${body.length}`, body],
      ['transfer-encoding: chunked', `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`]
    ] as const) {
      // What comes last comes before, while and after the filter waits.
      for (const rest of [0, 400, 900]) {
        const socket = connect(port, '127.0.0.1')
        let received = ''
        socket.on('data', (chunk: Buffer) => {
          received += chunk.toString()
        })
        const cut = framed.length - 100
        socket.write(
          `POST ${path} HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\n${framing}\r\nconnection: close\r\n\r\n`
        )
        socket.write(framed.slice(0, cut))
        await sleep(rest)
        socket.write(framed.slice(cut))
        await new Promise((resolve) => socket.on('close', resolve))
        assert.equal(received.split('\r\n\r\n')[1], path === '/waits' ? body : `${body}!`)
      }
    }
  })
}

test('an empty body that comes in chunks still ends when a filter has waited for long', async (t) => {
  const { node } = await startUpstream(t, (app) => {
    app.get('/auth', async () => {
      await sleep(400)
      return ''
    })
  })
  const plugins = scripted({ name: 'a', http_request_phase: 'rewrite' })
  const { port } = await startApp(t, { plugins }, (app) => {
    app.addContentTypeParser('*', { parseAs: 'string' }, (_request, body, done) => done(null, body))
    const conf = { request_headers: [{ op: 'call', upstream: node, headers: [[':path', '/auth']] }] }
    app.post('/', { config: { wasm: { plugins: { a: { conf } } } } }, async ({ body }) => `<${body}>`)
  })
  const socket = connect(port, '127.0.0.1')
  let received = ''
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString()
  })
  const head =
    'POST / HTTP/1.1\r\nhost: a\r\ncontent-type: a/b\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n'
  socket.write(`${head}0\r\n\r\n`)
  await new Promise((resolve) => socket.on('close', resolve))
  assert.equal(received.split('\r\n\r\n')[1], '<>')
})

test('a body in chunks of one byte takes little more memory than it is long', async (t) => {
  const gateway = await start(t)
  const socket = connect(gateway.port, '127.0.0.1')
  let received = ''
  socket.on('data', (chunk: Buffer) => {
    received += chunk.toString()
  })
  const before = process.memoryUsage().heapUsed
  const head = 'POST /body HTTP/1.1\r\nhost: a\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n'
  socket.write(head)
  const BYTES = 900_000
  for (let sent = 0; sent < BYTES; sent += 10_000) {
    if (!socket.write('1\r\nx\r\n'.repeat(10_000))) await new Promise((resolve) => socket.once('drain', resolve))
  }
  // An object for each byte would be 170 MiB of it.
  assert(process.memoryUsage().heapUsed - before < 100 * 1024 * 1024)
  socket.write('0\r\n\r\n')
  await eventually('it is answered', () => received.endsWith(`${'x'.repeat(100)}!`))
  assert.match(received, new RegExp(`content-length: ${BYTES + 1}\r\n`))
  socket.destroy()
})
