import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { test } from 'node:test'
import { readableLine } from '../../lib/command/readable-log.ts'
import { fixture } from '../app.ts'
import { filterWat } from '../wat.ts'
import { command, files, takenPort } from './command.ts'

const log = { name: 'wasm_log', file: fixture('log') }
const fault = { name: 'fault', file: fixture('fault-injection') }
const script = { name: 'script', file: fixture('script-go') }

test('files that are right are told so, with each plugin and each of its configurations', async (t) => {
  // Nothing is listened on: the port may be in use.
  const port = await takenPort(t)
  const path = await files(t, {
    'config.yaml': {
      listen: { port },
      admin: { key: 'k', listen: { host: '127.0.0.2', port } },
      store: { file: 'store.json' },
      apisix: { node_listen: 9080 },
      wasm: { plugins: [log, { ...fault, conf: { http_status: 200 } }, { name: 'idle', file: fixture('hello-c') }] }
    },
    'apisix.yaml': {
      routes: [
        { uri: '/a', plugins: { wasm_log: { conf: 'same' } } },
        { id: 'b', uri: '/b', plugins: { wasm_log: { conf: 'same' } }, service_id: 's' },
        { uri: '/c', plugins: { fault: { conf: 'no json', _meta: { disable: true } } } }
      ],
      services: [{ id: 's', plugins: { wasm_log: { conf: 'of the service' } } }],
      plugin_configs: [{ id: 'p', plugins: { fault: { conf: { http_status: 400 } } } }],
      global_rules: [{ id: 'g', plugins: { fault: { conf: { http_status: 500 } } } }]
    }
  })
  const { code, stdout, stderr } = await command(['check', path('config.yaml'), path('apisix.yaml')])
  assert.deepEqual([code, stderr], [0, ''])
  assert.equal(
    stdout,
    `wasm_log
  module   fixtures/log/log.wasm, 2.5 MiB, ABI 0.2.0
  ok       services.s
  ok       routes.arr_1, routes.b

fault
  module   fixtures/fault-injection/fault-injection.wasm, 3.2 MiB, ABI 0.2.0
  ok       plugins.fault.conf
  ok       global_rules.g
  ok       plugin_configs.p

idle
  module   fixtures/hello-c/hello-c.wasm, 331 bytes, ABI 0.2.1
  ok       it starts; nothing uses it

No effect here: apisix

ok: 3 plugins, 5 configurations
`
  )
  assert.ok(!existsSync(path('store.json')))
})

test('a configuration that a filter refuses is shown with what the filter has logged', async (t) => {
  const trap = await filterWat('', '(func (export "proxy_on_configure") (param i32 i32) (result i32) unreachable)')
  const vm = await filterWat('', '(func (export "proxy_on_vm_start") (param i32 i32) (result i32) i32.const 0)')
  const dead = await filterWat('', '(func (export "_initialize") unreachable)')
  const path = await files(t, {
    'trap.wasm': trap,
    'vm.wasm': vm,
    'dead.wasm': dead,
    'a.yaml': {
      wasm: {
        plugins: [
          fault,
          { name: 'trap', file: 'trap.wasm', conf: 'x' },
          { name: 'vm', file: 'vm.wasm', conf: 'x' },
          { name: 'dead', file: 'dead.wasm' }
        ]
      },
      routes: [
        { uri: '/a', plugins: { fault: { conf: '{ no json' } } },
        { uri: '/b', plugins: { fault: { conf: { http_status: 200 } } } }
      ]
    }
  })
  const { code, stdout, stderr } = await command(['check', path('a.yaml')])
  assert.deepEqual([code, stderr], [1, ''])
  assert.match(
    stdout,
    / {2}refused {2}routes\.arr_1\n {11}failed to run proxy_on_configure, the filter refused its\n {11}configuration\n {11}error: error decoding plugin configuration: invalid character 'n'\n/
  )
  assert.match(stdout, / {2}ok {7}routes\.arr_2\n/)
  assert.match(stdout, / {2}refused {2}plugins\.trap\.conf\n {11}trapped in proxy_on_configure: unreachable\n/)
  assert.match(
    stdout,
    / {2}refused {2}plugins\.vm\.conf\n {11}trapped in proxy_on_vm_start: .*it\s+answered\s+false\n/s
  )
  assert.match(stdout, / {2}refused {2}it does not start\n {11}failed to start: unreachable\n/)
  assert.ok(stdout.endsWith('not ok: 4 starts failed\n'))

  const json = JSON.parse((await command(['check', path('a.yaml'), '--json'])).stdout)
  assert.equal(json.ok, false)
  const [refused, accepted] = json.plugins[0].starts
  assert.deepEqual([refused.places, refused.ok, accepted.ok, accepted.error], [['routes.arr_1'], false, true, null])
  assert.equal(refused.log[0].level, 'error')
  assert.equal(json.plugins[0].module.sha256.length, 64)
})

