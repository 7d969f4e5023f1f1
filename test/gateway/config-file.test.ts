import assert from 'node:assert/strict'
import { chmod, mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import Fastify from 'fastify'
import wasmGateway from '../../lib/index.ts'
import { fixture, startApp, startUpstream, type TestApp } from '../app.ts'
import { eventually } from '../eventually.ts'
import { request } from '../http.ts'

interface Files {
  path(name: string): string
  write(name: string, text: string): Promise<string>
}

/** A folder with the filter log.wasm in filters/. */
async function folder(t: TestContext): Promise<Files> {
  const root = await mkdtemp(join(tmpdir(), 'gateway-'))
  t.after(() => rm(root, { recursive: true, force: true }))
  const path = (name: string) => join(root, name)
  return {
    path,
    async write(name, text) {
      await writeFile(path(name), text)
      return path(name)
    }
  }
}

const PLUGINS = `
wasm:
  plugins:
    - name: wasm_log
      priority: 7999
      file: ${fixture('log')}
`

const route = (node: string, conf: string, uri: string = '/hello') => `
routes:
  - id: 1
    uri: ${uri}
    plugins:
      wasm_log: { conf: ${conf} }
    upstream:
      type: roundrobin
      nodes: { "${node}": 1 }
`

/** A reference to the environment, as it stands in a file. */
const variable = (text: string) => ['$', '{{', text, '}}'].join('')

const helloNode = async (t: TestContext) =>
  (await startUpstream(t, (app) => app.get('/*', async () => 'hello world'))).node

/** Starts an application with what a file says, or with several files. */
const startWith = (t: TestContext, ...config: string[]): Promise<TestApp> => startApp(t, { config }, () => {})

async function refusal(...config: string[]): Promise<Error & { code: string }> {
  const app = Fastify()
  try {
    await app.register(wasmGateway, { config })
  } catch (error) {
    return error as Error & { code: string }
  } finally {
    await app.close().catch(() => {})
  }
  throw new Error('it was not refused')
}

/** The problems that were logged while the configuration stayed as it was. */
const problems = ({ lines }: TestApp) =>
  lines.filter(({ msg }) => msg.startsWith('the configuration stays')).map(({ msg }) => msg)

test('APISIX’s own two files work as they are, and what has no effect is warned of once', async (t) => {
  const { write } = await folder(t)
  const node = await helloNode(t)
  const config = await write(
    'config.yaml',
    `apisix:
  node_listen: 9080
  enable_admin: true
deployment:
  role: data_plane
  role_data_plane: { config_provider: yaml }
etcd:
${PLUGINS}      http_request_phase: access
`
  )
  const rules = await write(
    'apisix.yaml',
    `routes:
  -
    uri: /hello
    plugins:
      wasm_log:
        conf: blahblah
    upstream_id: 1
upstreams:
  -
    id: 1
    type: roundrobin
    nodes:
      "${node}": 1
consumers: []
#END
`
  )
  const app = await startWith(t, config, rules)
  assert.equal((await request(`${app.url}/hello`)).text, 'hello world')
  assert.deepEqual(app.filterLog(), ['run plugin ctx 1 with conf blahblah in http ctx 2'])
  await app.app.wasmGateway.reload()
  const warnings = app.lines.filter(({ level, msg }) => level === 40 && msg.includes('no effect'))
  assert.deepEqual(
    warnings.map(({ msg }) => msg),
    [
      'sections of the configuration that have no effect here: apisix, deployment, etcd, consumers; an Admin API wants `admin: { key }`'
    ]
  )
})

test('a JSON file holds the same, and variables of the environment are put into both', async (t) => {
  const { write } = await folder(t)
  const node = await helloNode(t)
  Object.assign(process.env, { TEST_GATEWAY_NODE: node, TEST_GATEWAY_TEXT: 'from "there"' })
  t.after(() => {
    delete process.env.TEST_GATEWAY_NODE
    delete process.env.TEST_GATEWAY_TEXT
  })
  const yaml = await write(
    'a.yaml',
    `${PLUGINS}${route(variable('TEST_GATEWAY_NODE'), variable('TEST_GATEWAY_NONE:=by default'))}
# ${variable('TEST_GATEWAY_UNSET')} is commented out\n`
  )
  const json = await write(
    'b.json',
    JSON.stringify({
      routes: [
        {
          id: 2,
          uri: `/${variable('TEST_GATEWAY_NONE:=json')}`,
          plugins: { wasm_log: { conf: variable('TEST_GATEWAY_TEXT') } },
          upstream: { nodes: { [variable('TEST_GATEWAY_NODE')]: 1 } }
        }
      ]
    })
  )
  const app = await startWith(t, yaml, json)
  await request(`${app.url}/hello`)
  assert.equal((await request(`${app.url}/json`)).text, 'hello world')
  assert.match(app.filterLog()[0]!, /with conf by default in/)
  assert.match(app.filterLog()[1]!, /with conf from "there" in/)
  const unset = await write('c.yaml', `routes:\n  - uri: /${variable('TEST_GATEWAY_UNSET')}\n`)
  assert.match((await refusal(unset)).message, /c\.yaml .*TEST_GATEWAY_UNSET \(line 2\)/)
})

test('modules are found relative to the file that names them', async (t) => {
  const { write, path } = await folder(t)
  const node = await helloNode(t)
  await rename(await write('log.wasm', ''), path('gone.wasm'))
  const { readFile } = await import('node:fs/promises')
  await writeFile(path('log.wasm'), await readFile(fixture('log')))
  const config = await write('x.yaml', PLUGINS.replace(fixture('log'), 'log.wasm') + route(node, 'here'))
  const app = await startWith(t, config)
  await request(`${app.url}/hello`)
  assert.match(app.filterLog()[0]!, /with conf here/)
})

const REFUSED: readonly [what: string, text: string, code: string, ...places: RegExp[]][] = [
  ['YAML that does not parse', 'routes: [\n  - a: b: c\n', 'CONFIG_UNREADABLE', /line 2/],
  ['a key twice', 'routes: []\nroutes: []\n', 'CONFIG_UNREADABLE', /unique at line 2/],
  ['a list where an object must be', '- a\n', 'OPTIONS_INVALID', /must be object/],
  ['a text where a list must be', 'routes: all\n', 'OPTIONS_INVALID', /routes: must be array/],
  ['an unknown key of the file', 'route: []\n', 'OPTIONS_INVALID', /route: is no known key/],
  [
    'unknown keys in several places',
    'routes: [{ uri: /a, plugin: {}, upstream: { nodes: {}, node: 1 } }]\nupstreams: [{ nodes: {}, kind: x }]\n',
    'OPTIONS_INVALID',
    /routes\[0\]\.plugin: is no known key/,
    /routes\[0\]\.upstream\.node: is no known key/,
    /upstreams\[0\]\.kind: is no known key/
  ],
  [
    'wrong types in several places',
    'routes: [{ uri: 5, priority: high, methods: [FETCH], upstream: { nodes: {} } }]\n',
    'OPTIONS_INVALID',
    /routes\[0\]\.uri/,
    /routes\[0\]\.priority/,
    /routes\[0\]\.methods\[0\]/
  ],
  [
    'a negative weight',
    'upstreams: [{ id: u, nodes: { "a:1": -1 } }]\n',
    'OPTIONS_INVALID',
    /upstreams\.u\.nodes\.a:1/
  ],
  [
    'a port that is none',
    'upstreams: [{ id: u, nodes: { "a:65536": 1 } }, { id: v, nodes: [{ host: a, port: 0, weight: 1 }] }]\n',
    'OPTIONS_INVALID',
    /upstreams\.u\.nodes: "a:65536"/,
    /upstreams\.v\.nodes\[0\]\.port/
  ],
  [
    'references to what is not there',
    'routes: [{ id: r, uri: /a, upstream_id: none, service_id: 9 }, { id: s, uri: /b, plugin_config_id: x, plugins: { wasm_log: { conf: a } } }]\n',
    'OPTIONS_INVALID',
    /routes\.r\.upstream_id: there is no upstream with the id \[none\]/,
    /routes\.s\.plugin_config_id: there is no plugin_config/
  ],
  [
    'two objects with one id',
    'upstreams: [{ id: 1, nodes: {} }, { id: "1", nodes: {} }]\n',
    'OPTIONS_INVALID',
    /upstreams\[1\]\.id: there is another one named "1"/
  ],
  [
    'a plugin twice',
    'wasm: { plugins: [{ name: a, file: x }, { name: a, file: y }] }\n',
    'OPTIONS_INVALID',
    /plugins\[1\]\.name/
  ],
  [
    'an unknown plugin, and a conf that is none',
    `${PLUGINS}routes:\n  - { id: 1, uri: /a, plugins: { nobody: { conf: x } } }\n  - { id: 2, uri: /b, plugins: { wasm_log: { conf: {} } } }\n`,
    'OPTIONS_INVALID',
    /routes\.1\.plugins\.nobody: unknown plugin/,
    /routes\.2\.plugins\.wasm_log\.conf must be/
  ],
  [
    'a plugin of another language that nobody declares',
    'routes: [{ id: 1, uri: /a, plugins: { proxy-rewrite: { uri: /b } }, upstream: { nodes: {} } }]\n',
    'PLUGIN_UNKNOWN',
    /routes\.1\.plugins\.proxy-rewrite: unknown plugin \[proxy-rewrite\]/
  ],
  [
    'an entry of a plugin that is none',
    `${PLUGINS}routes:\n  - { id: 1, uri: /a, plugins: { wasm_log: { setting: x, _meta: { priority: high } } } }\n`,
    'OPTIONS_INVALID',
    /routes\.1\.plugins\.wasm_log: property "conf" is required/,
    /routes\.1\.plugins\.wasm_log\.setting: is no known key/,
    /routes\.1\.plugins\.wasm_log\._meta\.priority/
  ],
  [
    'uris and conditions that cannot be',
    'routes: [{ id: 1, uri: a, upstream: { nodes: {} } }, { id: 2, uri: /a, uris: [/b], upstream: { nodes: {} } }, { id: 3, uri: /a, remote_addr: 1.2.3, upstream: { nodes: {} } }, { id: 4, uri: /a, vars: [[arg_a, "=", 1]], upstream: { nodes: {} } }, { id: 5, uri: /a }]\n',
    'OPTIONS_INVALID',
    /routes\.1: the uri "a" must begin with \//,
    /routes\.2: only one of uri or uris/,
    /routes\.3\.remote_addr: "1\.2\.3" is no IP address/,
    /routes\.4\.vars\[0\]\[1\]: "=" is no operator/,
    /routes\.5: one of plugins, upstream, upstream_id and service_id is required, or/
  ],
  [
    'upstreams that cannot be',
    'upstreams: [{ id: h, type: chash, nodes: {} }, { id: v, type: chash, key: nothing, nodes: {} }, { id: t, nodes: {}, tls: { client_cert: x } }, { id: p, nodes: {}, pass_host: rewrite }]\n',
    'OPTIONS_INVALID',
    /upstreams\.h: type "chash" needs a key/,
    /upstreams\.v\.key: "nothing" is nothing to hash on/,
    /upstreams\.t\.tls: client_cert and client_key need each other/,
    /upstreams\.p: pass_host "rewrite" needs an upstream_host/
  ],
  [
    'passive checks without active ones',
    'upstreams: [{ nodes: {}, checks: { passive: {} } }]\n',
    'OPTIONS_INVALID',
    /active/
  ]
]
for (const [what, text, code, ...places] of REFUSED) {
  test(`${what}: the server does not start, and each place is named`, async (t) => {
    const { write } = await folder(t)
    const error = await refusal(await write('bad.yaml', text))
    assert.equal(error.code, `FST_WASM_${code}`, error.message)
    for (const place of places) assert.match(error.message, place)
  })
}

test('JSON that does not parse, and a file that is none, are refused with their name', async (t) => {
  const { write, path } = await folder(t)
  const error = await refusal(await write('bad.json', '{ "routes": [ }'))
  assert.equal(error.code, 'FST_WASM_CONFIG_UNREADABLE')
  assert.match(error.message, /bad\.json/)
  assert.match((await refusal(path('.'))).message, /EISDIR/)
})

test('the same id in two files is refused with the file and the place', async (t) => {
  const { write } = await folder(t)
  const one = await write('one.yaml', 'upstreams: [{ id: u, nodes: {} }]\n')
  const two = await write('two.yaml', 'upstreams: [{ id: v, nodes: {} }, { id: u, nodes: {} }]\n')
  assert.match((await refusal(one, two)).message, /two\.yaml: upstreams\[1\]\.id: there is another one named "u"/)
})

test('objects without an id may stand in several files', async (t) => {
  const { write } = await folder(t)
  const node = await helloNode(t)
  const routeOf = (uri: string) => `routes:\n  - { uri: ${uri}, upstream: { nodes: { "${node}": 1 } } }\n`
  const app = await startWith(t, await write('one.yaml', routeOf('/one')), await write('two.yaml', routeOf('/two')))
  for (const path of ['/one', '/two']) assert.equal((await request(app.url + path)).status, 200)
})

test('a section in which everything is commented out is as if it was not there', async (t) => {
  const { write } = await folder(t)
  const app = await startWith(t, await write('empty.yaml', 'wasm:\nroutes:\n# - id: 1\nupstreams:\n'))
  assert.equal((await request(`${app.url}/`)).status, 404)
})

test('a file that changes takes effect, whichever way it is written', async (t) => {
  const { write, path } = await folder(t)
  const node = await helloNode(t)
  const config = await write('c.yaml', PLUGINS + route(node, 'first'))
  const app = await startWith(t, config)
  const logged = async (text: string) => {
    for (let i = 0; i < 100 && !app.filterLog().at(-1)?.includes(text); i++) {
      await request(`${app.url}/hello`)
      await sleep(50)
    }
    assert.match(app.filterLog().at(-1)!, new RegExp(`with conf ${text} `))
  }
  await logged('first')
  await write('c.yaml', PLUGINS + route(node, 'second'))
  await logged('second')
  await rename(await write('c.yaml.new', PLUGINS + route(node, 'third')), path('c.yaml'))
  await logged('third')
  assert.deepEqual(problems(app), [])
})

test('a module that changes takes effect, too', async (t) => {
  const { write, path } = await folder(t)
  const { readFile } = await import('node:fs/promises')
  const node = await helloNode(t)
  await writeFile(path('filter.wasm'), await readFile(fixture('hello-c')))
  const config = await write(
    'c.yaml',
    PLUGINS.replace(fixture('log'), 'filter.wasm').replace('wasm_log', 'c') + route(node, 'x').replace('wasm_log', 'c')
  )
  const app = await startWith(t, config)
  assert.equal((await request(`${app.url}/hello`)).headers['x-c'], '1')
  await writeFile(path('filter.wasm'), await readFile(fixture('hello-c-wasi')))
  let headers: Awaited<ReturnType<typeof request>>['headers'] = {}
  for (let i = 0; i < 100 && headers['x-c-wasi'] === undefined; i++) {
    await sleep(50)
    headers = (await request(`${app.url}/hello`)).headers
  }
  assert.equal(headers['x-c-wasi'], 'none')
  await writeFile(path('filter.wasm'), 'no module')
  await eventually('it is logged', () => problems(app).some((msg) => msg.includes('plugin [c]')))
  assert.equal((await request(`${app.url}/hello`)).headers['x-c-wasi'], 'none')
})

test('while a file is wrong, gone or written half, the last good one stays, and it is said once', async (t) => {
  const { write, path } = await folder(t)
  const node = await helloNode(t)
  const good = `${PLUGINS}${route(node, 'good')}#END\n`
  const config = await write('c.yaml', good)
  const app = await startWith(t, config)
  const works = async () => assert.equal((await request(`${app.url}/hello`)).text, 'hello world')
  const said = async (pattern: RegExp) => {
    const count = () => problems(app).filter((msg) => pattern.test(msg)).length
    await eventually(`${pattern} is logged`, () => count() > 0)
    await sleep(600)
    assert.equal(count(), 1)
    await works()
  }
  await write('c.yaml', good.replace('uri:', 'url:'))
  await said(/routes\[0\]\.url: is no known key/)
  await write('c.yaml', `${good}\n  x: [`)
  await said(/c\.yaml cannot be read: .*line/)
  await rm(path('c.yaml'))
  await said(/ENOENT/)
  await write('c.yaml', good.slice(0, good.indexOf('routes:')))
  await said(/its last line was #END/)
  await write('c.yaml', good.replace('good', 'better'))
  await eventually('it is loaded again', () => app.lines.some(({ msg }) => msg === 'the configuration is loaded'))
  await works()
  assert.match(app.filterLog().at(-1)!, /better/)
})

test('a file that cannot be read any more changes nothing', {
  skip: process.getuid?.() === 0 && 'root reads everything'
}, async (t) => {
  const { write } = await folder(t)
  const node = await helloNode(t)
  const config = await write('c.yaml', PLUGINS + route(node, 'good'))
  const app = await startWith(t, config)
  await chmod(config, 0)
  await eventually('it is logged', () => problems(app).some((msg) => msg.includes('EACCES')))
  assert.equal((await request(`${app.url}/hello`)).text, 'hello world')
})
