import assert from 'node:assert/strict'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { FileResourceStore } from '../../../lib/stores/file-resource-store.ts'
import { fixture, startUpstream } from '../../app.ts'
import { folder } from '../../folder.ts'
import { request } from '../../http.ts'
import { type AdminAnswer, expectStatus, KEY, startAdmin } from './admin.ts'

const upstream = { nodes: { '127.0.0.1:1980': 1 } }

/** Numbers that look like chance and are the same each time. */
function numbers(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

async function start(t: TestContext, where: string) {
  const file = join(await folder(t), 'store.json')
  const admin = { key: KEY, listen: { port: 0 } }
  const plugins = [{ name: 'a', file: fixture('log') }]
  const gateway = await startAdmin(t, { admin, plugins, ...(where === 'file' && { store: { file } }) })
  return { ...gateway, file }
}

/** What may be answered to each; `refused` is a patch that is wrong. */
const ANSWERS: Readonly<Record<string, readonly number[]>> = {
  PUT: [200, 201],
  PATCH: [200, 404],
  DELETE: [200, 404],
  POST: [201],
  refused: [400, 404]
}

interface Done {
  id: string
  action: string
  mark: string
  answer: AdminAnswer
}

for (const where of ['memory', 'file']) {
  test(`two hundred writers at once come to a state that some order of theirs explains, in ${where}`, async (t) => {
    const { admin, file } = await start(t, where)
    const next = numbers(7)
    const ids = ['1', '2', '3', '4', '5']
    const send = async (i: number): Promise<Done> => {
      const id = ids[next(ids.length)]!
      const mark = `writer ${i}`
      const action = ['PUT', 'PUT', 'PATCH', 'PATCH', 'DELETE', 'POST', 'refused'][next(7)]!
      const patch = { desc: mark, labels: { [mark]: 'x' } }
      const put = { ...upstream, ...patch }
      const answer = await {
        PUT: () => admin('PUT', `/upstreams/${id}`, put),
        PATCH: () => admin('PATCH', `/upstreams/${id}`, patch),
        DELETE: () => admin('DELETE', `/upstreams/${id}`),
        POST: () => admin('POST', '/upstreams', put),
        refused: () => admin('PATCH', `/upstreams/${id}`, { ...patch, nodes: 'none' })
      }[action]!()
      return { id, action, mark, answer }
    }
    const done = await Promise.all(Array.from({ length: 200 }, (_, i) => send(i)))
    for (const { action, answer } of done) {
      assert.ok(ANSWERS[action]!.includes(answer.status), JSON.stringify([action, answer.body]))
    }
    const { list } = await expectStatus(admin('GET', '/upstreams'), 200)
    const objects = new Map(list.map((node) => [node.value.id, node]))

    for (const id of ids) {
      const own = done.filter((one) => one.id === id && one.action !== 'POST' && one.answer.status < 300)
      const created = own.filter(({ answer }) => answer.status === 201).length
      const deleted = own.filter(({ action }) => action === 'DELETE').length
      // They take turns: nothing is created twice, or deleted twice.
      assert.equal(created - deleted, objects.has(id) ? 1 : 0)
      const node = objects.get(id)
      if (node === undefined) continue
      const marks = Object.keys(node.value.labels as object)
      assert.ok(marks.includes(node.value.desc as string), 'the last one has written all that it wrote')
      // What the last PUT began, every PATCH after it has added to: each saw all that was there before it.
      const sizes = own
        .filter(({ action, mark }) => action !== 'DELETE' && marks.includes(mark))
        .map(({ answer }) => Object.keys(answer.body.value.labels as object).length)
        .sort((a, b) => a - b)
      const counted = marks.map((_, i) => i + 1)
      assert.deepEqual(sizes, counted)
    }
    const posted = done.filter(({ action }) => action === 'POST')
    assert.equal(new Set(posted.map(({ answer }) => answer.body.key)).size, posted.length)
    for (const { answer, mark } of posted) assert.equal(objects.get(answer.body.value.id)?.value.desc, mark)
    assert.equal(list.length, posted.length + ids.filter((id) => objects.has(id)).length)

    const indexes = list.map(({ modifiedIndex }) => modifiedIndex)
    assert.equal(new Set(indexes).size, indexes.length)
    const writes = done.filter(({ answer }) => answer.status < 300).length
    assert.ok(Math.max(...indexes) <= writes, 'what is refused counts for nothing')
    if (where === 'memory') return
    const kept = await new FileResourceStore(file).load()
    assert.deepEqual(
      new Map(kept.map(({ id, value }) => [id, value])),
      new Map(list.map(({ value }) => [value.id, value]))
    )
  })

  test(`patches of one object at the same time lose nothing, in ${where}`, async (t) => {
    const { admin } = await start(t, where)
    await expectStatus(admin('PUT', '/upstreams/1', { ...upstream, labels: { first: '0' } }), 201)
    const names = Array.from({ length: 100 }, (_, i) => `l${i}`)
    await Promise.all(
      names.map((name, i) =>
        i % 2 === 0
          ? expectStatus(admin('PATCH', '/upstreams/1', { labels: { [name]: name } }), 200)
          : expectStatus(admin('PATCH', `/upstreams/1/labels/${name}`, JSON.stringify(name)), 200)
      )
    )
    const { value, modifiedIndex } = await expectStatus(admin('GET', '/upstreams/1'), 200)
    assert.deepEqual(value.labels, { first: '0', ...Object.fromEntries(names.map((name) => [name, name])) })
    assert.equal(modifiedIndex, 101)
  })

  test(`routes that are made, changed and deleted at once are in effect just so, in ${where}`, async (t) => {
    const { node } = await startUpstream(t, (app) => app.get('/*', async () => 'reached'))
    const { admin, url } = await start(t, where)
    const route = (path: string) => ({ uri: path, upstream: { nodes: { [node]: 1 } } })
    const all = <Result>(action: (i: number) => Promise<Result>) =>
      Promise.all(Array.from({ length: 30 }, (_, i) => action(i)))
    const check = async (path: string, status: number) => {
      assert.equal((await request(url + path)).status, status, path)
    }
    await all((i) => expectStatus(admin('PUT', `/routes/${i}`, route(`/${i}`)), 201))
    await all((i) => check(`/${i}`, 200))
    // Of three one is moved, and one deleted.
    await all(async (i) => {
      if (i % 3 === 1) await expectStatus(admin('PATCH', `/routes/${i}/uri`, `"/moved/${i}"`), 200)
      if (i % 3 === 2) await expectStatus(admin('DELETE', `/routes/${i}`), 200)
    })
    await all((i) => check(`/${i}`, i % 3 === 0 ? 200 : 404))
    await all((i) => check(`/moved/${i}`, i % 3 === 1 ? 200 : 404))
  })

  test(`of an object and one that refers to it, which come and go at once, none is left alone, in ${where}`, async (t) => {
    const { admin } = await start(t, where)
    for (let round = 0; round < 20; round++) {
      await admin('PUT', '/upstreams/u', upstream)
      const answers = await Promise.all([
        admin('PUT', '/routes/1', { uri: '/a', upstream_id: 'u' }),
        admin('DELETE', '/upstreams/u')
      ])
      const done = answers.map(({ status }) => status).sort()
      assert.ok(done[0]! < 300 && done[1] === 400, JSON.stringify(answers.map(({ body }) => body)))
      await admin('DELETE', '/routes/1')
    }
  })

  test(`of global rules with the same plugin, that are made at once, one is, in ${where}`, async (t) => {
    const { admin } = await start(t, where)
    const rule = { plugins: { a: { conf: 'x' } } }
    const answers = await Promise.all(['1', '2', '3', '4'].map((id) => admin('PUT', `/global_rules/${id}`, rule)))
    assert.deepEqual(answers.map(({ status }) => status).sort(), [201, 400, 400, 400])
    assert.equal((await expectStatus(admin('GET', '/global_rules'), 200)).total, 1)
  })
}

test('requests that come while routes change are answered by the one of before or the one of after', async (t) => {
  const { node } = await startUpstream(t, (app) => app.get('/*', async (request) => request.headers.host ?? ''))
  const { admin, url } = await startAdmin(t)
  const route = (host: string) => ({
    uri: '/a',
    upstream: { nodes: { [node]: 1 }, pass_host: 'rewrite', upstream_host: host }
  })
  await admin('PUT', '/routes/1', route('host-0'))
  let acknowledged = 0
  let sent = 0
  let running = true
  const client = async () => {
    while (running) {
      const least = acknowledged
      const { status, text } = await request(`${url}/a`)
      const seen = Number(text.slice('host-'.length))
      assert.equal(status, 200)
      assert.ok(seen >= least && seen <= sent, `${least} <= ${seen} <= ${sent}`)
    }
  }
  const clients = [client(), client(), client()]
  for (let i = 1; i <= 100; i++) {
    sent = i
    await expectStatus(admin('PUT', '/routes/1', route(`host-${i}`)), 200)
    acknowledged = i
  }
  running = false
  await Promise.all(clients)
})
