import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { exchangeBytes, request } from '../http.ts'
import { type Script, say, scripted } from './script.ts'

const envoy = (...names: string[]) => scripted(...names.map((name) => ({ name, semantics: 'envoy' })))
/** With these semantics a call needs all of them. */
const CALL_HEADERS = [
  [':method', 'GET'],
  [':path', '/'],
  [':authority', 'a']
]
const text = { 'content-type': 'text/plain' }

function start(t: TestContext, conf: Script, declare?: (app: FastifyInstance, config: object) => void) {
  return startApp(t, { plugins: envoy('a') }, (app) => {
    const config = { wasm: { plugins: { a: { conf } } } }
    if (declare !== undefined) declare(app, config)
    else app.route({ method: ['GET', 'POST'], url: '/', config, handler: async (request) => request.body ?? 'hello' })
  })
}

const callback = { op: 'callback' }
const sizes = (lines: string[]) => lines.map((line) => line.replace(/ ctx=\d+ root=\d+| headers=\d+/g, ''))

test('body callbacks come without being asked for, the request body in one call, that of a handler in one', async (t) => {
  const conf = { request_body: [callback], response_body: [callback] }
  const { url, filterLog } = await start(t, conf)
  const answer = await request(url, { method: 'POST', body: 'four', headers: text })
  assert.equal(answer.text, 'four')
  assert.deepEqual(sizes(filterLog()), ['request_body size=4 eos=true', 'response_body size=4 eos=true'])
})

test('C-073 a request without a body has no body callback, and an empty response none', async (t) => {
  const conf = {
    request_headers: [callback],
    request_body: [callback],
    response_headers: [callback],
    response_body: [callback]
  }
  const { url, filterLog } = await start(t, conf, (app, config) => {
    app.get('/', { config }, async (_request, reply) => reply.send())
  })
  await request(url)
  assert.deepEqual(sizes(filterLog()), ['request_headers eos=true', 'response_headers eos=true'])
})

test('a changed request body reaches the handler', async (t) => {
  const conf = { request_body: [{ op: 'set_body', of: 'request', value: 'changed' }] }
  const { url } = await start(t, conf)
  assert.equal((await request(url, { method: 'POST', body: 'four', headers: text })).text, 'changed')
})

test('C-083 a pause holds the chunks of a response, the next call sees all of them, and the last may change them', async (t) => {
  // The scripted filter pauses at the last chunk too: an http call resumes it.
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => '')
  })
  const call = {
    op: 'call',
    upstream: upstream.node,
    headers: CALL_HEADERS,
    then: [
      { op: 'append_body', of: 'response', value: '>' },
      { op: 'continue', stream: 'response' }
    ]
  }
  const conf = {
    response_body: [
      callback,
      {
        op: 'if_eos',
        steps: [{ op: 'body', of: 'response' }, { op: 'prepend_body', of: 'response', value: '<' }, call]
      },
      { op: 'pause' }
    ]
  }
  const { url, filterLog } = await start(t, conf, (app, config) => {
    app.get('/', { config }, async (_request, reply) => {
      const chunks = async function* () {
        for (const chunk of ['abc', 'defg']) {
          yield chunk
          await sleep(20)
        }
      }
      return reply.send(Readable.from(chunks()))
    })
  })
  assert.equal((await request(url)).text, '<abcdefg>')
  assert.deepEqual(sizes(filterLog()), [
    'response_body size=3 eos=false',
    'response_body size=7 eos=false',
    'response_body size=7 eos=true',
    'response body=abcdefg'
  ])
})

test('what is held goes on when the filter is resumed between two chunks', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => '')
  })
  const call = {
    op: 'call',
    upstream: upstream.node,
    headers: CALL_HEADERS,
    then: [{ op: 'continue', stream: 'response' }]
  }
  const first = {
    op: 'if_header',
    map: 'response',
    name: 'x-first',
    value: '1',
    steps: [call, { op: 'remove', map: 'response', name: 'x-first' }, { op: 'pause' }]
  }
  let release = () => {}
  const arrived = new Promise<void>((resolve) => {
    release = resolve
  })
  const { port } = await start(
    t,
    { response_headers: [{ op: 'set', map: 'response', name: 'x-first', value: '1' }], response_body: [first] },
    (app, config) => {
      app.get('/', { config }, async (_request, reply) => {
        const chunks = async function* () {
          yield 'first'
          // The second comes when the client has the first.
          await arrived
          yield 'second'
        }
        return reply.send(Readable.from(chunks()))
      })
    }
  )
  const { connect } = await import('node:net')
  const socket = connect(port, '127.0.0.1')
  t.after(() => socket.destroy())
  let received = ''
  socket.on('data', (chunk) => {
    received += chunk
    if (received.includes('first')) release()
  })
  socket.write('GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  await new Promise((resolve) => socket.once('close', resolve))
  assert.match(received, /first/)
  assert.match(received, /second/)
})

