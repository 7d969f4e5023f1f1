import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway from '../../../lib/index.ts'
import { startUpstream } from '../../app.ts'
import { folder } from '../../folder.ts'
import { exchangeBytes, request } from '../../http.ts'
import { say, scripted } from '../script.ts'
import { adminOf, expectStatus, KEY, startAdmin } from './admin.ts'

const listeners = [
  ['a listener of its own', { key: KEY, listen: { port: 0 } }],
  ["the application's listener", { key: KEY }]
] as const

const echo = (t: TestContext) => startUpstream(t, (app) => app.all('/*', async (request) => request.url))
const header = (text: string) => ({
  a: { conf: { response_headers: [{ op: 'set', map: 'response', name: 'x-a', value: text }] } }
})

for (const [where, admin] of listeners) {
  test(`a change is in effect for the next request after the answer, on ${where}`, async (t) => {
    const { node } = await echo(t)
    const gateway = await startAdmin(t, { admin, plugins: scripted('a') })
    const seen = async (path: string) => {
      const { status, headers } = await request(gateway.url + path)
      return [status, headers['x-a']]
    }
    await expectStatus(gateway.admin('PUT', '/upstreams/u', { nodes: { [node]: 1 } }), 201)
    assert.deepEqual(await seen('/a'), [404, undefined])
    for (let i = 0; i < 20; i++) {
      await gateway.admin('PUT', '/routes/1', { uri: '/a', upstream_id: 'u', plugins: header(`route ${i}`) })
      assert.deepEqual(await seen('/a'), [200, `route ${i}`])
      await gateway.admin('PATCH', '/routes/1/uri', '"/b"')
      assert.deepEqual(await seen('/a'), [404, undefined])
      assert.deepEqual(await seen('/b'), [200, `route ${i}`])
      await expectStatus(gateway.admin('DELETE', '/routes/1'), 200)
      assert.deepEqual(await seen('/b'), [404, undefined])
    }
    // What is merged into a route counts as well.
    await gateway.admin('PUT', '/services/s', { upstream_id: 'u', plugins: header('service') })
    await gateway.admin('PUT', '/routes/1', { uri: '/a', service_id: 's' })
    assert.deepEqual(await seen('/a'), [200, 'service'])
    await gateway.admin('PUT', '/plugin_configs/p', { plugins: header('config') })
    await gateway.admin('PATCH', '/routes/1', { plugin_config_id: 'p' })
    assert.deepEqual(await seen('/a'), [200, 'config'])
    await gateway.admin('PUT', '/plugin_configs/p', { plugins: header('config 2') })
    assert.deepEqual(await seen('/a'), [200, 'config 2'])
    await gateway.admin('PATCH', '/routes/1', { plugin_config_id: null })
    await gateway.admin('PATCH', '/services/s', { hosts: ['foo.com'] })
    assert.deepEqual(await seen('/a'), [404, undefined])
    await gateway.admin('PUT', '/global_rules/g', { plugins: header('rule') })
    assert.deepEqual(await seen('/a'), [404, 'rule'])
    await gateway.admin('DELETE', '/global_rules/g')
    assert.deepEqual(await seen('/a'), [404, undefined])
    await gateway.admin('PUT', '/services/s', { upstream: { nodes: {} } })
    assert.deepEqual(await seen('/a'), [503, undefined])
  })

  test(`no filter runs on the Admin API, and no route takes its requests, on ${where}`, async (t) => {
    const { node } = await echo(t)
    const plugins = scripted('a', { name: 'early', http_request_phase: 'rewrite' })
    const { admin: send, url, filterLog } = await startAdmin(t, { admin, plugins })
    const phases = { request_headers: [say('request')], response_headers: [say('response')], done: [say('done')] }
    const both = { a: { conf: phases }, early: { conf: phases } }
    await expectStatus(send('PUT', '/global_rules/1', { plugins: both }), 201)
    await expectStatus(send('PUT', '/routes/1', { uri: '/*', plugins: both, upstream: { nodes: { [node]: 1 } } }), 201)
    const requests = [
      ['GET', '/routes', 200],
      ['GET', '', 404],
      ['GET', '/nothing', 404],
      ['OPTIONS', '/routes', 404],
      ['PURGE', '/routes/1', 404],
      ['POST', '/global_rules', 405],
      ['PUT', '/routes/1', 413],
      ['PATCH', '/routes/1', 200]
    ] as const
    for (const [method, path, status] of requests) {
      const body = status === 413 ? 'x'.repeat(2_000_000) : method === 'GET' ? undefined : '{}'
      await expectStatus(send(method, path, body), status)
      await expectStatus(send(method, path, undefined, { 'x-api-key': 'wrong' }), 401)
    }
    assert.deepEqual(filterLog(), [])
    assert.equal((await request(`${url}/apisix/administrator`)).status, 200)
    assert.notDeepEqual(filterLog(), [])
  })
}

