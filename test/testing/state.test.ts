import assert from 'node:assert/strict'
import { mock, test } from 'node:test'
import { say } from '../gateway/script.ts'
import { Guest } from '../host/guest.ts'
import { guest, scripted } from './load.ts'

const messages = ({ logs }: { logs: readonly { message: string }[] }) => logs.map(({ message }) => message)

test('ticks come when the test says so, one or all that are due', async (t) => {
  const filter = await scripted(t, { start: [{ op: 'tick', ms: 60_000 }], tick: [say('tick')] })
  const begin = filter.now.getTime()
  await filter.advance(59_999)
  assert.deepEqual(messages(filter), [])
  await filter.tick()
  assert.deepEqual([messages(filter).length, filter.now.getTime() - begin], [1, 60_000])
  await filter.tick()
  await filter.advance(180_000)
  assert.deepEqual([messages(filter).length, filter.now.getTime() - begin], [5, 300_000])
})

test('a filter that has set no tick has none to wait for', async (t) => {
  const filter = await scripted(t, { tick: [say('tick')] })
  await assert.rejects(filter.tick(), { code: 'FST_WASM_TEST_INVALID', message: /has no tick/ })
})

test('filters read the clock of the test, which stands still', async (t) => {
  const module = new Guest()
  const cell = module.cell(8)
  const at = module.call('proxy_get_current_time_nanoseconds', cell)
  const key = { wat: `${cell.wat} (i32.const 8)`, types: 'i32 i32', at: -1 }
  const keep = module.call('proxy_set_shared_data', module.text('now'), key, 0)
  const filter = await guest(t, module.on('proxy_on_request_headers', at, keep), {
    now: new Date('2030-01-02T03:04:05Z')
  })
  const read = () => Number(filter.sharedData.get('now')!.readBigUInt64LE() / 1_000_000n)
  await filter.exchange()
  assert.equal(read(), Date.parse('2030-01-02T03:04:05Z'))
  await filter.advance(1500)
  await filter.exchange()
  assert.equal(read(), Date.parse('2030-01-02T03:04:06.500Z'))
})

test('a filter that sleeps moves the clock on, and the test waits for nothing', async (t) => {
  const filter = await scripted(
    t,
    { request_headers: [{ op: 'sleep', ms: 400 }] },
    { limits: { call_ms: 200 } },
    'script-go'
  )
  const begin = filter.now.getTime()
  await filter.exchange()
  assert.ok(filter.now.getTime() - begin >= 400)
})

test('shared data is there to see and to set', async (t) => {
  const filter = await scripted(t, {
    request_headers: [
      { op: 'shared_count', name: 'count' },
      { op: 'shared_get', name: 'größe' }
    ]
  })
  filter.sharedData.set('count', '41')
  filter.sharedData.set('größe', 'L')
  assert.deepEqual(messages(await filter.exchange()), ['shared count=42', 'shared größe=L'])
  assert.equal(String(filter.sharedData.get('count')), '42')
  assert.equal(filter.sharedData.get('nothing'), undefined)
  assert.deepEqual(filter.sharedData.keys(), ['count', 'größe'])
})

test('queues are there to see, and to put something into', async (t) => {
  const filter = await scripted(t, {
    start: [{ op: 'register_queue', name: 'jobs' }],
    queue: [{ op: 'dequeue', name: 'jobs' }],
    request_headers: [
      { op: 'register_queue', name: 'kept' },
      { op: 'enqueue', name: 'kept', value: 'a' }
    ]
  })
  await filter.queues.push('jobs', 'work')
  assert.deepEqual(messages(filter), ['queue jobs=work'])
  assert.deepEqual(filter.queues.items('jobs'), [])
  await assert.rejects(filter.queues.push('other', 'x'), { code: 'FST_WASM_TEST_INVALID' })
  assert.equal(filter.queues.items('other'), undefined)
})

test('items that nobody takes stay to be seen', async (t) => {
  const script = {
    start: [{ op: 'register_queue', name: 'jobs' }],
    request_headers: [{ op: 'enqueue', name: 'jobs', value: 'a' }]
  }
  const filter = await scripted(t, script)
  await filter.exchange()
  assert.deepEqual(filter.queues.items('jobs')!.map(String), ['a'])
})

test('metrics are those of the filter now, and those of the end of an exchange', async (t) => {
  const define = (type: string, name: string) => ({ op: 'define_metric', type, name })
  const filter = await scripted(t, {
    start: [define('counter', 'requests'), define('gauge', 'level'), define('histogram', 'size')],
    request_headers: [
      { op: 'increment_metric', name: 'requests' },
      { op: 'record_metric', name: 'level', amount: -3 },
      { op: 'record_metric', name: 'size', amount: 20 }
    ]
  })
  assert.deepEqual(filter.metrics, { requests: 0, level: 0, size: { count: 0, sum: 0 } })
  const first = await filter.exchange()
  await filter.exchange()
  assert.deepEqual(first.metrics, { requests: 1, level: -3, size: { count: 1, sum: 20 } })
  assert.deepEqual(filter.metrics, { requests: 2, level: -3, size: { count: 2, sum: 40 } })
})

test('foreign functions are those of the test, both ways', async (t) => {
  const filter = await scripted(
    t,
    { request_headers: [{ op: 'foreign', name: 'upper', value: 'abc' }], foreign: [{ op: 'call_data' }] },
    { foreign_functions: { upper: (bytes) => Buffer.from(bytes.toString().toUpperCase()) } }
  )
  assert.deepEqual(messages(await filter.exchange()), ['foreign upper=ABC'])
  assert.equal(await filter.callForeignFunction(7, 'data'), 1)
  assert.equal(messages(filter).at(-1), 'call data=data')
})

test('the declaration says what is around a filter: vm_conf, env, root_id, allow', async (t) => {
  const filter = await scripted(
    t,
    { request_headers: [{ op: 'env', name: 'A' }, { op: 'property', path: ['plugin_root_id'] }, say('logged')] },
    { env: { A: 'b' }, root_id: 'root' }
  )
  assert.deepEqual(messages(await filter.exchange()), ['env A=b', 'property plugin_root_id=root', 'logged'])
  const allow = ['proxy_get_*', 'fd_*', 'environ_*', 'clock_*', 'random_get', 'poll_oneoff', 'args_*']
  const silent = await scripted(t, { request_headers: [say('logged')] }, { allow }, 'script-go')
  assert.match(messages(await silent.exchange())[0]!, /proxy_log, which its `allow` does not list/)
})

test('the timers of a test framework may be faked', async (t) => {
  const script = {
    start: [
      { op: 'tick', ms: 10 },
      { op: 'register_queue', name: 'jobs' }
    ],
    tick: [say('tick')],
    queue: [{ op: 'dequeue', name: 'jobs' }],
    request_headers: [{ op: 'call', upstream: 'auth', headers: [[':path', '/']] }, { op: 'pause' }],
    call: [say('answered'), { op: 'continue', stream: 'request' }]
  }
  const filter = await scripted(t, script, { upstreams: { auth: {} } })
  mock.timers.enable({ apis: ['setTimeout', 'setImmediate', 'Date'] })
  mock.method(globalThis, 'queueMicrotask', () => {})
  t.after(() => mock.reset())
  await filter.tick()
  await filter.exchange()
  await filter.queues.push('jobs', 'one')
  assert.deepEqual(messages(filter), ['tick', 'answered', 'queue jobs=one'])
})
