import assert from 'node:assert/strict'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Worker } from 'node:worker_threads'
import { RedisResourceStore } from '../../../lib/stores/redis/resource-store.ts'
import { eventually } from '../../eventually.ts'
import { folder } from '../../folder.ts'
import { Distance } from './distance.ts'
import { connect, freePort, RedisServer, settingsOf, skip, type TestStores, text } from './redis-server.ts'

const value = Buffer.from('v')
const errorsOf = ({ lines }: TestStores) => lines.filter((line) => line.startsWith('error'))

/** Until what filters share is available. */
const healed = (seen: TestStores) => eventually('it is healed', () => seen.stores.status.connected)

test('Redis is killed and comes back: one call at most waits, it is said once, and heals', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  sharedData.set('', 'k', value, 0)
  await server.kill()
  const { waits } = seen
  for (let i = 0; i < 100; i++) {
    // What was acknowledged may be read until the loss is noticed.
    sharedData.get('', 'other')
    assert.notEqual(sharedData.set('', 'k', Buffer.from('x'), 0), true)
  }
  assert.ok(seen.waits - waits <= 1, `${seen.waits - waits} calls waited`)
  await eventually('the loss is noticed', () => sharedData.get('', 'k') === 'unavailable')
  await eventually('it is said', () => errorsOf(seen).length === 1)
  assert.ok(seen.stores.status.failures >= 100)
  await server.start()
  await healed(seen)
  assert.equal(text(sharedData.get('', 'k')), 'v', 'what was acknowledged is there')
  assert.equal(sharedData.set('', 'k', Buffer.from('new'), 0), true)
  await eventually('that it works again is said', () => seen.lines.some((line) => line.startsWith('info')))
  assert.deepEqual(
    seen.lines.map((line) => line.slice(0, 5)),
    ['error', 'info:']
  )
  assert.equal(seen.stores.status.outages, 1)
})

test('Redis hangs: one call waits for as long as the timeout says, and no other one', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server, { timeoutMs: 200 })
  const { sharedData } = seen.stores
  await eventually('it can be asked', () => sharedData.set('', 'k', value, 0) === true)
  const { waits } = seen
  server.signal('SIGSTOP')
  const begin = performance.now()
  assert.equal(sharedData.set('', 'k', Buffer.from('x'), 0), 'unknown', 'it may be set')
  assert.ok(performance.now() - begin >= 199)
  for (let i = 0; i < 1000; i++) {
    assert.equal(sharedData.set('', 'k', Buffer.from('y'), 0), 'unavailable')
    assert.equal(sharedData.get('', 'other'), 'unavailable')
  }
  assert.equal(seen.waits, waits + 1)
  await eventually('copies are given up', () => sharedData.get('', 'k') === 'unavailable')
  server.signal('SIGCONT')
  await healed(seen)
  assert.ok(['v', 'x'].includes(text(sharedData.get('', 'k'))!))
  assert.equal(errorsOf(seen).length, 1)
})

test('a Redis that is far away costs one wait, and heals when it is near', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const far = await Distance.start(t, server.port)
  const seen = await connect(t, far, { timeoutMs: 200 })
  const { sharedData } = seen.stores
  await eventually('it can be asked', () => sharedData.set('', 'k', value, 0) === true)
  far.delay(250)
  const { waits } = seen
  for (let i = 0; i < 100; i++) {
    sharedData.set('', 'k', value, 0)
    await sleep(20)
  }
  assert.equal(seen.waits, waits + 1)
  far.delay(0)
  await healed(seen)
})

test('a Redis that is slow now and then costs few waits', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server, { timeoutMs: 100 })
  await eventually('it can be asked', () => seen.stores.sharedData.get('', 'k') === undefined)
  // Each command takes long: Redis has one thread.
  let isOver = false
  const slow = (async () => {
    while (!isOver) await server.control.call('DEBUG', 'SLEEP', '0.15')
  })()
  await eventually('a call has waited in vain', () => seen.stores.sharedData.set('', 'k', value, 0) !== true)
  const { waits } = seen
  for (let i = 0; i < 50; i++) {
    await sleep(20)
    seen.stores.sharedData.set('', 'k', value, 0)
  }
  isOver = true
  await slow
  assert.ok(seen.waits - waits <= 2, `${seen.waits - waits} of 50 calls waited`)
  await healed(seen)
})

