import assert from 'node:assert/strict'
import { get } from 'node:http'
import { test } from 'node:test'
import { startApp, type TestApp } from '../../app.ts'
import { request } from '../../http.ts'
import { scripted } from '../script.ts'

const inspector = { path: '/_wasm', key: 'secret' }
const form = { 'content-type': 'application/x-www-form-urlencoded' }

async function signIn({ url }: TestApp, key: string) {
  return request(`${url}/_wasm/enter`, { method: 'POST', headers: form, body: `key=${encodeURIComponent(key)}` })
}

test('without the option there is no page, and nothing is recorded', async (t) => {
  const { url, app } = await startApp(t, { plugins: scripted('a') }, () => {})
  assert.equal((await request(`${url}/_wasm`)).status, 404)
  assert.equal(app.hasRoute({ method: 'GET', url: '/_wasm' }), false)
})

test('the page wants a key: in a header, in the query or by the form, which leaves a cookie that is not the key', async (t) => {
  const started = await startApp(t, { inspector }, () => {})
  const { url } = started
  const none = await request(`${url}/_wasm`)
  assert.equal(none.status, 401)
  assert.match(none.text, /<input id="key" name="key" type="password"/)
  assert.equal((await request(`${url}/_wasm/events`)).status, 401)
  assert.equal((await request(`${url}/_wasm`, { headers: { 'x-api-key': 'wrong' } })).status, 401)
  assert.equal((await request(`${url}/_wasm`, { headers: { 'x-api-key': 'secret' } })).status, 200)

  const wrong = await signIn(started, 'wrong')
  assert.equal(wrong.status, 401)
  assert.match(wrong.text, /This is not the key/)
  assert.equal(wrong.headers['set-cookie'], undefined)

  const right = await signIn(started, 'secret')
  assert.deepEqual([right.status, right.headers.location], [303, '/_wasm'])
  const [setCookie] = right.headers['set-cookie']!
  assert.match(setCookie!, /^wasm_inspector=[\w-]{43}; Path=\/_wasm; Max-Age=43200; HttpOnly; SameSite=Strict$/)
  const cookie = setCookie!.split(';', 1)[0]!
  assert.equal((await request(`${url}/_wasm`, { headers: { cookie } })).status, 200)
  assert.equal((await request(`${url}/_wasm`, { headers: { cookie: 'wasm_inspector=other' } })).status, 401)
  const elsewhere = await request(`${url}/_wasm/leave`, { method: 'POST' })
  assert.equal(elsewhere.headers['set-cookie'], undefined, 'another site signs nobody out')
  assert.equal((await request(`${url}/_wasm/leave`, { method: 'POST', headers: { cookie } })).status, 303)
  assert.equal((await request(`${url}/_wasm`, { headers: { cookie } })).status, 401, 'after signing out')

  const byQuery = await request(`${url}/_wasm?api_key=secret`)
  assert.deepEqual([byQuery.status, byQuery.headers.location], [303, '/_wasm'], 'the key does not stay in the address')
  assert.ok(!started.lines.some((line) => JSON.stringify(line).includes('secret')), 'nor in the log')
})

test('a viewer of the Admin API may look, and its key is that of the inspector where this has none', async (t) => {
  const admin = { key: [{ key: 'all' }, { key: 'look', role: 'viewer' as const }] }
  const started = await startApp(t, { admin, inspector: { path: '/_wasm' } }, () => {})
  assert.equal((await signIn(started, 'look')).status, 303)
  assert.equal((await request(`${started.url}/_wasm`, { headers: { 'x-api-key': 'look' } })).status, 200)
})

test('an address that is not allowed is refused before the key is looked at', async (t) => {
  const { url } = await startApp(t, { inspector: { ...inspector, allow_admin: ['10.0.0.0/8'] } }, () => {}, {
    trustProxy: true
  })
  const headers = { 'x-api-key': 'secret', 'x-forwarded-for': '10.0.0.1' }
  for (const path of ['/_wasm', '/_wasm/events', '/_wasm/enter']) {
    const method = path.endsWith('enter') ? 'POST' : 'GET'
    assert.equal((await request(url + path, { method, headers })).status, 403, path)
  }
})

