import assert from 'node:assert/strict'
import { Readable } from 'node:stream'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { Guest } from '../host/guest.ts'
import { request } from '../http.ts'
import { filterWat } from '../wat.ts'

const wasm = { plugins: { a: { conf: 'x' } } }
const route = { config: { wasm } }

async function* slowly() {
  yield 'one'
  await sleep(300)
  yield 'two'
}

test('a filter that responds again and again when it is too late is told of once', async (t) => {
  const guest = new Guest({ extra: '(global $n (mut i32) (i32.const 1000))' })
  const id = guest.cell()
  const none = guest.text('')
  const respond = guest.call('proxy_send_local_response', 403, guest.text('D'.repeat(3000)), none, none, -1)
  guest.on(
    'proxy_on_request_headers',
    `(i32.store ${id.wat} (local.get 0))`,
    guest.call('proxy_set_tick_period_milliseconds', 100)
  )
  guest.on(
    'proxy_on_tick',
    guest.call('proxy_set_effective_context', guest.loaded(id)),
    `(loop $again ${respond.wat}
      (global.set $n (i32.sub (global.get $n) (i32.const 1)))
      (br_if $again (i32.gt_s (global.get $n) (i32.const 0))))`,
    guest.call('proxy_set_tick_period_milliseconds', 0)
  )
  const plugins = [{ name: 'a', module: await guest.module() }]
  const { url, lines } = await startApp(t, { plugins }, (app) => {
    app.get('/', route, async (_request, reply) => reply.type('text/plain').send(Readable.from(slowly())))
  })
  assert.equal((await request(url)).text, 'onetwo')
  assert.equal(lines.filter(({ msg }) => msg.includes('wanted to respond')).length, 1)
})

/** A stream of the application's own, and one of an upstream, each with headers. */
async function startStreams(t: Parameters<typeof startApp>[0], guest: Guest, more: object = {}) {
  const { node } = await startUpstream(t, (app) => {
    app.get('/proxied', async (_request, reply) =>
      reply
        .headers({ 'x-app': 'app', 'content-length': '6' })
        .type('text/plain')
        .send(Readable.from(['one', 'two']))
    )
  })
  const plugins = [{ name: 'a', module: await guest.module(), ...more }]
  return startApp(t, { plugins }, (app) => {
    app.get('/proxied', { config: { wasm: { ...wasm, upstream: { nodes: { [node]: 1 } } } } }, app.wasmGateway.proxy)
    app.get('/own', route, async (_request, reply) =>
      reply
        .headers({ 'x-app': 'app', 'set-cookie': ['a=1', 'b=2'], 'content-length': '6' })
        .type('text/plain')
        .send(Readable.from(['one', 'two']))
    )
  })
}

test('response headers that a filter writes at the first chunk of a stream are sent', async (t) => {
  const guest = new Guest()
  const write = (operation: string, name: string) =>
    guest.call(`proxy_${operation}_header_map_value`, 2, guest.text(name), guest.text('new'))
  guest.on('proxy_on_response_body', write('replace', 'x-app'), write('add', 'x-more'), write('add', 'x-more'))
  const { url } = await startStreams(t, guest, { semantics: 'envoy' })
  for (const path of ['/own', '/proxied']) {
    const { text, headers } = await request(url + path)
    assert.deepEqual([text, headers['x-app'], headers['x-more']], ['onetwo', 'new', 'new, new'], path)
  }
})

for (const callback of ['proxy_on_response_headers', 'proxy_on_response_body']) {
  test(`fail: open: what a filter has changed of a stream's headers in ${callback} is as it was`, async (t) => {
    const guest = new Guest()
    const [app, cookie, length] = [guest.text('x-app'), guest.text('set-cookie'), guest.text('content-length')]
    guest.on(
      callback,
      guest.call('proxy_replace_header_map_value', 2, app, guest.text('new')),
      guest.call('proxy_remove_header_map_value', 2, cookie),
      guest.call('proxy_remove_header_map_value', 2, length),
      guest.call('proxy_add_header_map_value', 2, guest.text('x-more'), guest.text('new')),
      'unreachable'
    )
    const { url } = await startStreams(t, guest, { semantics: 'envoy', fail: 'open' })
    for (const [path, cookies] of [
      ['/own', ['a=1', 'b=2']],
      ['/proxied', undefined]
    ] as const) {
      const { status, text, headers } = await request(url + path)
      assert.deepEqual([status, text, headers['x-app'], headers['x-more']], [200, 'onetwo', 'app', undefined], path)
      assert.deepEqual(headers['set-cookie'], cookies)
      // A filter that sees the body of a stream may change it: the length goes before that.
      const isKnown = callback === 'proxy_on_response_headers' || path === '/proxied'
      assert.equal(headers['content-length'], isKnown ? '6' : undefined)
    }
  })
}

