import assert from 'node:assert/strict'
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify, { type FastifyInstance } from 'fastify'
import wasmGateway from '../../../lib/index.ts'
import { startUpstream } from '../../app.ts'
import { request } from '../../http.ts'
import { freePort, RedisServer, skip } from '../../stores/redis/redis-server.ts'
import { Relay } from '../../stores/redis/relay.ts'
import { type AdminApp, adminOf, expectStatus, KEY, startAdmin } from '../admin/admin.ts'
import { scripted } from '../script.ts'

// Routes that the Admin API of one gateway has written are those of all.

const start = (
  t: TestContext,
  { url }: { readonly url: string },
  own: object = {},
  declare?: (app: FastifyInstance) => void | Promise<void>
) => startAdmin(t, { redis: { url, timeout_ms: 5000 }, store: { redis: true }, ...own }, declare)

async function eventually(what: string, condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 500; i++) {
    if (await condition()) return
    await sleep(10)
  }
  assert.fail(what)
}

const upstreamOf = (t: TestContext) => startUpstream(t, (app) => app.get('/*', async () => 'reached'))
const statusOf = async (url: string) => (await request(url)).status
const listed = async ({ admin }: Pick<AdminApp, 'admin'>, kind: string) =>
  (await expectStatus(admin('GET', `/${kind}`), 200)).list.map(({ value }) => value.id)

test('three processes have the same routes, whichever of them is told, and a fourth starts with them', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const gateways = await Promise.all([gateway(t, server), gateway(t, server), gateway(t, server)])
  for (const [i, { admin }] of gateways.entries()) {
    await expectStatus(admin('PUT', `/routes/${i}`, { uri: `/${i}`, upstream: { nodes: { [node]: 1 } } }), 201)
  }
  const fourth = await gateway(t, server)
  const all = [...gateways, fourth]
  for (const i of [0, 1, 2]) assert.equal(await statusOf(`${fourth.url}/${i}`), 200)
  for (const { url } of all) {
    for (const i of [0, 1, 2])
      await eventually(`${url}/${i} is there`, async () => (await statusOf(`${url}/${i}`)) === 200)
  }
  await expectStatus(fourth.admin('DELETE', '/routes/0'), 200)
  await expectStatus(fourth.admin('PATCH', '/routes/1', { uri: '/moved' }), 200)
  for (const { url } of all) {
    await eventually('it is gone', async () => (await statusOf(`${url}/0`)) === 404)
    await eventually('it has moved', async () => (await statusOf(`${url}/moved`)) === 200)
    assert.equal(await statusOf(`${url}/1`), 404)
  }
})

test('what a killed process was told and has acknowledged the others have', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const other = await gateway(t, server)
  const acknowledged: string[] = []
  for (let round = 0; round < 3; round++) {
    const { child, admin } = await gateway(t, server)
    const written = (async () => {
      for (let i = 0; ; i++) {
        const id = `${round}-${i}`
        const { status } = await admin('PUT', `/upstreams/${id}`, { nodes: {} })
        assert.equal(status, 201)
        acknowledged.push(id)
      }
    })().catch((error) => {
      if (error instanceof assert.AssertionError) throw error
    })
    const before = acknowledged.length
    while (acknowledged.length < before + 10) await sleep(5)
    child.kill('SIGKILL')
    await written
  }
  await eventually('they are there', async () => {
    const ids = await listed(other, 'upstreams')
    return acknowledged.every((id) => ids.includes(id))
  })
})

test('writers that change one object at the same time overwrite nothing unseen', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const gateways = [await start(t, server), await start(t, server), await start(t, server)]
  await expectStatus(gateways[0]!.admin('PUT', '/upstreams/u', { nodes: {}, labels: { first: '1' } }), 201)
  const patches = gateways.map(async ({ admin }, g) => {
    for (let i = 0; i < 15; i++)
      await expectStatus(admin('PATCH', '/upstreams/u', { labels: { [`g${g}-${i}`]: '1' } }), 200)
  })
  await Promise.all(patches)
  for (const { admin } of gateways) {
    await eventually('all labels are there', async () => {
      const { value } = await expectStatus(admin('GET', '/upstreams/u'), 200)
      return Object.keys(value.labels as object).length === 46
    })
  }
})

