import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { fixture, startApp, startUpstream } from '../app.ts'
import { request } from '../http.ts'
import { scripted } from './script.ts'

/** Samples of Prometheus' text: `name{label="value"}` to value. */
function samplesOf(text: string): Map<string, number> {
  const lines = text.split('\n').filter((line) => line !== '' && !line.startsWith('#'))
  return new Map(lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]))
}

test('calls into filters are timed, by plugin and callback, in buckets that add up', async (t) => {
  const { app, url, quiet } = await startApp(t, { plugins: scripted('a', 'b'), metrics: {} }, (app) => {
    const plugins = { a: { conf: { request_headers: [{ op: 'pause' }, { op: 'continue', stream: 'request' }] } } }
    app.get('/', { config: { wasm: { plugins } } }, async () => 'hello')
  })
  for (let i = 0; i < 3; i++) assert.equal((await request(url)).text, 'hello')
  await quiet()
  const samples = samplesOf(await app.wasmGateway.metrics.metrics())
  const labels = 'plugin="a",callback="proxy_on_request_headers"'
  const name = 'wasm_gateway_callback_duration_seconds'
  assert.equal(samples.get(`${name}_count{${labels}}`), 3)
  assert.equal(samples.get(`${name}_bucket{le="+Inf",${labels}}`), 3)
  assert.equal(samples.get(`${name}_count{plugin="a",callback="proxy_on_configure"}`), 1)
  const sum = samples.get(`${name}_sum{${labels}}`)!
  assert.ok(sum > 1e-6 && sum < 3, String(sum))
  const buckets = [...samples].filter(([key]) => key.startsWith(`${name}_bucket`) && key.includes(labels))
  assert.equal(buckets.length, 20)
  assert.deepEqual(
    buckets.map(([, value]) => value),
    buckets.map(([, value]) => value).sort((one, other) => one - other)
  )
  assert.ok(![...samples.keys()].some((key) => key.includes('plugin="b"') && key.includes('callback=')), 'not called')
})

test('without the option nothing is timed, and the rest is there', async (t) => {
  const { app, url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: { tick: [] } } } } } }, async () => 'hello')
  })
  await request(url)
  const text = await app.wasmGateway.metrics.metrics()
  assert.ok(!text.includes('callback_duration'))
  assert.equal(samplesOf(text).get('wasm_gateway_running{plugin="a"}'), 1)
  assert.ok(samplesOf(text).get('wasm_gateway_memory_bytes{plugin="a"}')! > 65_536)
})

test('local responses, traps, restarts, calls by result and contexts are counted', async (t) => {
  const upstream = await startUpstream(t, (app) => {
    app.get('/ok', async () => 'fine')
    app.get('/missing', (_request, reply) => reply.code(404).send('no'))
  })
  const when = (value: string, ...steps: object[]) => ({ op: 'if_header', map: 'request', name: 'x-do', value, steps })
  const call = (node: string, path: string) => ({ op: 'call', upstream: node, headers: [[':path', path]] })
  const conf = {
    request_headers: [
      when('reply', { op: 'reply', status: 403, headers: [], body: 'no' }),
      when('panic', { op: 'panic', text: 'oh no' }),
      when('ok', call(upstream.node, '/ok')),
      when('missing', call(upstream.node, '/missing')),
      when('refused', call('127.0.0.1:1', '/')),
      when('nowhere', call('', '/'))
    ]
  }
  const { app, url, quiet } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  for (const what of ['reply', 'reply', 'ok', 'missing', 'refused', 'nowhere', 'panic', 'none']) {
    await request(url, { headers: { 'x-do': what } })
  }
  await quiet()
  const samples = samplesOf(await app.wasmGateway.metrics.metrics())
  const expected = {
    'wasm_gateway_local_responses_total{plugin="a",status="403"}': 2,
    'wasm_gateway_traps_total{plugin="a",callback="proxy_on_request_headers"}': 1,
    'wasm_gateway_restarts_total{plugin="a"}': 1,
    'wasm_gateway_calls_total{plugin="a",type="http",result="2xx"}': 1,
    'wasm_gateway_calls_total{plugin="a",type="http",result="4xx"}': 1,
    'wasm_gateway_calls_total{plugin="a",type="http",result="failed"}': 1,
    'wasm_gateway_calls_total{plugin="a",type="http",result="refused"}': 1,
    'wasm_gateway_plugin_contexts{plugin="a"}': 1,
    'wasm_gateway_http_contexts{plugin="a"}': 0,
    'wasm_gateway_calls_outstanding{plugin="a"}': 0
  }
  assert.deepEqual(Object.fromEntries(Object.keys(expected).map((key) => [key, samples.get(key)])), expected)
})

