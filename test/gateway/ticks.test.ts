import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'
import { type Step, say, scripted } from './script.ts'

// Ticks on real plugins, with and without a configuration of their own.

const tick = (ms: number): Step => ({ op: 'tick', ms })

test('a plugin with a conf of its own ticks from the start, with no route and no request', async (t) => {
  const plugins = scripted({ name: 'clock', conf: { start: [tick(20)], tick: [{ op: 'callback' }] } })
  const { app, filterLog } = await startApp(t, { plugins }, () => {})
  await eventually('three ticks have come', () => filterLog('clock').length >= 3)
  assert.equal(filterLog('clock')[0], 'tick root=1')
  const [status] = app.wasmGateway.status().plugins
  assert.deepEqual([status?.plugin_contexts, status?.http_contexts], [1, 0])
})

test('the plugin context of a route ticks from its first request, and stops when the server closes', async (t) => {
  const { app, url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const plugins = { a: { conf: { start: [tick(20)], tick: [say('tick')] } } }
    app.get('/', { config: { wasm: { plugins } } }, async () => 'hello')
  })
  await sleep(60)
  assert.deepEqual(filterLog('a'), [])
  await request(url)
  await eventually('it ticks', () => filterLog('a').length >= 2)
  await app.close()
  const count = filterLog('a').length
  await sleep(60)
  assert.equal(filterLog('a').length, count)
})

test('a tick calls an upstream', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/config', async () => 'fetched')
  })
  const call: Step = {
    op: 'call',
    upstream: upstream.node,
    headers: [
      [':method', 'GET'],
      [':path', '/config'],
      [':authority', 'config.test']
    ],
    then: [{ op: 'body', of: 'call' }]
  }
  const plugins = scripted({ name: 'poller', conf: { start: [tick(20)], tick: [call, tick(0)] } })
  const { filterLog } = await startApp(t, { plugins }, () => {})
  await eventually('the answer has come', () => filterLog('poller').length > 0)
  assert.deepEqual(filterLog('poller'), ['call body=fetched'])
})

test('a trap in a tick hurts no request, and no other plugin', async (t) => {
  const plugins = scripted('bad', { name: 'good', conf: { start: [tick(20)], tick: [say('good tick')] } })
  const { app, url, filterLog } = await startApp(t, { plugins }, (app) => {
    const bad = {
      conf: { start: [tick(10)], tick: [{ op: 'panic', text: 'tick' }], request_headers: [say('request')] }
    }
    app.get('/', { config: { wasm: { plugins: { bad } } } }, async () => 'hello')
  })
  const failures = () => app.wasmGateway.status().plugins.find(({ name }) => name === 'bad')!.failures
  for (let i = 1; i <= 3; i++) {
    assert.equal((await request(url)).status, 200)
    await eventually('it has trapped', () => failures() === i)
  }
  assert.equal(filterLog('bad').filter((message) => message === 'request').length, 3)
  const before = filterLog('good').length
  await eventually('the other one goes on', () => filterLog('good').length > before)
})

test('a plugin with a conf of its own that traps in a tick is started again, after a second', async (t) => {
  const plugins = scripted({
    name: 'a',
    conf: { start: [say('start'), tick(20)], tick: [{ op: 'panic', text: 'tick' }] }
  })
  const { app, filterLog } = await startApp(t, { plugins }, () => {})
  const starts = () => filterLog('a').filter((message) => message === 'start').length
  const failures = () => app.wasmGateway.status().plugins[0]!.failures
  await eventually('it has trapped', () => failures() === 1)
  await sleep(300)
  assert.equal(starts(), 1, 'not at once')
  await eventually('it is started again', () => starts() === 2)
})

test('a request reads what a tick has set', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: scripted('a') }, (app) => {
    const conf = {
      start: [tick(20)],
      tick: [{ op: 'shared_set', name: 'k', value: 'by a tick' }, say('ticked'), tick(0)],
      request_headers: [{ op: 'shared_get', name: 'k' }]
    }
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  await request(url)
  await eventually('it ticks', () => filterLog('a').includes('ticked'))
  await request(url)
  assert.deepEqual(filterLog('a'), ['shared k missing', 'ticked', 'shared k=by a tick'])
})
