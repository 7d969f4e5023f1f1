import assert from 'node:assert/strict'
import { rename, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { folder } from '../folder.ts'
import { request } from '../http.ts'

async function refusal(options: unknown): Promise<string> {
  const app = Fastify()
  try {
    await app.register(wasmGateway, options as WasmGatewayOptions)
  } catch (error) {
    return (error as Error).message.replace('The configuration is invalid: ', '')
  } finally {
    await app.close()
  }
  assert.fail(`it started with ${JSON.stringify(options)}`)
}

const variable = (reference: string) => `$\{{${reference}}}`

const upstream = (more: object) => ({ upstreams: [{ id: 'u', nodes: { '127.0.0.1:80': 1 }, ...more }] })

test('what no request could be sent with is refused, with its place', async () => {
  for (const host of ['http://a', 'a b', '127.0.0.1:80', 'a/b', 'u@a', 'a\n', '例え.test', 'a\0b']) {
    const message = await refusal(upstream({ nodes: [{ host, port: 80, weight: 1 }] }))
    assert.equal(message, `upstreams.u.nodes[0].host: ${JSON.stringify(host)} is no host`)
  }
  const checks = (active: object) => upstream({ checks: { active } })
  for (const [options, wrong] of [
    [
      checks({ http_path: '/health check' }),
      /^upstreams\.u\.checks\.active\.http_path: "\/health check" is not a path/
    ],
    [checks({ http_path: 'health' }), /^upstreams\.u\.checks\.active\.http_path: "health" is not a path/],
    [checks({ host: 'a\nb' }), /^upstreams\.u\.checks\.active\.host: "a\\nb" is not a host$/],
    [checks({ req_headers: ['X-Name: €'] }), /^upstreams\.u\.checks\.active\.req_headers\[0\] must be "name: value"$/],
    [upstream({ upstream_host: 'a\r\nx: y' }), /^upstreams\.u\.upstream_host: "a\\r\\nx: y" is not a host$/]
  ] as const) {
    assert.match(await refusal(options), wrong)
  }
})

test('nodes may be names, addresses of both versions, with brackets or without', async (t) => {
  const nodes = ['a.test', 'under_score', '10.0.0.1', '::1', '[::1]', 'fd00::1'].map((host) => ({
    host,
    port: 80,
    weight: 1
  }))
  const { app } = await startApp(t, { upstreams: [{ id: 'u', nodes }] }, () => {})
  const hosts = app.wasmGateway.status().upstreams[0]!.nodes.map(({ host }) => host)
  assert.deepEqual(hosts, ['a.test', 'under_score', '10.0.0.1', '::1', '::1', 'fd00::1'])
})

test('timeouts of weeks are no timeouts of nothing', async (t) => {
  const { node } = await startUpstream(t, (app) => {
    app.get('/*', async () => 'answered')
  })
  const weeks = 60 * 60 * 24 * 30
  const { url } = await startApp(
    t,
    {
      routes: [{ uri: '/*', timeout: { connect: weeks, send: weeks, read: weeks }, upstream: { nodes: { [node]: 1 } } }]
    },
    () => {}
  )
  assert.equal((await request(`${url}/x`)).text, 'answered')
})

test('options that are no object are refused, and a reload with such changes nothing', async (t) => {
  assert.match(await refusal([]), /^the options must be an object$/)
  assert.match(await refusal('config.yaml'), /^the options must be an object; a file is named by the option `config`$/)
  const { node } = await startUpstream(t, (app) => {
    app.get('/*', async () => 'answered')
  })
  const { app, url } = await startApp(t, { routes: [{ uri: '/*', upstream: { nodes: { [node]: 1 } } }] }, () => {})
  for (const options of [null, 5, true, [], new Map(), () => {}]) {
    await assert.rejects(app.wasmGateway.reload(options as never), /the options must be an object/)
  }
  assert.equal((await request(`${url}/x`)).text, 'answered')
})

test('a file that is emptied is not taken for a configuration without routes', async (t) => {
  const path = join(await folder(t), 'config.yaml')
  const { node } = await startUpstream(t, (app) => {
    app.get('/*', async () => 'answered')
  })
  await writeFile(path, JSON.stringify({ routes: [{ uri: '/*', upstream: { nodes: { [node]: 1 } } }] }))
  const { app, url, lines } = await startApp(t, { config: path }, () => {})
  await truncate(path)
  await assert.rejects(app.wasmGateway.reload(), /is empty and was not; is it still being written\?/)
  await eventually('the watch has seen it too', () => lines.some(({ msg }) => msg.includes('stays as it was')))
  assert.equal((await request(`${url}/x`)).text, 'answered')
  await writeFile(path, '# nothing at all')
  await app.wasmGateway.reload()
  assert.equal((await request(`${url}/x`)).status, 404)
})

test('of several files that are wrong each is named', async (t) => {
  const directory = await folder(t)
  const paths = ['a.yaml', 'b.yaml'].map((name) => join(directory, name))
  await Promise.all(paths.map((path, i) => writeFile(path, `${['foo', 'bar'][i]}: 1`)))
  const message = await refusal({ config: paths })
  assert.equal(message, `${paths[0]}: foo: is no known key; ${paths[1]}: bar: is no known key`)
})

test('a file that is written all the time is read all the same', async (t) => {
  const path = join(await folder(t), 'config.yaml')
  const write = async (i: number) => {
    const next = `${path}.${i}`
    await writeFile(next, `routes: [{ uri: /${i}, upstream: { nodes: { 127.0.0.1:1: 1 } } }]`)
    await rename(next, path)
  }
  await write(0)
  const { lines } = await startApp(t, { config: path }, () => {})
  let i = 0
  let last = Promise.resolve()
  const writing = setInterval(() => {
    last = write(++i)
  }, 100)
  try {
    await eventually('it is read', () => lines.some(({ msg }) => msg === 'the configuration is loaded'))
  } finally {
    // Before the folder is removed.
    clearInterval(writing)
    await last
  }
})

test('a plugin that is switched off need not have a configuration', async (t) => {
  const plugins = [{ name: 'log', file: fixture('log') }]
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const entries = { log: { conf: '', _meta: { disable: true } } }
    app.get('/', { config: { wasm: { plugins: entries } } }, async () => 'hello')
  })
  assert.equal((await request(url)).text, 'hello')
  assert.deepEqual(filterLog(), [])
})

