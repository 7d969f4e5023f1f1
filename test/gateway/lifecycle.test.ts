import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { filterWat } from '../wat.ts'
import { say, scripted } from './script.ts'

const callback = { op: 'callback' }

test('a configuration is configured once, when the first request needs it', async (t) => {
  const conf = { start: [say('configured')], request_headers: [say('request')] }
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => '')
  })
  assert.deepEqual(filterLog(), [])
  await request(url)
  await request(url)
  assert.deepEqual(filterLog(), ['configured', 'request', 'request'])
})

test('alternating requests on two routes run in contexts (1,2), (3,4), (1,2), (3,4)', async (t) => {
  const conf = { request_headers: [callback] }
  const { url, filterLog, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    for (const path of ['/a', '/b']) app.get(path, { config: { wasm: { plugins: { a: { conf } } } } }, async () => '')
  })
  for (const path of ['/a', '/b', '/a', '/b']) {
    await request(url + path)
    await quiet()
  }
  const ids = filterLog().map((line) => /ctx=(\d+) root=(\d+)/.exec(line)!.slice(1).join())
  assert.deepEqual(ids, ['2,1', '4,3', '2,1', '4,3'])
})

test('two routes that share one object of config.wasm have a plugin context each', async (t) => {
  const wasm = { plugins: { a: { conf: { request_headers: [callback] } } } }
  const { url, app } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/a', { config: { wasm } }, async () => '')
    app.get('/b', { config: { wasm } }, async () => '')
  })
  await request(`${url}/a`)
  await request(`${url}/b`)
  assert.equal(app.wasmGateway.status().plugins[0]!.plugin_contexts, 2)
})

test('the HEAD route that Fastify adds shares the plugin context of its GET', async (t) => {
  const { url, app } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get(
      '/',
      { config: { wasm: { plugins: { a: { conf: { request_headers: [callback] } } } } } },
      async () => 'hello'
    )
  })
  await request(url)
  const head = await request(url, { method: 'HEAD' })
  assert.equal(head.status, 200)
  assert.equal(head.headers['content-length'], '5')
  assert.equal(app.wasmGateway.status().plugins[0]!.plugin_contexts, 1)
})

test('contexts end when the client leaves in the middle of a response, with done, log and delete', async (t) => {
  const module = await filterWat(
    '(import "env" "proxy_log" (func $log (param i32 i32 i32) (result i32)))',
    `(data (i32.const 0) "donelogdelete")
     (func (export "proxy_on_done") (param i32) (result i32)
       (drop (call $log (i32.const 2) (i32.const 0) (i32.const 4))) (i32.const 1))
     (func (export "proxy_on_log") (param i32) (drop (call $log (i32.const 2) (i32.const 4) (i32.const 3))))
     (func (export "proxy_on_delete") (param i32) (drop (call $log (i32.const 2) (i32.const 7) (i32.const 6))))`
  )
  const { port, filterLog, quiet, app } = await startApp(t, { plugins: [{ name: 'w', module }] }, (app) => {
    app.get('/', { config: { wasm: { plugins: { w: { conf: 'x' } } } } }, async (_request, reply) => {
      const endless = async function* () {
        for (;;) {
          yield 'hello'
          await sleep(5)
        }
      }
      return reply.send(Readable.from(endless()))
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  await new Promise((resolve) => socket.once('data', resolve))
  assert.equal(app.wasmGateway.status().plugins[0]!.http_contexts, 1)
  socket.destroy()
  await quiet()
  assert.deepEqual(filterLog(), ['done', 'log', 'delete'])
})

test('a hijacked reply ends its contexts when it closes', async (t) => {
  const conf = { request_headers: [say('request')], response_headers: [say('response')], log: [say('log')] }
  const { url, filterLog, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, (_request, reply) => {
      reply.hijack()
      reply.raw.end('mine')
    })
  })
  assert.equal((await request(url)).text, 'mine')
  await quiet()
  assert.deepEqual(filterLog(), ['request', 'log'])
})

test('closing the application ends the plugin contexts', async (t) => {
  const plugins = [{ name: 'wasm_log', file: fixture('log') }]
  const { url, app, filterLog } = await startApp(t, { plugins }, (app) => {
    for (const path of ['/a', '/b']) {
      app.get(path, { config: { wasm: { plugins: { wasm_log: { conf: path } } } } }, async () => '')
    }
  })
  await request(`${url}/a`)
  await request(`${url}/b`)
  await app.close()
  assert.deepEqual(filterLog().slice(2), ['do clean up...', 'do clean up...'])
  assert.equal(app.wasmGateway.status().plugins[0]!.plugin_contexts, 0)
})

test('a paused request whose client leaves never reaches the handler, and leaves nothing', async (t) => {
  let reached = false
  const { port, filterLog, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { request_headers: [say('paused'), { op: 'pause' }], log: [say('log')] }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => {
      reached = true
      return ''
    })
  })
  const socket = connect(port, '127.0.0.1')
  socket.on('error', () => {})
  socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
  for (let i = 0; i < 200 && filterLog().length === 0; i++) await sleep(10)
  socket.destroy()
  await quiet()
  assert.equal(reached, false)
  assert.deepEqual(filterLog(), ['paused', 'log'])
})

test('a configuration that was refused is tried again after a second', async (t) => {
  // Accepts from the second attempt on.
  const module = await filterWat(
    '',
    `(global $attempts (mut i32) (i32.const 0))
     (func (export "proxy_on_configure") (param i32 i32) (result i32)
       (global.set $attempts (i32.add (global.get $attempts) (i32.const 1)))
       (i32.gt_u (global.get $attempts) (i32.const 1)))`
  )
  const { url } = await startApp(t, { plugins: [{ name: 'w', module }] }, (app) => {
    app.get('/', { config: { wasm: { plugins: { w: { conf: 'x' } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 503)
  assert.equal((await request(url)).status, 503)
  await sleep(1050)
  assert.equal((await request(url)).text, 'hello')
})

test('thousands of exchanges, some of them left by their clients, leave no context alive', async (t) => {
  const conf = { request_headers: [{ op: 'set', map: 'request', name: 'x-a', value: '1' }], log: [] }
  const { url, port, app } = await startApp(
    t,
    { plugins: scripted('a', 'b') },
    (app) => {
      const wasm = { plugins: { a: { conf }, b: { conf } } }
      app.get('/', { config: { wasm } }, async () => {
        await sleep(1)
        return 'hello'
      })
    },
    { logger: false }
  )
  for (let round = 0; round < 10; round++) {
    const leaving = Array.from({ length: 20 }, () => {
      const socket = connect(port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write('GET / HTTP/1.1\r\nhost: a\r\n\r\n')
      setTimeout(() => socket.destroy(), Math.random() * 4)
      return new Promise((resolve) => socket.once('close', resolve))
    })
    const staying = Array.from({ length: 100 }, () => request(url))
    for (const answer of await Promise.all(staying)) assert.equal(answer.text, 'hello')
    await Promise.all(leaving)
  }
  assert.equal(app.wasmGateway.status().plugins[0]!.failures, 0)
})

test('closing the application ends a request that a filter holds for ever', async (t) => {
  const { app, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = { request_headers: [say('paused'), { op: 'pause' }], log: [say('log')] }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => '')
  })
  const held = app.inject('/')
  for (let i = 0; i < 200 && filterLog().length === 0; i++) await sleep(10)
  await app.close()
  assert.equal((await held).statusCode, 503)
  assert.deepEqual(filterLog(), ['paused', 'log'])
})