test('an object that another gateway is about to use cannot be deleted unseen; ids of POST differ', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const [a, b] = [await start(t, server), await start(t, server)]
  for (let i = 0; i < 10; i++) {
    await expectStatus(a.admin('PUT', '/upstreams/u', { nodes: {} }), 201)
    const answers = await Promise.all([
      a.admin('DELETE', '/upstreams/u'),
      b.admin('PUT', '/routes/r', { uri: '/r', upstream_id: 'u' })
    ])
    assert.equal(
      answers.filter(({ status }) => status < 300).length,
      1,
      JSON.stringify(answers.map(({ body }) => body))
    )
    if (answers[1]!.status < 300) await expectStatus(a.admin('DELETE', '/routes/r'), 200)
    await a.admin('DELETE', '/upstreams/u')
  }
  const posted = await Promise.all(
    Array.from({ length: 10 }, (_, i) => (i % 2 ? a : b).admin('POST', '/upstreams', { nodes: {} }))
  )
  assert.equal(new Set(posted.map(({ body }) => body.value.id)).size, 10)
})

test('while Redis is away routes serve, writes are refused, and what was missed is caught up', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const [a, b] = [await start(t, server), await start(t, server)]
  const route = (uri: string) => ({ uri, upstream: { nodes: { [node]: 1 } } })
  await expectStatus(a.admin('PUT', '/routes/1', route('/1')), 201)
  await eventually('the other has it', async () => (await statusOf(`${b.url}/1`)) === 200)
  await server.kill()
  for (const { url, admin } of [a, b]) {
    assert.equal(await statusOf(`${url}/1`), 200)
    const { status, body } = await admin('PUT', '/routes/2', route('/2'))
    assert.equal(status, 503)
    assert.match(body.error_msg, /in Redis failed/)
    assert.doesNotMatch(body.error_msg, /OfflineQueue/)
    assert.equal(await statusOf(`${url}/2`), 404)
  }
  await server.start()
  await eventually('it takes writes again', async () => (await a.admin('PUT', '/routes/2', route('/2'))).status < 300)
  await expectStatus(a.admin('DELETE', '/routes/1'), 200)
  await eventually('the other has caught up', async () => (await statusOf(`${b.url}/2`)) === 200)
  await eventually('what was deleted too', async () => (await statusOf(`${b.url}/1`)) === 404)
})

test('of routes that are alike the oldest serves on every gateway, also on one that had lost Redis meanwhile', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const relay = await Relay.start(t, server.port)
  const answering = async (text: string) => ({
    upstream: { nodes: { [(await startUpstream(t, (app) => app.get('/*', async () => text))).node]: 1 } }
  })
  const [one, two] = [await answering('one'), await answering('two')]
  const alike = Array.from({ length: 20 }, (_, i) => `/${i}`)
  const served = async ({ url }: { url: string }) => {
    const answers = []
    for (const path of ['/x', '/y', ...alike]) answers.push((await request(url + path)).text)
    return answers.join(' ')
  }
  const [a, b] = [await start(t, server), await start(t, relay)]
  for (const uri of ['/x', '/y']) {
    await expectStatus(a.admin('PUT', `/routes/one${uri.slice(1)}`, { uri, ...one }), 201)
    await expectStatus(a.admin('PUT', `/routes/two${uri.slice(1)}`, { uri, ...two }), 201)
  }
  await eventually('the other has them', async () => (await listed(b, 'routes')).length === 4)
  relay.cut()
  await expectStatus(a.admin('DELETE', '/routes/onex'), 200)
  await expectStatus(a.admin('PUT', '/routes/onex', { uri: '/x', ...one }), 201)
  for (const status of [0, 1]) await expectStatus(a.admin('PATCH', '/routes/oney', { status }), 200)
  for (const [i, uri] of alike.entries()) {
    // Neither their names nor their hashes are in this order.
    await expectStatus(a.admin('PUT', `/routes/${i % 2 ? 'p' : 'q'}${i}`, { uri, ...one }), 201)
    await expectStatus(a.admin('PUT', `/routes/${i % 2 ? 'q' : 'p'}${i}`, { uri, ...two }), 201)
  }
  relay.mend()
  await eventually('it has caught up', async () => (await listed(b, 'routes')).length === 44)
  const expected = ['two', 'one', ...alike.map(() => 'one')].join(' ')
  for (const gateway of [a, b, await start(t, server)]) assert.equal(await served(gateway), expected)
})

