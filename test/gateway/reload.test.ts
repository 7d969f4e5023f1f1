import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { test } from 'node:test'
import type { WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import { type Script, say, scripted } from './script.ts'

const hello = (text: string): Script => ({
  request_headers: [{ op: 'callback' }],
  response_headers: [{ op: 'set', map: 'response', name: 'x-hello', value: text }],
  done: [say(`bye ${text}`)]
})

function optionsOf(node: string, conf: Script, others: Partial<WasmGatewayOptions> = {}): WasmGatewayOptions {
  return {
    plugins: scripted('a', 'b'),
    routes: [
      { id: 1, uri: '/one', plugins: { a: { conf } }, upstream: { nodes: { [node]: 1 } } },
      { id: 2, uri: '/two', plugins: { a: { conf: hello('two') } }, upstream: { nodes: { [node]: 1 } } }
    ],
    ...others
  }
}

/** Its `/slow` answers when it is told to. */
async function upstreamOf(t: Parameters<typeof startUpstream>[0]) {
  let answerSlow = () => {}
  const told = new Promise<void>((resolve) => {
    answerSlow = resolve
  })
  const upstream = await startUpstream(t, (app) => {
    app.get('/*', async (request) => request.url)
    app.get('/slow', async () => {
      await told
      return 'slow'
    })
  })
  return { ...upstream, answerSlow }
}

test('a reload keeps the plugin contexts of what has the same content, and replaces the others', async (t) => {
  const { node } = await upstreamOf(t)
  const { app, url, filterLog } = await startApp(t, optionsOf(node, hello('one')), () => {})
  await request(`${url}/one`)
  await request(`${url}/two`)
  await app.wasmGateway.reload(optionsOf(node, hello('one')))
  await request(`${url}/one`)
  // The same contexts, and the same ids of HTTP contexts in them.
  const lines = filterLog('a')
  assert.equal(lines[2], lines[0])
  await app.wasmGateway.reload(optionsOf(node, hello('changed')))
  assert.deepEqual(
    filterLog('a').filter((line) => line.startsWith('bye')),
    ['bye one']
  )
  assert.equal((await request(`${url}/one`)).headers['x-hello'], 'changed')
  assert.equal((await request(`${url}/two`)).headers['x-hello'], 'two')
  const [status] = app.wasmGateway.status().plugins
  assert.deepEqual([status?.plugin_contexts, status?.instances], [2, 1])
})

test('requests in flight finish on the plan that they began with', async (t) => {
  const { node, answerSlow } = await upstreamOf(t)
  const slow = (text: string) => ({
    plugins: scripted('a'),
    routes: [{ id: 1, uri: '/*', plugins: { a: { conf: hello(text) } }, upstream: { nodes: { [node]: 1 } } }]
  })
  const { app, url, filterLog } = await startApp(t, slow('old'), () => {})
  const pending = request(`${url}/slow`)
  await eventually('it is under way', () => filterLog('a').length > 0)
  await app.wasmGateway.reload(slow('new'))
  assert.equal((await request(`${url}/x`)).headers['x-hello'], 'new')
  assert.deepEqual(
    filterLog('a').filter((line) => line.startsWith('bye')),
    []
  )
  answerSlow()
  assert.equal((await pending).headers['x-hello'], 'old')
  await eventually('the old context ends', () => filterLog('a').includes('bye old'))
  assert.equal(app.wasmGateway.status().plugins[0]?.plugin_contexts, 1)
})

test('a changed module gets a new instance, and the old one is let go of when its last request is over', async (t) => {
  const { node, answerSlow } = await upstreamOf(t)
  const plugin = async (path: string) => [{ name: 'a', module: await readFile(path) }]
  const routes = [{ id: 1, uri: '/*', plugins: { a: { conf: hello('x') } }, upstream: { nodes: { [node]: 1 } } }]
  const { app, url } = await startApp(t, { plugins: await plugin(fixture('script-go')), routes }, () => {})
  await request(`${url}/a`)
  const pending = request(`${url}/slow`)
  await eventually('it is under way', () => app.wasmGateway.status().plugins[0]!.http_contexts === 1)
  await app.wasmGateway.reload({ plugins: await plugin(fixture('script-rust')), routes })
  assert.equal((await request(`${url}/a`)).headers['x-hello'], 'x')
  assert.equal(app.wasmGateway.status().plugins.length, 2)
  answerSlow()
  assert.equal((await pending).status, 200)
  await eventually('the old plugin is gone', () => app.wasmGateway.status().plugins.length === 1)
  assert.equal(app.wasmGateway.status().plugins[0]!.instances, 1)
})

test('a reload that is not valid names everything that is wrong, and changes nothing', async (t) => {
  const { node } = await upstreamOf(t)
  const { app, url } = await startApp(t, optionsOf(node, hello('one')), (app) => {
    app.get('/own', { config: { wasm: { plugins: { b: { conf: hello('own') } } } } }, async () => 'own')
  })
  const bad: WasmGatewayOptions = {
    plugins: scripted('a'),
    routes: [
      { id: 1, uri: '/one', plugins: { nobody: { conf: 'x' } } },
      { id: 2, uri: '/two', upstream_id: 'none' }
    ]
  }
  await assert.rejects(app.wasmGateway.reload(bad), (error: Error) => {
    for (const place of ['routes.1.plugins.nobody', 'routes.2.upstream_id'])
      assert.ok(error.message.includes(place), error.message)
    return true
  })
  // The route of the application needs the plugin.
  await assert.rejects(app.wasmGateway.reload({ plugins: scripted('a') }), /\/own: config\.wasm\.plugins\.b/)
  await assert.rejects(app.wasmGateway.reload({ plugins: [{ name: 'a', file: '/no/such.wasm' }, ...scripted('b')] }), {
    code: 'FST_WASM_FILE_UNREADABLE'
  })
  assert.equal((await request(`${url}/one`)).headers['x-hello'], 'one')
  assert.equal((await request(`${url}/own`)).headers['x-hello'], 'own')
})

test('routes of the application follow the services, plugin_configs and upstreams of a reload', async (t) => {
  const { node } = await upstreamOf(t)
  const options = (text: string, path: string): WasmGatewayOptions => ({
    plugins: scripted('a'),
    services: [{ id: 's', plugins: { a: { conf: hello(text) } }, upstream_id: 'u' }],
    upstreams: [{ id: 'u', nodes: { [node]: 1 }, pass_host: 'rewrite', upstream_host: path }]
  })
  const { app, url } = await startApp(t, options('old', 'a.test'), (app) => {
    app.get('/own', { config: { wasm: { service_id: 's' } }, handler: app.wasmGateway.proxy })
  })
  assert.equal((await request(`${url}/own`)).headers['x-hello'], 'old')
  await app.wasmGateway.reload(options('new', 'b.test'))
  assert.equal((await request(`${url}/own`)).headers['x-hello'], 'new')
})

test('a reload puts routes that are alike into the order in which they stand', async (t) => {
  const routeOf = async (id: string) => {
    const { node } = await startUpstream(t, (app) => app.get('/', async () => id))
    return { id, uri: '/', upstream: { nodes: { [node]: 1 } } }
  }
  const [one, two] = [await routeOf('one'), await routeOf('two')]
  const { app, url } = await startApp(t, { routes: [two] }, () => {})
  for (const [routes, expected] of [
    [[one, two], 'one'],
    [[two, one], 'two']
  ] as const) {
    await app.wasmGateway.reload({ routes: [...routes] })
    assert.equal((await request(url)).text, expected)
  }
})

test('two hundred reloads under load lose no request and leave no context of before', async (t) => {
  const { node } = await upstreamOf(t)
  const { app, url, filterLog } = await startApp(t, optionsOf(node, hello('0')), () => {})
  let running = true
  let answered = 0
  const failures: unknown[] = []
  const client = async (path: string) => {
    while (running) {
      const { status, headers } = await request(url + path)
      answered++
      if (status !== 200 || headers['x-hello'] === undefined) failures.push([path, status, headers])
    }
  }
  const clients = [client('/one'), client('/two'), client('/one'), client('/two')]
  for (let i = 1; i <= 200; i++) await app.wasmGateway.reload(optionsOf(node, hello(String(i))))
  running = false
  await Promise.all(clients)
  assert.deepEqual(failures, [])
  assert.ok(answered > 100)
  await eventually('the contexts of before are gone', () => {
    const { plugins } = app.wasmGateway.status()
    return plugins.length === 2 && plugins[0]!.plugin_contexts <= 2 && plugins[0]!.http_contexts === 0
  })
  assert.equal(app.wasmGateway.status().plugins[0]!.instances, 1)
  const byes = filterLog('a').filter((line) => line.startsWith('bye'))
  assert.equal(new Set(byes).size, byes.length, 'each context ends once')
})
