import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { mergePatch, replaceAt } from '../../../lib/gateway/admin/patch.ts'
import { fixture } from '../../app.ts'
import { expectStatus, startAdmin } from './admin.ts'

const upstream = { nodes: { '127.0.0.1:1980': 1, '127.0.0.1:1981': 2 }, timeout: { connect: 1, read: 2 } }
const route = {
  uri: '/hello',
  methods: ['GET', 'POST'],
  labels: { a: '1', b: '2' },
  upstream,
  plugins: { wasm_log: { conf: { level: 'info', list: [1, { x: 1 }] } } }
}

async function start(t: TestContext) {
  const app = await startAdmin(t, { plugins: [{ name: 'wasm_log', file: fixture('log') }] })
  await expectStatus(app.admin('PUT', '/routes/1', route), 201)
  /** What the route is after a PATCH, without what the Admin API has written into it. */
  const patch = async (path: string, body: unknown) => {
    const { key, value } = await expectStatus(app.admin('PATCH', `/routes/1${path}`, body), 200)
    assert.equal(key, '/apisix/routes/1')
    const shown = await expectStatus(app.admin('GET', '/routes/1'), 200)
    assert.deepEqual(shown.value, value)
    const { id, create_time, update_time, ...rest } = value
    assert.equal(id, '1')
    assert.ok(update_time >= create_time)
    return rest
  }
  return { ...app, patch }
}

test('a patch is merged deeply, null deletes and lists are replaced', async (t) => {
  const { patch } = await start(t)
  assert.deepEqual(await patch('', {}), route)
  assert.deepEqual(
    await patch('', {
      id: 1,
      name: 'new',
      methods: ['PUT'],
      labels: { a: null, c: '3' },
      upstream: { nodes: { '127.0.0.1:1981': null }, timeout: { read: 5 } },
      plugins: { wasm_log: { conf: { level: 'warn', list: [2] } } }
    }),
    {
      ...route,
      name: 'new',
      methods: ['PUT'],
      labels: { b: '2', c: '3' },
      upstream: { nodes: { '127.0.0.1:1980': 1 }, timeout: { connect: 1, read: 5 } },
      plugins: { wasm_log: { conf: { level: 'warn', list: [2] } } }
    }
  )
})

test('a patch may put an object in place of another value, and another value in place of an object', async (t) => {
  const { patch } = await start(t)
  assert.deepEqual((await patch('', { plugins: { wasm_log: { conf: 'text' } } })).plugins, {
    wasm_log: { conf: 'text' }
  })
  assert.deepEqual((await patch('', { plugins: { wasm_log: { conf: { a: { b: null, c: 1 } } } } })).plugins, {
    wasm_log: { conf: { a: { c: 1 } } }
  })
})

for (const [path, body, changed] of [
  ['/uri', '"/bye"', { uri: '/bye' }],
  ['/methods', ['PUT'], { methods: ['PUT'] }],
  ['/methods/1', '"PUT"', { methods: ['GET', 'PUT'] }],
  ['/methods/2', '"PUT"', { methods: ['GET', 'POST', 'PUT'] }],
  ['/labels', { c: '3' }, { labels: { c: '3' } }],
  ['/labels/a', '"x"', { labels: { a: 'x', b: '2' } }],
  ['/labels/a%2Fb', '"x"', { labels: { a: '1', b: '2', 'a/b': 'x' } }],
  ['/upstream/nodes/', { '127.0.0.1:1': 1 }, { upstream: { ...upstream, nodes: { '127.0.0.1:1': 1 } } }],
  ['/upstream/timeout/send', '9', { upstream: { ...upstream, timeout: { connect: 1, read: 2, send: 9 } } }],
  ['/timeout/read', '9', { timeout: { read: 9 } }],
  [
    '/plugins/wasm_log/conf/list/1/x',
    'null',
    { plugins: { wasm_log: { conf: { level: 'info', list: [1, { x: null }] } } } }
  ]
] as const) {
  test(`a patch of ${path} replaces what stands there and nothing else`, async (t) => {
    const { patch } = await start(t)
    assert.deepEqual(await patch(path, body), { ...route, ...changed })
  })
}

for (const [path, body, error] of [
  ['/uri/x', '1', 'invalid sub-path: /uri/x'],
  ['/methods/3', '"PUT"', 'invalid sub-path: /methods/3'],
  ['/methods/-1', '"PUT"', 'invalid sub-path: /methods/-1'],
  ['/methods/length', '1', 'invalid sub-path: /methods/length'],
  ['/methods/0/x', '1', 'invalid sub-path: /methods/0/x'],
  ['/uri', 'null', 'invalid configuration: uri: must be string'],
  ['/nothing', '1', 'invalid configuration: nothing: is no known key'],
  ['/constructor', '1', 'invalid configuration: constructor: is no known key'],
  ['/constructor/prototype', '1', 'invalid configuration: constructor: is no known key']
] as const) {
  test(`a patch of ${path} with ${body} is refused, and changes nothing`, async (t) => {
    const { admin } = await start(t)
    const before = await expectStatus(admin('GET', '/routes/1'), 200)
    assert.deepEqual(await expectStatus(admin('PATCH', `/routes/1${path}`, body), 400), { error_msg: error })
    assert.deepEqual(await expectStatus(admin('GET', '/routes/1'), 200), before)
  })
}

test('a patch counts as a change of the object, and keeps when it was made', async (t) => {
  const { admin } = await start(t)
  const before = await expectStatus(admin('GET', '/routes/1'), 200)
  await expectStatus(admin('PATCH', '/routes/1', { name: 'new' }), 200)
  const after = await expectStatus(admin('GET', '/routes/1'), 200)
  assert.deepEqual(
    [after.createdIndex, after.modifiedIndex, after.value.create_time],
    [before.createdIndex, before.modifiedIndex + 1, before.value.create_time]
  )
})

test('what a patch is applied to is left as it was', () => {
  const value = structuredClone(route)
  mergePatch(value, { labels: { a: null }, upstream: { nodes: null } })
  replaceAt(value, ['plugins', 'wasm_log', 'conf', 'list', '1', 'x'], 2)
  replaceAt(value, ['methods', '0'], 'PUT')
  assert.deepEqual(value, route)
})

test('names that every object has are keys like others', () => {
  const patch = { toString: { a: 1 }, constructor: { prototype: { b: 1 } } }
  assert.deepEqual(mergePatch({}, patch), patch)
  assert.deepEqual(replaceAt({}, ['constructor', 'prototype'], 1), { constructor: { prototype: 1 } })
  const own = replaceAt({}, ['__proto__', 'a'], 1) as object
  assert.deepEqual(Object.keys(own), ['__proto__'])
  assert.equal(Object.getPrototypeOf(own), Object.prototype)
})
