import assert from 'node:assert/strict'
import { test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../../lib/index.ts'
import { request } from '../../http.ts'
import { expectStatus, KEY, startAdmin } from './admin.ts'

const upstream = { nodes: { '127.0.0.1:1980': 1 } }
const failed = (description: string) => ({ error_msg: 'failed to check token', description })

test('the key is taken from the query, else the header, else the cookie', async (t) => {
  const { adminUrl } = await startAdmin(t)
  const key = encodeURIComponent(KEY)
  for (const [what, query, headers, status] of [
    ['query', `?api_key=${key}`, {}, 200],
    ['query', `?api_key=${KEY.replaceAll(' ', '+')}&page=1`, {}, 200],
    ['header', '', { 'x-api-key': KEY }, 200],
    ['header', '', { 'X-API-KEY': KEY }, 200],
    ['cookie', '', { cookie: `a=b; x_api_key=${KEY}` }, 200],
    ['query before header', '?api_key=wrong', { 'x-api-key': KEY }, 401],
    ['query before header', `?api_key=${key}`, { 'x-api-key': 'wrong' }, 200],
    ['header before cookie', '', { 'x-api-key': 'wrong', cookie: `x_api_key=${KEY}` }, 401]
  ] as const) {
    const response = await request(`${adminUrl}/routes${query}`, { headers })
    assert.equal(response.status, status, what)
  }
})

test('a key may have any character of a query', async (t) => {
  const key = 'a?b&c=d%e+f'
  const { adminUrl } = await startAdmin(t, { admin: { key, listen: { port: 0 } } })
  const { status } = await request(`${adminUrl}/routes?api_key=${encodeURIComponent(key).replace('%3F', '?')}`)
  assert.equal(status, 200)
})

test('without a key, or with a wrong one, the answer is 401 before anything is looked at', async (t) => {
  const { admin } = await startAdmin(t)
  for (const [method, path] of [
    ['GET', '/routes'],
    ['PUT', '/routes/1'],
    ['PURGE', '/nothing'],
    ['GET', '/'],
    ['PUT', '/plugins/reload']
  ] as const) {
    const without = await admin(method, path, undefined, { 'x-api-key': undefined })
    assert.deepEqual([without.status, without.body], [401, failed('missing apikey')])
    for (const wrong of ['wrong', '', KEY.slice(1), `${KEY} `.repeat(2), KEY.toUpperCase()]) {
      const { status, body } = await admin(method, path, undefined, { 'x-api-key': wrong })
      assert.deepEqual([status, body], [401, failed('wrong apikey')], wrong)
    }
  }
  // The body is not read.
  const { status } = await admin('PUT', '/routes/1', 'x'.repeat(4_000_000), { 'x-api-key': 'wrong' })
  assert.equal(status, 401)
})

test('a viewer may read, and nothing else', async (t) => {
  const { admin } = await startAdmin(t, {
    admin: {
      key: [{ name: 'boss', key: KEY, role: 'admin' }, { key: 'second' }, { key: 'look', role: 'viewer' }],
      listen: { port: 0 }
    }
  })
  await expectStatus(admin('PUT', '/upstreams/1', upstream), 201)
  await expectStatus(admin('PUT', '/upstreams/1', upstream, { 'x-api-key': 'second' }), 200)
  const viewer = { 'x-api-key': 'look' }
  for (const path of ['/upstreams', '/upstreams/1', '/plugins/list', '/schema/route']) {
    await expectStatus(admin('GET', path, undefined, viewer), 200)
  }
  for (const [method, path] of [
    ['PUT', '/upstreams/1'],
    ['POST', '/upstreams'],
    ['PATCH', '/upstreams/1'],
    ['DELETE', '/upstreams/1'],
    ['PUT', '/plugins/reload'],
    ['OPTIONS', '/upstreams']
  ] as const) {
    const { status, body } = await admin(method, path, upstream, viewer)
    assert.deepEqual([status, body], [401, failed('invalid method for role viewer')], method)
  }
  const { modifiedIndex } = await expectStatus(admin('GET', '/upstreams/1'), 200)
  assert.equal(modifiedIndex, 2)
})

test('an address that is not allowed is answered 403, whatever its headers say and whatever key it has', async (t) => {
  for (const listen of [{ port: 0 }, undefined]) {
    const { admin } = await startAdmin(t, {
      admin: { key: KEY, allow_admin: ['10.0.0.0/8', '::1'], ...(listen !== undefined && { listen }) }
    })
    for (const headers of [{}, { 'x-forwarded-for': '10.1.2.3', 'x-real-ip': '10.1.2.3' }]) {
      const { status, body } = await admin('GET', '/routes', undefined, headers)
      assert.deepEqual([status, body], [403, { error_msg: 'your address is not allowed' }])
    }
  }
})

test('addresses of this machine alone are allowed where nothing is said', async (t) => {
  const { admin } = await startAdmin(t)
  await expectStatus(admin('GET', '/routes'), 200)
  const { admin: narrow } = await startAdmin(t, {
    admin: { key: KEY, allow_admin: ['127.0.0.1'], listen: { port: 0 } }
  })
  await expectStatus(narrow('GET', '/routes'), 200)
})

test('the key is in no line of the log', async (t) => {
  for (const listen of [{ port: 0 }, undefined]) {
    const { adminUrl, lines } = await startAdmin(t, {
      admin: { key: 'secret', ...(listen !== undefined && { listen }) }
    })
    const headers = { 'x-api-key': 'secret', cookie: 'x_api_key=secret' }
    for (const path of ['/routes?api_key=secret', '/nothing?api_key=secret']) {
      await request(adminUrl + path, { headers })
      await request(adminUrl + path, { method: 'PUT', headers, body: '{' })
    }
    assert.ok(lines.some(({ msg }) => msg === 'incoming request'))
    assert.doesNotMatch(JSON.stringify(lines), /secret/)
  }
})

const refused: [what: string, options: unknown, message: RegExp][] = [
  ['no key', { admin: {} }, /admin: property "key" is required/],
  ['an empty key', { admin: { key: '' } }, /admin\.key: /],
  ['no keys', { admin: { key: [] } }, /admin\.key: /],
  ['a key of a list that is empty', { admin: { key: [{ key: '' }] } }, /admin\.key\[0\]\.key: /],
  [
    'another role',
    { admin: { key: [{ key: 'a', role: 'boss' }] } },
    /admin\.key\[0\]\.role: must be one of admin, viewer/
  ],
  ['an unknown key', { admin: { key: 'a', keys: 'a' } }, /admin\.keys: is no known key/],
  ['an address that is none', { admin: { key: 'a', allow_admin: ['localhost'] } }, /admin\.allow_admin: "localhost"/],
  ['a network that is none', { admin: { key: 'a', allow_admin: ['10.0.0.0/33'] } }, /admin\.allow_admin: /],
  ['a prefix that is none', { admin: { key: 'a', prefix: 'admin/' } }, /admin\.prefix: /],
  ['a prefix with a parameter', { admin: { key: 'a', prefix: '/:admin' } }, /admin\.prefix: /],
  ['an inspector on every path', { inspector: { key: 'a', path: '/:page' } }, /inspector\.path: /],
  ['an inspector on a path that nobody can ask for', { inspector: { key: 'a', path: '/a?b' } }, /inspector\.path: /],
  ['metrics on every path', { metrics: { path: '/*' } }, /metrics\.path: /],
  ['a store and no admin', { store: { file: 'x.json' } }, /store: there is no admin/],
  ['a store that is nowhere', { admin: { key: 'a' }, store: {} }, /store: exactly one of file and redis is required/]
]

for (const [what, options, message] of refused) {
  test(`a start with ${what} fails, and names the place`, async () => {
    const app = Fastify()
    const error = await (async () => {
      await app.register(wasmGateway, options as WasmGatewayOptions)
      await app.ready()
    })().then(
      () => undefined,
      (error: Error & { code?: string }) => error
    )
    await app.close()
    assert.equal(error?.code, 'FST_WASM_OPTIONS_INVALID')
    assert.match(error!.message, message)
  })
}