test('references to nothing and modules that are missing are all told', async (t) => {
  const path = await files(t, {
    'a.yaml': {
      wasm: { plugins: [log, { name: 'gone', file: 'gone.wasm' }, { name: 'text', file: 'a.yaml' }] },
      admin: { key: 'k', allow_admin: ['everybody'] },
      routes: [
        { uri: '/a', plugins: { nobody: { conf: 'x' } } },
        { uri: '/b', plugins: { wasm_log: { conf: 'x' } }, upstream_id: 'none' }
      ]
    }
  })
  const { code, stdout } = await command(['check', path('a.yaml')])
  assert.equal(code, 1)
  assert.match(stdout, / {2}error {4}routes\.arr_1\.plugins\.nobody: unknown plugin \[nobody\]/)
  assert.match(stdout, / {2}error {4}routes\.arr_2\.upstream_id: there is no upstream/)
  assert.match(stdout, / {2}error {4}admin\.allow_admin: "everybody" is no IP address/)
  assert.match(stdout, /^gone\n {2}error {4}the file .*gone\.wasm/m)
  assert.match(stdout, /^text\n {2}error {4}.*a\.yaml is not a Proxy-Wasm module/m)
  assert.match(stdout, /^wasm_log\n {2}module .*\n {2}ok {7}routes\.arr_2$/m)
  assert.ok(stdout.endsWith('not ok: 3 errors, 2 modules not loaded\n'))
})

test('files that cannot be read or are not valid are all told, each with its places', async (t) => {
  const path = await files(t, { 'a.yaml': { routes: [{ uri: 1 }], nonsense: 1 }, 'b.yaml': 'a: [' })
  const { code, stdout } = await command(['check', path('a.yaml'), path('b.yaml'), path('none.yaml'), '--json'])
  assert.equal(code, 1)
  const { ok, errors } = JSON.parse(stdout)
  assert.equal(ok, false)
  for (const place of [
    /a\.yaml: routes\[0\]\.uri: /,
    /a\.yaml: nonsense: /,
    /b\.yaml cannot be read/,
    /none\.yaml cannot be read/
  ]) {
    assert.equal(errors.filter((error: string) => place.test(error)).length, 1, String(place))
  }
})

test('calls that a filter makes when it starts are taken as in a gateway, and go nowhere', async (t) => {
  let requests = 0
  const server = createServer((_request, response) => {
    requests++
    response.end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  t.after(() => server.close())
  const node = `127.0.0.1:${(server.address() as AddressInfo).port}`
  const call = (upstream: string) => ({ start: [{ op: 'call', upstream, headers: [[':path', '/']] }] })
  const path = await files(t, {
    'a.yaml': {
      wasm: { plugins: [script] },
      upstreams: [{ id: 'a|b', nodes: { [node]: 1 } }],
      routes: [
        { uri: '/a', plugins: { script: { conf: call(node) } } },
        { uri: '/b', plugins: { script: { conf: call('a|b') } } },
        { uri: '/c', plugins: { script: { conf: call('c|d') } } }
      ]
    }
  })
  const { code, stdout } = await command(['check', path('a.yaml'), '--json'])
  assert.equal(code, 0, stdout)
  const { starts } = JSON.parse(stdout).plugins[0]
  const errors = starts.map(
    ({ log }: { log: { level: string }[] }) => log.filter(({ level }) => level === 'error').length
  )
  assert.deepEqual(errors, [0, 0, 1])
  assert.equal(requests, 0)
})

test('the lines for a terminal are short, and obey nothing that a client or filter has sent', () => {
  const record = { level: 30, time: Date.now(), reqId: 'req-1', plugin: 'wasm_log', msg: 'run \x1b[2J' }
  assert.match(readableLine(record), /^\d\d:\d\d:\d\d info {2}wasm_log: run \\x1b\[2J req-1$/)
  const req = { method: 'GET', url: '/a', remoteAddress: '::1' }
  const access = { level: 30, time: 0, msg: 'request completed', req, res: { statusCode: 200 }, responseTime: 1.234 }
  assert.match(readableLine(access), /info {2}::1 GET \/a 200 after 1\.2 ms$/)
  const { res: _, ...aborted } = { ...access, msg: 'request cut off before its response' }
  assert.match(readableLine(aborted), / GET \/a after 1\.2 ms, request cut off before its response$/)
  const failed = {
    level: 50,
    time: 0,
    msg: 'plugin [a] failed',
    plugin: 'a',
    err: { code: 'FST_WASM_TRAP', stack: 'at' }
  }
  assert.match(readableLine(failed), /error plugin \[a\] failed$/)
  assert.match(
    readableLine({ level: 50, time: 0, msg: 'oops', err: { stack: 'Error: oops\n    at x' } }),
    /oops\nError: oops\n {4}at x$/
  )
})

test('a gateway and an Admin API that would listen on one port are told apart, and a module is no configuration', async (t) => {
  const path = await files(t, {
    'config.yaml': { listen: { port: 9080 }, admin: { key: 'k', listen: { port: 9080 } } },
    'code.yaml': { wasm: { plugins: [{ name: 'a', module: 'abc' }] } },
    'misplaced.yaml': { plugins: [{ name: 'a', file: 'a.wasm' }] }
  })
  const results = await Promise.all(
    [path('config.yaml'), path('code.yaml'), path('misplaced.yaml'), fixture('log')].map((file) =>
      command(['check', '--json', file])
    )
  )
  const wrong = [
    /^admin\.listen: 127\.0\.0\.1:9080 is where the gateway listens$/,
    /wasm\.plugins\[0\]\.module is bytes, which are given in code; in a file, `file` is the path of the module$/,
    /plugins\[0\]: in a file plugins stand under wasm: wasm\.plugins$/,
    /it is a WebAssembly module, and no configuration; the command `inspect` describes modules$/
  ]
  for (const [i, { code, stdout }] of results.entries()) {
    const { errors } = JSON.parse(stdout) as { errors: string[] }
    assert.equal(code, 1)
    assert.equal(errors.length, 1)
    assert.match(errors[0]!, wrong[i]!)
  }
})