test('a full Redis refuses what is new as if there was no room; what is there is read', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData, queues } = seen.stores
  sharedData.set('', 'k', value, 0)
  const { id } = queues.register('', 'q', () => {})
  await server.control.config('SET', 'maxmemory', '1')
  assert.equal(sharedData.set('', 'new', value, 0), undefined)
  assert.equal(queues.enqueue(id, value), undefined)
  // A filter that tries again, as often as it takes, does not keep the thread.
  const calls = await callsOf(server)
  for (let i = 0; i < 1000; i++) assert.equal(sharedData.set('', 'new', value, 0), undefined)
  assert.ok((await callsOf(server)) - calls < 200)
  assert.ok(seen.stores.status.failures >= 1000)
  assert.match(seen.stores.status.last_error!, /^OOM/)
  const other = await connect(t, server)
  assert.equal(text(other.stores.sharedData.get('', 'k')), 'v')
  await server.control.config('SET', 'maxmemory', '0')
  await eventually('it takes something again', () => sharedData.set('', 'new', value, 0) === true)
  assert.equal(queues.enqueue(id, value), true)
  assert.deepEqual(errorsOf(seen), [])
})

test('a Redis that cannot write to its disk takes nothing, and is read from', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--appendonly', 'no', '--enable-protected-configs', 'yes')
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  assert.equal(sharedData.set('', 'k', value, 0), true)
  const path = await folder(t)
  await server.control.config('SET', 'save', '3600 1')
  await server.control.config('SET', 'dir', path)
  await rm(path, { recursive: true })
  await server.control.bgsave()
  await eventually('it is noticed', () => sharedData.set('', 'k', value, 0) === 'unavailable')
  await server.control.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
  await eventually('the loss is noticed', () => seen.stores.status.outages === 1)
  await healed(seen)
  assert.equal(text(sharedData.get('', 'k')), 'v')
  assert.equal(sharedData.set('', 'k', value, 0), 'unavailable')
  await server.control.config('SET', 'stop-writes-on-bgsave-error', 'no')
  assert.equal(sharedData.set('', 'k', value, 0), true)
})

test('a Redis that became a replica takes nothing; when it is the master again it does', { skip }, async (t) => {
  const master = await RedisServer.start(t)
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  assert.equal(sharedData.set('', 'k', value, 0), true)
  await server.control.replicaof('127.0.0.1', master.port)
  assert.equal(sharedData.set('', 'k', value, 0), 'unavailable')
  let reads = 0
  for (let i = 0; i < 100; i++) {
    assert.equal(sharedData.set('', 'k', value, 0), 'unavailable')
    if (sharedData.get('', 'other') === undefined) reads++
    await sleep(5)
  }
  assert.ok(reads >= 50, `${reads} of 100 were read`)
  await server.control.call('REPLICAOF', 'NO', 'ONE')
  await eventually('it takes something', () => sharedData.set('', 'k', value, 0) === true)
  assert.deepEqual(
    seen.lines.map((line) => line.slice(0, 22)),
    ['error: redis: READONLY']
  )
})

test('a password that is refused is said, once, and when it is right it works', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--requirepass', 'right')
  const wrong = await connect(t, { url: server.url.replace('//', '//:wrong@') }, { isAway: true })
  assert.equal(wrong.stores.sharedData.get('', 'k'), 'unavailable')
  assert.equal(wrong.waits, 0)
  assert.equal(errorsOf(wrong).length, 1)
  assert.match(errorsOf(wrong)[0]!, /WRONGPASS/)
  const right = await connect(t, { url: server.url.replace('//', '//:right@') })
  assert.equal(right.stores.sharedData.set('', 'k', value, 0), true)
})

test('parts of the address that are options too stand above it', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  await server.control.config('SET', 'requirepass', 'right')
  const url = server.url.replace('//', '//:wrong@')
  const { stores } = await connect(t, { url: `${url}/1` }, { options: { password: 'right', db: 2 } })
  assert.equal(stores.sharedData.set('', 'k', value, 0), true)
  await server.control.select(2)
  assert.equal(await server.control.exists('wasm:data:0::k'), 1)
})

