import assert from 'node:assert/strict'
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import type { WasmGatewayOptions } from '../../../lib/index.ts'
import { Level, startUpstream } from '../../app.ts'
import { folder } from '../../folder.ts'
import { request } from '../../http.ts'
import { scripted } from '../script.ts'
import { type AdminApp, expectStatus, KEY, startAdmin } from './admin.ts'

// What the Admin API has written, over restarts, and when it cannot be kept.

const header = (text: string) => ({
  a: { conf: { response_headers: [{ op: 'set', map: 'response', name: 'x-a', value: text }] } }
})

async function setUp(t: TestContext) {
  const { node } = await startUpstream(t, (app) => app.get('/*', async () => 'reached'))
  const path = join(await folder(t), 'state')
  const file = join(path, 'store.json')
  const start = (options: WasmGatewayOptions = {}) =>
    startAdmin(t, {
      plugins: scripted('a', 'b'),
      ...options,
      admin: { key: KEY, listen: { port: 0 } },
      store: { file }
    })
  return { node, path, file, start }
}

const errors = ({ lines }: AdminApp) => lines.filter(({ level }) => level === Level.error).map(({ msg }) => msg)

test('a restart brings back every object with its indexes, and they go on from there', async (t) => {
  const { node, path, start } = await setUp(t)
  const kinds = ['routes', 'services', 'upstreams', 'plugin_configs', 'global_rules']
  const all = (app: AdminApp) => Promise.all(kinds.map((kind) => expectStatus(app.admin('GET', `/${kind}`), 200)))
  const first = await start()
  for (const [path, value] of Object.entries({
    '/upstreams/outbound%7C80%7C%7Cu': { nodes: { [node]: 1 } },
    '/services/s': { upstream_id: 'outbound|80||u' },
    '/plugin_configs/p': { plugins: header('p'), desc: 'ü \u0000 \ud800' },
    '/routes/1': { uri: '/a', service_id: 's', plugin_config_id: 'p' },
    '/global_rules/g': { plugins: { b: { conf: { response_headers: [] } } } }
  })) {
    await expectStatus(first.admin('PUT', path, value), 201)
  }
  await expectStatus(first.admin('PATCH', '/routes/1', { name: 'new' }), 200)
  const { key } = await expectStatus(first.admin('POST', '/routes', { uri: '/b', service_id: 's' }), 201)
  await expectStatus(first.admin('DELETE', key.slice('/apisix'.length)), 200)
  const before = await all(first)
  await first.app.close()

  const second = await start()
  assert.deepEqual(await all(second), before)
  assert.equal((await request(`${second.url}/a`)).text, 'reached')
  assert.deepEqual(errors(second), [])
  assert.deepEqual(await readdir(path), ['store.json'])
  const last = Math.max(...before.flatMap(({ list }) => list.map(({ modifiedIndex }) => modifiedIndex)))
  await expectStatus(second.admin('PUT', '/routes/2', { uri: '/b', service_id: 's' }), 201)
  const added = await expectStatus(second.admin('GET', '/routes/2'), 200)
  assert.ok(added.createdIndex > last + 1, 'the deleted one has had an index as well')
})

test('a stored object that is wrong is left out and named, and can be mended or deleted', async (t) => {
  const { node, start } = await setUp(t)
  const first = await start()
  await first.admin('PUT', '/upstreams/u', { nodes: { [node]: 1 } })
  await first.admin('PUT', '/routes/1', { uri: '/1', upstream_id: 'u', plugins: header('1') })
  await first.admin('PUT', '/routes/2', { uri: '/2', upstream_id: 'u' })
  await first.admin('PUT', '/routes/3', { uri: '/3', plugins: header('3'), upstream: { nodes: {} } })
  await first.app.close()

  // The plugin is not declared any more.
  const second = await start({ plugins: scripted('b') })
  assert.deepEqual(
    errors(second).map((msg) => msg.replace(/;.*/, '')),
    [1, 3].map((id) => `the stored object routes/${id} is left out: routes.${id}.plugins.a: unknown plugin [a]`)
  )
  assert.equal((await request(`${second.url}/1`)).status, 404)
  assert.equal((await request(`${second.url}/2`)).text, 'reached')
  // It is shown, counted as a user of others, and in nobody's way.
  assert.equal((await expectStatus(second.admin('GET', '/routes'), 200)).total, 3)
  await expectStatus(second.admin('GET', '/routes/1'), 200)
  await expectStatus(second.admin('DELETE', '/routes/2'), 200)
  const { error_msg } = await expectStatus(second.admin('DELETE', '/upstreams/u'), 400)
  assert.equal(error_msg, 'can not delete this upstream, route [1] is still using it now')
  await expectStatus(second.admin('PUT', '/plugins/reload'), 200)
  await expectStatus(second.admin('PATCH', '/routes/1', { name: 'still wrong' }), 400)
  await expectStatus(second.admin('PATCH', '/routes/1', { plugins: { a: null } }), 200)
  assert.equal((await request(`${second.url}/1`)).text, 'reached')
  await expectStatus(second.admin('DELETE', '/routes/3'), 200)
  await second.app.close()

  const third = await start()
  assert.deepEqual(errors(third), [])
  assert.equal((await expectStatus(third.admin('GET', '/routes'), 200)).total, 1)
})