test('C-080 C-082 a Pause in the request headers stops the body callback until it is resumed', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => {
      await sleep(30)
      return ''
    })
  })
  const call = {
    op: 'call',
    upstream: upstream.node,
    headers: CALL_HEADERS,
    then: [say('resumed'), { op: 'continue', stream: 'request' }]
  }
  const { url, filterLog } = await start(t, { request_headers: [call, { op: 'pause' }], request_body: [say('body')] })
  await request(url, { method: 'POST', body: 'x', headers: text })
  assert.deepEqual(filterLog(), ['resumed', 'body'])
})

test('a Continue does not wait for calls', async (t) => {
  let answer = () => {}
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async () => {
      await new Promise<void>((resolve) => {
        answer = resolve
      })
      return ''
    })
  })
  const call = { op: 'call', upstream: upstream.node, headers: CALL_HEADERS, timeout: 5000, then: [say('answered')] }
  const { url, lines } = await start(t, { request_headers: [call] })
  assert.equal((await request(url)).text, 'hello')
  answer()
  // Its stream is over: Go's SDK does not call user code any more, and nothing breaks.
  await sleep(50)
  assert.equal(lines.filter(({ level }) => level >= 50).length, 0)
  assert.equal((await request(url)).text, 'hello')
  answer()
})

test('C-179 C-180 C-181 a call without method, path or authority is refused', async (t) => {
  const complete: [string, string][] = [
    [':method', 'GET'],
    [':path', '/'],
    [':authority', 'a']
  ]
  for (let i = 0; i < 3; i++) {
    const call = { op: 'call', upstream: '127.0.0.1:1', headers: complete.filter((_, k) => k !== i) }
    const { url, filterLog } = await start(t, { request_headers: [call] })
    await request(url)
    assert.match(filterLog()[0]!, /call refused: .*bad argument/)
  }
})

test('the plugin context is made when the server starts, and conf may be missing or empty', async (t) => {
  const { app, filterLog } = await startApp(t, { plugins: envoy('a', 'b') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: { start: [say('started')] } } } } } }, async () => '')
    app.get('/b', { config: { wasm: { plugins: { b: {} } } } }, async () => '')
    app.get('/c', { config: { wasm: { plugins: { b: { conf: {} } } } } }, async () => '')
    app.get('/d', { config: { wasm: { plugins: { b: { conf: '' } } } } }, async () => '')
  })
  assert.ok(filterLog('a').includes('started'))
  assert.equal(app.wasmGateway.status().plugins[0]!.plugin_contexts, 1)
})

test('both semantics work in one chain', async (t) => {
  const plugins = [...scripted({ name: 'apisix' }), ...envoy('envoy')]
  const conf = { request_headers: [say('headers')], request_body: [say('body')], response_body: [say('response')] }
  const { url, lines } = await startApp(t, { plugins }, (app) => {
    app.post(
      '/',
      { config: { wasm: { plugins: { apisix: { conf }, envoy: { conf } } } } },
      async (request) => request.body
    )
  })
  await request(url, { method: 'POST', body: 'x', headers: text })
  const said = lines.filter(({ plugin }) => plugin !== undefined).map(({ plugin, msg }) => `${plugin} ${msg}`)
  assert.deepEqual(said, ['apisix headers', 'envoy headers', 'envoy body', 'envoy response'])
})

test('what a filter holds of a response is bounded, and answered 502', async (t) => {
  const plugins = scripted({ name: 'a', semantics: 'envoy', limits: { body_mib: 0.001 } })
  const { port } = await startApp(t, { plugins }, (app) => {
    const conf = { response_body: [{ op: 'pause' }] }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async (_request, reply) => {
      return reply.send(Readable.from(Array.from({ length: 100 }, () => Buffer.alloc(100))))
    })
  })
  const bytes = await exchangeBytes(port, 'GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n')
  assert.match(bytes.toString(), /^HTTP\/1\.1 502 /)
  assert.match(bytes.toString(), /error_msg/)
})

