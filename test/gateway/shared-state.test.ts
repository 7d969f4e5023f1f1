import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import { type Step, scripted } from './script.ts'

// Shared data, queues and metrics of a gateway: by vm_id, and longer than any instance.

const conf = (script: { [phase: string]: Step[] }) => ({ conf: script })

test('plugins share data by default: the vm_id of all is the same', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: scripted('writer', 'reader') }, (app) => {
    const plugins = {
      writer: conf({ request_headers: [{ op: 'shared_set', name: 'k', value: 'from the writer' }] }),
      reader: conf({ request_headers: [{ op: 'shared_get', name: 'k' }] })
    }
    app.get('/', { config: { wasm: { plugins } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 200)
  assert.deepEqual(filterLog('reader'), ['shared k=from the writer'])
})

test('plugins with another vm_id have their own data, queues and metrics; plugin_vm_id answers it', async (t) => {
  const plugins = scripted({ name: 'a', vm_id: 'one' }, { name: 'b', vm_id: 'two' }, { name: 'c', vm_id: 'one' })
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const reads = conf({
      request_headers: [
        { op: 'property', path: ['plugin_vm_id'] },
        { op: 'shared_get', name: 'k' },
        { op: 'resolve_queue', name: 'q' },
        { op: 'define_metric', type: 'counter', name: 'm' },
        { op: 'get_metric', name: 'm' }
      ]
    })
    const writes = conf({
      request_headers: [
        { op: 'shared_set', name: 'k', value: 'v' },
        { op: 'register_queue', name: 'q' },
        { op: 'define_metric', type: 'counter', name: 'm' },
        { op: 'increment_metric', name: 'm', amount: 5 }
      ]
    })
    app.get('/', { config: { wasm: { plugins: { a: writes, b: reads, c: reads } } } }, async () => 'hello')
  })
  await request(url)
  assert.deepEqual(filterLog('b'), ['property plugin_vm_id=two', 'shared k missing', 'queue q missing', 'metric m=0'])
  assert.deepEqual(filterLog('c'), ['property plugin_vm_id=one', 'shared k=v', 'metric m=5'])
})

test('two gateways in one process share nothing', async (t) => {
  const plugins = () => scripted('a')
  const set = conf({ request_headers: [{ op: 'shared_set', name: 'k', value: 'v' }] })
  const get = conf({ request_headers: [{ op: 'shared_get', name: 'k' }] })
  const first = await startApp(t, { plugins: plugins() }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: set } } } }, async () => 'hello')
  })
  const second = await startApp(t, { plugins: plugins() }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: get } } } }, async () => 'hello')
  })
  await request(first.url)
  await request(second.url)
  assert.deepEqual(second.filterLog('a'), ['shared k missing'])
})

test('200 requests at once that count with compare and swap, in two plugins and two phases, lose nothing', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: scripted('a', 'b') }, (app) => {
    const count: Step[] = [{ op: 'shared_count', name: 'requests' }]
    const both = conf({ request_headers: count, response_headers: count })
    app.get('/', { config: { wasm: { plugins: { a: both, b: both } } } }, async () => {
      await sleep(5)
      return 'hello'
    })
  })
  const responses = await Promise.all(Array.from({ length: 200 }, () => request(url)))
  assert.ok(responses.every(({ status }) => status === 200))
  const counted = filterLog().map((message) => Number(/^shared requests=(\d+)$/.exec(message)![1]))
  assert.deepEqual(
    counted.sort((x, y) => x - y),
    Array.from({ length: 800 }, (_, i) => i + 1)
  )
})

test('a swap that lost is told so: what another request set meanwhile stays', async (t) => {
  const open: (() => void)[] = []
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const plugins = {
      a: conf({
        start: [{ op: 'shared_set', name: 'k', value: 'start' }],
        request_headers: [{ op: 'shared_get', name: 'k' }],
        response_headers: [{ op: 'shared_set', name: 'k', value: 'by a response', cas: true }]
      })
    }
    app.get('/', { config: { wasm: { plugins } } }, async () => {
      await new Promise<void>((resolve) => open.push(resolve))
      return 'hello'
    })
  })
  const responses = [request(url), request(url)]
  await eventually('both requests are in the handler', () => open.length === 2)
  for (const resolve of open) resolve()
  await Promise.all(responses)
  assert.deepEqual(filterLog('a'), ['shared k=start', 'shared k=start', 'shared k changed'])
})

test('a consumer takes from a queue what requests of another plugin put into it', async (t) => {
  const plugins = scripted('producer', {
    name: 'consumer',
    conf: { start: [{ op: 'register_queue', name: 'jobs' }], queue: [{ op: 'dequeue', name: 'jobs' }] }
  })
  const { url, filterLog } = await startApp(t, { plugins }, (app) => {
    const produce = conf({
      request_headers: [
        { op: 'resolve_queue', name: 'jobs' },
        { op: 'enqueue', name: 'jobs', value: 'one' },
        { op: 'enqueue', name: 'jobs', value: 'two' }
      ]
    })
    app.get('/', { config: { wasm: { plugins: { producer: produce } } } }, async () => 'hello')
  })
  await Promise.all(Array.from({ length: 20 }, () => request(url)))
  await eventually('all items are taken', () => filterLog('consumer').length >= 40)
  const taken = filterLog('consumer')
  assert.equal(taken.length, 40)
  assert.equal(taken.filter((message) => message === 'queue jobs=one').length, 20)
  assert.equal(taken.filter((message) => message === 'queue jobs=two').length, 20)
  assert.equal(taken[0], 'queue jobs=one')
})

test('after a trap a fresh instance finds the data, the items and the metrics of the one before', async (t) => {
  const { app, url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const plugins = {
      a: conf({
        start: [
          { op: 'register_queue', name: 'q' },
          { op: 'define_metric', type: 'gauge', name: 'm' }
        ],
        request_headers: [
          { op: 'shared_count', name: 'requests' },
          { op: 'increment_metric', name: 'm' },
          { op: 'get_metric', name: 'm' },
          { op: 'enqueue', name: 'q', value: 'item' },
          { op: 'if_header', map: 'request', name: 'x-trap', value: '1', steps: [{ op: 'panic', text: 'trap' }] },
          { op: 'dequeue', name: 'q' },
          { op: 'dequeue', name: 'q' },
          { op: 'dequeue', name: 'q' }
        ]
      })
    }
    app.get('/', { config: { wasm: { plugins } } }, async () => 'hello')
  })
  assert.equal((await request(url, { headers: { 'x-trap': '1' } })).status, 503)
  assert.equal((await request(url)).status, 200)
  assert.deepEqual(
    filterLog('a').filter((message) => /^(shared|metric|queue) /.test(message)),
    [
      'shared requests=1',
      'metric m=1',
      'shared requests=2',
      'metric m=2',
      'queue q=item',
      'queue q=item',
      'queue q empty'
    ]
  )
  const [status] = app.wasmGateway.status().plugins
  assert.deepEqual([status?.instances, status?.failures], [2, 1])
})