test('the metrics of filters have names that Prometheus takes, and none takes the place of another', async (t) => {
  const define = (type: string, name: string) => ({ op: 'define_metric', type, name })
  const conf = {
    request_headers: [
      define('counter', 'requests'),
      { op: 'increment_metric', name: 'requests', amount: 2 },
      define('counter', 'a.b'),
      { op: 'increment_metric', name: 'a.b', amount: 3 },
      define('counter', 'a_b'),
      { op: 'increment_metric', name: 'a_b', amount: 4 },
      define('gauge', 'a-b'),
      { op: 'record_metric', name: 'a-b', amount: -5 },
      define('histogram', 'h"\\\n'),
      { op: 'record_metric', name: 'h"\\\n', amount: 6 },
      define('gauge', 'h____sum'),
      { op: 'record_metric', name: 'h____sum', amount: 7 }
    ]
  }
  const plugins = [{ name: 'a', file: fixture('script-rust') }]
  const { app, url } = await startApp(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).status, 200)
  const text = await app.wasmGateway.metrics.metrics()
  const custom = Object.fromEntries([...samplesOf(text)].filter(([key]) => key.startsWith('wasmcustom_')))
  assert.deepEqual(custom, {
    'wasmcustom_requests{plugin="a",vm_id=""}': 2,
    'wasmcustom_a_b{plugin="a",vm_id="",metric="a.b"}': 3,
    'wasmcustom_a_b{plugin="a",vm_id=""}': 4,
    'wasmcustom_a_b_gauge{plugin="a",vm_id="",metric="a-b"}': -5,
    'wasmcustom_h____sum{plugin="a",vm_id="",metric="h\\"\\\\\\n"}': 6,
    'wasmcustom_h____count{plugin="a",vm_id="",metric="h\\"\\\\\\n"}': 1,
    'wasmcustom_h____sum_gauge{plugin="a",vm_id="",metric="h____sum"}': 7
  })
  assert.match(text, /^# TYPE wasmcustom_requests counter$/m)
  assert.match(text, /^# TYPE wasmcustom_a_b_gauge gauge$/m)
  assert.match(text, /^# TYPE wasmcustom_h___ summary$/m)
})

test('metrics are served at their path, to addresses that are allowed, and no filter runs on that', async (t) => {
  const plugins = scripted('a')
  const reply = { request_headers: [{ op: 'reply', status: 403, headers: [], body: 'no' }] }
  const global_rules = [{ id: 1, plugins: { a: { conf: reply } } }]
  const { url } = await startApp(t, { plugins, global_rules, metrics: { path: '/metrics' } }, () => {})
  const answer = await request(`${url}/metrics`)
  assert.equal(answer.status, 200)
  assert.match(String(answer.headers['content-type']), /^text\/plain; version=0\.0\.4/)
  assert.match(answer.text, /^# TYPE wasm_gateway_callback_duration_seconds histogram$/m)
  assert.equal((await request(`${url}/other`)).status, 403)

  const other = await startApp(t, { plugins, metrics: { path: '/metrics', allow: ['10.0.0.0/8'] } }, () => {}, {
    trustProxy: true
  })
  const refused = await request(`${other.url}/metrics`, { headers: { 'x-forwarded-for': '10.0.0.1' } })
  assert.deepEqual([refused.status, refused.text], [403, '{"error_msg":"your address is not allowed (metrics.allow)"}'])
})

test('metrics stand on the listener of their own, or on that of the Admin API', async (t) => {
  const listeners = ({ lines }: { lines: { msg: string }[] }, name: string) =>
    lines.flatMap(({ msg }) => new RegExp(`^${name} listening at (.*)`).exec(msg)?.[1] ?? [])
  const listen = { port: 0 }
  const own = await startApp(t, { metrics: { path: '/metrics', listen } }, () => {})
  assert.equal((await request(`${own.url}/metrics`)).status, 404)
  assert.equal((await request(`${listeners(own, 'Metrics')[0]}/metrics`)).status, 200)

  const admin = await startApp(t, { metrics: { path: '/metrics' }, admin: { key: 'secret', listen } }, () => {})
  assert.equal((await request(`${admin.url}/metrics`)).status, 404)
  assert.equal((await request(`${listeners(admin, 'Admin API')[0]}/metrics`)).status, 200)
})

test('a counter does not fall when its plugin is replaced', async (t) => {
  const conf = { request_headers: [{ op: 'reply', status: 418, headers: [], body: '' }] }
  const { app, url } = await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf } } } } }, async () => 'hello')
  })
  await request(url)
  await app.wasmGateway.reload({ plugins: [{ name: 'a', file: fixture('script-go'), vm_conf: 'another' }] })
  await request(url)
  const samples = samplesOf(await app.wasmGateway.metrics.metrics())
  assert.equal(samples.get('wasm_gateway_local_responses_total{plugin="a",status="418"}'), 2)
})

test('the dashboard for Grafana asks for metrics that there are, by labels that they have', async (t) => {
  const dashboard = readFileSync(join(import.meta.dirname, '..', '..', 'docs', 'grafana-dashboard.json'), 'utf8')
  const { app } = await startApp(t, { metrics: {} }, () => {})
  const text = await app.wasmGateway.metrics.metrics()
  const types = new Map([...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => [name, type]))
  const asked = new Set(dashboard.match(/wasm_gateway_\w+/g))
  for (const name of asked) {
    const isHistogram = /_(?:bucket|sum|count)$/.test(name)
    assert.equal(types.has(name.replace(/_(?:bucket|sum|count)$/, '')), true, name)
    if (isHistogram) assert.equal(types.get(name.replace(/_(?:bucket|sum|count)$/, '')), 'histogram', name)
  }
  for (const name of types.keys()) {
    assert.ok(
      [...asked].some((asked) => asked.startsWith(name!)),
      `${name} is not shown`
    )
  }
})
