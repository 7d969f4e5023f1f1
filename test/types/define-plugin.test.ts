import { test } from 'node:test'
import Fastify from 'fastify'
import Type from 'typebox'
import wasmGateway, { definePlugin, type WasmGatewayOptions, type WasmRouteConfig } from '../../lib/index.ts'
import { fixture } from '../app.ts'

// Checked by the type check; running it shows that the names are there.

const typed = definePlugin({
  name: 'typed_by_its_schema',
  file: fixture('log'),
  priority: 7,
  conf: Type.Object({ level: Type.Enum(['info', 'warn']), max: Type.Optional(Type.Integer()) })
})

declare module '../../lib/index.ts' {
  interface RegisteredPlugins {
    typed_by_its_schema: typeof typed
  }
}

test('config.wasm has the types of a defined plugin, by its name', async () => {
  typed.name satisfies 'typed_by_its_schema'
  typed.priority satisfies number | undefined
  // @ts-expect-error a declaration wants a name
  void (() => definePlugin({ file: 'a.wasm', conf: Type.String() }))
  // @ts-expect-error and a schema
  void (() => definePlugin({ name: 'a', file: 'a.wasm' }))
  // @ts-expect-error no such key
  void (() => definePlugin({ name: 'a', file: 'a.wasm', conf: Type.String(), prio: 1 }))

  const app = Fastify()
  await app.register(wasmGateway, { plugins: [typed] })
  const route = (wasm: WasmRouteConfig) => void (() => app.get('/', { config: { wasm } }, async () => ''))
  route({ plugins: { typed_by_its_schema: { conf: { level: 'info' }, _meta: { priority: 1 } } } })
  route({ plugins: { typed_by_its_schema: { conf: { level: 'warn', max: 3 } }, other: { conf: 'text' } } })
  // @ts-expect-error no such level
  route({ plugins: { typed_by_its_schema: { conf: { level: 'loud' } } } })
  // @ts-expect-error the level is missing
  route({ plugins: { typed_by_its_schema: { conf: { max: 3 } } } })
  // @ts-expect-error there is none
  route({ plugins: { typed_by_its_schema: {} } })
  // @ts-expect-error a text is no such object
  route({ plugins: { typed_by_its_schema: { conf: 'info' } } })
  const handler = async () => ''
  // @ts-expect-error also where the route is declared
  void (() => app.get('/', { config: { wasm: { plugins: { typed_by_its_schema: { conf: { level: 1 } } } } }, handler }))
  const owner = { id: 1, uri: '/', plugins: { typed_by_its_schema: { conf: { max: 1 } } } }
  // @ts-expect-error and in global rules
  ;({ global_rules: [owner] }) satisfies WasmGatewayOptions
  // @ts-expect-error services
  ;({ services: [owner] }) satisfies WasmGatewayOptions
  // @ts-expect-error plugin_configs
  ;({ plugin_configs: [owner] }) satisfies WasmGatewayOptions
  // @ts-expect-error and routes
  ;({ routes: [owner] }) satisfies WasmGatewayOptions
  ;({
    services: [{ id: 1, plugins: { typed_by_its_schema: { conf: { level: 'info' } } } }]
  }) satisfies WasmGatewayOptions
  await app.close()
})