test('a Redis that comes back without the last writes is followed in that too, also when it has others in their place', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const [a, b] = [await start(t, server), await start(t, server)]
  const keys = ['revision', 'log', 'objects'].map((name) => `wasm:{resources}:${name}`)
  const write = (gateway: AdminApp, id: string) =>
    expectStatus(gateway.admin('PUT', `/upstreams/${id}`, { nodes: {} }), 201)
  for (const id of ['1', '2']) await write(a, id)
  const before = await Promise.all(keys.map((key) => server.control.dumpBuffer(key)))
  await write(b, '3')
  await eventually('both have them', async () => (await listed(a, 'upstreams')).length === 3)
  // As a replica would that has not had the last one yet when it becomes the master, seen by nobody: a node of a cluster.
  const restore = server.control.multi()
  for (const [i, key] of keys.entries()) restore.restore(key, 0, before[i]!, 'REPLACE')
  await restore.exec()
  const joined = await start(t, server)
  assert.deepEqual(await listed(joined, 'upstreams'), ['1', '2'])
  await write(joined, 'other')
  for (const gateway of [a, b, joined]) {
    await eventually('it has what there is', async () => (await listed(gateway, 'upstreams')).join() === '1,2,other')
  }
  await write(a, 'more')
  await eventually('the other has it', async () => (await listed(b, 'upstreams')).join() === '1,2,more,other')
})

test('after everything was dropped, the same numbers are not taken for the same writes', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const [a, b] = [await start(t, server), await start(t, server)]
  await expectStatus(a.admin('PUT', '/upstreams/u', { nodes: {}, labels: { old: '1' } }), 201)
  await eventually('the other has it', async () => (await listed(b, 'upstreams')).length === 1)
  await server.control.flushall()
  await expectStatus(a.admin('PUT', '/upstreams/u', { nodes: {}, labels: { a: '1' } }), 201)
  await expectStatus(b.admin('PATCH', '/upstreams/u', { labels: { b: '1' } }), 200)
  for (const { admin } of [a, b]) {
    await eventually('it has what both have written', async () => {
      const { value } = await expectStatus(admin('GET', '/upstreams/u'), 200)
      return Object.keys(value.labels as object).join() === 'a,b'
    })
  }
})

test('an object that is wrong is left out and named, and the rest works; mended, it is in effect', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const key = 'wasm:{resources}:objects'
  const route = (uri: string) => ({ uri, upstream: { nodes: { [node]: 1 } } })
  const first = await start(t, server, { plugins: scripted('a') })
  const conf = { plugins: { a: { conf: { request_headers: [{ op: 'set', map: 'request', name: 'x', value: '1' }] } } } }
  await expectStatus(first.admin('PUT', '/routes/plugin', { ...route('/plugin'), ...conf }), 201)
  await expectStatus(first.admin('PUT', '/routes/good', route('/good')), 201)
  await server.control.hset(key, 'routes/text', 'no object', 'routes/empty', '1 1 {}', 'nothing/1', '1 1 {}')
  // It has no such plugin.
  const { url, lines, admin } = await start(t, server)
  assert.equal(await statusOf(`${url}/good`), 200)
  assert.equal(await statusOf(`${url}/plugin`), 404)
  const errors = lines.filter(({ level }) => level === 50).map(({ msg }) => msg)
  for (const name of ['routes/text', 'routes/empty', 'nothing/1', 'routes/plugin']) {
    assert.equal(
      errors.filter((msg) => msg.includes(`the stored object ${name} is left out`)).length,
      1,
      errors.join('\n')
    )
  }
  await expectStatus(first.admin('PUT', '/routes/plugin2', { ...route('/plugin2'), ...conf }), 201)
  await expectStatus(first.admin('PUT', '/routes/good2', route('/good2')), 201)
  await eventually('the rest is followed', async () => (await statusOf(`${url}/good2`)) === 200)
  assert.equal(await statusOf(`${url}/plugin2`), 404)
  assert.ok(lines.some(({ msg }) => msg.includes('the stored object routes/plugin2 is left out')))
  await expectStatus(first.admin('PUT', '/routes/plugin2', route('/plugin2')), 200)
  await eventually('it is in effect', async () => (await statusOf(`${url}/plugin2`)) === 200)
  await expectStatus(admin('PUT', '/routes/text', route('/text')), 200)
  await eventually('so is this', async () => (await statusOf(`${first.url}/text`)) === 200)
})