test('pages run nothing but their own script, and are kept nowhere', async (t) => {
  const { url } = await startApp(t, { inspector }, () => {})
  for (const [path, key] of [
    ['/_wasm', 'secret'],
    ['/_wasm', 'wrong'],
    ['/_wasm/other', 'secret']
  ] as const) {
    const { headers } = await request(url + path, { headers: { 'x-api-key': key } })
    const policy = String(headers['content-security-policy'])
    assert.match(policy, /^default-src 'none'; script-src 'sha256-[^ ;]+'; style-src 'sha256-[^ ;]+'; /)
    assert.match(policy, /frame-ancestors 'none'/)
    assert.equal(headers['cache-control'], 'no-store')
    assert.equal(headers['x-content-type-options'], 'nosniff')
    assert.equal(headers['content-type'], 'text/html; charset=utf-8')
  }
})

test('no filter runs on the inspector, and it stands where the Admin API does', async (t) => {
  const plugins = scripted('a')
  const deny = { request_headers: [{ op: 'reply', status: 403, headers: [], body: 'no' }] }
  const global_rules = [{ id: 1, plugins: { a: { conf: deny } } }]
  const headers = { 'x-api-key': 'secret' }
  const own = await startApp(t, { plugins, global_rules, inspector }, () => {})
  assert.equal((await request(`${own.url}/_wasm`, { headers })).status, 200)
  assert.equal((await request(`${own.url}/_wasm/none`, { headers })).status, 404)
  assert.equal((await request(`${own.url}/_wasm/none`, { method: 'PROPFIND', headers })).status, 404)

  const admin = { key: 'secret', listen: { port: 0 } }
  const apart = await startApp(t, { admin, inspector: { path: '/_wasm' } }, () => {})
  assert.equal((await request(`${apart.url}/_wasm`, { headers })).status, 404)
  const at = apart.lines.flatMap(({ msg }) => /^Admin API listening at (.*)/.exec(msg)?.[1] ?? [])[0]
  assert.equal((await request(`${at}/_wasm`, { headers })).status, 200)
})

test('without any key the gateway does not start', async (t) => {
  await assert.rejects(
    startApp(t, { inspector: { path: '/_wasm' } }, () => {}),
    {
      code: 'FST_WASM_OPTIONS_INVALID',
      message: /inspector: it has no key/
    }
  )
})

test('streams of events are few, and end when the server closes', async (t) => {
  const { url, app } = await startApp(t, { inspector }, () => {}, { forceCloseConnections: false })
  const open = () =>
    new Promise<number>((resolve, reject) => {
      get(`${url}/_wasm/events`, { agent: false, headers: { 'x-api-key': 'secret' } }, (answer) => {
        answer.resume()
        resolve(answer.statusCode!)
      }).on('error', reject)
    })
  const statuses = await Promise.all(Array.from({ length: 21 }, open))
  assert.deepEqual([statuses.filter((s) => s === 200).length, statuses.filter((s) => s === 503).length], [20, 1])
  await app.close()
})

test('a stream of events ends when its browser signs out, and there is none for HEAD', async (t) => {
  const started = await startApp(t, { inspector }, () => {})
  const { url } = started
  const signedIn = await signIn(started, 'secret')
  const cookie = signedIn.headers['set-cookie']![0]!.split(';', 1)[0]!
  const ended = new Promise<void>((resolve, reject) => {
    get(`${url}/_wasm/events`, { agent: false, headers: { cookie } }, (answer) => {
      answer.resume().on('end', resolve)
      request(`${url}/_wasm/leave`, { method: 'POST', headers: { cookie } }).catch(reject)
    }).on('error', reject)
  })
  await ended
  const head = await request(`${url}/_wasm/events`, { method: 'HEAD', headers: { 'x-api-key': 'secret' } })
  assert.equal(head.status, 404)
})