test('other ways to write its address are not for the routes of the gateway', async (t) => {
  const { node } = await echo(t)
  const { admin, port, filterLog } = await startAdmin(t, { admin: { key: KEY }, plugins: scripted('a') })
  const plugins = { a: { conf: { request_headers: [say('request')] } } }
  await admin('PUT', '/routes/1', { uri: '/*', plugins, upstream: { nodes: { [node]: 1 } } })
  for (const [target, status] of [
    ['/apisix/%61dmin/routes/1', 200],
    ['/apisix/admin/./routes', 404],
    ['//apisix/admin/routes', 404],
    ['/a/../apisix/admin', 404],
    ['/apisix/%2e/admin/routes', 404],
    ['http://a/apisix/admin/routes', 404]
  ] as const) {
    const head = `GET ${target} HTTP/1.1\r\nHost: a\r\nX-API-KEY: ${KEY}\r\nConnection: close\r\n\r\n`
    const answer = (await exchangeBytes(port, head)).toString()
    assert.match(answer, new RegExp(`^HTTP/1.1 ${status} `), target)
  }
  assert.deepEqual(filterLog(), [])
})

test('a write leaves the plugin contexts of everything else as they are', async (t) => {
  const { node } = await echo(t)
  const conf = { request_headers: [{ op: 'callback' }] }
  const { admin, app, url, filterLog, quiet } = await startAdmin(t, { plugins: scripted('a') })
  await admin('PUT', '/upstreams/u', { nodes: { [node]: 1 } })
  await admin('PUT', '/routes/1', { uri: '/1', upstream_id: 'u', plugins: { a: { conf } } })
  await request(`${url}/1`)
  await quiet()
  await admin('PUT', '/routes/2', { uri: '/2', upstream_id: 'u', plugins: { a: { conf: { ...conf, other: [] } } } })
  await admin('PATCH', '/routes/1', { name: 'new', plugins: { a: { _meta: { priority: 3 } } } })
  await admin('PATCH', '/upstreams/u', { retries: 0 })
  await request(`${url}/1`)
  const [first, second] = filterLog()
  assert.equal(second, first)
  assert.equal(app.wasmGateway.status().plugins[0]?.plugin_contexts, 1)
})

test('plugins/reload reads the file again, and says what is wrong with it', async (t) => {
  const { node } = await echo(t)
  const config = join(await folder(t), 'config.json')
  const route = (uri: unknown) => JSON.stringify({ routes: [{ id: 1, uri, upstream: { nodes: { [node]: 1 } } }] })
  await writeFile(config, route('/a'))
  const { admin, url } = await startAdmin(t, { config, admin: { key: KEY, listen: { port: 0 } } })
  await writeFile(config, route(1))
  const { error_msg } = await expectStatus(admin('PUT', '/plugins/reload'), 500)
  assert.match(error_msg, /^the configuration stays as it was: .*config\.json: routes\[0\]\.uri: must be string/)
  assert.equal((await request(`${url}/a`)).status, 200)
  await writeFile(config, route('/b'))
  await expectStatus(admin('PUT', '/plugins/reload'), 200)
  assert.deepEqual([(await request(`${url}/a`)).status, (await request(`${url}/b`)).status], [404, 200])
})

test('its listener closes with the application', async (t) => {
  const { app, admin } = await startAdmin(t)
  await expectStatus(admin('GET', '/routes'), 200)
  await app.close()
  await assert.rejects(admin('GET', '/routes'), { code: 'ECONNREFUSED' })
})

test('it stands below the prefix that it is given, and below that of the scope of the gateway', async (t) => {
  const { node } = await echo(t)
  const app = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(
    async (scope) => {
      await scope.register(wasmGateway, { plugins: scripted('a'), admin: { key: KEY, prefix: '/own/admin' } })
    },
    { prefix: '/gateway' }
  )
  const url = await app.listen({ port: 0 })
  const admin = adminOf(`${url}/gateway/own/admin`)
  const created = await expectStatus(
    admin('PUT', '/routes/1', { uri: '/a', plugins: header('b'), upstream: { nodes: { [node]: 1 } } }),
    201
  )
  assert.equal(created.key, '/apisix/routes/1')
  assert.equal((await expectStatus(admin('GET', '/routes'), 200)).total, 1)
  assert.equal((await request(`${url}/gateway/apisix/admin/routes`)).status, 404)
})

test('a gateway without a logger has an Admin API with a listener of its own', async (t) => {
  const app = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  // No way to learn a free port: the start alone counts.
  await app.register(wasmGateway, { admin: { key: KEY, listen: { port: 0 } } })
  await app.ready()
})

test('a port that is taken fails the start', async (t) => {
  const { port } = await startUpstream(t, () => {})
  const app = Fastify({ forceCloseConnections: true })
  t.after(() => app.close())
  await app.register(wasmGateway, { admin: { key: KEY, listen: { port } } })
  await assert.rejects(async () => app.ready(), { code: 'EADDRINUSE' })
})