test('an object whose text is broken can be mended and deleted, also by a gateway that has not seen it break', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const route = (uri: string) => ({ uri, upstream: { nodes: { [node]: 1 } } })
  const first = await start(t, server)
  for (const id of ['a', 'b']) await expectStatus(first.admin('PUT', `/routes/${id}`, route(`/${id}`)), 201)
  const key = 'wasm:{resources}:objects'
  const broken = [
    'routes/a',
    'garbage',
    'routes/b',
    '2 2 []',
    'routes/c',
    '9 9 {nonsense',
    'routes/d',
    '',
    'services/e',
    ''
  ]
  await server.control.hset(key, ...broken)
  const second = await start(t, server)
  const { value } = await expectStatus(second.admin('GET', '/services/e'), 200)
  assert.deepEqual(value, { id: 'e' })
  assert.equal((await second.admin('PUT', '/routes/new', { uri: '/new', service_id: 'e' })).status, 400)
  await expectStatus(first.admin('PUT', '/routes/a', route('/a')), 200)
  await expectStatus(second.admin('PUT', '/routes/b', route('/b')), 200)
  await expectStatus(second.admin('PUT', '/routes/c', route('/c')), 200)
  await expectStatus(first.admin('DELETE', '/routes/d'), 200)
  await expectStatus(second.admin('DELETE', '/services/e'), 200)
  for (const { url } of [first, second, await start(t, server)]) {
    for (const id of ['a', 'b', 'c']) await eventually(id, async () => (await statusOf(`${url}/${id}`)) === 200)
  }
  assert.deepEqual((await server.control.hkeys(key)).sort(), ['routes/a', 'routes/b', 'routes/c'])
})

test('a change that routes of the application cannot take is left out there, and does not stand in the way of others', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const other = await start(t, server)
  const nodes = { [node]: 1 }
  await expectStatus(other.admin('PUT', '/upstreams/u', { nodes }), 201)
  const { app, url, lines } = await start(t, server, {}, (app) => {
    app.get('/own', { config: { wasm: { upstream_id: 'u' } } }, app.wasmGateway.proxy)
  })
  assert.equal(await statusOf(`${url}/own`), 200)
  await expectStatus(other.admin('DELETE', '/upstreams/u'), 200)
  await expectStatus(other.admin('PUT', '/routes/1', { uri: '/1', upstream: { nodes } }), 201)
  await eventually('the rest is followed', async () => (await statusOf(`${url}/1`)) === 200)
  const leftOut = () => lines.filter(({ msg }) => msg.startsWith('the change of upstreams/u is left out: ')).length
  assert.equal(leftOut(), 1)
  await app.wasmGateway.reload()
  assert.equal(await statusOf(`${url}/own`), 200, 'it goes where it went')
  await expectStatus(other.admin('PUT', '/upstreams/u', { nodes: { '127.0.0.1:1': 1 } }), 201)
  await eventually('it is followed again', async () => (await statusOf(`${url}/own`)) === 502)
  await app.wasmGateway.reload()
  assert.equal(await statusOf(`${url}/own`), 502)
  assert.equal(leftOut(), 1)
})

test('the user that the documents describe may do all that gateways do', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const page = await readFile(join(import.meta.dirname, '../../../docs/many-machines.md'), 'utf8')
  const rules = /needs no more than `([^`]+)`/.exec(page)![1]!.split(/\s+/)
  await server.control.call('ACL', 'SETUSER', 'gateway', 'reset', 'on', '>pass', ...rules)
  const redis = { url: server.url.replace('//', '//gateway:pass@'), timeout_ms: 5000 }
  const ticking = {
    tick: [
      { op: 'shared_count', name: 'ticks' },
      { op: 'enqueue', name: 'q', value: 'item' }
    ]
  }
  const conf = {
    start: [
      { op: 'register_queue', name: 'q' },
      { op: 'tick', ms: 20 }
    ],
    ...ticking,
    queue: [{ op: 'dequeue', name: 'q' }]
  }
  const plugins = scripted({ name: 'a', tick: 'leader', conf })
  const { admin, lines, filterLog } = await start(t, server, { redis, plugins })
  await expectStatus(admin('PUT', '/upstreams/u', { nodes: {} }), 201)
  await expectStatus(admin('DELETE', '/upstreams/u'), 200)
  await eventually('it counts', async () => filterLog().some((line) => line.startsWith('shared ticks=3')))
  await eventually('it takes', async () => filterLog().includes('queue q=item'))
  assert.deepEqual(
    lines.filter(({ level }) => level >= 40).map(({ msg }) => msg),
    []
  )
})

test('gateways have the same routes in a cluster', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1')
  await server.beCluster()
  const redis = { cluster: [{ host: '127.0.0.1', port: server.port }], timeout_ms: 5000 }
  const [a, b] = [await start(t, server, { redis }), await start(t, server, { redis })]
  for (const [i, { admin }] of [a, b, a].entries())
    await expectStatus(admin('PUT', `/upstreams/${i}`, { nodes: {} }), 201)
  for (const gateway of [a, b]) {
    await eventually('it has all', async () => (await listed(gateway, 'upstreams')).join() === '0,1,2')
  }
})

test('a gateway without an Admin API follows too', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const { node } = await upstreamOf(t)
  const { admin } = await start(t, server)
  const { url } = await start(t, server, { admin: undefined })
  await expectStatus(admin('PUT', '/routes/1', { uri: '/1', upstream: { nodes: { [node]: 1 } } }), 201)
  await eventually('it is there', async () => (await statusOf(`${url}/1`)) === 200)
})

test('a gateway whose routes are in a Redis that is not there does not start, and leaves nothing open', {
  skip
}, async () => {
  const app = Fastify()
  const redis = `redis://127.0.0.1:${await freePort()}`
  await assert.rejects(async () => app.register(wasmGateway, { redis, store: { redis: true } }), {
    code: 'FST_WASM_STORE_FAILED',
    message: /in Redis failed: there is no connection \(.*ECONNREFUSED/
  })
  await app.close().catch(() => {})
})