test('a database that there is not is said, and no other one is used', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const settings = { options: { db: 99 } }
  const seen = await connect(t, server, { ...settings, isAway: true })
  assert.equal(seen.stores.sharedData.set('', 'k', value, 0), 'unavailable')
  assert.match(errorsOf(seen).join(), /DB index is out of range/)
  const store = new RedisResourceStore(settingsOf(server.url, settings), { info() {}, warn() {}, error() {} })
  await assert.rejects(store.load(), { code: 'FST_WASM_STORE_FAILED', message: /DB index is out of range/ })
  await store.close()
  assert.equal(await server.control.dbsize(), 0)
})

test('a certificate that is refused is said, and connections that are given up meanwhile end quietly', {
  skip
}, async (t) => {
  const port = await freePort()
  const file = (name: string) => join(import.meta.dirname, '../../gateway/upstream/certificate', name)
  const pair = ['--tls-cert-file', file('cert.pem'), '--tls-key-file', file('key.pem')]
  await RedisServer.start(t, '--tls-port', String(port), ...pair, '--tls-auth-clients', 'no')
  for (let i = 0; i < 20; i++) {
    const store = new RedisResourceStore(settingsOf(`rediss://127.0.0.1:${port}`), { info() {}, warn() {}, error() {} })
    await assert.rejects(store.load(), { code: 'FST_WASM_STORE_FAILED', message: /self-signed certificate/ })
    await store.close()
    await sleep(20)
  }
})

test('nobody listens where Redis should be: the start does not wait for it, and it is found later', {
  skip
}, async (t) => {
  const port = await freePort()
  const seen = await connect(t, { url: `redis://127.0.0.1:${port}` }, { isAway: true })
  assert.equal(seen.stores.sharedData.get('', 'k'), 'unavailable')
  assert.match(errorsOf(seen).join(), /ECONNREFUSED/)
  assert.equal(errorsOf(seen).length, 1)
  const server = await RedisServer.start(t, '--port', String(port))
  await healed(seen)
  assert.equal(seen.stores.sharedData.set('', 'k', value, 0), true)
  await server.kill()
})

test('a user who may not ask for changes reads without copies, and it is said', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  await server.control.call('ACL', 'SETUSER', 'plain', 'on', '>pass', '~*', '&*', '+@all', '-client|tracking')
  const seen = await connect(t, { url: server.url.replace('//', '//plain:pass@') })
  await eventually('it is said', () => seen.lines.length > 0)
  assert.match(seen.lines.join(), /warn: redis: no value is kept in the process/)
  const { sharedData } = seen.stores
  sharedData.set('', 'k', value, 0)
  const { waits } = seen
  for (let i = 0; i < 3; i++) assert.equal(text(sharedData.get('', 'k')), 'v')
  assert.equal(seen.waits, waits + 3)
})

test('a thread that dies is replaced, and what it knew of queues with it', { skip }, async (t) => {
  const server = await RedisServer.start(t)
  const workers: Worker[] = []
  const onWorker = (message: unknown) => void workers.push((message as { worker: Worker }).worker)
  subscribe('worker_threads', onWorker)
  t.after(() => unsubscribe('worker_threads', onWorker))
  const seen = await connect(t, server)
  const { sharedData, queues } = seen.stores
  const items: string[] = []
  const { id } = queues.register('', 'q', (id) => void items.push(String(queues.dequeue(id))))
  sharedData.set('', 'k', value, 0)
  assert.equal(workers.length, 1)
  await workers[0]!.terminate()
  assert.equal(sharedData.get('', 'k'), 'unavailable')
  await healed(seen)
  assert.equal(workers.length, 2)
  assert.equal(text(sharedData.get('', 'k')), 'v')
  queues.enqueue(id, Buffer.from('item'))
  await eventually('who has registered is told', () => items.includes('item'))
})

test('everything is dropped: copies are, numbers are others, and queues have their names again', {
  skip
}, async (t) => {
  const server = await RedisServer.start(t)
  const seen = await connect(t, server)
  const { sharedData, queues } = seen.stores
  sharedData.set('', 'k', value, 0)
  const before = sharedData.get('', 'k') as { cas: number }
  const { id } = queues.register('', 'q', () => {})
  await eventually('it has its name', () => queues.resolve('', 'q') === id)
  await server.control.flushall()
  await eventually('the value is gone', () => sharedData.get('', 'k') === undefined)
  sharedData.set('', 'k', value, 0)
  assert.notEqual((sharedData.get('', 'k') as { cas: number }).cas, before.cas)
  const other = await connect(t, server)
  await eventually('another process finds the queue', () => other.stores.queues.resolve('', 'q') === id)
})

