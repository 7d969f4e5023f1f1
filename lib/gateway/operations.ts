import Fastify, { type FastifyInstance, type FastifyPluginAsync, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Registry } from 'prom-client'
import type { Listen } from '../config/schema.ts'
import type { PluginStatus } from '../host/index.ts'
import { adminApi, DEFAULT_PREFIX, withoutQuery } from './admin/admin-api.ts'
import type { AdminTarget } from './admin/target.ts'
import { kUnfiltered } from './hooks.ts'
import { inspector } from './inspector/inspector.ts'
import type { Recorder } from './inspector/recorder.ts'
import { metricsPage } from './metrics/metrics-page.ts'
import type { Chain } from './plans.ts'
import { normalizePath } from './routes/normalize-path.ts'
import type { Services } from './services.ts'

/** As APISIX's, in an address that no other machine reaches. */
const ADMIN_LISTEN: Listen = { host: '127.0.0.1', port: 9180 }
const METRICS_LISTEN: Listen = { host: '127.0.0.1', port: 9091 }

/** What serves what is there for who runs the gateway. */
interface Parts {
  readonly target: AdminTarget
  readonly registry: Registry
  /** Of the inspector, where there is to be one */
  readonly recorder: Recorder | undefined
  status(): PluginStatus[]
  chains(): Iterable<Chain>
}

/**
 * Serves what is there for who runs the gateway: the Admin API, the metrics and the inspector. Each on a listener of its own where
 * it is given one, else on the Admin API's, else on the application's.
 */
export async function serveOperations(app: FastifyInstance, services: Services, parts: Parts): Promise<void> {
  const { admin, metrics } = services
  const place =
    admin?.listen === undefined ? unfiltered(app) : listener(app, { ...ADMIN_LISTEN, ...admin.listen }, 'Admin API')
  if (admin !== undefined) await place(adminApi(parts.target, admin))
  const { recorder } = parts
  if (services.inspector !== undefined && recorder !== undefined) {
    await place(inspector({ ...parts, recorder }, services.inspector))
  }
  if (metrics?.path === undefined) return
  const page = metricsPage(parts.registry, metrics.path, metrics.allow)
  const isApart = metrics.listen !== undefined
  await (isApart ? listener(app, { ...METRICS_LISTEN, ...metrics.listen }, 'Metrics') : place)(page)
}

type Place = (plugin: FastifyPluginAsync) => Promise<unknown>

/** On the application's own listener, where no filter runs on it. */
function unfiltered(app: FastifyInstance): Place {
  return (plugin) =>
    app.register(async (scope) => {
      scope.addHook('onRoute', (route) => {
        route.config = Object.assign({}, route.config, { [kUnfiltered]: true })
      })
      await scope.register(plugin)
    }) as unknown as Promise<unknown>
}

/** On a listener that opens when the application is ready. */
function listener(app: FastifyInstance, listen: Listen, name: string): Place {
  let requests = 0
  const server = Fastify({
    loggerInstance: app.log.child({}, { serializers: { req: withoutQuery as never } }),
    forceCloseConnections: true,
    // Not those of the application's requests, which are in the same log.
    genReqId: () => `${name.toLowerCase().replaceAll(' ', '-')}-${++requests}`,
    // A target that is none.
    frameworkErrors: (error, _request, reply) => {
      ;(reply as unknown as FastifyReply).code(error.statusCode ?? 500).send({ error_msg: error.message })
    }
  })
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ error_msg: 'not found' }))
  app.addHook('onReady', async () => {
    await server.listen({ ...listen, listenTextResolver: (at) => `${name} listening at ${at}` })
  })
  // Before what it writes to is closed.
  app.addHook('preClose', () => server.close())
  return (plugin) => server.register(plugin) as unknown as Promise<unknown>
}

/**
 * Tells whether a request that the application has no route for is one of the Admin API or the inspector, on which no filter runs.
 *
 * @param scope the prefix of the scope that the gateway is registered in
 */
export function isOperation({ admin, inspector }: Services, scope: string): (request: FastifyRequest) => boolean {
  if (admin?.listen !== undefined) return () => false
  const prefixes: string[] = []
  if (admin !== undefined) prefixes.push(scope + (admin.prefix ?? DEFAULT_PREFIX))
  if (inspector !== undefined) prefixes.push(scope + inspector.path)
  if (prefixes.length === 0) return () => false
  return (request) => {
    const path = normalizePath(request.raw.url!)
    return prefixes.some(
      (prefix) => path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')
    )
  }
}