test('a gateway whose routes are in a cluster that is down does not start, says so in time, and leaves nothing open', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t, '--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1')
  // One slot has no node.
  await server.control.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16382')
  const redis = { cluster: [{ host: '127.0.0.1', port: server.port }] }
  const app = Fastify()
  await assert.rejects(async () => app.register(wasmGateway, { redis, store: { redis: true } }), {
    code: 'FST_WASM_STORE_FAILED',
    message: /in Redis failed: there is no connection \(the cluster is down\)/
  })
  await app.close().catch(() => {})
  await eventually('no connection is left', async () => {
    const list = String(await server.control.client('LIST'))
    return list.trim().split('\n').length === 1
  })
})

for (const [where, own] of [
  ['with a listener of the Admin API', {}],
  ['without one', { admin: { key: KEY } }],
  ['with a cluster', { isCluster: true }]
] as const) {
  test(`a gateway whose Redis does not answer any more closes at once, ${where}; a write under way is told so`, {
    skip
  }, async (t) => {
    const { isCluster = false, ...options } = own as { isCluster?: boolean }
    const nodes = ['--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1']
    const server = await RedisServer.start(t, ...(isCluster ? nodes : []))
    if (isCluster) await server.beCluster()
    const relay = await Relay.start(t, server.port)
    const [host, port] = ['127.0.0.1', Number(new URL(relay.url).port)]
    const redis = { cluster: [{ host, port }], natMap: { [`127.0.0.1:${server.port}`]: { host, port } } }
    const { app, admin, lines } = await start(t, relay, { ...(isCluster && { redis }), ...options })
    await expectStatus(admin('PUT', '/upstreams/1', { nodes: {} }), 201)
    relay.swallow()
    const writes = [admin('PUT', '/upstreams/2', { nodes: {} }), admin('PUT', '/upstreams/3', { nodes: {} })]
    await sleep(200)
    const begin = performance.now()
    await app.close()
    const took = performance.now() - begin
    assert.ok(took < 1000, `it took ${took} ms`)
    for (const answer of await Promise.all(writes)) {
      assert.equal(answer.status, 503)
      assert.match(answer.body.error_msg, /in Redis failed: it is closed/)
    }
    assert.ok(!lines.some(({ msg }) => msg.includes('is not followed')))
  })
}

/** A gateway in a process of its own. */
async function gateway(t: TestContext, { url }: RedisServer) {
  const file = join(import.meta.dirname, '..', 'admin', 'killed-gateway.ts')
  const child: ChildProcess = fork(file, { execArgv: ['--import', 'tsx'] })
  t.after(() => child.kill('SIGKILL'))
  child.send({ options: { admin: { key: KEY }, redis: url, store: { redis: true } } })
  const [{ port }] = (await Promise.race([
    once(child, 'message'),
    once(child, 'exit').then(([code]) => assert.fail(`the gateway ended with ${code} before it listened`))
  ])) as [{ port: number }]
  const own = `http://127.0.0.1:${port}`
  return { child, url: own, admin: adminOf(`${own}/apisix/admin`) }
}
