import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { copyFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import Fastify from 'fastify'
import wasmGateway, { type PluginDeclaration, type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, type LogLine, startApp, startUpstream } from '../app.ts'
import { eventually } from '../eventually.ts'
import { folder } from '../folder.ts'
import { Guest } from '../host/guest.ts'
import { request } from '../http.ts'
import { type Script, say } from './script.ts'
import { greet, startGrpcNode } from './upstream/grpc-nodes.ts'

const LANGUAGES = ['script-go', 'script-rust', 'script-as']
const warnings = (lines: LogLine[]) => lines.filter(({ level }) => level === 40).map(({ msg }) => msg)

const call = (upstream: string, headers: [string, string][] = [], then = [{ op: 'body', of: 'call' }]) => ({
  op: 'call',
  upstream,
  headers,
  then
})

/** An application with one route, on which a plugin runs a script. */
function startScript(
  t: TestContext,
  script: Script,
  declaration: Partial<PluginDeclaration> = {},
  options: WasmGatewayOptions = {}
) {
  const plugins = [{ name: 'a', file: fixture('script-go'), ...declaration }]
  return startApp(t, { ...options, plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: script } } } } }, async () => 'hello')
  })
}

/** Starts an upstream that counts the connections to it. */
async function startCounting(t: TestContext) {
  const upstream = await startUpstream(t, (app) => {
    app.get('/', async ({ headers }) => `called by ${headers.host}`)
  })
  const counter = { connections: 0 }
  upstream.app.server.on('connection', () => counter.connections++)
  return { ...upstream, counter }
}

async function refusal(options: WasmGatewayOptions): Promise<Error & { code: string }> {
  const app = Fastify()
  try {
    await app.register(wasmGateway, options)
  } catch (error) {
    return error as Error & { code: string }
  } finally {
    await app.close()
  }
  assert.fail('it started')
}

for (const language of LANGUAGES) {
  test(`a filter reaches what its hosts list, and nothing else (${language})`, async (t) => {
    const [listed, other] = await Promise.all([startCounting(t), startCounting(t)])
    const script = { request_headers: [call(listed.node), call(other.node), call(other.node)] }
    const { url, lines, filterLog } = await startScript(t, script, { file: fixture(language), hosts: [listed.node] })
    for (let i = 0; i < 2; i++) assert.equal((await request(url)).text, 'hello')
    const own = filterLog().filter((line) => !line.startsWith('the filter called'))
    assert.deepEqual(
      own.map((line) => line.replace(/^(call refused): .*/, '$1')),
      new Array(2).fill(['call refused', 'call refused', `call body=called by ${listed.node}`]).flat()
    )
    assert.deepEqual(warnings(lines), [`the filter called "${other.node}", which its \`hosts\` do not list`])
    assert.equal(other.counter.connections, 0)
  })
}

test('a call goes to the name that is listed, whatever its authority says', async (t) => {
  const [listed, other] = await Promise.all([startCounting(t), startCounting(t)])
  const script = {
    request_headers: [
      call(listed.node, [[':authority', other.node]]),
      call(other.node, [[':authority', listed.node]]),
      call(listed.node, [
        [':path', `http://${other.node}/`],
        ['host', other.node]
      ])
    ]
  }
  const { url, filterLog } = await startScript(t, script, { hosts: [listed.node] })
  await request(url)
  const [warning, refused, ...answers] = filterLog()
  assert.equal(warning, `the filter called "${other.node}", which its \`hosts\` do not list`)
  assert.match(refused!, /^call refused: /)
  assert.ok(answers.includes(`call body=called by ${other.node}`), 'the authority is sent as the filter wants it')
  assert.equal(listed.counter.connections > 0, true)
  assert.equal(other.counter.connections, 0)
})

test('an upstream is reached by its id when that is listed, and an id is no address', async (t) => {
  const [one, two] = await Promise.all([startCounting(t), startCounting(t)])
  const upstreams = [
    { id: 'one', nodes: { [one.node]: 1 } },
    { id: 'two', nodes: { [two.node]: 1 } },
    // Whoever may call that address may not call what stands in place of it.
    { id: '127.0.0.1:1', nodes: { [two.node]: 1 } }
  ]
  const script = { request_headers: ['one', 'two', '127.0.0.1:1', one.node, 'ONE'].map((name) => call(name)) }
  const { url, lines, filterLog } = await startScript(t, script, { hosts: ['one', '127.0.0.1/32'] }, { upstreams })
  await request(url)
  assert.deepEqual(warnings(lines), [
    'the filter called "two", which its `hosts` do not list',
    'the filter called "127.0.0.1:1", which its `hosts` do not list',
    'the filter called "ONE", which its `hosts` do not list'
  ])
  assert.equal(filterLog().filter((line) => line.startsWith('call body=called by')).length, 2)
  assert.equal(two.counter.connections, 0)
})