test('in JSON a variable of the environment may be a number or a boolean', async (t) => {
  const path = join(await folder(t), 'config.json')
  const { node } = await startUpstream(t, (app) => {
    app.get('/*', async () => 'answered')
  })
  Object.assign(process.env, { BAD_INPUT_PRIORITY: '7', BAD_INPUT_NODE: node })
  const route = { uri: '/*', priority: variable('BAD_INPUT_PRIORITY'), enable_websocket: variable('NOT_SET:=false') }
  await writeFile(
    path,
    JSON.stringify({ routes: [{ ...route, upstream: { nodes: { [variable('BAD_INPUT_NODE')]: 1 } } }] })
  )
  const { url } = await startApp(t, { config: path }, () => {})
  assert.equal((await request(`${url}/x`)).text, 'answered')
})

test('of a file that is wrong in many ways everything is named at once', async (t) => {
  const directory = await folder(t)
  const [path, other] = [join(directory, 'a.json'), join(directory, 'b.json')]
  const nodes = { '127.0.0.1:1': 1 }
  await writeFile(
    path,
    JSON.stringify({
      wasm: {
        plugins: [
          { name: 'log', file: fixture('log') },
          { name: 'bad', file: fixture('log'), priority: 'x' }
        ]
      },
      upstreams: [
        { id: 'u', nodes },
        { id: 'wrong', nodes: 5 }
      ],
      routes: [
        { uri: '/form', methods: ['get'], upstream: { nodes } },
        { uri: '/w', upstream_id: 'nope' },
        { uri: '/x', upstream_id: 'wrong', plugins: { bad: { conf: 'c' } } },
        { uri: '/y', upstream: { nodes: { 'a:99999': 1 } } },
        { uri: '/z', plugins: { unknown: { conf: 'c' } } }
      ]
    })
  )
  await writeFile(other, JSON.stringify({ routes: [{ id: 'other', uri: '/o', service_id: 'none' }] }))
  const message = await refusal({ config: [path, other] })
  for (const wrong of [
    `${path}: wasm.plugins[1].priority: must be integer`,
    'upstreams.wrong.nodes: must be object',
    'routes[0].methods[0]',
    'routes.arr_2.upstream_id: there is no upstream with the id [nope]',
    'routes.arr_4.upstream.nodes: "a:99999" is no host:port',
    'routes.arr_5.plugins.unknown: unknown plugin [unknown]',
    'routes.other.service_id: there is no service with the id [none]'
  ]) {
    assert.ok(message.includes(wrong), `${wrong}\n\n${message}`)
  }
  assert.ok(!message.includes('[wrong]'), 'what refers to what is wrong is not told: it is there')
})
