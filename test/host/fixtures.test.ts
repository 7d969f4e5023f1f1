import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { basename, dirname, join, sep } from 'node:path'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { type AbiVersion, Outcome } from '../../lib/host/index.ts'
import { FakeStream } from './fake-stream.ts'
import { type HostOptions, readFixture, startHost } from './host.ts'

// Modules of real compilers and SDKs: each is loaded, started, and sees one exchange from its beginning to its end.

const SCRIPT = JSON.stringify({ request_headers: [{ op: 'set', map: 'request', name: 'x-script', value: '1' }] })

const FIXTURES: Record<string, HostOptions & { abi: AbiVersion }> = {
  log: { abi: '0.2.0', configuration: 'blahblah' },
  'fault-injection': { abi: '0.2.0', configuration: '{"http_status":403,"body":"no"}' },
  'forward-auth': { abi: '0.2.0', configuration: '{"uri":"http://127.0.0.1:1/auth"}' },
  'request-body': { abi: '0.2.0', configuration: '{"processReqBody":true,"start":0,"size":100}' },
  'response-rewrite': { abi: '0.2.0', configuration: '{"headers":[{"name":"x-r","value":"1"}],"body":"new"}' },
  'script-go': { abi: '0.2.0', configuration: SCRIPT },
  'script-rust': { abi: '0.2.1', configuration: SCRIPT },
  'script-rust-unknown': { abi: '0.2.1', configuration: SCRIPT },
  'script-as': { abi: '0.2.1', configuration: SCRIPT },
  'hello-rust-0-1': { abi: '0.1.0', configuration: 'world', vmConfiguration: 'vm' },
  'hello-as': { abi: '0.2.0', configuration: 'world', rootId: 'hello-as' },
  'hello-c': { abi: '0.2.1' },
  hostile: { abi: '0.2.1' },
  stamp: { abi: '0.2.1' },
  look: { abi: '0.2.1', configuration: 'headers' },
  'stamp-go': { abi: '0.2.0' },
  'shared-rate-limit': { abi: '0.2.0', configuration: '{"limit":1,"window_seconds":60}' },
  'hello-c-wasi': { abi: '0.2.1', environment: { GREETING: 'hello' } }
}

const root = join(import.meta.dirname, '..', '..', 'fixtures')
const modules = readdirSync(root, { recursive: true, encoding: 'utf8' })
  // Deeper ones are what building leaves behind.
  .filter((path) => path.endsWith('.wasm') && path.split(sep).length === 2)
  .map((path) => ({ folder: dirname(path), name: basename(path, '.wasm') }))

test('each fixture has a configuration here', () => {
  assert.deepEqual(modules.map(({ name }) => name).sort(), Object.keys(FIXTURES).sort())
})

for (const { folder, name } of modules) {
  test(`${name} is loaded, is started, and sees an exchange`, async () => {
    const { abi, ...options } = FIXTURES[name]!
    const host = await startHost(readFixture(folder, name), options)
    assert.equal(host.plugin.module.abiVersion, abi)
    const stream = new FakeStream(['user-agent', 'test'])
    stream.builtIn.set('remote_addr', '127.0.0.1')
    const context = host.open(stream)

    const phase = context.requestHeaders(false)
    if (host.httpCalls.sent.length > 0) host.httpCalls.answer(0)
    const outcome = await phase
    assert.equal(outcome, name === 'fault-injection' ? Outcome.Stop : Outcome.Continue)
    if (context.takesRequestBody(true)) {
      assert.equal(await context.requestBodyPhase({ bytes: Buffer.from('body'), changed: false }), Outcome.Continue)
    }
    stream.respond(['content-type', 'text/plain'])
    const after = await context.responseHeaders(false)
    if (context.takesResponseBody(true))
      await context.responseBodyPhase({ bytes: Buffer.from('old'), changed: false }, true)
    context.end(false)
    await host.filter.close()

    assert.equal(host.instance.failure, undefined)
    assert.notEqual(after, Outcome.Failed)
    assert.equal(host.instance.contexts.size, 0)
    const problems = [...host.log.lines, ...stream.log.lines].filter(({ err }) => err !== undefined)
    assert.deepEqual(problems, [])
  })
}