test('calls and streams of gRPC reach what is listed, and nothing else', async (t) => {
  const [listed, other] = await Promise.all([startGrpcNode(t, greet), startGrpcNode(t, greet)])
  const guest = new Guest()
  const target = (upstream: string | Buffer) => [
    guest.text(upstream),
    guest.text('acme.Greeter'),
    guest.text('Greet'),
    guest.text('')
  ]
  const message = (field: string) => Buffer.concat([Buffer.from([10, field.length]), Buffer.from(field)])
  const service = message(message(other.address).toString('latin1'))
  const calls = [listed.address, other.address, service].map((upstream) =>
    guest.call('proxy_grpc_call', ...target(upstream), guest.text('world'), 5000, guest.cell())
  )
  const stream = guest.call('proxy_grpc_stream', ...target(other.address), guest.cell())
  // The sum says it: 4 is what they answer to an upstream that is not known.
  const sum = [...calls, stream].map(({ wat }) => wat).join('\n')
  const total = [...calls, stream].reduce(
    (wat, { status }) => `(i32.add ${wat} (i32.load (i32.const ${status})))`,
    '(i32.const 0)'
  )
  guest.on(
    'proxy_on_request_headers',
    sum,
    `(if (i32.eq ${total} (i32.const 12)) (then ${guest.call('proxy_log', 2, guest.text('refused thrice')).wat}))`
  )
  guest.on('proxy_on_grpc_receive', guest.call('proxy_log', 2, guest.text('answered')))
  const plugins = [{ name: 'a', module: await guest.module(), hosts: [listed.address] }]
  const { url, lines, filterLog } = await startApp(t, { plugins }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: 'conf' } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).text, 'hello')
  const warning = `the filter called "${other.address}", which its \`hosts\` do not list`
  assert.deepEqual(filterLog(), [warning, 'refused thrice', 'answered'])
  assert.deepEqual(warnings(lines), [warning])
  assert.equal(other.accepted(), 0)
})

for (const language of LANGUAGES) {
  test(`a filter does the same with what a report says that it uses (${language})`, async (t) => {
    const { node } = await startCounting(t)
    const script = {
      request_headers: [
        call(node),
        { op: 'set', map: 'request', name: 'x-a', value: '1' },
        { op: 'get', map: 'request', name: 'x-a' }
      ],
      response_headers: [{ op: 'add', map: 'response', name: 'x-b', value: '2' }, { op: 'time' }]
    }
    const run = async (allow: PluginDeclaration['allow']) => {
      const { url, lines, filterLog } = await startScript(t, script, {
        file: fixture(language),
        ...(allow !== undefined && { allow })
      })
      const answers = [await request(url), await request(url)].map(({ text, headers }) => [text, headers['x-b']])
      return { lines, answers, log: filterLog().filter((line) => !line.startsWith('the filter uses')) }
    }
    const report = await run({ report: true })
    const used = report.lines.filter(({ msg }) => msg.startsWith('the filter uses')) as (LogLine & {
      allow: string[]
    })[]
    const { allow } = used.at(-1)!
    assert.ok(used.every(({ level, plugin }) => level === 30 && plugin === 'a'))
    assert.deepEqual(new Set(used.map(({ msg }) => msg)).size, used.length)
    assert.deepEqual(allow, used.map(({ msg }) => msg.replace('the filter uses ', '')).sort())
    assert.ok(allow.includes('proxy_http_call') && !allow.includes('proxy_set_shared_data'))
    const limited = await run(allow)
    const free = await run(undefined)
    assert.deepEqual(report.answers, [
      ['hello', '2'],
      ['hello', '2']
    ])
    for (const { answers, log, lines } of [limited, free]) {
      assert.deepEqual(answers, report.answers)
      assert.deepEqual(log, report.log)
      assert.deepEqual(warnings(lines), [])
    }
  })
}

test('a function that is not allowed has no effect, and the filter is told so', async (t) => {
  const { counter, node } = await startCounting(t)
  const script = { request_headers: [call(node), call(node), say('on')] }
  const allow = [
    'proxy_log',
    'proxy_get_*',
    'proxy_set_effective_context',
    'environ_*',
    'fd_*',
    'clock_time_get',
    'random_get',
    'args_*',
    'sched_yield',
    'poll_oneoff'
  ]
  const { url, lines, filterLog } = await startScript(t, script, { allow })
  for (let i = 0; i < 2; i++) assert.equal((await request(url)).text, 'hello')
  const warning = 'the filter called env.proxy_http_call, which its `allow` does not list'
  assert.deepEqual(warnings(lines), [warning])
  const own = filterLog().filter((line) => line !== warning)
  assert.equal(own.filter((line) => line.startsWith('call refused: ')).length, 4)
  assert.equal(own.filter((line) => line === 'on').length, 2)
  assert.equal(counter.connections, 0)
})

