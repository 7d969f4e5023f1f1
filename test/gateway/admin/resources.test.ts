import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fixture } from '../../app.ts'
import { expectStatus, KEY, startAdmin } from './admin.ts'

const plugins = [
  { name: 'low', priority: 1, file: fixture('log') },
  { name: 'high', priority: 7999, file: fixture('log') },
  { name: 'envoy', priority: 5, file: fixture('log'), semantics: 'envoy' as const }
]
const upstream = { nodes: { '127.0.0.1:1980': 1 } }

/** For each kind a value, another one, and whether POST makes one. */
const kinds = [
  ['routes', { uri: '/hello', upstream }, { uris: ['/a', '/b*'], upstream, name: 'second' }, true],
  ['services', { upstream, hosts: ['foo.com'] }, { upstream, desc: 'second' }, true],
  ['upstreams', { ...upstream, type: 'roundrobin' }, { nodes: [{ host: 'a', port: 1, weight: 1 }] }, true],
  ['plugin_configs', { plugins: { low: { conf: 'a' } } }, { plugins: { high: { conf: { b: 1 } } } }, false],
  ['global_rules', { plugins: { low: { conf: 'a' } } }, { plugins: { high: { conf: { b: 1 } } } }, false]
] as const

for (const [kind, first, second, posts] of kinds) {
  test(`${kind}: PUT creates and replaces, GET shows, DELETE takes away`, async (t) => {
    const { admin } = await startAdmin(t, { plugins })
    const now = () => Math.floor(Date.now() / 1000)
    const before = now()
    const created = await expectStatus(admin('PUT', `/${kind}/1`, first), 201)
    assert.deepEqual(Object.keys(created), ['key', 'value'])
    assert.equal(created.key, `/apisix/${kind}/1`)
    const { create_time, update_time, ...value } = created.value
    assert.deepEqual(value, { ...first, id: '1' })
    assert.ok(create_time >= before && create_time <= now() && update_time === create_time)

    const shown = await expectStatus(admin('GET', `/${kind}/1`), 200)
    assert.deepEqual(shown, { ...created, createdIndex: 1, modifiedIndex: 1 })

    const replaced = await expectStatus(admin('PUT', `/${kind}/1`, second), 200)
    assert.equal(replaced.value.create_time, create_time)
    assert.ok(replaced.value.update_time >= update_time)
    const { create_time: _1, update_time: _2, ...other } = replaced.value
    assert.deepEqual(other, { ...second, id: '1' }, 'nothing of the first is left')
    const again = await expectStatus(admin('GET', `/${kind}/1`), 200)
    assert.deepEqual([again.createdIndex, again.modifiedIndex], [1, 2])

    const list = await expectStatus(admin('GET', `/${kind}`), 200)
    assert.deepEqual(list, { total: 1, list: [again] })

    const deleted = await expectStatus(admin('DELETE', `/${kind}/1`), 200)
    assert.deepEqual(deleted, { key: `/apisix/${kind}/1`, deleted: '1' })
    for (const method of ['GET', 'DELETE']) {
      assert.deepEqual(await expectStatus(admin(method, `/${kind}/1`), 404), { message: 'Key not found' })
    }
    assert.deepEqual(await expectStatus(admin('GET', `/${kind}`), 200), { total: 0, list: [] })
  })

  test(`${kind}: POST ${posts ? 'chooses an id of 20 digits' : 'is not supported'}`, async (t) => {
    const { admin } = await startAdmin(t, { plugins })
    if (!posts) {
      const name = kind.replace('_', ' ').slice(0, -1)
      const body = await expectStatus(admin('POST', `/${kind}`, first), 405)
      assert.deepEqual(body, { error_msg: `not supported \`POST\` method for ${name}` })
      return
    }
    const ids = new Set<string>()
    for (const value of [first, second, first]) {
      const { key, value: kept } = await expectStatus(admin('POST', `/${kind}`, value), 201)
      assert.match(kept.id, /^\d{20}$/)
      assert.equal(key, `/apisix/${kind}/${kept.id}`)
      ids.add(kept.id)
    }
    assert.equal(ids.size, 3)
    const { list } = await expectStatus(admin('GET', `/${kind}`), 200)
    assert.deepEqual(
      list.map(({ value }) => value.id),
      [...ids].sort()
    )
  })
}

