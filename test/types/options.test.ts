import { test } from 'node:test'
import Fastify from 'fastify'
import type { WasmGateway, WasmGatewayOptions, WasmRouteConfig } from '../../lib/index.ts'
import wasmGateway, { wasmGateway as named } from '../../lib/index.ts'

// Checked by the type check; running it shows that the names are there.

interface Conf {
  level: string
}

test('the options, config.wasm and app.wasmGateway are typed', async () => {
  const app = Fastify()
  const options: WasmGatewayOptions = {
    plugins: [],
    upstreams: [
      { id: 'u', type: 'roundrobin', nodes: [{ host: '127.0.0.1', port: 80, weight: 1 }], timeout: { read: 1 } },
      { id: 2, nodes: { '127.0.0.1:80': 1 }, scheme: 'https', tls: { verify: false }, retries: 0 }
    ],
    services: [{ id: 's', upstream_id: 'u' }],
    global_rules: [],
    foreign_functions: { f: (parameters) => parameters.subarray(1), nothing: () => undefined }
  }
  await app.register(wasmGateway, options)
  // @ts-expect-error a priority is a number
  ;({ plugins: [{ name: 'a', file: 'a.wasm', priority: '1' }] }) satisfies WasmGatewayOptions
  // @ts-expect-error the filter waits for it
  ;({ foreign_functions: { f: async () => Buffer.from('x') } }) satisfies WasmGatewayOptions
  // @ts-expect-error there are two phases
  ;({ plugins: [{ name: 'a', file: 'a.wasm', http_request_phase: 'log' }] }) satisfies WasmGatewayOptions

  const gateway: WasmGateway = app.wasmGateway
  void (() => gateway.callForeignFunction('a', 1, new Uint8Array()) satisfies Promise<number>)
  gateway.status().plugins satisfies { name: string; http_contexts: number }[]
  const conf: Conf = { level: 'info' }
  const wasm: WasmRouteConfig = { plugins: { a: { conf } }, upstream_id: 'u', timeout: { connect: 1 } }
  void (() => app.get('/', { config: { wasm }, handler: app.wasmGateway.proxy }))
  void (() => Fastify({ http2: true }).get('/', { config: { wasm } }, gateway.proxy))
  void (() => Fastify({ https: {} }).get('/', { config: { wasm } }, gateway.proxy))
  // @ts-expect-error a configuration is a string or an object
  void (() => app.get('/', { config: { wasm: { plugins: { a: { conf: 1 } } } } }, async () => ''))
  // @ts-expect-error no such key
  ;({ plugin: {} }) satisfies WasmRouteConfig
  void named
  await app.close()
})