for (const name of ['script-go', 'script-rust', 'script-rust-unknown', 'script-as']) {
  const folder = name.replace('-unknown', '')

  test(`${name} asks the host for what its SDK knows`, async () => {
    const request_headers = [
      { op: 'callback' },
      { op: 'set', map: 'request', name: 'x-a', value: '1' },
      { op: 'add', map: 'request', name: 'x-a', value: '2' },
      { op: 'get', map: 'request', name: 'x-a' },
      { op: 'get', map: 'request', name: 'x-none' },
      { op: 'remove', map: 'request', name: 'user-agent' },
      { op: 'set_property', path: ['k', 'l'], value: 'v' },
      { op: 'property', path: ['k', 'l'] },
      { op: 'property', path: ['unknown'] },
      { op: 'time' }
    ]
    const configuration = JSON.stringify({ start: [{ op: 'config' }], request_headers })
    const host = await startHost(readFixture(folder, name), { configuration })
    const stream = new FakeStream(['user-agent', 'test'])
    assert.equal(host.open(stream).requestHeaders(true), Outcome.Continue)
    assert.deepEqual(host.log.messages('info'), [`config=${configuration}`])
    const [callback, ...messages] = stream.log.messages('info')
    assert.match(callback!, /^request_headers ctx=2 .*headers=5 .*eos=true$/)
    assert.deepEqual(messages, [
      'request x-a=1',
      'request x-none missing',
      'property k.l=v',
      'property unknown missing',
      'time ok'
    ])
    assert.deepEqual(stream.requestHeaders.entries().slice(8), ['x-a', '1', 'x-a', '2'])
  })

  test(`${name} pauses for an http call, and goes on with its answer`, async () => {
    const steps = [
      { op: 'body', of: 'call' },
      { op: 'get', map: 'call', name: ':status' },
      { op: 'set', map: 'request', name: 'x-user', value: 'ann' },
      { op: 'continue', stream: 'request' }
    ]
    const headers = [
      [':method', 'GET'],
      [':path', '/auth'],
      [':authority', 'auth.example']
    ]
    const call = { op: 'call', upstream: 'auth', headers, body: 'hello', then: steps }
    const configuration = JSON.stringify({ request_headers: [call, { op: 'pause' }] })
    const host = await startHost(readFixture(folder, name), { configuration })
    const stream = new FakeStream()
    const phase = host.open(stream).requestHeaders(true)
    const [sent] = host.httpCalls.sent
    assert.equal(sent?.upstream, 'auth')
    assert.deepEqual(sent?.headers, headers.flat())
    assert.equal(sent?.body.toString(), 'hello')
    host.httpCalls.answer(0, { body: Buffer.from('ann') })
    assert.equal(await phase, Outcome.Continue)
    assert.deepEqual(stream.log.messages(), ['call body=ann', 'call :status=200'])
    assert.equal(stream.requestHeaders.get('x-user'), 'ann')
  })

  test(`${name} shares data, queues and metrics, ticks, and calls foreign functions`, async (t) => {
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const start = [
      { op: 'shared_get', name: 'k' },
      { op: 'shared_set', name: 'k', value: 'v' },
      { op: 'shared_set', name: 'k', value: 'w', cas: true },
      { op: 'shared_get', name: 'k' },
      { op: 'shared_set', name: 'k', value: 'x', cas: true },
      { op: 'shared_set', name: 'k', value: 'y', cas: true },
      { op: 'shared_count', name: 'n' },
      { op: 'shared_count', name: 'n' },
      { op: 'resolve_queue', name: 'q' },
      { op: 'register_queue', name: 'q' },
      { op: 'resolve_queue', name: 'q' },
      { op: 'enqueue', name: 'q', value: 'item' },
      { op: 'define_metric', type: 'counter', name: 'c' },
      { op: 'increment_metric', name: 'c' },
      { op: 'increment_metric', name: 'c', amount: 4 },
      { op: 'get_metric', name: 'c' },
      { op: 'define_metric', type: 'gauge', name: 'g' },
      { op: 'increment_metric', name: 'g', amount: -7 },
      { op: 'get_metric', name: 'g' },
      { op: 'define_metric', type: 'histogram', name: 'h' },
      { op: 'record_metric', name: 'h', amount: 9 },
      { op: 'foreign', name: 'reverse', value: 'abc' },
      { op: 'foreign', name: 'unknown', value: 'abc' },
      { op: 'tick', ms: 50 }
    ]
    const tick = [{ op: 'callback' }, { op: 'tick', ms: 0 }]
    const queue = [{ op: 'callback' }, { op: 'dequeue', name: 'q' }, { op: 'dequeue', name: 'q' }]
    const reverse = (parameters: Buffer) => Buffer.from(parameters).reverse()
    const configuration = JSON.stringify({ start, tick, queue })
    const host = await startHost(readFixture(folder, name), { configuration, foreignFunctions: { reverse } })
    host.open()
    await turn()
    for (let i = 0; i < 3; i++) t.mock.timers.tick(50)
    const id = host.plugin.settings.queues.resolve('', 'q')
    assert.deepEqual(host.log.messages(), [
      'shared k missing',
      'shared k=w',
      'shared k changed',
      'shared n=1',
      'shared n=2',
      'queue q missing',
      'metric c=5',
      'metric g=-7',
      'foreign reverse=cba',
      'foreign unknown missing',
      `queue root=1 queue=${id}`,
      'queue q=item',
      'queue q empty',
      'tick root=1'
    ])
    assert.deepEqual(host.plugin.settings.metrics.all().at(-1), {
      type: 2,
      name: 'h',
      vmId: '',
      plugin: 'test',
      value: 9n,
      count: 1n
    })
  })

  test(`${name} panics, which fails its instance`, async () => {
    const configuration = JSON.stringify({ request_headers: [{ op: 'panic', text: 'no more' }] })
    const host = await startHost(readFixture(folder, name), { configuration })
    const stream = new FakeStream()
    assert.equal(host.open(stream).requestHeaders(true), Outcome.Failed)
    assert.ok(host.instance.failure)
    assert.equal(host.open().failed, false, 'the next request has a fresh one')
  })
}