test('an id that POST would choose is passed over when it is taken', async (t) => {
  const taken = '2'.padStart(20, '0')
  const { admin } = await startAdmin(t, { upstreams: [{ id: '3'.padStart(20, '0'), ...upstream }] })
  await expectStatus(admin('PUT', `/upstreams/${taken}`, { ...upstream, desc: 'mine' }), 201)
  for (let i = 0; i < 3; i++) await expectStatus(admin('POST', '/upstreams', upstream), 201)
  const { list } = await expectStatus(admin('GET', '/upstreams'), 200)
  assert.equal(list.length, 5)
  assert.equal(list.find(({ value }) => value.id === taken)?.value.desc, 'mine')
})

test('an id may stand in the path or in the body, as a number or a text, and comes back as a text', async (t) => {
  const { admin } = await startAdmin(t)
  for (const [path, id, kept] of [
    ['/upstreams/1', 1, '1'],
    ['/upstreams/1', '1', '1'],
    ['/upstreams', 7, '7'],
    ['/upstreams/', 'a-b_c.D', 'a-b_c.D'],
    ['/upstreams/a.b/', undefined, 'a.b'],
    ['/upstreams/%61', undefined, 'a'],
    ['/upstreams/%D1%84', undefined, 'ф'],
    // Filters call upstreams by names like these.
    ['/upstreams/outbound%7C80%7C%7Csvc', undefined, 'outbound|80||svc'],
    ['/upstreams/a%2Fb%3Fc%25', 'a/b?c%', 'a/b?c%']
  ] as const) {
    const { status, body } = await admin('PUT', path, { ...upstream, ...(id !== undefined && { id }) })
    assert.ok(status === 200 || status === 201, JSON.stringify([path, body]))
    assert.deepEqual([body.key, body.value.id], [`/apisix/upstreams/${kept}`, kept])
    const shown = await expectStatus(admin('GET', `/upstreams/${encodeURIComponent(kept)}`), 200)
    assert.deepEqual(shown.value, body.value)
  }
})

test('a body is read as JSON whatever its content type says, and without one', async (t) => {
  const { adminUrl, admin } = await startAdmin(t)
  await expectStatus(admin('PUT', '/upstreams/1', upstream), 201)
  for (const type of ['application/json', 'text/plain', 'multipart/form-data; boundary=x', 'no type at all', '']) {
    await expectStatus(admin('PUT', '/upstreams/1', upstream, { 'content-type': type }), 200)
  }
  const untyped = await fetch(`${adminUrl}/upstreams/1`, {
    method: 'PUT',
    headers: { 'x-api-key': KEY },
    body: Buffer.from(`\uFEFF${JSON.stringify(upstream)}`)
  })
  assert.equal(untyped.status, 200)
})

test('plugins/list names the plugins by priority, and the schemas say what they and the objects must be', async (t) => {
  const { admin } = await startAdmin(t, { plugins })
  assert.deepEqual(await expectStatus(admin('GET', '/plugins/list'), 200), ['high', 'envoy', 'low'])
  const schema = await expectStatus(admin('GET', '/schema/plugins/low'), 200)
  assert.equal(schema.type, 'object')
  assert.deepEqual(schema.required, ['conf'])
  assert.deepEqual(schema.properties.conf, {
    oneOf: [
      { type: 'object', minProperties: 1 },
      { type: 'string', minLength: 1 }
    ]
  })
  assert.equal(schema.properties._meta?.additionalProperties, false)
  assert.deepEqual(await expectStatus(admin('GET', '/plugins/low'), 200), schema)
  assert.equal((await expectStatus(admin('GET', '/schema/plugins/envoy'), 200)).required, undefined)
  for (const name of ['route', 'routes', 'service', 'upstream', 'plugin_config', 'global_rule']) {
    const { type, properties } = await expectStatus(admin('GET', `/schema/${name}`), 200)
    assert.deepEqual([type, typeof properties.id], ['object', 'object'], name)
  }
})

test('plugins/reload answers done, in plain text', async (t) => {
  const { admin } = await startAdmin(t, { plugins })
  const { status, headers, body } = await admin('PUT', '/plugins/reload')
  assert.deepEqual([status, body], [200, 'done'])
  assert.match(headers['content-type']!, /^text\/plain/)
})

test('every answer names the version of the API', async (t) => {
  const { admin } = await startAdmin(t)
  for (const [method, path] of [
    ['GET', '/routes'],
    ['GET', '/nothing'],
    ['PURGE', '/routes']
  ] as const) {
    assert.equal((await admin(method, path)).headers['x-api-version'], 'v3')
  }
  assert.equal((await admin('GET', '/routes', undefined, { 'x-api-key': 'wrong' })).headers['x-api-version'], 'v3')
})