for (const callback of ['proxy_on_done', 'proxy_on_log', 'proxy_on_delete', 'proxy_on_tick']) {
  test(`a trap in ${callback} is nothing to a request that has passed the filter`, async (t) => {
    const guest = new Guest()
    if (callback === 'proxy_on_tick') {
      guest.on('proxy_on_request_headers', guest.call('proxy_set_tick_period_milliseconds', 10))
    }
    guest.on(callback, 'unreachable')
    const plugins = [{ name: 'a', module: await guest.module() }]
    const { app, url } = await startApp(t, { plugins }, (app) => {
      app.get('/', route, async () => 'quick')
      app.get('/slow', route, async () => {
        await eventually('it has failed', () => app.wasmGateway.status().plugins[0]!.failures > 0)
        return 'slow'
      })
    })
    const slow = request(`${url}/slow`)
    await eventually('it passes', () => app.wasmGateway.status().plugins[0]!.http_contexts > 0)
    if (callback !== 'proxy_on_tick') assert.equal((await request(url)).text, 'quick')
    assert.equal((await slow).text, 'slow')
  })
}

test('failures without end are told a hundred times a second, and counted', async (t) => {
  const guest = new Guest().on('proxy_on_log', 'unreachable')
  const plugins = [{ name: 'a', module: await guest.module() }]
  const { url, lines } = await startApp(t, { plugins }, (app) => {
    app.get('/', route, async () => 'hello')
  })
  for (let i = 0; i < 15; i++) {
    const answers = await Promise.all(Array.from({ length: 20 }, () => request(url)))
    assert.ok(answers.every(({ status }) => status === 200))
  }
  const told = () => lines.filter(({ msg }) => msg.includes('failed to run proxy_on_log')).length
  const counted = () =>
    lines.reduce((sum, { msg }) => sum + Number(/it failed another (?:(\d+) times|time)/.exec(msg)?.[1] ?? 0), 0)
  await eventually('all are told or counted', () => told() + counted() >= 299)
  assert.ok(counted() > 0)
})

/** Aborts as AssemblyScript does, with a text in front of which its length stands. */
function abortingFilter(text: Buffer): Promise<Uint8Array> {
  const escaped = [...text].map((byte) => `\\${byte.toString(16).padStart(2, '0')}`).join('')
  return filterWat(
    '(import "env" "abort" (func $abort (param i32 i32 i32 i32)))',
    `(data (i32.const 1024) "${escaped}")
    (func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32)
      (call $abort (i32.const 1028) (i32.const 0) (i32.const 0) (i32.const 0))
      (i32.const 0))`
  )
}

test('what a module says when it aborts has no control characters, wherever that is shown', async (t) => {
  const text = Buffer.from('\x1b]0;pwned\x07\x9b31m', 'utf16le')
  const size = Buffer.alloc(4)
  size.writeUInt32LE(text.length)
  const plugins = [{ name: 'a', module: await abortingFilter(Buffer.concat([size, text])) }]
  const { app, url, lines } = await startApp(t, { plugins }, (app) => {
    app.get('/', route, async () => 'hello')
  })
  assert.equal((await request(url)).status, 503)
  const shown = JSON.stringify([lines, app.wasmGateway.status(), app.wasmGateway.health()])
  assert.match(shown, /abort: \\\\x1b\]0;pwned\\\\x07\\\\x9b31m/)
  assert.doesNotMatch(shown, /\\u001b|\\u0007|\x9b/)
})
