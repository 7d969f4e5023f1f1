import type { FastifyInstance, FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import type { Registry } from 'prom-client'
import { type ConfOf, definePlugin } from './config/define-plugin.ts'
import { readConfigFiles } from './config/file.ts'
import { checkOptions } from './config/resources.ts'
import type * as schema from './config/schema.ts'
import type { Options, PluginEntry, RouteConfig, Store } from './config/schema.ts'
import * as errors from './errors.ts'
import { Configuration } from './gateway/configuration.ts'
import { addHooks, kProxied, kUnfiltered } from './gateway/hooks.ts'
import { Recorder } from './gateway/inspector/recorder.ts'
import { GatewayMetrics } from './gateway/metrics/gateway-metrics.ts'
import { isOperation, serveOperations } from './gateway/operations.ts'
import type { Plans } from './gateway/plans.ts'
import { seesUnmatched } from './gateway/route-context.ts'
import { createRouteHandler } from './gateway/route-handler.ts'
import { type DeclaredRoute, printWasm } from './gateway/route-print.ts'
import { servicesOf } from './gateway/services.ts'
import { Upgrades } from './gateway/upgrades.ts'
import { Agents } from './gateway/upstream/agents.ts'
import { GrpcCalls } from './gateway/upstream/grpc-calls.ts'
import { HttpCalls } from './gateway/upstream/http-calls.ts'
import { createProxy, type ProxyHandler } from './gateway/upstream/proxy.ts'
import type { UpstreamStatus } from './gateway/upstream/upstream.ts'
import { Upstreams } from './gateway/upstream/upstreams.ts'
import { MemoryQueues, MemorySharedData, type Plugin, type PluginStatus } from './host/index.ts'
import { beginLong } from './host/metering/clock.ts'
import { FileResourceStore } from './stores/file-resource-store.ts'
import { MemoryResourceStore } from './stores/memory-resource-store.ts'
import type { RedisStatus } from './stores/redis/bridge.ts'
import type { RedisStores } from './stores/redis/redis-stores.ts'
import type { RedisSettings, StoreLog } from './stores/redis/settings.ts'
import type { ResourceStore } from './stores/resource-store.ts'

export { type ConfOf, type DefinedPlugin, definePlugin } from './config/define-plugin.ts'
export type { ForeignFunction, PluginDeclaration, PluginEntry, Timeout, Upstream } from './config/schema.ts'

export * from './errors.ts'
export type { UpstreamStatus } from './gateway/upstream/upstream.ts'
export type { CallbackMessage, GrpcCallMessage, HttpCallMessage, PluginStatus } from './host/index.ts'
export type { RedisStatus } from './stores/redis/bridge.ts'

/**
 * The plugins whose configurations are typed by their name, for an application to add to:
 *
 *     declare module 'fastify-wasm-gateway' {
 *       interface RegisteredPlugins { auth: typeof auth }
 *     }
 */
// biome-ignore lint/suspicious/noEmptyInterface: applications add to it
export interface RegisteredPlugins {}

/** `plugins` of a route, a service, a plugin_config or a global rule, by the name of the plugin. */
export type PluginEntries = Record<string, PluginEntry> & {
  [Name in keyof RegisteredPlugins]?: PluginEntry & { conf: ConfOf<RegisteredPlugins[Name]> }
}
type WithEntries<Owner extends { plugins?: unknown }> = Omit<Owner, 'plugins'> &
  (Owner extends { plugins: unknown } ? { plugins: PluginEntries } : { plugins?: PluginEntries })

export type Route = WithEntries<schema.Route>
export type Service = WithEntries<schema.Service>
export type PluginConfig = WithEntries<schema.PluginConfig>
export type GlobalRule = WithEntries<schema.GlobalRule>
/** `config.wasm` of a route. */
export type WasmRouteConfig = WithEntries<RouteConfig>
/** What `register` takes. */
export type WasmGatewayOptions = Omit<Options, 'routes' | 'services' | 'plugin_configs' | 'global_rules'> & {
  routes?: Route[]
  services?: Service[]
  plugin_configs?: PluginConfig[]
  global_rules?: GlobalRule[]
}

/** `app.wasmGateway` */
export interface WasmGateway {
  /** A route handler that forwards to the upstream of the route's `config.wasm`. */
  // biome-ignore lint/suspicious/noExplicitAny: of an application of any server, HTTP/2 too
  readonly proxy: (request: FastifyRequest<any, any, any>, reply: FastifyReply<any, any, any, any>) => any
  /**
   * A registry of prom-client with what there is to measure, and what filters measure; with the time of their callbacks where
   * there is the option `metrics`.
   */
  readonly metrics: Registry
  /** What is loaded and alive. */
  status(): { plugins: PluginStatus[]; upstreams: UpstreamStatus[]; routes: number; redis: RedisStatus | null }
  /**
   * Whether the filters can do their work, for a liveness probe or @fastify/under-pressure: not while one whose `fail` is
   * `closed` has failed again and again and is not started for a while, or none of its configurations could be started.
   * `reasons` says what is wrong, also with those that requests go on without.
   */
  health(): { healthy: boolean; reasons: string[] }
  /**
   * The routes that filters run on, or that are forwarded: each with its filters in the order in which a request passes
   * them, their phase, their priority and where they come from. As Fastify's `printRoutes`, for people.
   */
  printWasm(): string
  /**
   * Reads the configuration files and the modules again and puts what they hold into effect, for the next request. What
   * is under way goes on as it began; plugin contexts whose plugin and configuration are the same stay.
   *
   * @param options in place of those of `register`: their plugins, files and objects
   * @throws FST_WASM_… with everything that is wrong; then everything stays as it was
   */
  reload(options?: WasmGatewayOptions): Promise<void>
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
    wasm?: WasmRouteConfig
  }
}

