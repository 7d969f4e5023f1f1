import assert from 'node:assert/strict'
import { writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify, { type FastifyInstance } from 'fastify'
import wasmGateway, { type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp } from '../app.ts'
import { request } from '../http.ts'
import { filterWat, wat } from '../wat.ts'
import { say, scripted } from './script.ts'

const file = fixture('log')
const own = { config: { wasm: { plugins: { a: { conf: { request_headers: [say('here')] } } } } } }

/** What registering with these options, and a route with this config.wasm, is refused with. */
async function refusal(options: unknown, wasm?: unknown): Promise<{ code: string; message: string }> {
  const app = Fastify()
  try {
    await app.register(wasmGateway, options as WasmGatewayOptions)
    if (wasm !== undefined) app.get('/hello', { config: { wasm: wasm as never } }, async () => '')
    await app.ready()
  } catch (error) {
    return error as { code: string; message: string }
  } finally {
    await app.close()
  }
  throw new Error('nothing was refused')
}

const refused: [what: string, options: unknown, wasm: unknown, code: string, message: RegExp][] = [
  [
    'an unknown plugin',
    { plugins: [{ name: 'a', file }] },
    { plugins: { b: { conf: 'x' } } },
    'PLUGIN_UNKNOWN',
    /\/hello: config\.wasm\.plugins\.b: unknown plugin \[b\]; declared are: a/
  ],
  [
    'an unknown service',
    {},
    { service_id: '7' },
    'REFERENCE_UNKNOWN',
    /config\.wasm\.service_id: there is no service with the id \[7\]/
  ],
  [
    'an unknown plugin_config',
    {},
    { plugin_config_id: 7 },
    'REFERENCE_UNKNOWN',
    /there is no plugin_config with the id \[7\]/
  ],
  ['an unknown upstream', {}, { upstream_id: 'x' }, 'REFERENCE_UNKNOWN', /there is no upstream with the id \[x\]/],
  [
    'an unknown upstream of a service',
    { services: [{ id: 's', upstream_id: 'x' }] },
    undefined,
    'REFERENCE_UNKNOWN',
    /services\.s\.upstream_id/
  ],
  [
    'an unknown plugin of a global rule',
    { global_rules: [{ id: 'g', plugins: { x: { conf: 'x' } } }] },
    undefined,
    'PLUGIN_UNKNOWN',
    /global_rules\.g\.plugins\.x/
  ],
  [
    'an unknown key of a route',
    {},
    { pluginz: {} },
    'OPTIONS_INVALID',
    /\/hello: config\.wasm\.pluginz: is no known key/
  ],
  [
    'an unknown key of a plugin',
    { plugins: [{ name: 'a', file, phase: 'x' }] },
    undefined,
    'OPTIONS_INVALID',
    /plugins\[0\]\.phase: is no known key/
  ],
  ['an unknown option', { routez: [] }, undefined, 'OPTIONS_INVALID', /routez: is no known key/],
  [
    'a prefix',
    { prefix: '/api' },
    undefined,
    'OPTIONS_INVALID',
    /prefix: is no known key: .*register the gateway in a plugin/
  ],
  ['wasm of a file', { wasm: {} }, undefined, 'OPTIONS_INVALID', /wasm: is no known key: .*in the options themselves/],
  [
    'a phase that is none',
    { plugins: [{ name: 'a', file, http_request_phase: 'log' }] },
    undefined,
    'OPTIONS_INVALID',
    /plugins\[0\]\.http_request_phase: must be one of access, rewrite/
  ],
  [
    'a plugin without a file',
    { plugins: [{ name: 'a' }] },
    undefined,
    'OPTIONS_INVALID',
    /plugins\.a: exactly one of file and module/
  ],
  [
    'two plugins of one name',
    {
      plugins: [
        { name: 'a', file },
        { name: 'a', file }
      ]
    },
    undefined,
    'OPTIONS_INVALID',
    /plugins\[1\]\.name/
  ],
  [
    'a module that is no bytes',
    { plugins: [{ name: 'a', module: 'x' }] },
    undefined,
    'OPTIONS_INVALID',
    /plugins\[0\]\.module/
  ],
  [
    'a missing file',
    { plugins: [{ name: 'a', file: '/nowhere/x.wasm' }] },
    undefined,
    'FILE_UNREADABLE',
    /plugin \[a\]: the file \/nowhere\/x\.wasm cannot be read/
  ],
  [
    'a file that is no module',
    { plugins: [{ name: 'a', file: import.meta.filename }] },
    undefined,
    'MODULE_INVALID',
    /plugin \[a\]/
  ],
  [
    'one plugin in two global rules',
    {
      plugins: [{ name: 'a', file }],
      global_rules: [
        { id: '1', plugins: { a: { conf: 'x' } } },
        { id: '2', plugins: { a: { conf: 'x' } } }
      ]
    },
    undefined,
    'OPTIONS_INVALID',
    /plugin 'a' already exists in global rule with id '1'/
  ],
  [
    'an upstream whose nodes are none',
    {},
    { upstream: { nodes: { 'not a host': 1 } } },
    'OPTIONS_INVALID',
    /config\.wasm\.upstream\.nodes: "not a host" is no host:port/
  ],
  ['an upstream without nodes', {}, { upstream: {} }, 'OPTIONS_INVALID', /property "nodes" is required/],
  ['a negative weight', {}, { upstream: { nodes: { 'a:1': -1 } } }, 'OPTIONS_INVALID', /nodes/],
  [
    'pass_host rewrite without a host',
    {},
    { upstream: { nodes: { 'a:1': 1 }, pass_host: 'rewrite' } },
    'OPTIONS_INVALID',
    /upstream_host/
  ],
  [
    'an upstream and an upstream_id',
    { upstreams: [{ id: 'u', nodes: { 'a:1': 1 } }] },
    { upstream_id: 'u', upstream: { nodes: { 'a:1': 1 } } },
    'OPTIONS_INVALID',
    /only one of upstream and upstream_id/
  ],
  ['a config.wasm that is no object', {}, 'log', 'OPTIONS_INVALID', /\/hello: config\.wasm: must be object/],
  [
    'a missing configuration file',
    { config: '/nowhere/config.yaml' },
    undefined,
    'CONFIG_UNREADABLE',
    /\/nowhere\/config\.yaml/
  ]
]
for (const [what, options, wasm, code, message] of refused) {
  test(`${what} is refused when the server starts, with its place`, async () => {
    const error = await refusal(options, wasm)
    assert.equal(error.code, `FST_WASM_${code}`)
    assert.match(error.message, message)
  })
}

test('a module without an ABI version, without an allocator or without memory is refused', async () => {
  const without = await refusal({
    plugins: [{ name: 'a', module: await wat('(module (memory (export "memory") 1))') }]
  })
  assert.equal(without.code, 'FST_WASM_ABI_UNKNOWN')
  const allocator = await wat('(module (memory (export "memory") 1) (func (export "proxy_abi_version_0_2_1")))')
  assert.match((await refusal({ plugins: [{ name: 'a', module: allocator }] })).message, /malloc/)
  const memory = await wat(
    '(module (func (export "malloc") (param i32) (result i32) i32.const 0) (func (export "proxy_abi_version_0_2_1")))'
  )
  assert.match((await refusal({ plugins: [{ name: 'a', module: memory }] })).message, /memory/)
})

test('a plugin may be given as bytes, in a Uint8Array or a Buffer', async (t) => {
  const module = Buffer.from(
    await filterWat('', '(func (export "proxy_on_request_headers") (param i32 i32 i32) (result i32) unreachable)')
  )
  const { url } = await startApp(t, { plugins: [{ name: 'a', module }] }, (app) => {
    app.get('/', { config: { wasm: { plugins: { a: { conf: 'x' } } } } }, async () => '')
  })
  assert.equal((await request(url)).status, 503)
})

test('routes declared before the gateway, in siblings and in children have their filters', async (t) => {
  const { url, filterLog } = await startApp(
    t,
    { plugins: scripted('a') },
    async (app) => {
      app.get('/after', own, async () => '')
      await app.register(async (child) => {
        child.get('/child', own, async () => '')
      })
      app.register(
        async (child) => {
          child.get('/v1', own, async () => '')
        },
        { prefix: '/prefix' }
      )
    },
    {},
    async (app) => {
      app.get('/before', own, async () => '')
      await app.register(async (child) => {
        child.get('/sibling', own, async () => '')
      })
    }
  )
  const paths = ['/before', '/sibling', '/after', '/child', '/prefix/v1']
  for (const path of paths) assert.equal((await request(url + path)).status, 200, path)
  assert.deepEqual(
    filterLog(),
    paths.map(() => 'here')
  )
})

test('a wrong route that was declared before the gateway answers 500 with the error', async (t) => {
  const { url } = await startApp(
    t,
    { plugins: scripted('a') },
    () => {},
    {},
    (app) => {
      app.get('/before', { config: { wasm: { plugins: { b: { conf: 'x' } } } } }, async () => 'reached')
    }
  )
  for (let i = 0; i < 2; i++) {
    const answer = await request(`${url}/before`)
    assert.equal(answer.status, 500)
    assert.equal(JSON.parse(answer.text).code, 'FST_WASM_PLUGIN_UNKNOWN')
  }
})

test('registered in a scope, it filters that scope alone', async (t) => {
  const app = Fastify()
  const seen: string[] = []
  await app.register(async (scope) => {
    await scope.register(wasmGateway, { plugins: scripted('a') })
    scope.addHook('onSend', async () => {
      seen.push('scope')
    })
    scope.get('/in', own, async () => 'in')
  })
  app.get('/out', own, async () => 'out')
  t.after(() => app.close())
  assert.equal((await app.inject('/in')).body, 'in')
  assert.equal((await app.inject('/out')).body, 'out')
  assert.equal(app.hasDecorator('wasmGateway'), false)
})

test('one module is compiled once for all plugins that name it', async (t) => {
  const { app } = await startApp(t, { plugins: scripted('a', 'b') }, () => {})
  const [a, b] = app.wasmGateway.status().plugins
  assert.equal(a!.digest, b!.digest)
  assert.equal(a!.abi_version, '0.2.0')
  assert.equal(a!.instance, null)
})

test('everything may come from a file, its modules relative to it', async (t) => {
  const path = join(tmpdir(), `config-${process.pid}.yaml`)
  await writeFile(
    path,
    `wasm:
  plugins:
    - name: wasm_log
      priority: 7999
      file: ${file}
      http_request_phase: rewrite
global_rules:
  - id: 1
    plugins:
      wasm_log:
        conf: from the file
`
  )
  const { url, filterLog } = await startApp(t, { config: path }, (app) => {
    app.get('/', async () => '')
  })
  await request(url)
  assert.deepEqual(filterLog(), ['run plugin ctx 1 with conf from the file in http ctx 2'])
})

test('require answers the plugin itself', async () => {
  const require = createRequire(import.meta.url)
  const plugin = require('../../dist/index.js')
  assert.equal(typeof plugin, 'function')
  assert.equal(plugin.default, plugin)
  assert.equal(plugin.wasmGateway, plugin)
  assert.equal(plugin.FST_WASM_TRAP('a', 'b', 'c').code, 'FST_WASM_TRAP')
})

test('a second registration in the same scope, or inside of it, is refused', async () => {
  const app = Fastify()
  await app.register(wasmGateway, {})
  await assert.rejects(async () => app.register(wasmGateway, {}), { code: 'FST_WASM_ALREADY_REGISTERED' })
  await app.close().catch(() => {})
})

test('a plugin cannot be named as what every object has, and undeclared ones do no harm', async (t) => {
  for (const name of ['constructor', 'toString', '__proto__']) {
    assert.equal((await refusal({ plugins: [{ name, file }] })).code, 'FST_WASM_OPTIONS_INVALID')
  }
  await startApp(t, { plugins: scripted('a') }, (app) => {
    app.get('/a', own, async () => '')
  })
})

test('a scope that was made before the gateway, and names no filter, is served', async (t) => {
  const { url } = await startApp(
    t,
    { plugins: scripted('a') },
    () => {},
    {},
    async (app) => {
      await app.register(async (child) => {
        child.post('/sibling', async (request) => request.body)
      })
    }
  )
  const answer = await request(`${url}/sibling`, {
    method: 'POST',
    body: 'x',
    headers: { 'content-type': 'text/plain' }
  })
  assert.equal(answer.text, 'x')
})

const circular: Record<string, unknown> = {}
circular.self = circular
for (const [what, conf] of [
  ['that contains itself', circular],
  ['with a big integer', { n: 1n }],
  ['of bytes', Buffer.from('x')],
  ['that has no JSON', { toJSON: () => undefined, a: 1 }]
] as const) {
  test(`a conf ${what} is refused with its place`, async () => {
    const error = await refusal({ plugins: [{ name: 'a', file }] }, { plugins: { a: { conf } } })
    assert.equal(error.code, 'FST_WASM_OPTIONS_INVALID')
    assert.match(error.message, /\/hello: config\.wasm/)
  })
}

test('a gateway with routes in a scope that no unmatched request comes to says so', async (t) => {
  const warnings = async (options: object, own: (scope: FastifyInstance) => void = () => {}) => {
    const lines: string[] = []
    const app = Fastify({ logger: { level: 'warn', stream: { write: (line) => void lines.push(line) } } })
    t.after(() => app.close())
    await app.register(async (scope) => {
      await scope.register(wasmGateway, { routes: [{ id: 1, uri: '/x', upstream: { nodes: {} } }] })
      own(scope)
    }, options)
    await app.ready()
    return lines.filter((line) => line.includes('registered in a scope')).length
  }
  const answer = (scope: FastifyInstance) => void scope.setNotFoundHandler((_request, reply) => reply.send('none'))
  assert.equal(await warnings({}), 1)
  assert.equal(await warnings({ prefix: '/p' }), 1)
  assert.equal(await warnings({ prefix: '/p' }, answer), 0)
  const { lines } = await startApp(t, { routes: [{ id: 1, uri: '/x', upstream: { nodes: {} } }] }, () => {})
  assert.deepEqual(
    lines.filter(({ level }) => level >= 40),
    []
  )
})
