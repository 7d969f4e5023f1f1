import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import type { Admin } from '../../config/schema.ts'
import { kUnfiltered } from '../hooks.ts'
import { normalizePath } from '../routes/normalize-path.ts'
import { adminApi, DEFAULT_PREFIX, withoutQuery } from './admin-api.ts'
import type { AdminTarget } from './target.ts'

/** As APISIX's, in an address that no other machine reaches. */
const DEFAULT_LISTEN = { host: '127.0.0.1', port: 9180 }

/** Serves the Admin API: on a listener of its own when it is given one, else on the application's. */
export async function serveAdmin(app: FastifyInstance, target: AdminTarget, admin: Admin): Promise<void> {
  if (admin.listen === undefined) {
    await app.register(async (scope) => {
      scope.addHook('onRoute', (route) => {
        route.config = Object.assign({}, route.config, { [kUnfiltered]: true })
      })
      await scope.register(adminApi(target, admin))
    })
    return
  }
  const server = Fastify({
    loggerInstance: app.log.child({}, { serializers: { req: withoutQuery as never } }),
    forceCloseConnections: true,
    // A target that is none.
    frameworkErrors: (error, _request, reply) => {
      ;(reply as unknown as FastifyReply).code(error.statusCode ?? 500).send({ error_msg: error.message })
    }
  })
  server.setNotFoundHandler((_request, reply) => reply.code(404).send({ error_msg: 'not found' }))
  await server.register(adminApi(target, admin))
  app.addHook('onReady', async () => {
    await server.listen({
      ...DEFAULT_LISTEN,
      ...admin.listen,
      listenTextResolver: (at) => `Admin API listening at ${at}`
    })
  })
  // Before what it writes to is closed.
  app.addHook('preClose', () => server.close())
}

/**
 * Tells whether a request that the application has no route for is one of the Admin API, on which no filter runs.
 *
 * @param scope the prefix of the scope that the gateway is registered in
 */
export function isBelow(admin: Admin | undefined, scope: string): (request: FastifyRequest) => boolean {
  if (admin === undefined || admin.listen !== undefined) return () => false
  const prefix = scope + (admin.prefix ?? DEFAULT_PREFIX)
  return (request) => {
    const path = normalizePath(request.raw.url!)
    return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === '/')
  }
}