/** How long a request may wait for a filter when the server closes. */
const DRAIN_MS = 5000
/** How often a server that closes looks for connections that have nothing to do any more. */
const IDLE_MS = 100

/**
 * Runs Proxy-Wasm filters on the routes of an application that name them in `config.wasm`, and forwards routes whose
 * handler is `app.wasmGateway.proxy` to upstreams. Await it before routes are declared, so that their configuration is
 * checked when the server starts.
 *
 * @throws FST_WASM_… errors when an option, a file, a module or a reference is not what it must be
 */
const plugin: FastifyPluginAsync<WasmGatewayOptions> = async (app, input) => {
  if (app.hasDecorator('wasmGateway')) throw new errors.FST_WASM_ALREADY_REGISTERED()
  const options = checkOptions(input)
  const files = await readConfigFiles(options)
  const services = servicesOf(options, files)
  const { admin, store, redis: redisSettings, ignored } = services
  if (ignored.length > 0) {
    const hint = admin === undefined && ignored.includes('deployment') ? '; an Admin API wants `admin: { key }`' : ''
    const names = ignored.join(', ')
    app.log.warn({ sections: ignored }, `sections of the configuration that have no effect here: ${names}${hint}`)
  }
  const redis = redisSettings && (await connectRedis(redisSettings, app.log))
  const agents = new Agents()
  const upstreams = new Upstreams((id) => configuration.plans.upstream(id), app.log)
  const httpCalls = new HttpCalls(agents, app.log, upstreams)
  const grpcCalls = new GrpcCalls(upstreams, app.log)
  const metrics = new GatewayMetrics(services.metrics !== undefined, () => configuration.status())
  const recorder = services.inspector === undefined ? undefined : new Recorder()
  const configuration: Configuration = new Configuration(options, openStore(store, redis), {
    log: app.log,
    httpCalls,
    grpcCalls,
    sharedData: redis?.sharedData ?? new MemorySharedData(),
    queues: redis?.queues ?? new MemoryQueues(),
    leases: redis?.leases,
    metrics: metrics.ofFilters,
    countsOf: (plugin) => metrics.countsOf(plugin),
    observer: recorder
  })
  const upgrades = new Upgrades(app)
  configuration.plans.onWebsockets = (wanted) => upgrades.accept(wanted)
  const close = async () => {
    await configuration.close()
    grpcCalls.close()
    await agents.close()
    await redis?.close()
  }
  try {
    await configuration.load(files)
    // It connects while modules are compiled.
    await redis?.ready()
  } catch (error) {
    // Nobody closes what did not start.
    await close()
    throw error
  }

  const proxy = await createProxy(app, agents)
  const routes: DeclaredRoute[] = []
  app.decorate('wasmGateway', {
    proxy,
    metrics: metrics.registry,
    status: () => ({
      plugins: configuration.status(),
      upstreams: [...configuration.plans.upstreams].map((upstream) => upstream.status()),
      routes: configuration.plans.size,
      redis: redis?.status ?? null
    }),
    health: () => configuration.health(),
    printWasm: () => printWasm(configuration.plans, routes),
    reload: (options) => configuration.reload(options),
    callForeignFunction: (plugin, functionId, parameters) =>
      callForeignFunction(configuration.plugins, plugin, functionId, parameters)
  })
  planRoutes(app, configuration.plans, proxy, routes)
  addHooks(app, configuration.plans, createRouteHandler(proxy), isOperation(services, app.prefix))
  // Before the listener of the Admin API closes.
  app.addHook('preClose', () => configuration.endWaiting())
  await serveOperations(app, services, {
    target: configuration,
    registry: metrics.registry,
    recorder,
    status: () => configuration.status(),
    chains: () => configuration.plans.chains()
  })
  app.addHook('onReady', async () => {
    if (configuration.plans.size > 0 && !seesUnmatched(app)) {
      const cure = 'register it in the application itself, or give the scope a prefix and a 404 handler of its own'
      app.log.warn(`no request comes to the routes of the gateway: it is registered in a scope; ${cure}`)
    }
    configuration.start()
  })
  let drain: NodeJS.Timeout | undefined
  let idle: NodeJS.Timeout | undefined
  app.addHook('preClose', async () => {
    // Node closes the connections that are idle when it is told to close, and waits for what the others become.
    idle = setInterval(() => app.server.closeIdleConnections?.(), IDLE_MS)
    // The server waits for the requests that are under way, and a filter may hold one for ever.
    drain = setTimeout(() => configuration.plans.endWaiting(), DRAIN_MS)
  })
  app.addHook('onClose', async () => {
    clearTimeout(drain)
    clearInterval(idle)
    await close()
  })
}

