import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { fixture } from '../../app.ts'
import { expectStatus, startAdmin } from './admin.ts'

const upstream = { nodes: { '127.0.0.1:1980': 1 } }

async function start(t: TestContext) {
  const app = await startAdmin(t, {
    plugins: [{ name: 'wasm_log', file: fixture('log') }],
    routes: [{ id: 'declared', uri: '/declared', name: 'of the file', upstream }]
  })
  for (const [id, more] of Object.entries({
    s: { name: 'a.c service' },
    t: {}
  })) {
    await expectStatus(app.admin('PUT', `/services/${id}`, { upstream, ...more }), 201)
  }
  for (const [id, value] of Object.entries({
    1: { uri: '/foo/bar', name: 'first test', labels: { env: 'prod', team: 'a' }, service_id: 's' },
    2: { uris: ['/x', '/foo/*'], name: 'second test', labels: { env: 'dev', 'a:b': 'c:d' }, service_id: 't' },
    10: { uri: '/x', labels: { team: 'b' }, service_id: 's', priority: 3 },
    b: { uri: '/y', name: 'abc', upstream }
  })) {
    await expectStatus(app.admin('PUT', `/routes/${id}`, value), 201)
  }
  const ids = async (query: string, kind: string = 'routes') => {
    const { total, list } = await expectStatus(app.admin('GET', `/${kind}${query}`), 200)
    assert.equal(total, list.length)
    return list.map(({ value }) => value.id)
  }
  return { ...app, ids }
}

for (const [query, expected] of [
  ['', ['1', '10', '2', 'b', 'declared']],
  ['?name=test', ['1', '2']],
  ['?name=second%20test', ['2']],
  ['?name=second+test', ['2']],
  ['?name=.', []],
  ['?name=', ['1', '10', '2', 'b', 'declared']],
  ['?label=env', ['1', '2']],
  ['?label=env:dev', ['2']],
  ['?label=team:b', ['10']],
  ['?label=env,team', ['1']],
  ['?label=', ['1', '10', '2', 'b', 'declared']],
  ['?label=constructor', []],
  ['?label=nothing', []],
  ['?uri=foo', ['1', '2']],
  ['?uri=%5E%2Fx%24', ['10', '2']],
  ['?uri=declared', ['declared']],
  ['?uri=nothing', []],
  ['?filter=service_id%3Ds', ['1', '10']],
  ['?filter=service_id%3Ds%26priority%3D3', ['10']],
  ['?filter=constructor%3D1', []],
  ['?name=test&uri=foo&label=env:prod', ['1']],
  ['?nothing=1', ['1', '10', '2', 'b', 'declared']]
] as const) {
  test(`the list of routes${query} has what it asks for, by id`, async (t) => {
    const { ids } = await start(t)
    assert.deepEqual(await ids(query), expected)
  })
}

test('lists of other kinds are filtered too', async (t) => {
  const { ids } = await start(t)
  assert.deepEqual(await ids('?name=a.c', 'services'), ['s'])
  assert.deepEqual(await ids('?uri=x', 'services'), [])
})

test('a list comes in pages, and says how many there are in all', async (t) => {
  const { admin } = await startAdmin(t)
  const all = Array.from({ length: 25 }, (_, i) => String(i + 100))
  for (const id of all) await expectStatus(admin('PUT', `/upstreams/${id}`, { ...upstream, name: `n${id}` }), 201)
  for (const [query, total, expected] of [
    ['page=1&page_size=10', 25, all.slice(0, 10)],
    ['page=3&page_size=10', 25, all.slice(20)],
    ['page=4&page_size=10', 25, []],
    ['page=2', 25, all.slice(10, 20)],
    ['page_size=500', 25, all],
    ['page=2&page_size=10&name=n11', 10, []],
    ['page=1&page_size=10&name=n11', 10, all.slice(10, 20)]
  ] as const) {
    const body = await expectStatus(admin('GET', `/upstreams?${query}`), 200)
    assert.deepEqual([body.total, body.list.map(({ value }) => value.id)], [total, expected], query)
  }
})

test('what is declared in the configuration is in the list, with indexes of 0 and its id', async (t) => {
  const { admin } = await start(t)
  const shown = await expectStatus(admin('GET', '/routes/declared'), 200)
  const { list } = await expectStatus(admin('GET', '/routes'), 200)
  assert.deepEqual(list.at(-1), shown)
  const { key, value, createdIndex, modifiedIndex } = shown
  assert.deepEqual([key, createdIndex, modifiedIndex], ['/apisix/routes/declared', 0, 0])
  assert.deepEqual([value.id, value.uri, value.name], ['declared', '/declared', 'of the file'])
})
