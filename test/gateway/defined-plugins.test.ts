import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import Fastify from 'fastify'
import Type from 'typebox'
import wasmGateway, { definePlugin, type WasmGatewayOptions } from '../../lib/index.ts'
import { fixture, startApp } from '../app.ts'
import { folder } from '../folder.ts'
import { request } from '../http.ts'
import { expectStatus, startAdmin } from './admin/admin.ts'

const Conf = Type.Object(
  { level: Type.Enum(['info', 'warn']), limits: Type.Array(Type.Object({ max: Type.Integer({ minimum: 1 }) })) },
  { additionalProperties: false }
)
const checked = definePlugin({ name: 'checked', file: fixture('log'), conf: Conf })
const right = { level: 'info', limits: [{ max: 1 }] }
const wrong = { level: 'loud', limits: [{ max: 0 }], more: true } as never

async function refused(options: WasmGatewayOptions): Promise<string> {
  const app = Fastify()
  let message = ''
  await app.register(wasmGateway, options).then(
    () => assert.fail('it was not refused'),
    (error: Error & { code: string }) => {
      assert.equal(error.code, 'FST_WASM_OPTIONS_INVALID')
      message = error.message
    }
  )
  return message.replace('The configuration is invalid: ', '')
}

test('a defined plugin runs with a configuration that its schema allows', async (t) => {
  const { url, filterLog } = await startApp(t, { plugins: [checked] }, (app) => {
    app.get('/', { config: { wasm: { plugins: { checked: { conf: right } } } } }, async () => 'hello')
  })
  assert.equal((await request(url)).text, 'hello')
  assert.deepEqual(filterLog(), [`run plugin ctx 1 with conf ${JSON.stringify(right)} in http ctx 2`])
})

test('what its schema does not allow is an error at the start that names each place', async () => {
  const wrongs = (place: string) =>
    [
      `${place}.conf.more: is no known key`,
      `${place}.conf.level: must be one of info, warn`,
      `${place}.conf.limits[0].max: must be >= 1`
    ].sort()
  const plugins = { checked: { conf: wrong } }
  const upstream = { nodes: { '127.0.0.1:1': 1 } }
  for (const [options, place] of [
    [{ routes: [{ id: 'a', uri: '/', upstream, plugins }] }, 'routes.a.plugins.checked'],
    [
      {
        routes: [
          { uri: '/1', upstream },
          { uri: '/', upstream, plugins }
        ]
      },
      'routes.arr_2.plugins.checked'
    ],
    [{ services: [{ id: 's', plugins }] }, 'services.s.plugins.checked'],
    [{ plugin_configs: [{ id: 'p', plugins }] }, 'plugin_configs.p.plugins.checked'],
    [{ global_rules: [{ id: 'g', plugins }] }, 'global_rules.g.plugins.checked']
  ] as [WasmGatewayOptions, string][]) {
    const message = await refused({ plugins: [checked], ...options })
    assert.deepEqual(message.split('; ').sort(), wrongs(place))
  }
})

test('so it is for a route of the application, and for a context of its own', async () => {
  const app = Fastify()
  await app.register(wasmGateway, { plugins: [checked] })
  const wasm = { plugins: { checked: { conf: { ...right, level: 'loud' } } } }
  assert.throws(() => app.get('/', { config: { wasm } }, async () => ''), {
    message: /\/: config\.wasm\.plugins\.checked\.conf\.level: must be one of info, warn$/
  })
  await app.close()
  const standing = { ...checked, conf: { level: 'info' } }
  assert.match(await refused({ plugins: [standing] }), /^plugins\.checked\.conf: property "limits" is required$/)
})

test('so it is in a configuration file, and a change of it that is wrong has no effect', async (t) => {
  const config = join(await folder(t), 'config.json')
  const route = (conf: unknown) =>
    JSON.stringify({ routes: [{ id: 1, uri: '/', plugins: { checked: { conf } }, upstream: { nodes: {} } }] })
  writeFileSync(config, route({ ...right, level: 'loud' }))
  assert.match(
    await refused({ plugins: [checked], config }),
    /routes\.1\.plugins\.checked\.conf\.level: must be one of/
  )
  writeFileSync(config, route(right))
  const app = Fastify()
  await app.register(wasmGateway, { plugins: [checked], config })
  writeFileSync(config, route({ level: 'info' }))
  await assert.rejects(app.wasmGateway.reload(), /routes\.1\.plugins\.checked\.conf: property "limits" is required/)
  await app.close()
})

test('a schema is for code: a file cannot have one, and what is none is refused', async (t) => {
  const config = join(await folder(t), 'config.json')
  writeFileSync(
    config,
    JSON.stringify({ wasm: { plugins: [{ name: 'a', file: 'a.wasm', conf_schema: { type: 'object' } }] } })
  )
  assert.match(await refused({ config }), /wasm\.plugins\[0\]\.conf_schema is given in code, with definePlugin/)
  const none = { name: 'a', file: 'a.wasm', conf_schema: 'object' } as never
  assert.match(await refused({ plugins: [none] }), /plugins\[0\]\.conf_schema must be a schema of TypeBox/)
})

test('the Admin API holds what it is told against the schema, and shows it', async (t) => {
  const { admin } = await startAdmin(t, { plugins: [checked] })
  const route = (conf: unknown) => ({
    uri: '/',
    plugins: { checked: { conf } },
    upstream: { nodes: { '127.0.0.1:1': 1 } }
  })
  const { error_msg } = await expectStatus(admin('PUT', '/routes/1', route({ ...right, level: 'loud' })), 400)
  assert.equal(
    error_msg,
    'failed to check the configuration of plugin checked err: conf.level: must be one of info, warn'
  )
  await expectStatus(admin('PUT', '/routes/1', route(right)), 201)
  const { properties } = await expectStatus(admin('GET', '/schema/plugins/checked'), 200)
  assert.deepEqual(properties.conf, JSON.parse(JSON.stringify(Conf)))
})

test("with Envoy's semantics a schema makes the configuration required", async () => {
  const envoy = definePlugin({ name: 'checked', file: fixture('log'), semantics: 'envoy', conf: Conf })
  const rules = { global_rules: [{ id: 'g', plugins: { checked: {} } }] }
  assert.match(await refused({ plugins: [envoy], ...rules }), /property "conf" is required/)
})