test('what is wrong with hosts and allow is found when the server starts, and named with its place', async () => {
  const plugins = (declaration: object) => ({ plugins: [{ name: 'a', file: fixture('log'), ...declaration }] })
  for (const [declaration, message] of [
    [{ hosts: ['auth', 'http://auth'] }, /: plugins\.a\.hosts\[1\]: "http:\/\/auth" is no host, /],
    [
      { allow: ['proxy_log', 'proxy_lok'] },
      /: plugins\.a\.allow\[1\]: there is no host function "proxy_lok" \(did you mean proxy_log,? ?/
    ],
    [{ hosts: 'auth' }, /: plugins\[0\]\.hosts: must be array$/],
    [{ hosts: [1] }, /: plugins\[0\]\.hosts\[0\]: must be string$/],
    [{ allow: 'all' }, /: plugins\[0\]\.allow: must be array or must be object$/],
    [{ allow: { report: true, only: [] } }, /plugins\[0\]\.allow\.only: is no known key$/],
    [{ sha256: 'abc' }, /: plugins\[0\]\.sha256: must be 64 hexadecimal digits/],
    [{ sha256: '' }, /: plugins\[0\]\.sha256: must be 64 hexadecimal digits/]
  ] as const) {
    const error = await refusal(plugins(declaration) as WasmGatewayOptions)
    assert.equal(error.code, 'FST_WASM_OPTIONS_INVALID')
    assert.match(error.message, message)
  }
  const upstreams = [{ id: 'default/svc/80', nodes: { '127.0.0.1:1': 1 } }]
  const hosts = ['default/svc/80', '12']
  const app = Fastify()
  await app.register(wasmGateway, { ...plugins({ hosts }), upstreams })
  await app.close()
})

test('a reload that changes hosts or allow makes a new instance, one that changes nothing keeps it', async (t) => {
  const [one, two] = await Promise.all([startCounting(t), startCounting(t)])
  const script = { request_headers: [call(one.node), call(two.node)] }
  const optionsOf = (declaration: Partial<PluginDeclaration>): WasmGatewayOptions => ({
    plugins: [{ name: 'a', file: fixture('script-go'), ...declaration }]
  })
  const { app, url } = await startScript(t, script, { hosts: [one.node], allow: ['*'] })
  const ask = async () => {
    await request(url)
    return app.wasmGateway.status().plugins[0]!.instances
  }
  assert.equal(await ask(), 1)
  const instance = () => app.wasmGateway.status().plugins[0]!.instance!.started_at
  const first = instance()
  await app.wasmGateway.reload(optionsOf({ hosts: [one.node], allow: ['*'] }))
  await ask()
  assert.equal(instance(), first)
  assert.deepEqual([one.counter.connections > 0, two.counter.connections], [true, 0])
  await app.wasmGateway.reload(optionsOf({ hosts: [two.node], allow: ['*'] }))
  await ask()
  assert.notEqual(instance(), first)
  const second = instance()
  assert.ok(two.counter.connections > 0)
  const before = one.counter.connections
  await app.wasmGateway.reload(optionsOf({ hosts: [two.node], allow: { report: true } }))
  await ask()
  assert.notEqual(instance(), second)
  const third = instance()
  await app.wasmGateway.reload(optionsOf({ hosts: [two.node], allow: { report: true } }))
  await ask()
  assert.equal(instance(), third)
  assert.equal(one.counter.connections, before)
})

const digestOf = async (file: string) =>
  createHash('sha256')
    .update(await readFile(file))
    .digest('hex')

test('a module with another digest than its pin is refused, and one with that digest runs', async (t) => {
  const file = fixture('log')
  const found = await digestOf(file)
  const wanted = 'AB'.repeat(32)
  const error = await refusal({ plugins: [{ name: 'a', file, sha256: wanted }] })
  assert.equal(error.code, 'FST_WASM_DIGEST_MISMATCH')
  assert.equal(
    error.message,
    `plugin [a]: the module ${file} is refused: its SHA-256 digest is ${found}, and \`sha256\` wants ${wanted.toLowerCase()}`
  )
  const inCode = await refusal({ plugins: [{ name: 'a', module: await readFile(file), sha256: wanted }] })
  assert.match(inCode.message, /^plugin \[a\]: the module given in code is refused: /)
  for (const sha256 of [found, found.toUpperCase()]) {
    const { url } = await startApp(t, { plugins: [{ name: 'a', file, sha256 }] }, (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf: 'x' } } } } }, async () => 'hello')
    })
    assert.equal((await request(url)).text, 'hello')
  }
})

