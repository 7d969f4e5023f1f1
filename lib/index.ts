import type { FastifyInstance, FastifyPluginAsync } from 'fastify'
import fp from 'fastify-plugin'
import { loadResources } from './config/resources.ts'
import type { Options, RouteConfig } from './config/schema.ts'
import * as errors from './errors.ts'
import { addHooks, kProxied } from './gateway/hooks.ts'
import { Plans } from './gateway/plans.ts'
import { loadPlugins } from './gateway/plugins.ts'
import { StandingContexts } from './gateway/standing-contexts.ts'
import { Agents } from './gateway/upstream/agents.ts'
import { GrpcCalls } from './gateway/upstream/grpc-calls.ts'
import { HttpCalls } from './gateway/upstream/http-calls.ts'
import { createProxy, type ProxyHandler } from './gateway/upstream/proxy.ts'
import { Upstreams } from './gateway/upstream/upstreams.ts'
import {
  foreignFunctionsWith,
  MemoryQueues,
  MemorySharedData,
  Metrics,
  type Plugin,
  type PluginStatus
} from './host/index.ts'

export type {
  ForeignFunction,
  GlobalRule,
  PluginConfig,
  PluginDeclaration,
  PluginEntry,
  Service,
  Timeout,
  Upstream
} from './config/schema.ts'

export * from './errors.ts'
export type { PluginStatus } from './host/index.ts'
/** What `register` takes. */
export type WasmGatewayOptions = Options
/** `config.wasm` of a route. */
export type WasmRouteConfig = RouteConfig

/** `app.wasmGateway` */
export interface WasmGateway {
  /** A route handler that forwards to the upstream of the route's `config.wasm`. */
  readonly proxy: ProxyHandler
  /** What is loaded and alive. */
  status(): { plugins: PluginStatus[] }
  /**
   * Calls `proxy_on_foreign_function` of a filter, in all of its plugin contexts that are alive.
   *
   * @param functionId what the filter tells its functions apart by, an unsigned 32-bit number
   * @param parameters what it reads in the callback
   * @returns how many plugin contexts were called
   * @throws FST_WASM_PLUGIN_UNKNOWN
   */
  callForeignFunction(plugin: string, functionId: number, parameters: Uint8Array): Promise<number>
}

declare module 'fastify' {
  interface FastifyInstance {
    wasmGateway: WasmGateway
  }
  interface FastifyContextConfig {
    wasm?: RouteConfig
  }
}

/**
 * Runs Proxy-Wasm filters on the routes of an application that name them in `config.wasm`, and forwards routes whose
 * handler is `app.wasmGateway.proxy` to upstreams. Await it before routes are declared, so that their configuration is
 * checked when the server starts.
 *
 * @throws FST_WASM_… errors when an option, a file, a module or a reference is not what it must be
 */
const plugin: FastifyPluginAsync<Options> = async (app, options) => {
  if (app.hasDecorator('wasmGateway')) throw new errors.FST_WASM_ALREADY_REGISTERED()
  const resources = await loadResources(options)
  const agents = new Agents()
  const upstreams = new Upstreams((id) => plans.upstream(id))
  const httpCalls = new HttpCalls(agents, app.log, upstreams)
  const grpcCalls = new GrpcCalls(upstreams, app.log)
  const plugins = await loadPlugins(resources.plugins.values(), {
    log: app.log,
    httpCalls,
    grpcCalls,
    sharedData: new MemorySharedData(),
    queues: new MemoryQueues(),
    metrics: new Metrics(),
    foreignFunctions: foreignFunctionsWith(resources.foreignFunctions)
  })
  const plans: Plans = new Plans(resources, plugins)
  const standingContexts = new StandingContexts(resources, plugins)

  const proxy = await createProxy(app, agents)
  app.decorate('wasmGateway', {
    proxy,
    status: () => ({ plugins: [...plugins.values()].map((plugin) => plugin.status()) }),
    callForeignFunction: (plugin, functionId, parameters) =>
      callForeignFunction(plugins, plugin, functionId, parameters)
  })
  planRoutes(app, plans, proxy)
  addHooks(app, plans)
  app.addHook('onReady', async () => {
    plans.start()
    standingContexts.start()
  })
  app.addHook('onClose', async () => {
    await Promise.all([plans.close(), standingContexts.close()])
    grpcCalls.close()
    await agents.close()
  })
}

async function callForeignFunction(
  plugins: ReadonlyMap<string, Plugin>,
  name: string,
  functionId: number,
  parameters: Uint8Array
): Promise<number> {
  const plugin = plugins.get(name)
  if (plugin === undefined) {
    throw new errors.FST_WASM_PLUGIN_UNKNOWN('callForeignFunction', name, [...plugins.keys()].join(', ') || 'none')
  }
  const copy = Buffer.from(parameters)
  // Out of whatever callback this was called in: by a foreign function, for one.
  await null
  return plugin.callForeignFunction(functionId, copy)
}

/** Checks and plans each route when it is declared. */
function planRoutes(app: FastifyInstance, plans: Plans, proxy: ProxyHandler): void {
  app.addHook('onRoute', (route) => {
    if (route.handler === proxy) route.config = Object.assign({}, route.config, { [kProxied]: true })
    plans.of({ url: route.url, wasm: (route.config as { wasm?: unknown } | undefined)?.wasm })
  })
}

export const wasmGateway: FastifyPluginAsync<Options> = fp(plugin, {
  name: 'fastify-wasm-gateway',
  fastify: '5.x'
})

export default wasmGateway
// So that `require` answers the plugin itself, with everything else that is exported.
Object.assign(wasmGateway, { default: wasmGateway, wasmGateway, ...errors })

export { wasmGateway as 'module.exports' }
