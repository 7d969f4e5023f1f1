import assert from 'node:assert/strict'
import { test } from 'node:test'
import { startApp } from '../app.ts'
import { request } from '../http.ts'
import { say, scripted } from './script.ts'

test('a line of a filter has its plugin, its context, the route and the id of the request', async (t) => {
  const options = {
    plugins: scripted('a'),
    global_rules: [{ id: 1, plugins: { a: { conf: { request_headers: [say('seen')] } } } }],
    routes: [{ id: 'images', uri: '/images/*', upstream: { nodes: { '127.0.0.1:1': 1 } } }]
  }
  const { url, lines, quiet } = await startApp(t, options, (app) => {
    app.get('/cart/:id', { config: {} }, async () => 'hello')
  })
  for (const path of ['/cart/1', '/images/a', '/nowhere']) await request(url + path)
  await quiet()
  const seen = lines.filter(({ msg }) => msg === 'seen') as ((typeof lines)[0] & { route?: string })[]
  assert.deepEqual(
    seen.map(({ plugin, context, route, reqId }) => ({ plugin, context, route, reqId })),
    [
      { plugin: 'a', context: 2, route: '/cart/:id', reqId: 'req-1' },
      { plugin: 'a', context: 2, route: 'images', reqId: 'req-2' },
      { plugin: 'a', context: 2, route: undefined, reqId: 'req-3' }
    ]
  )
})

test('the line of a trap says what becomes of the requests and of the plugin', async (t) => {
  const conf = { request_headers: [{ op: 'panic', text: 'oh no' }] }
  const { url, lines } = await startApp(t, { plugins: scripted({ name: 'a', fail: 'open' }, 'b') }, (app) => {
    for (const name of ['a', 'b'])
      app.get(`/${name}`, { config: { wasm: { plugins: { [name]: { conf } } } } }, async () => '')
  })
  for (const path of ['/a', '/b', '/b']) await request(url + path)
  const traps = lines.filter(({ err }) => err?.code === 'FST_WASM_TRAP') as ((typeof lines)[0] &
    Record<string, string>)[]
  assert.deepEqual(
    traps.map(({ plugin, route, callback, next, reqId }) => [plugin, route, callback, next, reqId]),
    [
      ['a', '/a', 'proxy_on_request_headers', 'its requests go on without it, and it starts again at once', 'req-1'],
      ['b', '/b', 'proxy_on_request_headers', 'its requests are answered 503, and it starts again at once', 'req-2'],
      ['b', '/b', 'proxy_on_request_headers', 'its requests are answered 503, and it starts again in 500 ms', 'req-3']
    ]
  )
})