/** An http call that is answered after a while. */
async function startSlow(t: TestContext): Promise<(milliseconds: number, ...then: object[]) => object> {
  const upstream = await startUpstream(t, (app) => {
    app.get('/:milliseconds', async (request) => {
      await sleep(Number((request.params as { milliseconds: string }).milliseconds))
      return ''
    })
  })
  return (milliseconds, ...then) => ({
    op: 'call',
    upstream: upstream.node,
    timeout: 5000,
    headers: [
      [':method', 'GET'],
      [':path', `/${milliseconds}`],
      [':authority', 'a']
    ],
    then
  })
}

/** Runs steps at the first chunk alone. */
const once = (...steps: object[]) => ({
  response_headers: [{ op: 'set', map: 'response', name: 'x-first', value: '1' }],
  response_body: [
    {
      op: 'if_header',
      map: 'response',
      name: 'x-first',
      value: '1',
      steps: [...steps, { op: 'remove', map: 'response', name: 'x-first' }]
    }
  ]
})

test('what a filter lets go of is not overtaken by a chunk that waited in the filter before it', async (t) => {
  const slow = await startSlow(t)
  const resume = { op: 'continue', stream: 'response' }
  // The first filter lets the chunk pass and waits at the end; meanwhile the second lets go of the chunk.
  const waits = {
    response_body: [{ op: 'if_eos', steps: [slow(300, resume), { op: 'pause' }] }]
  }
  const { url } = await startApp(t, { plugins: envoy('waits', 'holds') }, (app) => {
    const holds = { ...once(slow(100, resume), { op: 'pause' }) }
    app.get(
      '/',
      { config: { wasm: { plugins: { waits: { conf: waits }, holds: { conf: holds } } } } },
      async (_q, reply) => {
        return reply.send(Readable.from(['one']))
      }
    )
  })
  const answer = await request(url)
  assert.equal(answer.status, 200)
  assert.equal(answer.text, 'one')
})

test('chunks keep their order when one filter waits for a call and the next lets go of what it held', async (t) => {
  const slow = await startSlow(t)
  const resume = { op: 'continue', stream: 'response' }
  const plugins = [...scripted('waits'), ...envoy('holds')]
  const { url } = await startApp(t, { plugins }, (app) => {
    const ask = { op: 'set_property', path: ['wasm_process_resp_body'], value: '1' }
    // Waits at every chunk.
    const waits = { response_headers: [ask], response_body: [slow(60)] }
    const holds = once(slow(90, resume), { op: 'pause' })
    app.get(
      '/',
      { config: { wasm: { plugins: { waits: { conf: waits }, holds: { conf: holds } } } } },
      async (_q, reply) => {
        return reply.send(Readable.from(['one,', 'two,', 'three']))
      }
    )
  })
  const answers = await Promise.all(Array.from({ length: 20 }, () => request(url)))
  for (const answer of answers) assert.equal(answer.text, 'one,two,three')
})

test('a stream that fails while a filter holds its head is answered 500, and the process lives', async (t) => {
  const slow = await startSlow(t)
  const { createReadStream } = await import('node:fs')
  for (const [plugins, conf] of [
    [envoy('a'), { response_headers: [slow(100, { op: 'continue', stream: 'response' }), { op: 'pause' }] }],
    [scripted('a'), { response_headers: [slow(100)] }]
  ] as const) {
    const { url } = await startApp(t, { plugins: [...plugins] }, (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, (_request, reply) => {
        reply.send(createReadStream('/nowhere/at/all'))
      })
    })
    assert.equal((await request(url)).status, 500)
  }
})

test('while a filter holds chunk after chunk that is there already, others have their turn', async (t) => {
  let turns = 0
  let isOver = false
  const count = () => {
    if (isOver) return
    turns++
    setImmediate(count)
  }
  function* chunks() {
    for (let i = 0; i < 30_000; i++) yield Buffer.from(`${i};`)
    isOver = true
  }
  const { port, app } = await start(t, { response_body: [{ op: 'pause' }] }, (app, config) => {
    app.get('/', { config }, async () => {
      setImmediate(count)
      return Readable.from(chunks())
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await eventually('all chunks have come', () => isOver)
  assert(turns >= 5, `${turns} turns`)
  socket.destroy()
  await eventually('nothing is alive', () => app.wasmGateway.status().plugins[0]!.http_contexts === 0)
})