test('what is declared stands before what is stored under the same id, which is named and can be deleted', async (t) => {
  const { node, start } = await setUp(t)
  const route = (text: string) => ({ uri: '/a', upstream: { nodes: { [node]: 1 } }, plugins: header(text) })
  const first = await start()
  await first.admin('PUT', '/routes/1', route('stored'))
  const routes = [{ id: 1, ...route('declared') }]
  await assert.rejects(first.app.wasmGateway.reload({ plugins: scripted('a', 'b'), routes }), {
    message: 'The configuration is invalid: routes.1 is declared in the configuration as well'
  })
  assert.equal((await request(`${first.url}/a`)).headers['x-a'], 'stored')
  await first.app.close()

  const second = await start({ routes })
  const left = 'the stored object routes/1 is left out: The configuration is invalid: routes.1 is declared'
  assert.ok(errors(second)[0]?.startsWith(left), errors(second)[0])
  const seen = async () => (await request(`${second.url}/a`)).headers['x-a']
  assert.equal(await seen(), 'declared')
  const shown = await expectStatus(second.admin('GET', '/routes/1'), 200)
  assert.deepEqual([shown.value.plugins, shown.modifiedIndex], [header('declared'), 0])
  assert.equal((await expectStatus(second.admin('GET', '/routes'), 200)).total, 1)
  await expectStatus(second.admin('PUT', '/routes/1', route('new')), 400)
  await expectStatus(second.admin('PATCH', '/routes/1', { uri: '/b' }), 400)
  await expectStatus(second.admin('PUT', '/plugins/reload'), 200)
  // Once: what is declared stays.
  await expectStatus(second.admin('DELETE', '/routes/1'), 200)
  await expectStatus(second.admin('DELETE', '/routes/1'), 400)
  assert.equal(await seen(), 'declared')
  await second.app.close()

  const third = await start()
  assert.deepEqual(errors(third), [])
  assert.equal((await expectStatus(third.admin('GET', '/routes'), 200)).total, 0)
})

test('what cannot be kept is answered 503 and is not in effect, and it can be tried again', async (t) => {
  const { node, path, file, start } = await setUp(t)
  const { admin, url } = await start()
  const route = (text: string) => ({ uri: '/a', upstream: { nodes: { [node]: 1 } }, plugins: header(text) })
  await expectStatus(admin('PUT', '/routes/1', route('first')), 201)
  const before = await expectStatus(admin('GET', '/routes'), 200)
  const seen = async () => (await request(`${url}/a`)).headers['x-a']
  // Where the folder was, nothing can be written: not even by somebody who may write everywhere.
  await rename(path, `${path}-away`)
  for (const [method, name, value] of [
    ['PUT', '/routes/1', route('second')],
    ['PUT', '/routes/2', { ...route('second'), uri: '/b' }],
    ['POST', '/routes', { ...route('second'), uri: '/c' }],
    ['PATCH', '/routes/1', { uri: '/b' }],
    ['DELETE', '/routes/1', undefined]
  ] as const) {
    const { error_msg, ...rest } = await expectStatus(admin(method, name, value), 503)
    assert.match(error_msg, /^the store .*store\.json failed: ENOENT/)
    assert.deepEqual(rest, {})
    assert.deepEqual(await expectStatus(admin('GET', '/routes'), 200), before)
    assert.equal(await seen(), 'first')
    for (const other of ['/b', '/c']) assert.equal((await request(url + other)).status, 404)
  }
  await rename(`${path}-away`, path)
  await expectStatus(admin('PUT', '/routes/1', route('second')), 200)
  assert.equal(await seen(), 'second')
  assert.match(await readFile(file, 'utf8'), /second/)
  assert.deepEqual(await readdir(path), ['store.json'])
})

test('a file that is none of the store fails the start, and is left as it is', async (t) => {
  const { path, file, start } = await setUp(t)
  await mkdir(path)
  for (const text of ['', '{"revision": 1, "resour', '[]', 'null', '{"revision":1,"resources":[{"kind":"x"}]}']) {
    await writeFile(file, text)
    await assert.rejects(start(), (error: Error & { code?: string }) => {
      assert.equal(error.code, 'FST_WASM_STORE_FAILED')
      assert.ok(error.message.includes(file) && error.message.endsWith('the file is left as it is'), error.message)
      return true
    })
    assert.equal(await readFile(file, 'utf8'), text)
  }
})

test('a folder that cannot be made, or is where the file should be, fails the start', async (t) => {
  const { path, file, start } = await setUp(t)
  await writeFile(path, 'a file where the folder should be')
  await assert.rejects(start(), { code: 'FST_WASM_STORE_FAILED' })
  await rm(path)
  await mkdir(file, { recursive: true })
  await assert.rejects(start(), { code: 'FST_WASM_STORE_FAILED' })
})

test('two gateways with one file do not overwrite each other', async (t) => {
  const { node, start } = await setUp(t)
  const upstream = (desc: string) => ({ desc, nodes: { [node]: 1 } })
  const first = await start()
  await expectStatus(first.admin('PUT', '/upstreams/1', upstream('first')), 201)
  const second = await start()
  await expectStatus(second.admin('PUT', '/upstreams/2', upstream('second')), 201)
  const { error_msg } = await expectStatus(first.admin('PUT', '/upstreams/1', upstream('third')), 503)
  assert.match(error_msg, /it has been replaced by somebody else, and one process alone may use it/)
  await second.app.close()
  const third = await start()
  const { list } = await expectStatus(third.admin('GET', '/upstreams'), 200)
  assert.deepEqual(
    list.map(({ value }) => value.desc),
    ['first', 'second']
  )
})
