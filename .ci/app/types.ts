// What the types of the package accept, and what they refuse.
import Fastify from 'fastify'
import wasmGateway, {
  definePlugin,
  FST_WASM_PLUGIN_UNKNOWN,
  wasmGateway as named,
  type PluginStatus,
  type WasmGatewayOptions,
  type WasmRouteConfig
} from 'fastify-wasm-gateway'
import { loadModule, type Module } from 'fastify-wasm-gateway/host'
import { type Exchange, type FakedGrpcCall, loadChain, loadFilter, type Upstream } from 'fastify-wasm-gateway/testing'
import Type from 'typebox'

const options: WasmGatewayOptions = {
  plugins: [
    { name: 'wasm_log', file: 'filters/log.wasm', priority: 1, http_request_phase: 'rewrite', limits: { body_mib: 1 } },
    { name: 'wasm_other', module: new Uint8Array(), vm_conf: { a: 1 }, root_id: 'other', env: { A: 'b' } }
  ],
  upstreams: [{ id: 1, nodes: { '127.0.0.1:1980': 1 } }],
  services: [{ id: 'a', upstream: { type: 'roundrobin', nodes: [{ host: 'a.test', port: 80, weight: 1 }] } }]
}
const app = Fastify()
await app.register(wasmGateway, options)
await app.register(named, { config: 'config.yaml' })
// @ts-expect-error a plugin needs a name
await app.register(wasmGateway, { plugins: [{ file: 'filters/log.wasm' }] })
// @ts-expect-error no such phase
await app.register(wasmGateway, { plugins: [{ name: 'a', file: 'a.wasm', http_request_phase: 'log' }] })

const wasm: WasmRouteConfig = { plugins: { wasm_log: { conf: { level: 'info' }, _meta: { disable: true } } } }
app.get('/', { config: { wasm } }, async () => 'hello')
app.get('/text', { config: { wasm: { plugins: { wasm_log: { conf: 'text' } } } } }, async () => 'hello')
app.all('/*', { config: { wasm: { service_id: 'a', timeout: { read: 5 } } } }, app.wasmGateway.proxy)
// @ts-expect-error a plugin's entry is an object with `conf`
app.get('/entry', { config: { wasm: { plugins: { wasm_log: 'text' } } } }, async () => 'hello')
// @ts-expect-error conf is text or an object
app.get('/conf', { config: { wasm: { plugins: { wasm_log: { conf: 1 } } } } }, async () => 'hello')
// @ts-expect-error no such key
export const misspelt: WasmRouteConfig = { plugin: {} }

const plugins: PluginStatus[] = app.wasmGateway.status().plugins
const memory: number | undefined = plugins[0]?.instance?.memory_bytes
const error: Error & { code: string } = new FST_WASM_PLUGIN_UNKNOWN('routes[0]', 'a', 'none')
const module: Promise<Module> = loadModule('a', new Uint8Array())

const typed = definePlugin({ name: 'typed', file: 'a.wasm', conf: Type.Object({ level: Type.Integer() }) })
declare module 'fastify-wasm-gateway' {
  interface RegisteredPlugins {
    typed: typeof typed
  }
}
app.get('/typed', { config: { wasm: { plugins: { typed: { conf: { level: 1 } } } } } }, async () => 'hello')
// @ts-expect-error the level is a number
app.get('/untyped', { config: { wasm: { plugins: { typed: { conf: { level: 'a' } } } } } }, async () => 'hello')
const health: boolean = app.wasmGateway.health().healthy
const routes: string = app.wasmGateway.printWasm()

const auth: Upstream = async ({ headers, path }) =>
  path === '/' ? { status: 200, headers, body: 'a' } : new Error('b')
const grpc = (call: FakedGrpcCall): void => call.close(0)
const filter = await loadFilter('filters/log.wasm', { conf: 'a', semantics: 'envoy', upstreams: { auth }, now: 0 })
const exchange: Exchange = await filter.exchange({
  request: { body: 'a' },
  response: { body: ['a', new Uint8Array()] }
})
const status: number = exchange.response.status
const chain = await loadChain([{ ...typed, conf: { level: 1 } }], { grpc_upstreams: { grpc } })
const filtered: Buffer | undefined = chain.filter('typed').sharedData.get('a')
// @ts-expect-error no such option
await loadFilter('filters/log.wasm', { configuration: 'a' })
// @ts-expect-error the method is text
await filter.exchange({ request: { method: 1 } })

export { error, filtered, health, memory, module, routes, status }