/** Without it nothing of Redis is loaded. */
async function connectRedis(settings: RedisSettings, log: StoreLog): Promise<RedisStores> {
  const { RedisStores } = await import('./stores/redis/redis-stores.ts')
  return new RedisStores(settings, log, beginLong)
}

function openStore(store: Store | undefined, redis: RedisStores | undefined): ResourceStore {
  if (store?.file !== undefined) return new FileResourceStore(store.file)
  return store?.redis === true ? redis!.resources() : new MemoryResourceStore()
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
function planRoutes(app: FastifyInstance, plans: Plans, proxy: ProxyHandler, routes: DeclaredRoute[]): void {
  app.addHook('onRoute', (route) => {
    if (route.handler === proxy) route.config = Object.assign({}, route.config, { [kProxied]: true })
    if (kUnfiltered in (route.config ?? {})) return
    const { wasm } = (route.config ?? {}) as { wasm?: unknown }
    plans.of({ url: route.url, wasm })
    routes.push({ methods: [route.method].flat(), url: route.url, wasm, proxied: route.handler === proxy })
  })
}

export const wasmGateway: FastifyPluginAsync<WasmGatewayOptions> = fp(plugin, {
  name: 'fastify-wasm-gateway',
  fastify: '5.x'
})

export default wasmGateway
// So that `require` answers the plugin itself, with everything else that is exported.
Object.assign(wasmGateway, { default: wasmGateway, wasmGateway, definePlugin, ...errors })

export { wasmGateway as 'module.exports' }
