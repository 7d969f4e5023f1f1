import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { readConfigFiles } from '../../lib/config/file.ts'
import { planGlobalRules, planRoute } from '../../lib/config/plan.ts'
import { checkOptions, loadResources } from '../../lib/config/resources.ts'

const load = async (input: unknown) => {
  const options = checkOptions(input)
  return loadResources(options, await readConfigFiles(options))
}

const plugins = [
  { name: 'a', file: 'a.wasm', priority: 1 },
  { name: 'b', file: 'b.wasm', priority: 2, http_request_phase: 'rewrite' },
  { name: 'c', file: 'c.wasm', priority: 1 }
]
const conf = (text: string) => ({ conf: text })

async function file(t: TestContext, name: string, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'config-'))
  t.after(() => rm(folder, { recursive: true }))
  const path = join(folder, name)
  await writeFile(path, text)
  return path
}

test('a route stands above its plugin_config, which stands above its service, plugin by plugin', async () => {
  const resources = await load({
    plugins,
    services: [{ id: 's', plugins: { a: conf('service'), b: conf('service'), c: conf('service') } }],
    plugin_configs: [{ id: 'p', plugins: { b: conf('plugin_config'), c: conf('plugin_config') } }]
  })
  const plan = planRoute(resources, { service_id: 's', plugin_config_id: 'p', plugins: { c: conf('route') } }, 'route')
  assert.deepEqual(
    plan.filters.map(({ plugin, configuration, phase }) => [plugin, configuration.toString(), phase]),
    [
      ['b', 'plugin_config', 'rewrite'],
      ['a', 'service', 'access'],
      ['c', 'route', 'access']
    ]
  )
})

test("the upstream of a route stands in place of its service's", async () => {
  const resources = await load({
    upstreams: [{ id: 1, nodes: { 'a:1': 1 } }],
    services: [{ id: 's', upstream: { nodes: { 'b:1': 1 } } }]
  })
  assert.deepEqual(planRoute(resources, { service_id: 's' }, 'route').upstream?.nodes, { 'b:1': 1 })
  assert.deepEqual(planRoute(resources, { service_id: 's', upstream_id: '1' }, 'route').upstream?.nodes, { 'a:1': 1 })
  const own = { service_id: 's', upstream: { nodes: [{ host: 'c', port: 1, weight: 1 }] } }
  assert.ok(Array.isArray(planRoute(resources, own, 'route').upstream?.nodes))
})

test('ids may be numbers, and are the same as their digits', async () => {
  const resources = await load({ plugins, services: [{ id: 7, plugins: { a: conf('x') } }] })
  for (const service_id of [7, '7']) assert.equal(planRoute(resources, { service_id }, 'route').filters.length, 1)
})

test('equal priorities keep the order of declaration, and all global rules make one list', async () => {
  const resources = await load({
    plugins,
    global_rules: [
      { id: 1, plugins: { c: conf('c') } },
      { id: 2, plugins: { a: conf('a'), b: conf('b') } }
    ]
  })
  assert.deepEqual(
    planGlobalRules(resources).map(({ plugin }) => plugin),
    ['b', 'a', 'c']
  )
})

test('a string configuration is handed over byte for byte, an object as JSON', async () => {
  const resources = await load({ plugins })
  const text = ' {"raw":\n"newline"} é '
  const plan = planRoute(resources, { plugins: { a: conf(text), c: { conf: { z: 1, a: [true, null] } } } }, 'route')
  assert.equal(plan.filters[0]!.configuration.toString(), text)
  assert.equal(plan.filters[1]!.configuration.toString(), '{"z":1,"a":[true,null]}')
})

test('the options are not changed', async () => {
  const options = { plugins: [{ name: 'a', file: 'a.wasm' }], global_rules: [{ id: '1', plugins: { a: conf('x') } }] }
  const before = structuredClone(options)
  await load(options)
  assert.deepEqual(options, before)
})

test('a YAML file has its plugins under wasm, and their files relative to it', async (t) => {
  const path = await file(
    t,
    'config.yaml',
    'wasm:\n  plugins:\n    - {name: a, file: filters/a.wasm}\n    - {name: b, file: /b.wasm}\nupstreams:\n  - id: u\n    nodes: {"127.0.0.1:80": 1}\n'
  )
  const { plugins, upstreams } = await load({ config: path })
  assert.equal(plugins.get('a')!.file, join(path, '..', 'filters', 'a.wasm'))
  assert.equal(plugins.get('b')!.file, '/b.wasm')
  assert.ok(upstreams.has('u'))
})

test('a JSON file, and a file beside options in code', async (t) => {
  const path = await file(t, 'config.json', '{"wasm":{"plugins":[{"name":"a","file":"a.wasm"}]}}')
  const { plugins } = await load({ config: path, plugins: [{ name: 'b', file: 'b.wasm' }] })
  assert.deepEqual([...plugins.keys()].sort(), ['a', 'b'])
  await assert.rejects(load({ config: path, plugins: [{ name: 'a', file: 'b.wasm' }] }), {
    code: 'FST_WASM_OPTIONS_INVALID'
  })
})

for (const [what, name, text, code, message] of [
  ['broken YAML', 'config.yaml', 'wasm: [', 'CONFIG_UNREADABLE', /config\.yaml/],
  ['broken JSON', 'config.json', '{', 'CONFIG_UNREADABLE', /config\.json/],
  ['an unknown key', 'config.yaml', 'wasm: {plugin: []}', 'OPTIONS_INVALID', /wasm\.plugin: is no known key/],
  ['a file that is a list', 'config.yaml', '- a', 'OPTIONS_INVALID', /must be object/],
  ['an id with a blank', 'config.yaml', 'services: [{id: "a b"}]', 'OPTIONS_INVALID', /services\[0\]\.id/],
  [
    'a weight that is text',
    'config.yaml',
    'upstreams: [{id: u, nodes: {"a:1": x}}]',
    'OPTIONS_INVALID',
    /upstreams\.u\.nodes/
  ]
] as const) {
  test(`${what} is refused with its place`, async (t) => {
    const path = await file(t, name, text)
    await assert.rejects(load({ config: path }), (error: Error & { code: string }) => {
      assert.equal(error.code, `FST_WASM_${code}`)
      assert.match(error.message, message)
      return true
    })
  })
}

test('an empty file is an empty configuration', async (t) => {
  const { plugins } = await load({ config: await file(t, 'config.yaml', '') })
  assert.equal(plugins.size, 0)
})

test('every wrong place is named, not only the first', async () => {
  await assert.rejects(
    load({ plugins: [{ name: '', file: 'a', priority: 'x' }, { file: 1 }], nothing: 1 }),
    (error: Error) => {
      for (const place of ['plugins[0].name', 'plugins[0].priority', 'plugins[1]', 'nothing']) {
        assert.ok(error.message.includes(place), `${place} in ${error.message}`)
      }
      return true
    }
  )
})