test('a reload with a module that has changed under its pin is refused whole, and what was loaded stays', async (t) => {
  const file = join(await folder(t), 'filter.wasm')
  await copyFile(fixture('log'), file)
  const sha256 = await digestOf(file)
  const options = { plugins: [{ name: 'a', file, sha256 }] }
  const { app, url, filterLog } = await startApp(t, options, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: 'conf' } } } } }, async () => 'hello')
  })
  await request(url)
  const status = JSON.stringify(app.wasmGateway.status().plugins)
  const lines = filterLog().length
  await copyFile(fixture('script-go'), file)
  await assert.rejects(app.wasmGateway.reload({ ...options, global_rules: [{ id: 1, plugins: {} }] }), {
    code: 'FST_WASM_DIGEST_MISMATCH'
  })
  assert.equal(JSON.stringify(app.wasmGateway.status().plugins), status)
  await request(url)
  assert.ok(filterLog().length > lines)
  // Without the pin it is loaded; with its own as well.
  await copyFile(fixture('hello-c'), file)
  await app.wasmGateway.reload({ plugins: [{ name: 'a', file, sha256: await digestOf(file) }] })
  assert.equal((await request(url)).headers['x-c'], '1')
})

test('a module that is put in place of a pinned one while the server runs is not loaded', async (t) => {
  const root = await folder(t)
  const file = join(root, 'filter.wasm')
  await copyFile(fixture('hello-c'), file)
  const config = join(root, 'config.json')
  const plugins = [{ name: 'a', file: 'filter.wasm', sha256: await digestOf(file) }]
  const text = JSON.stringify({ wasm: { plugins }, global_rules: [{ id: 1, plugins: { a: { conf: 'conf' } } }] })
  await writeFile(config, text)
  const { url, lines } = await startApp(t, { config }, (app) => {
    app.get('/', async () => 'hello')
  })
  assert.equal((await request(url)).headers['x-c'], '1')
  await copyFile(fixture('log'), file)
  await eventually('the change is refused', () => lines.some(({ msg }) => msg.includes('SHA-256 digest')))
  assert.match(lines.find(({ level }) => level === 50)!.msg, /^the configuration stays as it was: plugin \[a\]: /)
  assert.equal((await request(url)).headers['x-c'], '1')
})

test("a module sees what env gives it, and nothing of the process's own environment", async (t) => {
  process.env.GATEWAY_SECRET = 'do not tell'
  t.after(() => {
    delete process.env.GATEWAY_SECRET
  })
  const names = ['GIVEN', 'GATEWAY_SECRET', 'PATH', 'HOME', 'NODE_OPTIONS']
  const script = { request_headers: names.map((name) => ({ op: 'env', name })) }
  for (const language of ['script-go', 'script-rust']) {
    const { url, filterLog } = await startScript(t, script, { file: fixture(language), env: { GIVEN: 'this' } })
    await request(url)
    assert.deepEqual(filterLog(), ['env GIVEN=this', ...names.slice(1).map((name) => `env ${name} missing`)])
  }
})

test('the environment of a module has as many entries as it was given, none by default', async (t) => {
  for (const [env, wanted] of [
    [undefined, 'none'],
    [{ A: '1', B: '' }, 'two']
  ] as const) {
    const guest = new Guest()
    const [count, size] = [guest.cell(), guest.cell()]
    const say = (text: string) => guest.call('proxy_log', 2, guest.text(text)).wat
    guest.on('proxy_on_request_headers', guest.call('environ_sizes_get', count, size))
    guest.on(
      'proxy_on_request_headers',
      `(if (i32.eqz (i32.load ${count.wat})) (then ${say('none')}))`,
      `(if (i32.eq (i32.load ${count.wat}) (i32.const 2)) (then ${say('two')}))`
    )
    const plugins = [{ name: 'a', module: await guest.module(), ...(env !== undefined && { env }) }]
    const { url, filterLog } = await startApp(t, { plugins }, (app) => {
      app.get('/', { config: { wasm: { plugins: { a: { conf: 'conf' } } } } }, async () => 'hello')
    })
    await request(url)
    assert.deepEqual(filterLog(), [wanted])
  }
})