test('a hundred times connections are lost, and it heals each time', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--appendonly', 'no')
  const seen = await connect(t, server)
  const { sharedData } = seen.stores
  for (let i = 0; i < 100; i++) {
    await server.control.call('CLIENT', 'KILL', 'TYPE', i % 2 === 0 ? 'normal' : 'pubsub', 'SKIPME', 'yes')
    await eventually('it is noticed', () => seen.stores.status.outages > i)
    await healed(seen)
    assert.equal(sharedData.set('', 'k', Buffer.from(String(i)), 0), true)
    assert.equal(text(sharedData.get('', 'k')), String(i))
  }
  await eventually('each is said', () => seen.lines.length >= 200)
  assert.equal(seen.lines.length, 200)
})

test('a cluster serves values and queues, without copies', { skip }, async (t) => {
  const server = await RedisServer.start(t, '--cluster-enabled', 'yes', '--cluster-announce-ip', '127.0.0.1')
  await server.beCluster()
  const nodes = [{ host: '127.0.0.1', port: server.port }]
  const a = await connect(t, server, { cluster: nodes })
  const b = await connect(t, server, { cluster: nodes, claimMs: 1000 })
  assert.equal(a.stores.sharedData.set('', 'k', value, 0), true)
  assert.equal(text(b.stores.sharedData.get('', 'k')), 'v')
  a.stores.sharedData.set('', 'k', Buffer.from('w'), 0)
  assert.equal(text(b.stores.sharedData.get('', 'k')), 'w')
  const items: string[] = []
  const { queues } = b.stores
  queues.register('', 'q', (id) => {
    const item = queues.dequeue(id)
    if (item) items.push(item.toString())
  })
  await eventually('the queue is there', () => a.stores.queues.resolve('', 'q') !== undefined)
  await sleep(100)
  a.stores.queues.enqueue(a.stores.queues.resolve('', 'q')!, Buffer.from('item'))
  await eventually('the item comes', () => items.includes('item'))
  await server.control.call('CLIENT', 'KILL', 'TYPE', 'pubsub')
  for (let i = 0; i < 3; i++) a.stores.queues.enqueue(a.stores.queues.resolve('', 'q')!, Buffer.from('unheard'))
  await eventually('so do those that were not announced', () => items.length === 4)
})

test('when Sentinel makes a replica the master, what was written there is read from it', { skip }, async (t) => {
  const master = await RedisServer.start(t)
  const replica = await RedisServer.start(t, '--replicaof', '127.0.0.1', String(master.port))
  const sentinel = await RedisServer.sentinel(t, 'main', master)
  const own = { url: undefined, options: { sentinels: [{ host: '127.0.0.1', port: sentinel.port }], name: 'main' } }
  const seen = await connect(t, master, own)
  assert.equal(seen.stores.sharedData.set('', 'k', value, 0), true)
  await waitFor(async () => (await replica.control.exists('wasm:data:0::k')) === 1)
  await waitFor(async () => ((await sentinel.control.call('SENTINEL', 'REPLICAS', 'main')) as unknown[]).length === 1)
  await master.kill()
  await waitFor(async () => ((await replica.control.call('ROLE')) as string[])[0] === 'master')
  await eventually('it is found', () => text(seen.stores.sharedData.get('', 'k')) === 'v')
  assert.equal(seen.stores.sharedData.set('', 'k', Buffer.from('w'), 0), true)
  assert.equal((await replica.control.getBuffer('wasm:data:0::k'))!.toString('latin1', 4), 'w')
})

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 2000 && !(await condition()); i++) await sleep(10)
  assert.ok(await condition())
}

/** How many scripts a server has run or refused to run. */
async function callsOf(server: RedisServer): Promise<number> {
  const stats = await server.control.info('commandstats')
  return Number(/cmdstat_evalsha:calls=(\d+)/.exec(stats)?.[1] ?? 0)
}
